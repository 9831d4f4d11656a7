"""Self-contrast: the weak routing, the contrast by hand, and its cache."""

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from moe_backbone.blocks import edit_routing
from moe_backbone.decoding.contrast import SelfContrast, rank_routing
from tests.moe_backbone.decoding.test_masks import IDS, SIZES, glm4, logits, mixtral


def test_rank_one_of_a_model_that_chooses_one_expert_is_its_plain_routing():
    model = mixtral(top_k=1)
    plain = logits(model)
    with rank_routing(model, 1):
        assert torch.allclose(logits(model), plain, atol=1e-6)


@pytest.mark.parametrize("make", [mixtral, glm4])
@pytest.mark.parametrize("rank", [2, 4])
def test_the_weak_routing_is_the_expert_of_that_rank_with_the_whole_weight(make, rank):
    """Also past the two experts that are usually chosen."""
    model, seen = make(), []
    routers = [(layer.mlp.gate, layer.mlp.experts) for layer in model.model.layers]
    outputs = []
    for gate, _ in routers:
        gate.register_forward_hook(lambda module, args, out: outputs.append(out) or None)
    with rank_routing(model, rank):
        for _, experts in routers:
            experts.register_forward_pre_hook(lambda module, args: seen.append(args[1:]))
        logits(model)

    for (router_logits, weights, _), (index, used) in zip(outputs, seen, strict=True):
        assert torch.equal(index[:, 0], router_logits.argsort(-1, descending=True)[:, rank - 1])
        assert torch.allclose(used[:, 0], weights.sum(-1))


def test_strength_zero_is_plain_decoding_to_the_bit():
    model = mixtral()
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 0, "output_scores": True,
                "return_dict_in_generate": True}  # fmt: skip
    plain = model.generate(IDS, **settings)
    contrasted = model.generate(IDS, logits_processor=[SelfContrast(model, strength=0)], **settings)

    assert torch.equal(plain.sequences, contrasted.sequences)
    assert all(torch.equal(one, other) for one, other in zip(plain.scores, contrasted.scores, strict=True))


def test_generating_with_caches_equals_contrasting_whole_passes_token_by_token():
    """The naive way: two full passes for each token, and the formula written out."""
    model = mixtral()
    got = model.generate(
        IDS, max_new_tokens=8, do_sample=False, pad_token_id=0, logits_processor=[SelfContrast(model, strength=0.7)]
    )

    ids = IDS
    with torch.no_grad():
        for _ in range(8):
            strong = model(ids).logits[0, -1]
            with rank_routing(model, 2):
                weak = model(ids).logits[0, -1]
            scores = 1.7 * strong - 0.7 * weak
            scores[strong.softmax(-1) < 0.1 * strong.softmax(-1).max()] = -torch.inf
            ids = torch.cat((ids, scores.argmax()[None, None]), dim=1)
    assert torch.equal(got, ids)


def test_padding_on_the_left_changes_nothing():
    model = mixtral()
    padded = torch.cat((torch.zeros(1, 3, dtype=torch.long), IDS), dim=1)
    mask = (torch.arange(13) >= 3).long()[None]
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    plain = model.generate(IDS, logits_processor=[SelfContrast(model)], **settings)
    contrast = SelfContrast(model, attention_mask=mask)
    got = model.generate(padded, attention_mask=mask, logits_processor=[contrast], **settings)

    assert torch.equal(got[:, 13:], plain[:, 10:])


def test_one_object_serves_one_call_after_another():
    model = mixtral()
    contrast = SelfContrast(model)
    settings = {"max_new_tokens": 4, "do_sample": False, "pad_token_id": 0, "logits_processor": [contrast]}
    first = model.generate(IDS, **settings)
    model.generate(IDS[:, :5], **settings)

    assert torch.equal(model.generate(IDS, **settings), first)


def test_the_model_routes_as_usual_afterwards():
    model = mixtral()
    plain = logits(model)
    model.generate(IDS, max_new_tokens=2, do_sample=False, pad_token_id=0, logits_processor=[SelfContrast(model)])

    assert torch.equal(logits(model), plain)


def test_a_token_that_the_strong_routing_holds_for_implausible_is_ruled_out(monkeypatch):
    contrast = SelfContrast(mixtral(), strength=1.0, plausible=0.5)
    weak = torch.tensor([[0.0, -10.0, -50.0]])
    monkeypatch.setattr(contrast, "_weak_scores", lambda ids: weak)
    strong = torch.tensor([[0.0, math.log(0.6), math.log(0.4)]])

    scores = contrast(IDS, strong)
    assert scores[0, :2].tolist() == pytest.approx([0.0, 2 * math.log(0.6) + 10])
    assert scores[0, 2] == -torch.inf


def test_numbers_out_of_range_and_dense_models_are_refused():
    with pytest.raises(ValueError, match="strength >= 0"):
        SelfContrast(mixtral(), strength=-1)
    with pytest.raises(ValueError, match="no mixture-of-experts block"):
        SelfContrast(LlamaForCausalLM(LlamaConfig(**SIZES)))
    with pytest.raises(ValueError, match="rank 5 needs routers"), rank_routing(mixtral(), 5):
        pass


def test_a_weak_pass_does_not_leak_into_an_edit_around_it():
    model, calls = mixtral(), []

    def watch(block, hidden, index, weights):
        calls.append(index.shape[1])
        return index, weights

    with edit_routing(model, watch), rank_routing(model, 2):
        logits(model)
    assert calls == [2, 2]
