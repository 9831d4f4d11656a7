"""Generators that tune in seconds: random tiny models, a tokenizer trained on a graph's own words, and the graph."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

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

from generation.completion.generator.contexts import ARMS, LinkContexts
from generation.completion.generator.tuning_data import both_directions
from generation.completion.triples import TripleSet
from tests.generation.completion.helpers import graph_of

COLOURS = ("red", "blue", "green", "white")
CLUBS = tuple(f"{colour.title()} Club" for colour in COLOURS)


def club_graph(*, n_people: int = 24, n_held_out: int = 8) -> TripleSet:
    """People whose club can be told from their text alone: nobody's name or neighbours say anything of it."""
    n_clubs = len(COLOURS)
    names = (*CLUBS, *(f"Person {i}" for i in range(n_people + n_held_out)))
    texts = ("",) * n_clubs + tuple(f"wears {COLOURS[i % n_clubs]}" for i in range(n_people + n_held_out))
    links = [(n_clubs + i, 0, i % n_clubs) for i in range(n_people + n_held_out)]
    return graph_of(
        links[:n_people],
        valid=links[n_people:],
        n_entities=len(names),
        entity_names=names,
        relation_names=("member of",),
        entity_texts=texts,
    )


def train_tokenizer(texts: Iterable[str], *, size: int = 400, ends: bool = False) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE on ``texts``; with ``ends`` every text gets an end token, as T5's do."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<pad>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    core.train_from_iterator(texts, trainer)
    if ends:
        core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="</s>")


def texts_of(graph: TripleSet) -> list[str]:
    """Every prompt and answer of the graph's train triples."""
    texts = []
    for arm in ARMS:
        contexts = LinkContexts(graph, arm=arm)
        for anchor, relation, answer in both_directions(graph.train, n_relations=graph.n_relations).tolist():
            texts.append(contexts.prompt(anchor, relation, left_out=answer) + f" {contexts.answer(answer)}\n")
    return texts


def save_generator(folder: Path, graph: TripleSet, *, kind: str = "llama", seed: int = 0, **changes: Any) -> Path:
    """Write a random model of ``kind`` (llama, mixtral or t5) with a tokenizer trained on the graph's words."""
    tokenizer = train_tokenizer(texts_of(graph), ends=kind == "t5")
    torch.manual_seed(seed)
    n_tokens = len(tokenizer)
    settings: dict[str, Any] = {
        "vocab_size": n_tokens, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "initializer_range": 0.1,
        "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None,
    }  # fmt: skip
    model: Any
    if kind == "llama":
        model = LlamaForCausalLM(LlamaConfig(**(settings | changes)))
    elif kind == "mixtral":
        model = MixtralForCausalLM(
            MixtralConfig(**(settings | {"num_local_experts": 4, "num_experts_per_tok": 2} | changes))
        )
    else:
        model = T5ForConditionalGeneration(
            T5Config(
                **(
                    {
                        "vocab_size": n_tokens, "d_model": 48, "d_kv": 12, "d_ff": 96, "num_layers": 2, "num_heads": 4,
                        "pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0, "dropout_rate": 0.1,
                    }
                    | changes
                )
            )
        )  # fmt: skip
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def candidate_scores(model: Any, tokenizer: Any, prompt: str, answers: Sequence[str]) -> list[float]:
    """Log-probability of each answer after the prompt, one plain forward pass each: higher is better."""
    scores = []
    for answer in answers:
        if model.config.is_encoder_decoder:
            ids = torch.tensor([tokenizer(prompt)["input_ids"]])
            labels = torch.tensor([tokenizer(answer)["input_ids"]])
            logits, wanted = model(input_ids=ids, labels=labels).logits[0], labels[0]
        else:
            before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            after = tokenizer(f" {answer}\n", add_special_tokens=False)["input_ids"]
            logits = model(input_ids=torch.tensor([before + after])).logits[0, len(before) - 1 : -1]
            wanted = torch.tensor(after)
        scores.append(float(logits.log_softmax(-1).gather(-1, wanted[:, None]).sum()))
    return scores
