"""Reference cases by FAISS: the whole way from answered questions to a re-routed model, and what is refused."""

import numpy as np
import pytest
import torch
from transformers import MixtralConfig, MixtralForCausalLM

from generation.rerouting import ReferenceCases
from kg.errors import InputError, VectorIndexError
from moe_backbone.decoding.rerouting import kernel_weights, record_routing, rerouted, seek_mode

N_CASES, LENGTH = 12, 8


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = MixtralConfig(
        vocab_size=64, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, num_local_experts=8, num_experts_per_tok=2, max_position_embeddings=64,
        initializer_range=0.4,
    )  # fmt: skip
    return MixtralForCausalLM(config).eval()


@pytest.fixture(scope="module")
def prompts():
    return torch.randint(1, 64, (N_CASES, LENGTH), generator=torch.Generator().manual_seed(1))


def embedding(prompt) -> np.ndarray:
    """Which tokens a prompt holds, as a unit vector: prompts that share tokens are alike."""
    counts = np.bincount(prompt.numpy(), minlength=64).astype(np.float32)
    return counts / np.linalg.norm(counts)


@torch.no_grad()
def collected(model, prompts) -> ReferenceCases:
    cases = ReferenceCases(model="m1", encoder="e1", dimension=64, shape=(2, 8))
    for number, prompt in enumerate(prompts):
        with record_routing(model) as read:
            model(prompt[None])
        cases.add(f"case-{number}", embedding(prompt), read().numpy())
    return cases


@torch.no_grad()
def next_token(model, prompt):
    return model(prompt[None]).logits[0, -1].log_softmax(-1)


def test_a_model_with_a_damaged_router_comes_nearer_to_itself_by_its_reference_cases(model, prompts, tmp_path):
    """The routers forget where to send tokens; cases recorded before say it. Saved, loaded, asked by FAISS."""
    cases = ReferenceCases.load(collected(model, prompts).save(tmp_path / "cases"), model="m1", encoder="e1")
    before = [next_token(model, prompt) for prompt in prompts]
    damaged = MixtralForCausalLM(model.config).eval()
    damaged.load_state_dict(model.state_dict())
    with torch.no_grad():
        for layer in damaged.model.layers:
            layer.mlp.gate.weight.copy_(layer.mlp.gate.weight.roll(3, dims=0))

    def divergence(share):
        total = 0.0
        for prompt, wanted in zip(prompts, before, strict=True):
            target = kernel_weights(cases.nearest(embedding(prompt), 3), bandwidth=0.2)
            with rerouted(damaged, target, share=share):
                total += float((wanted.exp() * (wanted - next_token(damaged, prompt))).sum())
        return total / N_CASES

    assert divergence(1.0) < 0.5 * divergence(0.0)


def test_a_question_that_is_a_case_generates_as_it_did(model, prompts):
    found = collected(model, prompts).nearest(embedding(prompts[3]), 1)
    settings = {"max_new_tokens": 1, "do_sample": False, "pad_token_id": 0}
    plain = model.generate(prompts[3:4], **settings)
    with rerouted(model, kernel_weights(found), share=1.0):
        again = model.generate(prompts[3:4], **settings)

    assert found.ids == ("case-3",)
    assert found.similarity.tolist() == pytest.approx([1.0])
    assert torch.equal(again, plain)


def test_generating_under_neighbours_runs_through_every_token(model, prompts):
    cases = collected(model, prompts)
    found = cases.nearest(embedding(prompts[0]), 4)
    with record_routing(model) as read:
        model(prompts[:1])
    with rerouted(model, seek_mode(read(), found), share=0.5, layers=[1]):
        out = model.generate(prompts[:1], max_new_tokens=6, do_sample=False, pad_token_id=0)

    assert out.shape == (1, LENGTH + 6)


def test_saving_and_loading_keeps_every_case(model, prompts, tmp_path):
    cases = collected(model, prompts)
    cases.save(tmp_path / "cases")
    cases.add("case-0", embedding(prompts[1]), np.full((2, 8), 0.125))
    cases.save(tmp_path / "cases")  # replaces the older ones
    loaded = ReferenceCases.load(tmp_path / "cases", model="m1", encoder="e1")

    assert len(loaded) == N_CASES
    for prompt in prompts:
        one, other = (which.nearest(embedding(prompt), 5) for which in (cases, loaded))
        assert one.ids == other.ids
        assert torch.equal(one.weights, other.weights)
    assert [path.name for path in tmp_path.iterdir()] == ["cases"]


def test_no_case_is_found_where_there_is_none(tmp_path):
    cases = ReferenceCases(model="m1", encoder="e1", dimension=64, shape=(2, 8))
    loaded = ReferenceCases.load(cases.save(tmp_path / "cases"), model="m1", encoder="e1")

    assert loaded.nearest([1.0, *[0.0] * 63], 3).ids == ()


@pytest.mark.parametrize(("model_name", "encoder", "what"), [("m2", "e1", "model"), ("m1", "e2", "encoder")])
def test_cases_of_another_model_or_encoder_are_refused(model, prompts, tmp_path, model_name, encoder, what):
    folder = collected(model, prompts).save(tmp_path / "cases")

    with pytest.raises(VectorIndexError, match=f"holds cases of another {what}"):
        ReferenceCases.load(folder, model=model_name, encoder=encoder)


def test_a_damaged_or_missing_folder_is_refused(model, prompts, tmp_path):
    folder = collected(model, prompts).save(tmp_path / "cases")
    weights = folder / "cases.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)

    with pytest.raises(VectorIndexError, match=r"is damaged \(cases.safetensors\)"):
        ReferenceCases.load(folder, model="m1", encoder="e1")
    with pytest.raises(VectorIndexError, match="holds no reference cases"):
        ReferenceCases.load(tmp_path / "nothing", model="m1", encoder="e1")


@pytest.mark.parametrize("weights", [np.ones((2, 3)), np.full((2, 8), np.nan), np.full((2, 8), -1.0)])
def test_weights_that_are_no_routing_are_refused(weights):
    cases = ReferenceCases(model="m1", encoder="e1", dimension=64, shape=(2, 8))

    with pytest.raises(InputError, match=r"case 'a': routing weights must be finite"):
        cases.add("a", [1.0, *[0.0] * 63], weights)
