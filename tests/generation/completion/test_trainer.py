import json

import numpy as np
import pytest
import torch

from generation.completion.config import CompletionConfig
from generation.completion.evaluator import evaluate
from generation.completion.trainer import train_complex
from kg.errors import CompletionError, ConfigError
from tests.generation.completion.helpers import graph_of, ring_rows


def _ring(n=24):
    """A graph that is easy to learn, not trivial; triples of both relations are held out."""
    rows = sorted(ring_rows(n), key=lambda row: row[1])
    held = rows[3::8]
    return graph_of([row for row in rows if row not in held], valid=held[::2], test=held[1::2], n_entities=n)


_CONFIG = CompletionConfig(rank=8, max_epochs=6, batch_size=16, regularisation=0.01, threads=1)


def test_training_learns_the_train_triples():
    graph = _ring()

    fit = train_complex(graph, config=CompletionConfig(rank=16, max_epochs=40, threads=1), seed=0)

    assert evaluate(fit.model, graph, triples=graph.train).mrr > 0.9
    assert fit.history[-1].loss < fit.history[0].loss
    assert fit.model.seen_N.all()


def test_a_sample_of_candidates_learns_the_train_triples_too():
    graph = _ring()
    config = CompletionConfig(rank=16, max_epochs=40, threads=1, candidates=6)

    fit = train_complex(graph, config=config, seed=0)

    assert evaluate(fit.model, graph, triples=graph.train).mrr > 0.9


def test_the_same_seed_gives_the_same_model_and_another_seed_another():
    one, two, other = (train_complex(_ring(), config=_CONFIG, seed=seed).model for seed in (1, 1, 2))

    assert torch.equal(one.entities_NW, two.entities_NW)
    assert torch.equal(one.relations_RW, two.relations_RW)
    assert not torch.equal(one.entities_NW, other.entities_NW)


class _StopError(Exception):
    pass


def _stop_after(n_epochs):
    def on_progress(progress):
        if progress.epoch == n_epochs:
            raise _StopError

    return on_progress


@pytest.mark.parametrize(("precision", "candidates"), [("float32", 5_000), ("bfloat16", 5_000), ("float32", 8)])
def test_interrupted_training_resumes_to_exactly_the_same_result(tmp_path, precision, candidates):
    config = CompletionConfig.from_mapping({**_CONFIG.to_mapping(), "precision": precision, "candidates": candidates})
    whole = train_complex(_ring(), config=config, seed=3)

    with pytest.raises(_StopError):
        train_complex(_ring(), config=config, seed=3, checkpoint=tmp_path, on_progress=_stop_after(4))
    resumed = train_complex(_ring(), config=config, seed=3, checkpoint=tmp_path, resume=True)

    assert torch.equal(resumed.model.entities_NW, whole.model.entities_NW)
    assert torch.equal(resumed.model.relations_RW, whole.model.relations_RW)
    assert resumed.best_epoch == whole.best_epoch
    assert [p.loss for p in resumed.history] == [p.loss for p in whole.history]
    assert len(list(tmp_path.glob("last-*.safetensors"))) == 1


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    train_complex(_ring(), config=_CONFIG, seed=3, checkpoint=tmp_path)

    with pytest.raises(CompletionError, match="another graph, seed or settings"):
        train_complex(_ring(), config=_CONFIG, seed=4, checkpoint=tmp_path, resume=True)


def test_a_damaged_checkpoint_is_refused(tmp_path):
    train_complex(_ring(), config=_CONFIG, seed=3, checkpoint=tmp_path)
    next(tmp_path.glob("last-*.safetensors")).write_bytes(b"half")

    with pytest.raises(CompletionError, match="cannot be read"):
        train_complex(_ring(), config=_CONFIG, seed=3, checkpoint=tmp_path, resume=True)


def test_a_checkpoint_of_another_number_of_epochs_is_refused_since_the_rate_fell_otherwise(tmp_path):
    longer = CompletionConfig.from_mapping({**_CONFIG.to_mapping(), "max_epochs": 9})
    train_complex(_ring(), config=_CONFIG, seed=3, checkpoint=tmp_path)

    with pytest.raises(CompletionError, match="another graph, seed or settings"):
        train_complex(_ring(), config=longer, seed=3, checkpoint=tmp_path, resume=True)


def test_a_finished_training_can_be_resumed_and_is_not_repeated(tmp_path):
    first = train_complex(_ring(), config=_CONFIG, seed=3, checkpoint=tmp_path)
    seen = []

    again = train_complex(_ring(), config=_CONFIG, seed=3, checkpoint=tmp_path, resume=True, on_progress=seen.append)

    assert not seen
    assert torch.equal(again.model.entities_NW, first.model.entities_NW)


def test_all_epochs_are_run_and_the_one_with_the_best_validation_is_kept():
    graph = _ring()

    fit = train_complex(graph, config=CompletionConfig(rank=8, max_epochs=30, threads=1), seed=0)

    mrrs = [progress.valid_mrr for progress in fit.history]
    assert len(mrrs) == 30
    assert fit.best_epoch == 1 + int(np.argmax(mrrs))
    assert fit.best_valid_mrr == max(mrrs)
    assert evaluate(fit.model, graph, triples=graph.valid).mrr == pytest.approx(fit.best_valid_mrr)


def test_a_training_that_goes_on_starts_with_smaller_steps_and_resumed_it_still_does(tmp_path):
    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.epoch == 2:
            raise StoppedError

    graph = _ring()
    initial = train_complex(graph, config=_CONFIG, seed=3).model
    whole = train_complex(graph, config=_CONFIG, seed=3, initial=initial)
    with pytest.raises(StoppedError):
        train_complex(graph, config=_CONFIG, seed=3, initial=initial, checkpoint=tmp_path, on_progress=stop)

    resumed = train_complex(graph, config=_CONFIG, seed=3, checkpoint=tmp_path, resume=True)

    assert torch.equal(resumed.model.entities_NW, whole.model.entities_NW)


def test_without_validation_every_epoch_is_run_and_the_last_is_kept():
    fit = train_complex(graph_of([(0, 0, 1), (1, 0, 2)]), config=_CONFIG, seed=0)

    assert fit.best_epoch == 6
    assert fit.best_valid_mrr is None
    assert [progress.valid_mrr for progress in fit.history] == [None] * 6


def test_a_loss_that_is_not_finite_stops_training_with_advice():
    config = CompletionConfig(rank=8, max_epochs=3, learning_rate=1e30, threads=1)

    with pytest.raises(CompletionError, match=r"loss of structure became .* Lower completion\.learning_rate"):
        train_complex(_ring(), config=config, seed=0)


def test_an_empty_train_split_is_refused():
    graph = graph_of([], test=[(0, 0, 1)])

    with pytest.raises(CompletionError, match="no train triples"):
        train_complex(graph, config=_CONFIG, seed=0)


def test_the_number_of_threads_is_put_back():
    before = torch.get_num_threads()

    train_complex(_ring(), config=CompletionConfig(rank=2, max_epochs=1, threads=before + 1), seed=0)

    assert torch.get_num_threads() == before


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(CompletionError, match="cannot be used here"):
        train_complex(_ring(), config=CompletionConfig(device="cuda:99"), seed=0)


def test_open_settings_follow_the_size_of_the_graph():
    small = CompletionConfig().resolve(n_entities=50, n_train=100)
    dense = CompletionConfig().resolve(n_entities=15_000, n_train=300_000)
    fixed = CompletionConfig(rank=7, regularisation=0.0).resolve(n_entities=50, n_train=100)

    assert small.batch_size == 32
    assert CompletionConfig().resolve(n_entities=15_000, n_train=34_000).batch_size == 1_000
    assert dense.batch_size == 3_750  # 160 steps
    assert small.rank < dense.rank
    assert dense.regularisation == small.regularisation / 2
    assert (fixed.rank, fixed.regularisation) == (7, 0.0)


def test_relation_prediction_and_the_rank_follow_degree_and_size_alone():
    sparse = CompletionConfig().resolve(n_entities=15_000, n_train=34_000)
    dense = CompletionConfig().resolve(n_entities=14_500, n_train=272_000)
    huge = CompletionConfig().resolve(n_entities=1_000_000, n_train=3_000_000)

    assert (sparse.rank, sparse.relation_weight, sparse.regularisation) == (1_000, 0.0, 0.1)  # degree 4.5
    assert (dense.rank, dense.relation_weight, dense.regularisation) == (1_000, 4.0, 0.05)  # degree 37.5
    assert huge.rank == 100  # 2e8 numbers at most
    assert CompletionConfig().resolve(n_entities=9_000, n_train=10_000).rank == 256


def test_settings_survive_json_and_unknown_or_impossible_ones_are_refused():
    config = CompletionConfig(rank=3, regularisation=0.2)

    assert CompletionConfig.from_mapping(json.loads(json.dumps(config.to_mapping()))) == config
    with pytest.raises(ConfigError, match="unknown settings"):
        CompletionConfig.from_mapping({"ranks": 3})
    for wrong in (
        {"rank": 0},
        {"learning_rate": -1.0},
        {"valid_fraction": 1.0},
        {"precision": "int4"},
        {"rank": "x"},
        {"experts": []},
    ):
        with pytest.raises(ConfigError):
            CompletionConfig.from_mapping(wrong)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"experts": ["structure", "oracle"]}, "completion.experts: got .*oracle.*out of .*structure"),
        ({"experts": ["text", "text"]}, "names each once"),
        ({"experts": "text"}, "Give a list"),
        ({"text_blocks": ["title"]}, "completion.text_blocks"),
        ({"feature_hidden": -1}, "0 for a linear map"),
        ({"modality_dropout": 1.0}, "below 1"),
    ],
)
def test_experts_that_are_not_known_are_refused_with_those_that_are(wrong, message):
    with pytest.raises(ConfigError, match=message):
        CompletionConfig.from_mapping(wrong)


def test_the_choice_of_experts_survives_json():
    config = CompletionConfig(experts=("text", "rules"), text_blocks=("name",))

    assert CompletionConfig.from_mapping(json.loads(json.dumps(config.to_mapping()))) == config
