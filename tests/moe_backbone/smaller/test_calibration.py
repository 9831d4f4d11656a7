"""Calibration: sums against a token-by-token reference, the reservoir, resuming, and what is refused."""

import pytest
import torch

from moe_backbone.blocks import edit_routing, find_blocks
from moe_backbone.smaller.calibration import calibrate, load_calibration
from moe_backbone.smaller.data import LabelledTokens, pack_texts, split_held_out
from moe_backbone.smaller.surgery import ShrinkError
from tests.moe_backbone.smaller.tiny_moe import FAMILIES, make, random_tokens


def naive_sums(model, tokens):
    """Count, gate weight and weight times output norm, one slot at a time, with the experts' own matrices."""
    blocks = find_blocks(model)
    sums = [torch.zeros(3, len(tokens.labels), block.n_experts, dtype=torch.float64) for block in blocks]
    labels = tokens.label.reshape(-1).tolist()

    def note(block, hidden, index, weights):
        experts = block.experts
        for token, label in enumerate(labels):
            if label < 0:
                continue
            for slot in range(index.shape[1]):
                expert, gate = int(index[token, slot]), float(weights[token, slot])
                gate_I, up_I = (experts.gate_up_proj[expert] @ hidden[token]).chunk(2)
                norm = float((experts.down_proj[expert] @ (experts.act_fn(gate_I) * up_I)).norm())
                sums[block.layer][:, label, expert] += torch.tensor([1.0, gate, gate * norm], dtype=torch.float64)
        return index, weights

    with torch.no_grad(), edit_routing(model, note):
        model(input_ids=tokens.ids, attention_mask=(tokens.label >= 0).long())
    return sums


def with_padding(tokens):
    label = tokens.label.clone()
    label[:, -5:] = -1
    return LabelledTokens(labels=tokens.labels, ids=tokens.ids, label=label)


def test_sums_equal_a_loop_over_tokens_and_padding_counts_for_nothing():
    model, tokens = make(), with_padding(random_tokens(rows=4, length=24))
    calibration = calibrate(model, tokens, rows=4, least_tokens=1)

    assert calibration.tokens == tuple(int((tokens.label == label).sum()) for label in (0, 1))
    for layer, sums in zip(calibration.layers, naive_sums(model, tokens), strict=True):
        assert layer.n_seen == tokens.n_tokens == 4 * 19
        assert torch.equal(layer.counts, sums[0])
        assert torch.allclose(layer.gates, sums[1])
        assert torch.allclose(layer.reaps, sums[2], rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_calibrated_without_changing_its_output(family):
    model, tokens = make(family), random_tokens(rows=8)
    with torch.no_grad():
        before = model(tokens.ids).logits
        calibration = calibrate(model, tokens)
        after = model(tokens.ids).logits

    assert torch.equal(before, after)
    for layer in calibration.layers:
        assert int(layer.counts.sum()) == 2 * tokens.n_tokens
        assert torch.isfinite(layer.reaps).all()


def test_the_reservoir_keeps_late_tokens_as_often_as_early_ones():
    """8 rows of 32 tokens, 32 kept: over 40 seeds the last half of the rows gives half, within 4 sigma."""
    model, tokens = make(num_hidden_layers=1), random_tokens(rows=8)
    late = 0
    with torch.no_grad():
        first = calibrate(model, tokens, rows=1, n_sampled=256).layers[0].hidden
    for seed in range(40):
        sample = calibrate(model, tokens, rows=1, n_sampled=32, seed=seed).layers[0].hidden
        places = (sample[:, None] == first[None]).all(-1).int().argmax(1)
        assert len(set(places.tolist())) == 32  # no token twice
        late += int((places >= 128).sum())

    assert abs(late - 40 * 16) < 4 * (40 * 32 * 0.25) ** 0.5


def test_an_interrupted_calibration_goes_on_to_the_same_bits(tmp_path):
    model, tokens = make(), random_tokens(rows=8)
    whole = calibrate(model, tokens, rows=2, n_sampled=40)

    class StopError(Exception):
        pass

    def stop(done, total):
        assert total == 4
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        calibrate(model, tokens, rows=2, n_sampled=40, file=tmp_path / "c", on_progress=stop)
    assert load_calibration(tmp_path / "c").n_batches == 2
    steps = []
    resumed = calibrate(
        model, tokens, rows=2, n_sampled=40, file=tmp_path / "c", on_progress=lambda done, _: steps.append(done)
    )

    assert steps == [3, 4]
    for one, other in zip(whole.layers, resumed.layers, strict=True):
        for name in ("counts", "reaps", "hidden", "index", "weights", "label"):
            assert torch.equal(getattr(one, name), getattr(other, name)), name
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_a_calibration_of_another_model_or_text_is_refused_or_replaced(tmp_path):
    model, tokens, file = make(), random_tokens(rows=8), tmp_path / "c"
    calibrate(model, tokens, file=file)

    with pytest.raises(ShrinkError, match="another model"):
        calibrate(make(seed=1), tokens, file=file)
    with pytest.raises(ShrinkError, match="another text"):
        calibrate(model, random_tokens(rows=8, seed=1), file=file)
    other = random_tokens(rows=8, seed=1)
    assert calibrate(model, other, file=file, start_over=True).text_sha256 == load_calibration(file).text_sha256


def test_a_damaged_calibration_is_refused(tmp_path):
    model, tokens, file = make(), random_tokens(rows=8), tmp_path / "c"
    calibrate(model, tokens, file=file)
    file.write_bytes(file.read_bytes()[:-100])

    with pytest.raises(ShrinkError, match="no calibration that can be read"):
        load_calibration(file)


def test_too_few_tokens_are_refused_with_their_counts():
    with pytest.raises(ShrinkError, match=r"32 tokens \(text: \d+, graph: \d+\) are too few.*at least 256"):
        calibrate(make(), random_tokens(rows=1))


def test_experts_and_labels_that_few_tokens_reach_are_named():
    model = make()
    find_blocks(model)[0].router.weight.data[7] = 0.0  # logit 0: rarely among the two largest of eight
    tokens = random_tokens(rows=10)
    label = torch.zeros_like(tokens.label)
    label[0, :3] = 1
    calibration = calibrate(model, LabelledTokens(labels=("text", "graph"), ids=tokens.ids, label=label))

    count = int(calibration.layers[0].counts[:, 7].sum())
    assert (count < 16) == any(f"7 ({count})" in note for note in calibration.notes)
    assert "labels with few tokens: graph (3)" in calibration.notes


def test_texts_are_cut_into_rows_with_padding_and_short_ends_left_out():
    tokens = pack_texts(
        lambda text: {"input_ids": list(range(len(text)))}, {"text": ["a" * 20], "graph": ["b" * 19, "c"]}, length=10
    )

    assert tokens.ids.tolist()[1] == list(range(10, 20))
    assert tokens.label.tolist() == [[0] * 10, [0] * 10, [1] * 10, [1] * 9 + [-1]]
    assert tokens.n_tokens == 39


def test_a_limit_spreads_rows_over_the_text():
    tokens = pack_texts(lambda text: {"input_ids": list(range(len(text)))}, {"text": ["a" * 80]}, length=8, limit=2)

    assert tokens.ids[:, 0].tolist() == [0, 40]  # rows 0 and 5 of 10


def test_held_out_rows_are_in_neither_part_twice():
    tokens = random_tokens(rows=8, labels=("text",))
    kept, held = split_held_out(tokens, share=0.25)

    assert len(kept.ids) == 6
    assert held.ids.tolist() == tokens.ids[[3, 7]].tolist()  # every fourth
    with pytest.raises(ShrinkError, match="'text' has 1 rows"):
        split_held_out(tokens.rows([0]))


def test_text_without_a_row_is_refused():
    with pytest.raises(ShrinkError, match="no row of 8 tokens"):
        pack_texts(lambda text: {"input_ids": [1]}, {"text": ["x"]})
