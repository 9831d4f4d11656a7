"""Tiny random sequence models with tokenizers trained on the names of the tests, saved as model folders."""

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

WORDS = "query: film | cast member description: a man with the patch reverse of followed by director"


def tokenizer(*, adds_end):
    """Train byte-level BPE, so that every text has tokens; with ``adds_end`` it ends texts as T5's does."""
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<pad>", "</s>"], initial_alphabet=alphabet, show_progress=False
    )
    tok.train_from_iterator([WORDS, "John Ford", "John Cox", "Linda Darnell"] * 3, trainer)
    if adds_end:
        tok.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=tok, pad_token="<pad>", eos_token="</s>")


def _shape(tok, n_positions):
    return {
        "vocab_size": len(tok), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": n_positions,
        "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None,
    }  # fmt: skip


def make_llama(folder, *, seed=0, n_positions=512):
    tok = tokenizer(adds_end=False)
    torch.manual_seed(seed)
    _spread(LlamaForCausalLM(LlamaConfig(**_shape(tok, n_positions)))).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def make_mixtral(folder, *, seed=0):
    tok = tokenizer(adds_end=False)
    torch.manual_seed(seed)
    config = MixtralConfig(**_shape(tok, 512), num_local_experts=4, num_experts_per_tok=2, sliding_window=None)
    _spread(MixtralForCausalLM(config)).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def make_t5(folder, *, seed=0):
    tok = tokenizer(adds_end=True)
    torch.manual_seed(seed)
    config = T5Config(
        vocab_size=len(tok), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0,
    )  # fmt: skip
    _spread(T5ForConditionalGeneration(config)).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


def _spread(model):
    """Make a random model opinionated: at its initial scale all tokens are about as probable."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
    return model.eval()
