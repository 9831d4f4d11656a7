"""Batches depend on the step alone, and settings say what does not fit."""

import pytest
import torch

from moe_backbone.training.config import StageConfig, TrainingConfig, TrainingError
from moe_backbone.training.data import IGNORED, PackedTokens, PreferencePairs, TokenSequence
from moe_backbone.training.freezing import PRESETS, apply_freezing, parameter_groups, preset_stages
from tests.moe_backbone.training.tiny import tiny_data, tiny_llama, tiny_mixtral


def test_an_epoch_holds_every_row_once_and_the_next_has_another_order():
    data = PackedTokens([TokenSequence(ids=list(range(20)))], length=2)  # ten rows, told apart by their first token
    firsts = [data.batch(step, size=4, seed=1).ids[:, 0].tolist() for step in range(5)]
    order = [row for batch in firsts for row in batch]

    assert sorted(order[:10]) == sorted(order[10:]) == list(range(0, 20, 2))
    assert order[:10] != order[10:]


def test_a_step_is_the_same_whenever_it_is_asked_for():
    data = tiny_data()
    batches = [data.batch(step, size=3, seed=2) for step in (7, 1, 7)]

    assert torch.equal(batches[0].ids, batches[2].ids)
    assert not torch.equal(batches[0].ids, batches[1].ids)
    assert not torch.equal(batches[0].ids, data.batch(7, size=3, seed=3).ids)


def test_documents_are_joined_and_their_labels_and_modalities_with_them():
    first = TokenSequence(ids=[1, 2, 3], labels=[IGNORED, 2, 3], modality=[1, 1, 0])
    data = PackedTokens([first, TokenSequence(ids=[4, 5, 6])], length=2)
    batch = data.rows(slice(0, 3))

    assert batch.ids.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert batch.labels.tolist() == [[IGNORED, 2], [3, 4], [5, 6]]
    assert batch.modality.tolist() == [[1, 1], [0, 0], [0, 0]]
    assert batch.skill is None


def test_pairs_are_never_parted():
    pair = TokenSequence(ids=[1, 2], labels=[IGNORED, 2]), TokenSequence(ids=[1, 3], labels=[IGNORED, 3])
    batch = PreferencePairs([pair] * 3, pad_id=0, length=4).batch(0, size=3, seed=0)

    assert [part.ids[:, 1].tolist() for part in batch.split(2)] == [[2, 3, 2, 3], [2, 3]]


def test_an_answer_cut_off_by_the_length_is_refused():
    pair = TokenSequence(ids=[1, 2], labels=[IGNORED, 2]), TokenSequence(ids=[1, 1, 3], labels=[IGNORED, IGNORED, 3])

    with pytest.raises(TrainingError, match="pair 0: the rejected answer is empty within 2 tokens"):
        PreferencePairs([pair], pad_id=0, length=2)


def test_too_little_text_is_refused():
    with pytest.raises(TrainingError, match="holds 3 tokens, fewer than one sequence of 4"):
        PackedTokens([TokenSequence(ids=[1, 2, 3])], length=4)


def test_labels_of_another_length_are_refused():
    with pytest.raises(TrainingError, match="sequence 0: 2 ids, but 1 values of labels"):
        PackedTokens([TokenSequence(ids=[1, 2], labels=[1])], length=2)


def test_groups_part_the_parameters_of_a_stock_model():
    groups = parameter_groups(tiny_mixtral())

    assert groups["@routers"] == {f"model.layers.{layer}.mlp.gate.weight" for layer in (0, 1)}
    assert groups["@experts"] == {
        f"model.layers.{layer}.mlp.experts.{name}" for layer in (0, 1) for name in ("gate_up_proj", "down_proj")
    }
    assert "model.norm.weight" in groups["@norms"]
    assert not groups["@routers"] & groups["@norms"]


def test_what_is_frozen_wins_over_what_is_trained():
    model = tiny_mixtral()
    names = apply_freezing(model, train=("model.layers.0.*",), freeze=("@experts", "*self_attn*"))

    assert names == (
        "model.layers.0.mlp.gate.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.post_attention_layernorm.weight",
    )
    assert {name for name, parameter in model.named_parameters() if parameter.requires_grad} == set(names)


@pytest.mark.parametrize(
    ("make", "pattern", "message"),
    [
        (tiny_llama, "@routers", "'@routers' names no parameter of LlamaForCausalLM"),
        (tiny_mixtral, "*projector*", "'[*]projector[*]' names no parameter of MixtralForCausalLM"),
        (tiny_mixtral, "@everything", "there is no group '@everything'"),
    ],
)
def test_a_pattern_that_names_nothing_is_refused(make, pattern, message):
    with pytest.raises(TrainingError, match=message):
        apply_freezing(make(), train=(pattern,))


def test_presets_keep_the_other_settings():
    stages = preset_stages("gradual", base=StageConfig(steps=7, learning_rate=0.5))

    assert [(stage.name, stage.train, stage.steps, stage.learning_rate) for stage in stages] == [
        ("routers", ("@routers",), 7, 0.5),
        ("experts", ("@routers", "@experts"), 7, 0.5),
        ("all", ("*",), 7, 0.5),
    ]
    assert set(PRESETS) == {"all", "routers", "experts", "gradual", "moe-llava"}


def test_settings_go_through_a_mapping_and_back():
    config = TrainingConfig(stages=(StageConfig(name="a", train=("@routers",)), StageConfig(name="b")), seed=4)

    assert TrainingConfig.from_mapping(config.to_mapping()) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step": 3}, r"training: unknown settings \['step'\]"),
        ({"stages": [{"rate": 3}]}, r"training.stages\[0\]: unknown settings \['rate'\]"),
        ({"stages": [{"train": "*"}]}, "Give a list of patterns"),
        ({"stages": 3}, "Give a list of mappings"),
        ({"stages": []}, "at least one stage"),
        ({"stages": [{}, {}]}, "stages of different names"),
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": True}, "batch_size must be a whole number, got True"),
        ({"clip_norm": float("nan")}, "clip_norm must be a finite number"),
        ({"precision": "float16"}, "precision must be one of float32, bfloat16"),
        ({"stages": [{"objective": "rl"}]}, "objective must be one of lm, kl, dpo"),
        ({"stages": [{"hard_weight": 2}]}, "hard_weight must be between 0 and 1"),
        ({"stages": [{"temperature": 0}]}, "temperature must be above 0"),
    ],
)
def test_settings_that_do_not_fit_are_named(values, message):
    with pytest.raises(TrainingError, match=message):
        TrainingConfig.from_mapping(values)
