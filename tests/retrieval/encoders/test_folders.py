"""Sentence-encoder folders of many networks, against transformers' own classes and torch's own layers.

Every checkpoint is tiny, random and of a real class; each is read one text at a time by its own class as the oracle.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as hf
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from kg.errors import ModelCorruptError, ModelError, ModelMissingError
from retrieval.encoders.head import ACTIVATIONS
from retrieval.encoders.transformer import TransformerTextEncoder

WORDS = ["<pad>", "<s>", "</s>", "<unk>", "the", "cat", "sat", "on", "mat", "dog", "query", "passage", "x", ":", "."]
TEXTS = ["the cat sat on the mat.", "dog", "", "the cat " * 30, "unheard x", "mat"]
Pool = Callable[[torch.Tensor], torch.Tensor]
POOLS: dict[str, Pool] = {
    "mean": lambda states: states.mean(0),
    "cls": lambda states: states[0],
    "max": lambda states: states.amax(0),
    "lasttoken": lambda states: states[-1],
}
SMALL = {"vocab_size": len(WORDS), "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def bert() -> Any:
    return hf.BertModel(hf.BertConfig(**SMALL, intermediate_size=48, max_position_embeddings=40, initializer_range=0.3))


def distilbert() -> Any:
    config = hf.DistilBertConfig(
        vocab_size=len(WORDS), dim=32, n_layers=2, n_heads=4, hidden_dim=48, max_position_embeddings=40
    )
    return hf.DistilBertModel(config)


def roberta() -> Any:
    config = {**SMALL, **ENDS, "pad_token_id": 3, "intermediate_size": 48, "max_position_embeddings": 44}
    return hf.RobertaModel(hf.RobertaConfig(**config, type_vocab_size=1, initializer_range=0.3))


def xlm_roberta() -> Any:
    config = {**SMALL, **ENDS, "intermediate_size": 48, "max_position_embeddings": 41}
    return hf.XLMRobertaModel(hf.XLMRobertaConfig(**config, type_vocab_size=1, initializer_range=0.3))


def mpnet() -> Any:
    config = {**SMALL, **ENDS, "intermediate_size": 48, "max_position_embeddings": 41}
    return hf.MPNetModel(hf.MPNetConfig(**config, initializer_range=0.3))


def qwen3() -> Any:
    config = {**SMALL, **ENDS, "pad_token_id": None, "intermediate_size": 48, "max_position_embeddings": 40}
    return hf.Qwen3Model(hf.Qwen3Config(**config, num_key_value_heads=2, head_dim=8, initializer_range=0.3))


def t5() -> Any:
    config = hf.T5Config(vocab_size=len(WORDS), d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4)
    return hf.T5Model(config)


def modernbert() -> Any:
    config = {**SMALL, **ENDS, "intermediate_size": 48, "max_position_embeddings": 40, "cls_token_id": 1}
    return hf.ModernBertModel(hf.ModernBertConfig(**config, sep_token_id=2, initializer_range=0.3))


def build(
    folder: Path, make: Callable[[], Any], *, pooling: str = "mean", after: list[str] | None = None, **more: Any
) -> Path:
    """Save a network as a sentence-encoder folder; ``after`` are the stages after pooling."""
    torch.manual_seed(3)
    folder.mkdir(parents=True, exist_ok=True)
    make().save_pretrained(folder, **more)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    decides_at_the_end = pooling == "lasttoken"
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>" if decides_at_the_end else "<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    stages = ["Transformer", "Pooling", *(after or [])]
    places = ["" if kind == "Transformer" else f"{i}_{kind}" for i, kind in enumerate(stages)]
    listed = [
        {"idx": i, "name": str(i), "path": place, "type": f"sentence_transformers.models.{kind}"}
        for i, (place, kind) in enumerate(zip(places, stages, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(listed))
    (folder / "1_Pooling").mkdir()
    flag = {"cls": "cls_token", "lasttoken": "lasttoken"}.get(pooling, f"{pooling}_tokens")
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{flag}": True}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24}))
    return folder


def add_dense(folder: Path, place: str, layer: torch.nn.Linear, activation: str = "Tanh", **more: Any) -> None:
    stated = {
        "in_features": layer.in_features,
        "out_features": layer.out_features,
        "bias": layer.bias is not None,
        "activation_function": f"torch.nn.modules.activation.{activation}",
        **more,
    }
    (folder / place).mkdir(exist_ok=True)
    (folder / place / "config.json").write_text(json.dumps(stated))
    weights = {f"linear.{name}": tensor.detach().clone() for name, tensor in layer.named_parameters()}
    save_file(weights, folder / place / "model.safetensors")


def states_of(model: Any, folder: Path, text: str, limit: int = 24) -> torch.Tensor:
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(limit)
    with torch.no_grad():
        states: torch.Tensor = model(input_ids=torch.tensor([tokenizer.encode(text).ids])).last_hidden_state[0]
    return states


def unit(vector: torch.Tensor) -> np.ndarray:
    found: np.ndarray = torch.nn.functional.normalize(vector, dim=-1).detach().numpy()
    return found


NETWORKS = [
    (bert, hf.BertModel),
    (distilbert, hf.DistilBertModel),
    (roberta, hf.RobertaModel),
    (xlm_roberta, hf.XLMRobertaModel),
    (mpnet, hf.MPNetModel),
    (modernbert, hf.ModernBertModel),
    (t5, hf.T5EncoderModel),
]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize(("make", "oracle"), NETWORKS, ids=[make.__name__ for make, _ in NETWORKS])
def test_vectors_equal_those_of_the_networks_own_class(tmp_path: Path, make: Any, oracle: Any, pooling: str):
    folder = build(tmp_path / "model", make, pooling=pooling, after=["Normalize"])
    model = oracle.from_pretrained(folder).eval()

    vectors_ND = TransformerTextEncoder(folder, device="cpu", batch_tokens=60).encode(TEXTS)

    expected_ND = np.stack([unit(POOLS[pooling](states_of(model, folder, text))) for text in TEXTS])
    np.testing.assert_allclose(vectors_ND, expected_ND, atol=2e-6)


def test_a_decoder_is_pooled_at_its_last_token_with_prompts_for_queries_alone(tmp_path: Path):
    folder = build(tmp_path / "model", qwen3, pooling="lasttoken", after=["Normalize"])
    prompts = {"prompts": {"query": "query: ", "document": ""}, "default_prompt_name": None}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    model = hf.Qwen3Model.from_pretrained(folder).eval()

    encoder = TransformerTextEncoder(folder, device="cpu", batch_tokens=60)

    passages = np.stack([unit(states_of(model, folder, text)[-1]) for text in TEXTS])
    queries = np.stack([unit(states_of(model, folder, f"query: {text}")[-1]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), passages, atol=2e-6)
    np.testing.assert_allclose(encoder.encode_queries(TEXTS), queries, atol=2e-6)
    assert encoder.max_tokens == 24 - 1 - 2  # the closing token and the longer prompt
    assert np.abs(passages - queries).max() > 1e-3


def test_a_text_without_any_token_has_a_vector_too(tmp_path: Path):
    folder = build(tmp_path / "model", qwen3, pooling="lasttoken")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "post_processor": None}))

    vectors_ND = TransformerTextEncoder(folder, device="cpu").encode(["", "the cat"])

    np.testing.assert_allclose(np.linalg.norm(vectors_ND, axis=1), 1.0, atol=1e-6)


@pytest.mark.parametrize("network", ["numpy", "fast", "transformers"])
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_a_dense_stage_is_a_linear_layer_and_its_activation(tmp_path: Path, network: Any, activation: str):
    folder = build(tmp_path / "model", bert, after=["Dense", "Normalize"])
    layer = torch.nn.Linear(32, 12)
    add_dense(folder, "2_Dense", layer, activation)
    model = hf.BertModel.from_pretrained(folder).eval()
    after = getattr(torch.nn, activation)()

    encoder = TransformerTextEncoder(folder, device="cpu", network=network)

    expected_ND = np.stack([unit(after(layer(states_of(model, folder, text).mean(0)))) for text in TEXTS])
    assert encoder.dimension == 12
    np.testing.assert_allclose(encoder.encode(TEXTS), expected_ND, atol=2e-6)


def test_stages_after_pooling_are_taken_in_their_order(tmp_path: Path):
    folder = build(tmp_path / "model", t5, after=["Normalize", "Dense", "Dense"])
    wide, narrow = torch.nn.Linear(32, 48), torch.nn.Linear(48, 16, bias=False)
    add_dense(folder, "3_Dense", wide, "Tanh")
    add_dense(folder, "4_Dense", narrow, "Identity")
    model = hf.T5EncoderModel.from_pretrained(folder).eval()

    vectors_ND = TransformerTextEncoder(folder, device="cpu").encode(TEXTS)

    pooled = [torch.nn.functional.normalize(states_of(model, folder, text).mean(0), dim=0) for text in TEXTS]
    np.testing.assert_allclose(vectors_ND, np.stack([unit(narrow(wide(p).tanh())) for p in pooled]), atol=2e-6)


def test_the_fingerprint_follows_the_dense_stage(tmp_path: Path):
    folder = build(tmp_path / "model", bert, after=["Dense"])
    add_dense(folder, "2_Dense", torch.nn.Linear(32, 12))
    found = [TransformerTextEncoder(folder).fingerprint]
    add_dense(folder, "2_Dense", torch.nn.Linear(32, 12))
    found.append(TransformerTextEncoder(folder).fingerprint)
    add_dense(folder, "2_Dense", torch.nn.Linear(32, 12), "ReLU")
    found.append(TransformerTextEncoder(folder).fingerprint)

    assert len(set(found)) == 3


@pytest.mark.parametrize(
    ("stated", "error", "words"),
    [
        ({"in_features": 31}, ModelCorruptError, "takes vectors of width 31, but gets 32"),
        ({"out_features": 13}, ModelCorruptError, r"has shape \(12, 32\), but its configuration says \(13, 32\)"),
        ({"activation_function": "my_code.Custom"}, ModelError, "It ends in Custom"),
        ({"module_input_name": "token_embeddings"}, ModelError, "must turn sentence_embedding into itself"),
        ({"use_residual": True}, ModelError, "without a residual"),
    ],
)
def test_dense_stages_that_cannot_be_computed_are_refused(tmp_path: Path, stated: Any, error: Any, words: str):
    folder = build(tmp_path / "model", bert, after=["Dense"])
    add_dense(folder, "2_Dense", torch.nn.Linear(32, 12), **stated)

    with pytest.raises(error, match=words):
        TransformerTextEncoder(folder).encode(["the cat"])


def test_a_dense_stage_without_weights_or_a_pickled_one_is_refused(tmp_path: Path):
    folder = build(tmp_path / "model", bert, after=["Dense"])
    add_dense(folder, "2_Dense", torch.nn.Linear(32, 12))
    (folder / "2_Dense" / "model.safetensors").rename(folder / "2_Dense" / "pytorch_model.bin")

    with pytest.raises(ModelMissingError, match=r"2_Dense holds no model\.safetensors"):
        TransformerTextEncoder(folder)


def test_positions_that_begin_after_the_padding_shorten_the_limit(tmp_path: Path):
    folders = {make: build(tmp_path / make.__name__, make) for make in (bert, roberta, xlm_roberta, mpnet)}
    for folder in folders.values():
        (folder / "sentence_bert_config.json").unlink()

    encoders = {make: TransformerTextEncoder(folder, device="cpu") for make, folder in folders.items()}

    # 40 of 40; 44 less the padding's id 3 and one; 41 less 0 and one: and then two special tokens
    assert [encoder.max_tokens for encoder in encoders.values()] == [38, 38, 38, 38]
    for encoder in encoders.values():
        assert np.isfinite(encoder.encode(["the cat " * 100])).all()


def test_weights_in_several_files_are_read_and_all_of_them_are_fingerprinted(tmp_path: Path):
    whole = build(tmp_path / "whole", xlm_roberta)
    parts = build(tmp_path / "parts", xlm_roberta, max_shard_size="8KB")
    assert len(list(parts.glob("model-*.safetensors"))) > 1

    encoder = TransformerTextEncoder(parts, device="cpu")

    np.testing.assert_array_equal(encoder.encode(TEXTS), TransformerTextEncoder(whole, device="cpu").encode(TEXTS))
    last = sorted(parts.glob("model-*.safetensors"))[-1]
    weights = load_file(last)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, last, metadata={"format": "pt"})
    assert TransformerTextEncoder(parts).fingerprint != encoder.fingerprint
    last.unlink()
    with pytest.raises(ModelMissingError, match=last.name):
        TransformerTextEncoder(parts)


def test_a_bert_in_several_files_goes_through_transformers(tmp_path: Path):
    whole = build(tmp_path / "whole", bert)
    parts = build(tmp_path / "parts", bert, max_shard_size="8KB")

    vectors_ND = TransformerTextEncoder(parts, device="cpu").encode(TEXTS)

    np.testing.assert_allclose(vectors_ND, TransformerTextEncoder(whole, device="cpu").encode(TEXTS), atol=1e-6)


def test_weights_kept_in_bfloat16_are_read_in_numpy_as_in_torch(tmp_path: Path):
    folder = build(tmp_path / "model", lambda: bert().bfloat16(), after=["Dense"])
    add_dense(folder, "2_Dense", torch.nn.Linear(32, 12).bfloat16())

    found = [TransformerTextEncoder(folder, device="cpu", network=name).encode(TEXTS) for name in ("numpy", "fast")]

    np.testing.assert_allclose(*found, atol=5e-6)  # a wrong half would differ by 4e-3


def test_a_folder_that_lacks_weights_is_refused_rather_than_drawn_at_random(tmp_path: Path):
    folder = build(tmp_path / "model", xlm_roberta)
    weights = load_file(folder / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelCorruptError, match=r"lack 1 tensors.*encoder\.layer\.1\.output\.dense\.weight"):
        TransformerTextEncoder(folder).encode(["the cat"])


def test_code_in_a_folder_is_never_run(tmp_path: Path):
    folder = build(tmp_path / "model", xlm_roberta)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "own.Config", "AutoModel": "own.Model"}}
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(ModelCorruptError, match="cannot load"):
        TransformerTextEncoder(folder).encode(["the cat"])
    assert not (tmp_path / "ran").exists()


def test_prompts_of_the_folder_are_found_as_sentence_transformers_finds_them(tmp_path: Path):
    folder = build(tmp_path / "model", bert)
    file = folder / "config_sentence_transformers.json"

    def prompts(**stated: Any) -> tuple[str, str]:
        file.write_text(json.dumps(stated))
        encoder = TransformerTextEncoder(folder)
        return encoder.query_prompt, encoder.passage_prompt

    assert prompts() == ("", "")
    assert prompts(prompts={"query": "query: ", "passage": "passage: "}) == ("query: ", "passage: ")
    assert prompts(prompts={"document": "x: ", "passage": "passage: "}) == ("", "x: ")
    assert prompts(prompts={"all": "x: "}, default_prompt_name="all") == ("x: ", "x: ")
    given = TransformerTextEncoder(folder, query_prompt="", passage_prompt="the ")
    assert (given.query_prompt, given.passage_prompt) == ("", "the ")


def test_texts_are_put_in_lower_case_where_the_folder_asks_for_it(tmp_path: Path):
    folder = build(tmp_path / "model", bert)
    expected = TransformerTextEncoder(folder).encode(["the cat"])
    cased = TransformerTextEncoder(folder)
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 24, "do_lower_case": True}))
    lower = TransformerTextEncoder(folder)

    np.testing.assert_array_equal(lower.encode(["The CAT"]), expected)
    assert np.abs(cased.encode(["The CAT"]) - expected).max() > 1e-3
    assert lower.fingerprint != cased.fingerprint


def test_a_network_in_a_folder_of_its_own_is_found(tmp_path: Path):
    folder = build(tmp_path / "model", bert)
    expected = TransformerTextEncoder(folder).encode(TEXTS)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors", "sentence_bert_config.json"):
        (folder / name).rename(inner / name)
    modules = json.loads((folder / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    (folder / "modules.json").write_text(json.dumps(modules))

    np.testing.assert_array_equal(TransformerTextEncoder(folder).encode(TEXTS), expected)
