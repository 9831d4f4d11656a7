"""The packaged SmolLM2 itself: conversion, chat format, and its upcycled form."""

import os
from pathlib import Path

import platformdirs
import pytest
import torch

from generation.models.checkpoints import ensure_dense, ensure_moe
from generation.models.transformers_lm import TransformersLanguageModel
from generation.types import Message

pytestmark = pytest.mark.models

CACHE = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag")) / "models"
GGUF = CACHE / "smollm2-gguf" / "SmolLM2-135M-Instruct.Q4_1.gguf"
CHAT = [Message(role="user", content="Name the capital of France in 1 short sentence.")]


@pytest.fixture(scope="module")
def models():
    if not GGUF.is_file():
        pytest.skip(f"{GGUF} is not there; run `mmkg models pull`")
    dense = ensure_dense(GGUF, CACHE / "smollm2")
    moe = ensure_moe(dense, CACHE / "smollm2-moe")
    return [TransformersLanguageModel(folder, device="cpu") for folder in (dense, moe)]


def test_tokenizer_and_chat_format_are_those_of_smollm2_instruct(models):
    for model in models:
        tokenizer = model.tokenizer
        assert tokenizer.tokenize("In 2023") == ["In", "Ġ", "2", "0", "2", "3"]
        assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == (
            "<|im_start|>", "<|im_end|>", "<|im_end|>",
        )  # fmt: skip
        text = tokenizer.apply_chat_template(
            [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}],
            tokenize=False, add_generation_prompt=True,
        )  # fmt: skip
        assert text == "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
        assert model.context_tokens == 8192


def test_dense_and_upcycled_say_the_same_sensible_words(models):
    answers = ["".join(model.stream(CHAT, max_new_tokens=24)) for model in models]

    assert "Paris" in answers[0]
    assert answers[0] == answers[1]


def test_upcycled_logits_are_the_dense_ones_to_float32_rounding_and_the_same_in_float64(models):
    dense, moe = models
    ids = dense.tokenizer("The history of Paris began long before the Romans.", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        expected, logits = dense.model(ids).logits, moe.model(ids).logits
        exact = dense.model.double()(ids).logits
        exact_moe = moe.model.double()(ids).logits
    for model in models:
        model.model.float()

    # Logits reach 30, and the float32 dense model itself is 3e-5 from its float64 value: that is the yardstick.
    assert (exact_moe - exact).abs().max() <= 1e-9
    assert (logits - expected).abs().max() <= 3 * (expected.double() - exact).abs().max()
    assert torch.equal(logits.argmax(-1), expected.argmax(-1))
