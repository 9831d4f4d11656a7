"""The text encoder against transformers' own classes, one text at a time, on tiny networks built here."""

from __future__ import annotations

import json
import math
import random
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from kg.errors import ConfigError, EncoderError, InputError, ModelCorruptError, ModelError, ModelMissingError
from kg.ports import Tokenizer as TokenizerPort
from retrieval.encoders import network as networks
from retrieval.encoders.head import erf
from retrieval.encoders.network import BULK_AGREEMENT
from retrieval.encoders.transformer import SMALL_REQUEST, TransformerTextEncoder
from retrieval.rerank.types import TokenEncoder
from retrieval.types import TextEncoder

_WORDS = ["the", "cat", "sat", "on", "mat", "dog", "##s", "##y", "query", ":", ".", "日", "本", "é", "e", "a", "x"]
TEXTS = [
    "the cat sat on the mat.",
    "dogs",
    "",
    "😀 日本 x",
    "the cats " * 40,
    "doggy é e a",
    "lone \ud800 surrogate the cat",
    "the",
]


def _tokenizer() -> Tokenizer:
    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(5)  # as packaged folders do: what is saved there must not be obeyed
    tokenizer.enable_padding(length=5)
    return tokenizer


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BertConfig, BertModel

    folder = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(_WORDS) + 4,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
        initializer_range=0.3,
    )
    BertModel(config).save_pretrained(folder)
    _tokenizer().save(str(folder / "tokenizer.json"))
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"path": "", "type": "sentence_transformers.models.Transformer"},
                {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
                {"path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
            ]
        )
    )
    (folder / "1_Pooling").mkdir()
    _set_pooling(folder, "mean_tokens")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    return folder


def _set_pooling(folder: Path, mode: str) -> None:
    modes = {f"pooling_mode_{m}": m == mode for m in ("cls_token", "mean_tokens", "max_tokens", "lasttoken")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **modes}))


@pytest.fixture
def folder(bert_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert_folder, tmp_path / "model"))


def _reference(folder: Path, text: str, *, pooling: str, limit: int) -> np.ndarray:
    """One text, no padding, transformers' own forward pass, pooled by hand."""
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    ids = tokenizer.encode(text.replace("\ud800", "\ufffd")).ids
    with torch.no_grad():
        states = model(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()
    rows = {"mean_tokens": states.mean(0), "cls_token": states[0], "max_tokens": states.max(0), "lasttoken": states[-1]}
    return rows[pooling] / np.linalg.norm(rows[pooling])


@pytest.mark.parametrize("network", ["numpy", "fast", "transformers"])
@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token", "max_tokens", "lasttoken"])
def test_vectors_equal_those_of_transformers_one_text_at_a_time(folder: Path, network: Any, pooling: str):
    _set_pooling(folder, pooling)
    encoder = TransformerTextEncoder(folder, network=network, device="cpu", batch_tokens=60)

    vectors_ND = encoder.encode(TEXTS)

    expected_ND = np.stack([_reference(folder, text, pooling=pooling, limit=24) for text in TEXTS])
    assert vectors_ND.dtype == np.float32
    np.testing.assert_allclose(vectors_ND, expected_ND, atol=1e-6)


@pytest.mark.parametrize("network", ["numpy", "fast", "transformers"])
def test_token_states_are_what_is_pooled_without_the_special_tokens(folder: Path, network: Any):
    from transformers import AutoModel

    encoder = TransformerTextEncoder(folder, network=network, device="cpu", batch_tokens=60)
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(24)

    found = encoder.token_states(TEXTS)

    assert len(found) == len(TEXTS)
    for one, text in zip(found, TEXTS, strict=True):
        encoding = tokenizer.encode(text.replace("\ud800", "\ufffd"))
        with torch.no_grad():
            states_TD = model(input_ids=torch.tensor([encoding.ids])).last_hidden_state[0, 1:-1].numpy()
        assert one.tokens == tuple(encoding.tokens[1:-1])
        np.testing.assert_allclose(one.states, states_TD, atol=1e-5)


def test_token_states_of_queries_are_read_with_their_prompt(folder: Path):
    encoder = TransformerTextEncoder(folder, query_prompt="query : ")

    ((asked,), (plain,)) = encoder.token_states(["the cat"], as_queries=True), encoder.token_states(["the cat"])

    assert asked.tokens == ("query", ":", "the", "cat")
    assert plain.tokens == ("the", "cat")
    assert isinstance(encoder, TokenEncoder)
    assert encoder.token_states([]) == []
    with pytest.raises(InputError, match="one string"):
        encoder.token_states("the cat")


def test_the_same_text_gets_the_same_vector_whatever_it_is_batched_with(folder: Path):
    together = TransformerTextEncoder(folder, network="fast", batch_tokens=10_000).encode(TEXTS)

    for batch_tokens in (1, 30):
        encoder = TransformerTextEncoder(folder, network="fast", batch_tokens=batch_tokens)
        np.testing.assert_allclose(encoder.encode(TEXTS), together, atol=1e-6)
        np.testing.assert_allclose(encoder.encode(TEXTS[::-1])[::-1], together, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-6)


def test_no_texts_give_an_empty_matrix_and_one_string_is_refused(folder: Path):
    encoder = TransformerTextEncoder(folder)

    assert encoder.encode([]).shape == (0, 32)
    with pytest.raises(InputError, match="Put it in a list"):
        encoder.encode("the cat")


def test_the_encoder_satisfies_both_ports(folder: Path):
    encoder = TransformerTextEncoder(folder, name="tiny")

    assert isinstance(encoder, TextEncoder)
    assert isinstance(encoder, TokenizerPort)
    assert (encoder.name, encoder.dimension) == ("tiny", 32)


def test_token_spans_are_the_characters_of_each_token_without_any_cut(folder: Path):
    encoder = TransformerTextEncoder(folder)
    text = "The dogs😀 日本\ud800!"

    spans = encoder.token_spans(text)

    # "dogs😀" is one word that the vocabulary cannot spell; a lone surrogate is no character, so no token
    assert [text[s.start : s.end] for s in spans] == ["The", "dogs😀", "日", "本", "!"]
    assert [(s.start, s.end) for s in encoder.token_spans("dogs The")] == [(0, 3), (3, 4), (5, 8)]
    assert len(encoder.token_spans("cat " * 500)) == 500
    assert encoder.token_spans("") == []


def test_max_tokens_is_the_longest_text_that_is_read_to_its_end(folder: Path):
    encoder = TransformerTextEncoder(folder)
    assert encoder.max_tokens == 22  # 24 of sentence_bert_config.json, less [CLS] and [SEP]
    whole = ["cat"] * encoder.max_tokens

    vectors_ND = encoder.encode([" ".join(whole), " ".join([*whole, "dog"]), " ".join([*whole[:-1], "dog"])])

    np.testing.assert_array_equal(vectors_ND[0], vectors_ND[1])
    assert np.abs(vectors_ND[0] - vectors_ND[2]).max() > 1e-3


def test_a_prompt_is_read_before_each_text_and_counts(folder: Path):
    plain = TransformerTextEncoder(folder)
    prompted = TransformerTextEncoder(folder, passage_prompt="query: ", query_prompt="x")

    np.testing.assert_allclose(prompted.encode(["the cat"]), plain.encode(["query: the cat"]), atol=1e-6)
    np.testing.assert_allclose(prompted.encode_queries([" cat"]), plain.encode(["x cat"]), atol=1e-6)
    np.testing.assert_array_equal(plain.encode_queries(["the cat"]), plain.encode(["the cat"]))
    assert prompted.max_tokens == plain.max_tokens - 2
    assert prompted.token_spans("the cat") == plain.token_spans("the cat")


def test_the_fingerprint_follows_what_the_vectors_depend_on_and_nothing_else(folder: Path, tmp_path: Path):
    base = TransformerTextEncoder(folder).fingerprint
    elsewhere = Path(shutil.copytree(folder, tmp_path / "copy"))

    assert TransformerTextEncoder(elsewhere, network="transformers", batch_tokens=7).fingerprint == base
    assert TransformerTextEncoder(folder, query_prompt="query: ").fingerprint == base  # no passage is read otherwise
    others = [
        TransformerTextEncoder(folder, passage_prompt="passage: ").fingerprint,
        TransformerTextEncoder(folder, max_length=12).fingerprint,
        TransformerTextEncoder(folder, dtype="float16").fingerprint,
    ]
    _set_pooling(elsewhere, "cls_token")
    others.append(TransformerTextEncoder(elsewhere).fingerprint)
    _set_pooling(elsewhere, "mean_tokens")
    weights = load_file(elsewhere / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][7, 3] += 1e-3
    save_file(weights, elsewhere / "model.safetensors")
    others.append(TransformerTextEncoder(elsewhere).fingerprint)

    assert len({base, *others}) == 6


def test_limits_are_the_smallest_that_the_folder_states(folder: Path):
    assert TransformerTextEncoder(folder, max_length=9999).max_tokens == 22
    (folder / "sentence_bert_config.json").unlink()
    assert TransformerTextEncoder(folder).max_tokens == 62  # max_position_embeddings, less two
    with pytest.raises(ConfigError, match="leave no room"):
        TransformerTextEncoder(folder, max_length=2)
    with pytest.raises(ConfigError, match="batch_tokens=0"):
        TransformerTextEncoder(folder, batch_tokens=0)


def test_a_plain_transformers_folder_is_read_as_mean_pooling(folder: Path):
    expected = TransformerTextEncoder(folder).encode(TEXTS[:2])
    (folder / "modules.json").unlink()

    np.testing.assert_array_equal(TransformerTextEncoder(folder).encode(TEXTS[:2]), expected)


def test_the_pooling_of_newer_folders_is_read(folder: Path):
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": "cls"}))

    vector_D = TransformerTextEncoder(folder).encode(["the cat"])[0]

    np.testing.assert_allclose(vector_D, _reference(folder, "the cat", pooling="cls_token", limit=24), atol=1e-6)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_missing_file_names_the_command_that_fetches_it(folder: Path, name: str):
    (folder / name).unlink()

    with pytest.raises(ModelMissingError, match=rf"{name}.*mmkg models pull"):
        TransformerTextEncoder(folder)


def test_a_missing_folder_names_the_command_that_fetches_it(tmp_path: Path):
    with pytest.raises(ModelMissingError, match="mmkg models pull"):
        TransformerTextEncoder(tmp_path / "nowhere")


@pytest.mark.parametrize("network", ["numpy", "fast", "transformers"])
def test_damaged_files_are_named(folder: Path, network: Any):
    weights = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(ModelCorruptError, match=r"damaged|cannot load"):
        TransformerTextEncoder(folder, network=network).encode(["the cat"])
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelCorruptError, match="tokenizer.json is damaged"):
        TransformerTextEncoder(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelCorruptError, match="config.json is not JSON"):
        TransformerTextEncoder(folder)


@pytest.mark.parametrize("network", ["numpy", "fast"])
def test_weights_that_lack_a_tensor_are_refused(folder: Path, network: Any):
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.bias"]
    save_file(weights, folder / "model.safetensors")

    with pytest.raises(ModelCorruptError, match=r"encoder\.layer\.1\.output\.dense\.bias"):
        TransformerTextEncoder(folder, network=network).encode(["the cat"])


def test_stages_and_poolings_that_are_not_supported_are_refused(folder: Path):
    (folder / "1_Pooling" / "config.json").write_text(
        json.dumps({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True})
    )
    with pytest.raises(ModelError, match=r"\['cls', 'mean'\]"):
        TransformerTextEncoder(folder)
    (folder / "modules.json").write_text(json.dumps([{"path": "2_LSTM", "type": "sentence_transformers.models.LSTM"}]))
    with pytest.raises(ModelError, match="'LSTM'"):
        TransformerTextEncoder(folder)


@pytest.mark.parametrize("network", ["numpy", "fast", "transformers"])
def test_vectors_that_are_not_finite_are_refused_and_the_text_is_named(folder: Path, network: Any):
    weights = load_file(folder / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][_WORDS.index("dog") + 4, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(EncoderError, match=r"text 1 \('the dog'\) is not finite"):
        TransformerTextEncoder(folder, network=network).encode(["the cat", "the dog"])


def test_low_precision_is_refused_on_the_cpu(folder: Path):
    with pytest.raises(ConfigError, match="float16 is for accelerators"):
        TransformerTextEncoder(folder, device="cpu", dtype="float16").encode(["the cat"])


def test_networks_that_are_not_plain_bert_go_through_transformers(folder: Path):
    from transformers import DistilBertConfig, DistilBertModel

    torch.manual_seed(1)
    config = DistilBertConfig(
        vocab_size=len(_WORDS) + 4, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=64
    )
    DistilBertModel(config).save_pretrained(folder)
    encoder = TransformerTextEncoder(folder)

    expected_ND = np.stack([_reference(folder, text, pooling="mean_tokens", limit=24) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), expected_ND, atol=1e-6)
    for network in ("fast", "numpy"):
        with pytest.raises(ConfigError, match="'distilbert'"):
            TransformerTextEncoder(folder, network=network).encode(["the cat"])  # type: ignore[arg-type]


def test_erf_is_within_3e_7_of_the_true_function():
    points = np.linspace(-6, 6, 5001, dtype=np.float32)

    np.testing.assert_allclose(erf(points), [math.erf(x) for x in points.tolist()], atol=3e-7)


def test_a_question_loads_no_torch_and_a_corpus_loads_no_transformers(folder: Path):
    code = (
        "import sys; from pathlib import Path; from retrieval.encoders.transformer import TransformerTextEncoder; "
        f"encoder = TransformerTextEncoder(Path({str(folder)!r}), device='cpu'); "
        "assert len(encoder.token_spans('the cat')) == 2; assert 'torch' not in sys.modules; "
        "assert encoder.encode(['the cat']).shape == (1, 32); assert 'torch' not in sys.modules; "
        "assert encoder.encode(['the cat'] * 800).shape == (800, 32); "
        "assert 'torch' in sys.modules; assert 'transformers' not in sys.modules"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def _many_texts() -> list[str]:
    chance = random.Random(5)
    return [" ".join(chance.choices(_WORDS, k=chance.randint(1, 20))) for _ in range(400)]


def test_large_requests_in_bfloat16_come_near_and_share_the_space(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(networks, "_multiplies_bfloat16", lambda: True)
    exact = TransformerTextEncoder(folder, network="fast", device="cpu")
    encoder = TransformerTextEncoder(folder, network="fast", device="cpu", bulk="auto")
    texts = _many_texts()
    assert sum(len(text.split()) for text in texts) > SMALL_REQUEST

    bulk_ND, exact_ND = encoder.encode(texts), exact.encode(texts)

    assert encoder.fingerprint == exact.fingerprint
    assert (bulk_ND * exact_ND).sum(axis=1).min() > BULK_AGREEMENT
    assert np.abs(bulk_ND - exact_ND).max() > 1e-6  # it was computed in another precision
    np.testing.assert_allclose(np.linalg.norm(bulk_ND, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(encoder.encode(texts[:3]), exact.encode(texts[:3]))  # questions stay exact


def test_where_the_processor_has_no_bfloat16_nothing_changes(folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(networks, "_multiplies_bfloat16", lambda: False)
    texts = _many_texts()

    vectors_ND = TransformerTextEncoder(folder, network="fast", device="cpu", bulk="auto").encode(texts)

    np.testing.assert_array_equal(
        vectors_ND, TransformerTextEncoder(folder, network="fast", device="cpu").encode(texts)
    )


def test_a_network_whose_vectors_do_not_agree_stays_in_float32(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(networks, "_multiplies_bfloat16", lambda: True)
    monkeypatch.setattr(networks, "BULK_AGREEMENT", 1 - 1e-7)
    texts = _many_texts()

    vectors_ND = TransformerTextEncoder(folder, network="fast", device="cpu", bulk="auto").encode(texts)

    np.testing.assert_array_equal(
        vectors_ND, TransformerTextEncoder(folder, network="fast", device="cpu").encode(texts)
    )
    assert "stays in float32" in caplog.text


def test_batches_side_by_side_give_the_same_and_leave_threads_elsewhere_alone(folder: Path):
    before = torch.get_num_threads()
    texts = _many_texts()
    torch.set_num_threads(3)
    try:
        side_by_side = TransformerTextEncoder(folder, network="fast", device="cpu", batch_tokens=100).encode(texts)
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert (torch.get_num_threads(), seen) == (3, [3])
        torch.set_num_threads(1)
        one_by_one = TransformerTextEncoder(folder, network="fast", device="cpu", batch_tokens=100).encode(texts)
    finally:
        torch.set_num_threads(before)

    np.testing.assert_allclose(side_by_side, one_by_one, atol=1e-6)
