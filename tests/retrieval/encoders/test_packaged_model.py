"""The packaged MiniLM: the fast network equals transformers' on the real weights."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest

from retrieval.encoders import network as networks
from retrieval.encoders.transformer import TransformerTextEncoder

MINILM = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag")) / "models" / "minilm"
pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(not MINILM.is_dir(), reason=f"{MINILM} is absent; fetch it with `mmkg models pull`"),
]

TEXTS = [
    "Johann Sebastian Bach wrote The Well-Tempered Clavier.",
    "Who composed the Well-Tempered Clavier?",
    "Revenue rose by 3.5% in the second quarter.",
    "",
    "😀 日本語 x",
    "a long report " * 400,
]


@pytest.mark.parametrize("network", ["numpy", "fast"])
def test_our_networks_equal_transformers_one_text_at_a_time(network: Any):
    fast = TransformerTextEncoder(MINILM, device="cpu", network=network).encode(TEXTS)
    oracle = TransformerTextEncoder(MINILM, device="cpu", network="transformers")

    for text, vector_D in zip(TEXTS, fast, strict=True):
        np.testing.assert_allclose(vector_D, oracle.encode([text])[0], atol=1e-6)


def test_a_question_is_nearest_to_the_text_that_answers_it():
    encoder = TransformerTextEncoder(MINILM, device="cpu")
    vectors_ND = encoder.encode(TEXTS)

    assert (encoder.dimension, encoder.max_tokens, encoder.name) == (384, 254, "minilm")
    scores = vectors_ND @ vectors_ND[1]
    assert np.argsort(-scores).tolist()[:2] == [1, 0]
    assert scores[0] > 0.5 > scores[2:].max()


def test_token_spans_cover_the_words_of_the_text():
    text = "Bach's Clavier, 1722 – naïve 日本"
    spans = TransformerTextEncoder(MINILM, device="cpu").token_spans(text)

    pieces = [text[span.start : span.end] for span in spans]
    assert "".join(pieces) == text.replace(" ", "")
    assert pieces[:3] == ["Bach", "'", "s"]
    assert pieces[-2:] == ["日", "本"]


def test_chunks_in_bfloat16_point_where_float32_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(networks, "_multiplies_bfloat16", lambda: True)
    words = " ".join(TEXTS[:3]).split()
    texts = [" ".join(words[start:] + words * (1 + start % 7)) for start in range(len(words))] * 3

    vectors_ND = TransformerTextEncoder(MINILM, device="cpu", bulk="auto").encode(texts)

    exact_ND = TransformerTextEncoder(MINILM, device="cpu").encode(texts)
    assert (vectors_ND * exact_ND).sum(axis=1).min() > 0.9995
    assert np.abs(vectors_ND - exact_ND).max() > 1e-6
