"""Tiny random checkpoints of the real vision classes: configuration, weights, tokenizer and processor, under 2 MB each.

Nothing is downloaded. The words are random, but the way is the one that a real checkpoint goes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers, processors

CHAT = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' }}"
    "{% for part in message.content %}{% if part.type == 'image' %}IMAGE{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<pad>", "<s>", "</s>", "<unk>", "<|im_start|>", "<|im_end|>"]


WORDS = (
    "describe the picture for a search index say what kind of it is and shows names labels numbers on how they belong "
    "copy exactly as stand write only description chart bar line map ship harbour sales rose fell from to year red "
    "blue tall short left right of people boats cranes tide water small large two three four five six seven , :"
)


def word_tokenizer(*more: str, **marks: str) -> hf.PreTrainedTokenizerFast:
    """A tokenizer of a hundred words, so that what a random model writes reads as text."""
    special = [*SPECIAL, *more]
    vocabulary = {word: place for place, word in enumerate(dict.fromkeys([*special, *WORDS.split()]))}
    made = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(special)
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        extra_special_tokens=marks or None,
    )  # fmt: skip


def bert_tokenizer() -> hf.BertTokenizerFast:
    words = dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "a", *WORDS.split()])
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return hf.BertTokenizerFast(tokenizer_object=made, bos_token="[DEC]")


def blip(folder: Path) -> None:
    tokenizer = bert_tokenizer()
    text = hf.BlipTextConfig(
        vocab_size=len(tokenizer), hidden_size=32, encoder_hidden_size=32, intermediate_size=64, projection_dim=16,
        num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=64, bos_token_id=5, eos_token_id=3,
        sep_token_id=3, pad_token_id=0,
    )  # fmt: skip
    vision = hf.BlipVisionConfig(
        hidden_size=32, intermediate_size=64, projection_dim=16, num_hidden_layers=2, num_attention_heads=4,
        image_size=32, patch_size=16, initializer_range=0.02,
    )  # fmt: skip
    model = hf.BlipForConditionalGeneration(
        hf.BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=16)
    )
    processor = hf.BlipProcessor(hf.BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer)
    save(folder, model, processor, louder=3.0)  # so that it writes a few words and then ends


def save(folder: Path, model, processor, *, louder: float = 10.0) -> None:
    with torch.no_grad():  # weights as small as the usual ones would say the same of every picture
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.mul_(louder)
    model.generation_config.forced_eos_token_id = model.generation_config.eos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


TEXT = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 4096, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def qwen2_5_vl(folder: Path) -> None:
    tokenizer = word_tokenizer("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    ids = tokenizer.convert_tokens_to_ids
    config = hf.Qwen2_5_VLConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer),
                     "rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}},
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 32,
                       "patch_size": 14, "spatial_merge_size": 2, "window_size": 56, "fullatt_block_indexes": [1]},
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    images = hf.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=28 * 28 * 8)
    processor = hf.Qwen2_5_VLProcessor(
        images, tokenizer, hf.Qwen2VLVideoProcessor(),
        chat_template=CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )  # fmt: skip
    save(folder, hf.Qwen2_5_VLForConditionalGeneration(config), processor)


def qwen3_vl_moe(folder: Path) -> None:
    tokenizer = word_tokenizer("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    ids = tokenizer.convert_tokens_to_ids
    config = hf.Qwen3VLMoeConfig(
        text_config={**TEXT, "vocab_size": len(tokenizer), "head_dim": 8, "moe_intermediate_size": 16,
                     "num_experts": 4, "num_experts_per_tok": 2, "decoder_sparse_step": 1,
                     "rope_parameters": {"rope_type": "default", "mrope_section": [2, 1, 1], "rope_theta": 10000.0,
                                         "mrope_interleaved": True}},
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 32,
                       "patch_size": 14, "spatial_merge_size": 2, "num_position_embeddings": 64,
                       "deepstack_visual_indexes": [0]},
        image_token_id=ids("<|image_pad|>"), video_token_id=ids("<|video_pad|>"),
        vision_start_token_id=ids("<|vision_start|>"), vision_end_token_id=ids("<|vision_end|>"),
    )  # fmt: skip
    images = hf.Qwen2VLImageProcessor(min_pixels=28 * 28, max_pixels=28 * 28 * 8)
    processor = hf.Qwen3VLProcessor(
        images, tokenizer, hf.Qwen3VLVideoProcessor(patch_size=14),
        chat_template=CHAT.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>"),
    )  # fmt: skip
    save(folder, hf.Qwen3VLMoeForConditionalGeneration(config), processor)


def idefics3_processor(tokenizer: hf.PreTrainedTokenizerFast) -> hf.Idefics3Processor:
    images = hf.Idefics3ImageProcessor(
        size={"longest_edge": 32}, max_image_size={"longest_edge": 32}, do_image_splitting=False
    )
    return hf.Idefics3Processor(images, tokenizer, image_seq_len=4, chat_template=CHAT.replace("IMAGE", "<image>"))


def idefics3(folder: Path) -> None:
    tokenizer = word_tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    config = hf.Idefics3Config(
        text_config={"model_type": "llama", **TEXT, "vocab_size": len(tokenizer)},
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                       "image_size": 32, "patch_size": 8},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), scale_factor=2, pad_token_id=0,
    )  # fmt: skip
    save(folder, hf.Idefics3ForConditionalGeneration(config), idefics3_processor(tokenizer))


def smolvlm(folder: Path) -> None:
    """SmolVLM2's class; its own processor wants num2words, so it stands behind Idefics3's, as SmolVLM 1 does."""
    tokenizer = word_tokenizer("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>")
    config = hf.SmolVLMConfig(
        text_config={"model_type": "llama", **TEXT, "vocab_size": len(tokenizer)},
        vision_config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
                       "image_size": 32, "patch_size": 8},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), scale_factor=2, pad_token_id=0,
    )  # fmt: skip
    save(folder, hf.SmolVLMForConditionalGeneration(config), idefics3_processor(tokenizer))


def florence2(folder: Path) -> None:
    tokenizer = word_tokenizer("<image>", *(f"<loc_{i}>" for i in range(8)), image_token="<image>")
    config = hf.Florence2Config(
        text_config={"model_type": "bart", "vocab_size": len(tokenizer), "d_model": 32, "encoder_layers": 2,
                     "decoder_layers": 2, "encoder_attention_heads": 4, "decoder_attention_heads": 4,
                     "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 512, "pad_token_id": 0,
                     "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2, "forced_eos_token_id": None},
        vision_config={"depths": [1, 1, 1, 1], "embed_dim": [8, 16, 16, 32], "num_heads": [2, 2, 2, 2],
                       "num_groups": [2, 2, 2, 2], "window_size": 2, "projection_dim": 32,
                       "max_position_embeddings": 8, "max_temporal_embeddings": 4},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"), bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    images = hf.CLIPImageProcessor(size={"height": 64, "width": 64}, do_center_crop=False, resample=3)
    images.image_seq_length = 5
    save(
        folder,
        hf.Florence2ForConditionalGeneration(config),
        hf.Florence2Processor(images, tokenizer, post_processor_config={"pure_text": {}}),
    )


BUILDERS: dict[str, Callable[[Path], None]] = {
    "blip": blip, "qwen2_5_vl": qwen2_5_vl, "qwen3_vl_moe": qwen3_vl_moe, "idefics3": idefics3, "smolvlm": smolvlm,
    "florence2": florence2,
}  # fmt: skip


def build(name: str, folder: Path, *, seed: int = 0) -> Path:
    """Save a random checkpoint of one of :data:`BUILDERS`; the same seed gives the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        BUILDERS[name](folder)
    return folder
