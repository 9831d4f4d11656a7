"""Routing statistics: exact counts against a naive reference, by label, under padding, in threads, in every family."""

import math
import threading
from collections import Counter
from dataclasses import replace
from itertools import combinations

import pytest
import torch
from transformers import GenerationConfig

from moe_backbone.blocks import edit_routing
from moe_backbone.config import MoEConfig
from moe_backbone.layer import MoELayer
from moe_backbone.observe.recorder import RoutingRecorder
from moe_backbone.observe.stats import UNLABELLED, relative_entropy, specialisation
from moe_backbone.observe.tags import modality_rows
from moe_backbone.routers.registry import router_names
from tests.moe_backbone.routers.made import E, H, context_for, make_router
from tests.moe_backbone.tiny_experts import FAMILIES, make_model

IDS = torch.arange(2, 14).reshape(2, 6)


def layer_of(n_experts=4, top_k=2, width=4):
    torch.manual_seed(0)
    return MoELayer(MoEConfig(width=width, expert_width=3, n_experts=n_experts, top_k=top_k, init_std=0.5))


def naive(rows, n_experts):
    """Count (label, chosen experts, logits) one token at a time."""
    counts, pairs, entropy, confidence = Counter(), Counter(), 0.0, 0.0
    for label, chosen, logits in rows:
        for expert in chosen:
            counts[label, expert if 0 <= expert < n_experts else None] += 1
        visited = {expert for expert in chosen if 0 <= expert < n_experts}
        for expert in visited:
            pairs[expert, expert] += 1
        for pair in combinations(sorted(visited), 2):
            pairs[pair] += 1
            pairs[pair[::-1]] += 1
        highest = max(logits)
        weights = [math.exp(value - highest) for value in logits]
        shares = [weight / sum(weights) for weight in weights]
        entropy -= sum(p * math.log(p) for p in shares if p > 0)
        confidence += max(shares)
    return counts, pairs, entropy, confidence


def spy(layer):
    seen = []
    layer.gate.register_forward_hook(lambda module, inputs, output: seen.append((output[0], output[2])))
    return seen


def test_counts_are_those_of_a_naive_loop_over_many_small_and_large_calls():
    layer = layer_of(n_experts=5, top_k=3)
    seen = spy(layer)
    with torch.no_grad(), RoutingRecorder(layer, labels=("a", "b")) as recorder:
        for step in range(600):  # more calls than are kept at once
            with recorder.tag("a" if step % 3 else "b"):
                layer(torch.randn(1 + step % 2, 4))
        layer(torch.randn(5000, 4))  # more tokens than are kept at once, without a label
    (found,) = recorder.stats().layers

    rows = []
    for step, (logits, index) in enumerate(seen):
        label = UNLABELLED if step == 600 else "a" if step % 3 else "b"
        rows += [(label, chosen, values) for chosen, values in zip(index.tolist(), logits.tolist(), strict=True)]
    counts, pairs, entropy, confidence = naive(rows, 5)
    assert found.n_tokens == len(rows) == 900 + 5000
    for label in ("a", "b", UNLABELLED):
        assert found.labels[label].counts == tuple(counts[label, expert] for expert in range(5))
        assert found.labels[label].n_tokens == sum(row[0] == label for row in rows)
    assert found.counts == tuple(sum(counts[name, e] for name in ("a", "b", UNLABELLED)) for e in range(5))
    assert found.pairs == tuple(tuple(pairs[i, j] for j in range(5)) for i in range(5))
    assert found.router_entropy == pytest.approx(entropy / len(rows) / math.log(5), rel=1e-5)
    assert found.confidence == pytest.approx(confidence / len(rows), rel=1e-5)


@pytest.mark.parametrize("name", router_names())
def test_every_router_of_ours_is_recorded_as_a_naive_loop_sees_it(name):
    layer = MoELayer(MoEConfig(width=H, expert_width=3, n_experts=E, top_k=2), router=make_router(name))
    seen = spy(layer)
    x = torch.randn(40, H, generator=torch.Generator().manual_seed(2))
    with torch.no_grad(), RoutingRecorder(layer) as recorder:
        layer(x, context_for(name, len(x)))
    (found,) = recorder.stats().layers

    ((logits, index),) = seen
    counts = Counter(index.flatten().tolist())
    assert found.counts == tuple(counts[expert] for expert in range(E))
    assert found.n_skipped == index.numel() - sum(found.counts)
    assert (found.n_tokens, found.n_not_finite) == (40, 0)
    shares = logits.double().softmax(dim=-1)
    entropies = torch.special.entr(shares).sum(dim=-1) / math.log(shares.shape[1])
    assert found.router_entropy == pytest.approx(float(entropies.mean()), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_generate_is_recorded_in_every_family_as_a_naive_spy_sees_it(family):
    model = make_model(family)
    seen = Counter()
    for place, module in enumerate(m for n, m in model.named_modules() if n.endswith(".experts")):

        def count(module, args, kwargs, output, place=place):
            values = [one for one in (*args, *kwargs.values()) if isinstance(one, torch.Tensor)]
            index = next((one for one in values if not one.is_floating_point()), None)
            if index is None:  # Aria before its experts followed the interface
                index, _ = module.route_tokens_to_experts(values[1])
            seen.update((place, expert) for expert in index.flatten().tolist())

        module.register_forward_hook(count, with_kwargs=True)
    with RoutingRecorder(model) as recorder:
        model.generate(IDS, generation_config=GenerationConfig(max_new_tokens=4, do_sample=False, pad_token_id=0))
    layers = recorder.stats().layers

    assert layers
    for place, layer in enumerate(layers):
        assert layer.counts == tuple(seen[place, expert] for expert in range(layer.n_experts))
        assert layer.n_tokens == 2 * (6 + 3)  # the last token written is not read again
        assert layer.n_skipped == 0
        assert 0 < layer.router_entropy < 1
        assert 1 / layer.n_experts < layer.confidence < 1


def test_load_entropies_and_dead_experts_are_those_worked_by_hand():
    layer = layer_of(n_experts=4, top_k=1)
    layer.gate.weight.data = torch.eye(4) * 100
    with RoutingRecorder(layer) as recorder:
        layer(torch.eye(4)[[0, 0, 1, 1]])  # two tokens to expert 0, two to expert 1
    (found,) = recorder.stats().layers

    assert found.load == (0.5, 0.5, 0.0, 0.0)
    assert found.load_entropy == pytest.approx(0.5)  # ln 2 / ln 4
    assert found.router_entropy == pytest.approx(0.0, abs=1e-6)
    assert found.confidence == pytest.approx(1.0)
    assert found.dead == (2, 3)
    assert recorder.stats().collapsed(below=0.6) == ("gate",)
    assert recorder.stats().dead() == {"gate": (2, 3)}


def test_experts_chosen_together_are_told_from_those_that_never_meet():
    layer = layer_of(n_experts=4, top_k=2)
    layer.gate.weight.data = torch.tensor([[9.0, 0, 0, 0], [8, 0, 0, 0], [0, 9, 0, 0], [0, 8, 0, 0]])
    with RoutingRecorder(layer) as recorder:
        layer(torch.eye(4)[[0, 0, 0, 1]])
    (found,) = recorder.stats().layers

    assert found.pairs == ((3, 3, 0, 0), (3, 3, 0, 0), (0, 0, 1, 1), (0, 0, 1, 1))
    assert found.together(0, 1) == 1.0
    assert found.together(0, 2) == 0.0


def test_what_an_edit_skips_is_seen_whichever_was_entered_first():
    def drop_second(block, hidden, index, weights):
        return index.index_fill(1, torch.tensor([1]), block.n_experts), weights

    layer = layer_of()
    recorder = RoutingRecorder(layer)
    with recorder, edit_routing(layer, drop_second):
        layer(torch.randn(8, 4))
    with edit_routing(layer, drop_second), recorder:
        layer(torch.randn(8, 4))
    (found,) = recorder.stats().layers

    assert (found.n_tokens, found.n_skipped, found.skipped) == (16, 16, 0.5)
    assert sum(found.counts) == 16
    assert sum(found.load) == pytest.approx(1.0)


@pytest.mark.parametrize("nobody", [4, 5, -1])
def test_every_sentinel_of_no_expert_is_a_skip(nobody):
    layer = layer_of()
    with (
        RoutingRecorder(layer) as recorder,
        edit_routing(layer, lambda block, hidden, index, weights: (torch.full_like(index, nobody), weights)),
    ):
        layer(torch.randn(3, 4))
    (found,) = recorder.stats().layers

    assert (found.counts, found.n_skipped) == ((0, 0, 0, 0), 6)
    assert found.load_entropy == 0.0


class WithNullExpert(torch.nn.Module):
    """A router over E experts and one that does nothing, which comes last and means no expert."""

    def __init__(self, width, n_experts):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(n_experts + 1, width) * 9)

    def forward(self, x, context=None):
        logits = x @ self.weight.T
        weights, index = logits.softmax(dim=-1).topk(2, dim=-1)
        return logits, weights, index


def test_a_router_with_null_experts_has_more_logits_than_experts():
    layer = layer_of(n_experts=3, width=4)
    layer.gate = WithNullExpert(4, 3)
    with RoutingRecorder(layer) as recorder:
        layer(torch.tensor([[3.0, 2, 1, 0], [0, 1, 2, 3], [3, 0, 0, 2]]))
    (found,) = recorder.stats().layers

    assert found.counts == (2, 1, 1)  # by hand: (0, 1), (null, 2), (0, null)
    assert (found.n_skipped, found.n_tokens) == (2, 3)
    assert 0 <= found.router_entropy < 0.01
    assert len(found.probabilities) == 3
    assert found.balance_loss > 0


def test_experts_that_are_called_without_an_index_are_named():
    layer = layer_of()
    layer.experts.forward = lambda hidden, top_k_index, top_k_weights: hidden
    layer.experts.register_forward_pre_hook(
        lambda module, args, kwargs: ((args[0], args[1].float(), args[2]), kwargs), with_kwargs=True
    )
    recorder = RoutingRecorder(layer)
    with recorder, pytest.raises(ValueError, match="the experts of 'gate' were called without an index"):
        layer(torch.randn(2, 4))


def test_an_edit_that_changes_how_many_experts_a_token_has_is_counted():
    layer = layer_of(top_k=2)
    recorder = RoutingRecorder(layer)
    with recorder:
        layer(torch.randn(3, 4))
        with edit_routing(layer, lambda block, hidden, index, weights: (index[:, :1], weights[:, :1])):
            layer(torch.randn(3, 4))

    assert sum(recorder.stats().layers[0].counts) == 3 * 2 + 3


def test_padding_of_a_batch_is_left_out_and_changes_no_count():
    model = make_model("mixtral")
    padded = torch.tensor([[0, 0, 2, 3, 4], [5, 6, 7, 8, 9]])
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1]])
    config = GenerationConfig(max_new_tokens=3, do_sample=False, pad_token_id=0)
    with RoutingRecorder(model) as together:
        model.generate(padded, attention_mask=mask, generation_config=config)
    with RoutingRecorder(model) as apart:
        for row, start in ((0, 2), (1, 0)):
            model.generate(padded[row : row + 1, start:], generation_config=config)

    for both, alone in zip(together.stats().layers, apart.stats().layers, strict=True):
        assert both.n_tokens == 3 + 5 + 2 * 2
        assert both.counts == alone.counts
        assert both.pairs == alone.pairs


def test_labels_follow_the_prompt_by_position_and_what_is_written_has_its_own():
    model = make_model("mixtral")
    labels = [["image", "image", "text", "text", "text", "image"]] * 2
    config = GenerationConfig(max_new_tokens=4, do_sample=False, pad_token_id=0)
    with RoutingRecorder(model, labels=("text", "image", "answer")) as recorder:
        with recorder.tag(labels, rest="answer"):
            model.generate(IDS, generation_config=config)
        model(IDS)  # outside the tag
    (first, _) = recorder.stats().layers

    assert {name: one.n_tokens for name, one in first.labels.items()} == {
        "text": 6, "image": 6, "answer": 6, UNLABELLED: 12,
    }  # fmt: skip
    assert tuple(map(sum, zip(*(one.counts for one in first.labels.values()), strict=True))) == first.counts


def test_a_prompt_read_in_parts_keeps_its_labels():
    layer = layer_of()
    x = torch.randn(1, 6, 4)
    rows = torch.tensor([[0, 1, 1, 0, -1, 1]])
    whole, parts = (RoutingRecorder(layer, labels=("a", "b")) for _ in range(2))
    with whole, whole.tag(rows, rest="a"):
        layer(torch.cat([x, x[:, :2]], dim=1))
    with parts, parts.tag(rows, rest="a"):
        for part in (x[:, :2], x[:, 2:5], x[:, 5:], x[:, :2]):
            layer(part)

    (one,), (other,) = whole.stats().layers, parts.stats().layers
    assert (one.labels, one.pairs) == (other.labels, other.pairs)
    assert whole.stats().layers[0].labels["a"].n_tokens == 2 + 2
    assert whole.stats().layers[0].labels[UNLABELLED].n_tokens == 1


def test_a_mask_given_by_the_caller_leaves_tokens_out():
    layer = layer_of()
    x = torch.randn(2, 3, 4)
    mask = torch.tensor([[True, False, False], [True, True, False]])
    with RoutingRecorder(layer, labels=("a",)) as recorder, recorder.tag("a", mask=mask):
        layer(x)
    with RoutingRecorder(layer, labels=("a",)) as expected, expected.tag("a"):
        layer(x[mask])

    # Products of six rows and of three may round differently in the last place, whatever the processor.
    (found,), (wanted,) = recorder.stats().layers, expected.stats().layers
    measured = ("router_entropy", "confidence", "probabilities", "mean_square_z", "largest_logit")
    for name in measured:
        assert getattr(found, name) == pytest.approx(getattr(wanted, name), rel=1e-5)
    assert replace(found, **{name: getattr(wanted, name) for name in measured}) == wanted


def test_specialisation_is_1_for_disjoint_experts_and_0_for_equal_loads():
    assert specialisation([(0.5, 0.5, 0, 0), (0, 0, 0.5, 0.5)]) == pytest.approx(1.0)
    assert specialisation([(0.25, 0.75), (0.25, 0.75)]) == pytest.approx(0.0)
    # by hand: mean (3/4, 1/4): H = 0.5623; inside (0 + ln 2)/2 = 0.3466; over ln 2
    assert specialisation([(1.0, 0.0), (0.5, 0.5)]) == pytest.approx((0.562335 - 0.346574) / 0.693147, rel=1e-5)
    assert specialisation([(1.0, 0.0)]) == 0.0


def test_relative_entropy_of_one_expert_is_0():
    assert relative_entropy((1.0,)) == 0.0
    assert relative_entropy((0.25,) * 4) == pytest.approx(1.0)


def test_a_layer_specialised_by_label_shows_it():
    layer = layer_of(n_experts=4, top_k=1)
    layer.gate.weight.data = torch.eye(4) * 100
    with RoutingRecorder(layer, labels=("text", "image")) as recorder:
        with recorder.tag("text"):
            layer(torch.eye(4)[[0, 1]])
        with recorder.tag("image"):
            layer(torch.eye(4)[[2, 3]])

    assert recorder.stats().layers[0].specialisation == pytest.approx(1.0)


def test_routers_with_a_nan_are_counted_apart_and_spoil_no_mean():
    layer = layer_of()
    layer.gate.register_forward_hook(
        lambda module, inputs, output: (output[0].index_fill(0, torch.tensor([1]), math.nan), *output[1:])
    )
    with RoutingRecorder(layer) as recorder:
        layer(torch.randn(3, 4))
    (found,) = recorder.stats().layers

    assert (found.n_tokens, found.n_not_finite) == (3, 1)
    assert 0 < found.router_entropy < 1


def test_several_recorders_on_one_model_see_the_same():
    layer = layer_of()
    with RoutingRecorder(layer) as outer, RoutingRecorder(layer) as inner:
        layer(torch.randn(7, 4))

    assert outer.stats() == inner.stats()


def test_threads_with_a_recorder_each_see_their_own_requests_and_a_common_one_sees_all():
    model = make_model("mixtral")
    alone = {}
    for length in (3, 4, 5, 6):
        with torch.no_grad(), RoutingRecorder(model) as recorder:
            model(IDS[:1, :length])
        alone[length] = recorder.stats()
    found, start = {}, threading.Barrier(4)

    def request(length):
        with torch.no_grad(), RoutingRecorder(model, this_thread_only=True) as recorder:
            start.wait()
            for _ in range(5):
                model(IDS[:1, :length])
            found[length] = recorder.stats()
            start.wait()

    with RoutingRecorder(model) as common:
        threads = [threading.Thread(target=request, args=(length,)) for length in (3, 4, 5, 6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for length, stats in found.items():
        for layer, once in zip(stats.layers, alone[length].layers, strict=True):
            assert layer.n_tokens == 5 * length
            assert layer.counts == tuple(5 * count for count in once.counts)
    for place, layer in enumerate(common.stats().layers):
        parts = zip(*(stats.layers[place].counts for stats in found.values()), strict=True)
        assert layer.counts == tuple(map(sum, parts))


def test_nothing_is_lost_when_the_statistics_are_read_while_others_go_on():
    layer = layer_of()
    done = threading.Event()

    def requests():
        for _ in range(100):
            layer(torch.randn(2, 4))
        done.set()

    with torch.no_grad(), RoutingRecorder(layer) as recorder:
        thread = threading.Thread(target=requests)
        thread.start()
        while not done.is_set():
            recorder.stats()
        thread.join()

    assert recorder.stats().layers[0].n_tokens == 200


def test_modalities_are_told_apart_by_the_place_holders_of_the_configuration():
    model = make_model("qwen3_vl_moe")
    ids = torch.tensor([[2, 30, 30, 30, 5, 31]])
    labels, rows = modality_rows(ids, model.config)
    assert labels == ("text", "image", "video")
    assert rows.tolist() == [[0, 1, 1, 1, 0, 2]]
    with torch.no_grad(), RoutingRecorder(model, labels=labels) as recorder, recorder.tag(rows, rest="text"):
        model.model.language_model(inputs_embeds=torch.randn(1, 6, 16))
    for layer in recorder.stats().layers:
        assert {name: one.n_tokens for name, one in layer.labels.items()} == {"text": 2, "image": 3, "video": 1}

    assert modality_rows(ids, make_model("mixtral").config)[0] == ("text",)


def test_tags_of_one_thread_are_not_those_of_another():
    layer = layer_of()
    with RoutingRecorder(layer, labels=("mine",)) as recorder, recorder.tag("mine"):
        layer(torch.randn(2, 4))
        other = threading.Thread(target=lambda: layer(torch.randn(5, 4)))
        other.start()
        other.join()
    labels = recorder.stats().layers[0].labels

    assert {name: one.n_tokens for name, one in labels.items()} == {"mine": 2, UNLABELLED: 5}


def test_a_recorder_holds_no_graph_of_gradients_and_changes_no_gradient():
    layer = layer_of()
    x = torch.randn(4, 4)
    layer(x).sum().backward()
    expected = layer.gate.weight.grad.clone()
    layer.zero_grad()
    with RoutingRecorder(layer) as recorder:
        layer(x).sum().backward()
        assert not recorder._events  # with gradients, nothing is kept beyond the call

    assert torch.equal(layer.gate.weight.grad, expected)


def test_results_under_a_recorder_are_bit_equal_and_nothing_is_left_behind():
    model = make_model("qwen2_moe")
    with torch.no_grad():
        plain = model(IDS).logits
        with RoutingRecorder(model) as recorder:
            assert torch.equal(model(IDS).logits, plain)
        stats = recorder.stats()
        model(IDS)

    assert recorder.stats() == stats
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("labels", "options", "message"),
    [
        ("c", {}, "labels c are not among"),
        ("a", {"rest": "d"}, "labels d are not among"),
        ([["a", "x"]], {}, "labels x are not among"),
        (torch.tensor([[0, 2]]), {}, "whole numbers below 2"),
        (torch.tensor([0, 1]), {}, "shape"),
        (torch.tensor([[0, 1]]), {"mask": torch.ones(1, 3)}, "one shape"),
    ],
)
def test_tags_that_cannot_be_are_refused(labels, options, message):
    recorder = RoutingRecorder(layer_of(), labels=("a", "b"))
    with pytest.raises(ValueError, match=message), recorder.tag(labels, **options):
        pass


def test_a_call_that_does_not_fit_the_tag_is_refused():
    layer = layer_of()
    with (
        RoutingRecorder(layer, labels=("a",)) as recorder,
        recorder.tag([["a"], ["a"]]),
        pytest.raises(ValueError, match="a call read 3 tokens, but the tag is of 2 sequences"),
    ):
        layer(torch.randn(3, 4))


@pytest.mark.parametrize("labels", [("a", "a"), (UNLABELLED,)])
def test_labels_that_cannot_be_told_apart_are_refused(labels):
    with pytest.raises(ValueError, match="labels must differ"):
        RoutingRecorder(layer_of(), labels=labels)


def test_balance_losses_by_layer_and_pooled_are_those_worked_by_hand():
    first, second = layer_of(n_experts=2, top_k=1), layer_of(n_experts=2, top_k=1)
    first.gate.weight.data = torch.tensor([[50.0, 50, 50, 50], [0, 0, 0, 0]])
    second.gate.weight.data = first.gate.weight.data.flip(0)
    model = torch.nn.ModuleList([first, second])
    with RoutingRecorder(model) as recorder:
        for layer in model:
            layer(torch.ones(4, 4))
    stats = recorder.stats()

    assert [layer.balance_loss for layer in stats.layers] == pytest.approx([2.0, 2.0])  # each collapsed
    assert stats.pooled_balance_loss == pytest.approx(1.0)  # and the pooled loss calls it the optimum
    assert stats.layers[0].largest_logit == 200.0
    assert stats.layers[0].mean_square_z == pytest.approx(200.0**2)
