"""The cross-encoder against transformers, pair by pair, on tiny networks of the real class built here."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoModelForSequenceClassification, BertConfig, BertForSequenceClassification, BertModel

from generation.testing import make_evidence
from kg.errors import ConfigError, ModelCorruptError, ModelError, ModelMissingError
from retrieval.rerank.cross_encoder import CrossEncoderReranker
from retrieval.rerank.types import Reranker
from retrieval.types import Query

WORDS = "the cat sat on mat dog ran far away where is a big small red fox".split()  # noqa: SIM905 - words of a model
QUERY = Query(text="where is the red fox")
PASSAGES = ["the cat sat on the mat", "a red fox", "the dog ran far far away " * 20, "fox"]


def tokenizer():
    from transformers import BertTokenizerFast

    vocabulary = {word: place for place, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return BertTokenizerFast(tokenizer_object=made, model_max_length=48)


def build(folder, *, labels=1, kind=BertForSequenceClassification):
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=len(WORDS) + 5,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=48,
        initializer_range=0.4,
        num_labels=labels,
    )
    kind(config).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return build(tmp_path_factory.mktemp("cross"))


def expected(folder, question, passage, *, room=48):
    """One pair, no padding, transformers' own forward pass."""
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    pair = tokenizer()(question, passage, truncation="only_second", max_length=room, return_tensors="pt")
    with torch.no_grad():
        logits = model(**pair).logits[0]
    return float(torch.sigmoid(logits[0]) if len(logits) == 1 else torch.softmax(logits, dim=0)[1])


def passages():
    return [make_evidence(text, rank=rank, name=str(rank)) for rank, text in enumerate(PASSAGES, start=1)]


@pytest.mark.parametrize("labels", [1, 2])
def test_scores_equal_those_of_transformers_pair_by_pair(tmp_path, labels):
    folder = build(tmp_path, labels=labels)

    scores = CrossEncoderReranker(folder, device="cpu").scores(QUERY, passages())

    assert scores == pytest.approx([expected(folder, QUERY.text, text) for text in PASSAGES], abs=1e-5)
    assert all(0.0 <= score <= 1.0 for score in scores)
    assert len({round(score, 6) for score in scores}) == len(scores)


@pytest.mark.parametrize("batch_tokens", [1, 60, 10_000])
def test_the_batch_makes_no_difference(folder, batch_tokens):
    scores = CrossEncoderReranker(folder, device="cpu", batch_tokens=batch_tokens).scores(QUERY, passages())

    assert scores == pytest.approx([expected(folder, QUERY.text, text) for text in PASSAGES], abs=1e-5)


def test_the_title_is_read_before_the_passage(folder):
    item = make_evidence("ran far away", title="The dog")

    (score,) = CrossEncoderReranker(folder, device="cpu").scores(QUERY, [item])

    assert score == pytest.approx(expected(folder, QUERY.text, "The dog\nran far away"), abs=1e-5)


def test_a_question_that_would_leave_no_room_is_cut_to_half(folder):
    long = Query(text="where is the fox " * 100)

    scores = CrossEncoderReranker(folder, device="cpu").scores(long, passages())

    assert all(0.0 <= score <= 1.0 for score in scores)
    cut = " ".join(("where is the fox " * 100).split()[:24])  # half of 48 tokens, a word each
    assert scores[1] == pytest.approx(expected(folder, cut, PASSAGES[1]), abs=1e-5)


def test_no_candidates_load_no_model(folder):
    made = CrossEncoderReranker(folder)

    assert made.scores(QUERY, []) == []
    assert made._loaded is None
    assert isinstance(made, Reranker)


def test_an_encoder_without_a_head_is_refused_rather_than_given_a_random_one(tmp_path):
    build(tmp_path, kind=BertModel)

    with pytest.raises(ModelError, match="plain language model or encoder"):
        CrossEncoderReranker(tmp_path).scores(QUERY, passages())


def test_a_classifier_of_many_classes_is_no_reranker(tmp_path):
    build(tmp_path, labels=5)

    with pytest.raises(ModelError, match="5 logits"):
        CrossEncoderReranker(tmp_path).scores(QUERY, passages())


def test_a_folder_that_is_none_and_a_damaged_one_are_named(tmp_path, folder):
    with pytest.raises(ModelMissingError, match="no cross-encoder"):
        CrossEncoderReranker(tmp_path)
    build(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ModelCorruptError, match="cannot be loaded"):
        CrossEncoderReranker(tmp_path).scores(QUERY, passages())
    with pytest.raises(ConfigError, match="max_length"):
        CrossEncoderReranker(folder, max_length=4)
