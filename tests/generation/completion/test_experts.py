"""The experts together, on a graph that needs all of them.

Who joins (r0) which club stands in the texts alone; r1 is noise; who helps (r3) a club is who pays (r2) it, of which no
text tells.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from generation.completion.ablation import ablation_arms
from generation.completion.config import CompletionConfig
from generation.completion.evaluator import evaluate
from generation.completion.experts.features import text_features
from generation.completion.extension import extend_model
from generation.completion.gate import Gate, entity_traits
from generation.completion.mixture import ExpertMixture, make_mixture
from generation.completion.model_io import load_model, save_model
from generation.completion.predict import LinkPredictor
from generation.completion.training import train_experts
from kg.errors import CompletionError
from tests.generation.completion.helpers import graph_of

_COLOURS = ("red", "green", "blue", "white")
_N = 134
_CONFIG = CompletionConfig(
    rank=8,
    max_epochs=10,
    batch_size=64,
    regularisation=0.01,
    feature_rank=8,
    feature_hidden=0,
    feature_epochs=15,
    feature_learning_rate=0.02,
    feature_dropout=0.1,
    threads=1,
)


class WordEncoder:
    """One number a word of a small list."""

    fingerprint = "words-1"

    def encode(self, texts):
        rows = np.array([[word in text for word in (*_COLOURS, "person", "club")] for text in texts], dtype=np.float32)
        return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1.0)


def _clubs(*, permute=False, n_entities=_N):
    """Entities 0-3 are clubs; people 4-63 have train links, 64-93 validation, 94-113 validation alone, 114-133 test."""
    rng = np.random.default_rng(0)
    colour = np.concatenate([np.arange(4), rng.integers(4, size=n_entities - 4)])
    joins = [(person, 0, int(colour[person])) for person in range(4, _N)]
    pays = rng.integers(4, size=94)
    helps = [(person, 3, int(pays[person])) for person in range(4, 94)]
    meets = [(int(a), 1, int(b)) for a, b in rng.integers(4, 94, size=(150, 2)) if a != b]
    texts = [f"a {'club' if e < 4 else 'person'} in {_COLOURS[colour[e]]}" for e in range(n_entities)]
    if permute:
        texts = texts[:4] + [texts[i] for i in rng.permutation(np.arange(4, n_entities))]
    return graph_of(
        joins[:60] + sorted(set(meets)) + [(h, 2, t) for h, _, t in helps] + helps[:60],
        valid=joins[60:110] + helps[60:],
        test=joins[110:],
        n_entities=n_entities,
        entity_names=tuple(f"name {e}" for e in range(n_entities)),
        entity_texts=tuple(texts),
    )


def _train(graph, *, config=_CONFIG, **options):
    return train_experts(
        graph, config=config, seed=0, features={"text": text_features(graph, WordEncoder())}, **options
    )


@pytest.fixture(scope="module")
def trained():
    return _train(_clubs())


def _tail_mrr(scorer, graph):
    return evaluate(scorer, graph, triples=graph.test).tail.mrr


def test_the_mixture_names_the_club_of_people_that_train_never_saw(trained):
    graph = _clubs()

    assert not graph.seen[114:].any()
    assert _tail_mrr(trained.mixture, graph) > 0.9
    assert _tail_mrr(trained.mixture.experts["structure"], graph) < 0.7  # it can only say which club is large


def test_texts_of_other_people_lose_the_gain(trained):
    shuffled = _train(_clubs(permute=True))

    assert _tail_mrr(shuffled.mixture, _clubs(permute=True)) < _tail_mrr(trained.mixture, _clubs()) - 0.25


def test_the_gate_is_no_worse_on_validation_than_the_best_expert(trained):
    reached = trained.parts.validation
    graph = _clubs()

    assert reached["chosen"] >= max(reached[name] for name in trained.parts.gate.experts)
    assert evaluate(trained.mixture, graph, triples=graph.valid).mrr == pytest.approx(reached["chosen"], abs=1e-6)


def test_the_gate_leans_on_the_text_for_an_unseen_entity(trained):
    gate = trained.parts.gate
    traits = trained.mixture.traits_NF

    weights = gate.weights(torch.zeros(2, dtype=torch.int64), traits[[120, 10]])

    text, structure = gate.experts.index("text"), gate.experts.index("structure")
    shares = weights / weights.sum(dim=1, keepdim=True)
    assert shares[0, text] > shares[0, structure]
    assert shares[0, structure] < shares[1, structure]  # and on the structure less than for an entity it knows


def test_the_same_seed_gives_the_same_experts_and_the_same_gate(trained):
    again = _train(_clubs())

    assert again.parts.validation == trained.parts.validation
    assert torch.equal(again.parts.gate.base_K, trained.parts.gate.base_K)
    assert torch.equal(again.parts.maps["text"].linear_WD, trained.parts.maps["text"].linear_WD)


def test_the_ablation_shows_what_each_expert_gives(trained):
    graph = _clubs()
    arms = ablation_arms(trained.mixture, graph, config=trained.config, seed=0)

    assert set(arms) == {*trained.mixture.experts, *(f"all but {name}" for name in trained.mixture.experts)}
    for name, expert in trained.mixture.experts.items():
        alone = evaluate(expert, graph, triples=graph.test).mrr
        assert evaluate(arms[name], graph, triples=graph.test).mrr == pytest.approx(alone, abs=1e-3)
    assert _tail_mrr(arms["all but text"], graph) < 0.7
    assert _tail_mrr(arms["all but rules"], graph) > 0.9


class _StopError(Exception):
    pass


@pytest.mark.parametrize(("expert", "epoch"), [("structure", 4), ("text", 3)])
def test_an_interrupted_training_goes_on_at_the_expert_and_epoch_where_it_stopped(trained, tmp_path, expert, epoch):
    def stop(progress):
        if (progress.expert, progress.epoch) == (expert, epoch):
            raise _StopError

    with pytest.raises(_StopError):
        _train(_clubs(), checkpoint=tmp_path, on_progress=stop)
    told = []
    resumed = _train(_clubs(), checkpoint=tmp_path, resume=True, on_progress=lambda p: told.append((p.expert, p.epoch)))

    assert told[0] == (expert, epoch + 1)
    assert torch.equal(resumed.parts.maps["text"].linear_WD, trained.parts.maps["text"].linear_WD)
    assert torch.equal(resumed.model.entities_NW, trained.model.entities_NW)
    assert resumed.parts.validation == trained.parts.validation


def test_a_checkpoint_with_other_vectors_or_a_torn_one_is_refused(tmp_path):
    config = replace(_CONFIG, experts=("text",), feature_epochs=2)
    _train(_clubs(), config=config, checkpoint=tmp_path)

    with pytest.raises(CompletionError, match="another graph, seed, vectors or settings"):
        _train(_clubs(permute=True), config=config, checkpoint=tmp_path, resume=True)
    next((tmp_path / "text").glob("last-*")).write_bytes(b"torn")
    with pytest.raises(CompletionError, match="cannot be read"):
        _train(_clubs(), config=config, checkpoint=tmp_path, resume=True)


def test_a_sample_of_candidates_learns_like_all_of_them(trained):
    graph = _clubs()

    sampled = _train(graph, config=replace(_CONFIG, experts=("text",), candidates=40))

    assert _tail_mrr(sampled.mixture, graph) > 0.9


@pytest.mark.parametrize("experts", [("rules",), ("text",), ("rules", "text"), ("structure",)])
def test_any_choice_of_experts_can_be_trained_saved_and_asked(tmp_path, experts):
    graph = _clubs()
    config = replace(_CONFIG, experts=experts, max_epochs=1, feature_epochs=1)

    done = _train(graph, config=config)
    save_model(tmp_path, done.model, graph, config=done.config, metadata={}, parts=done.parts)
    mixture = make_mixture(load_model(tmp_path), graph)

    assert tuple(mixture.experts) == experts
    questions = (np.array([5, 120]), np.array([0, 1]))
    np.testing.assert_allclose(mixture.score_all(*questions), done.mixture.score_all(*questions), rtol=1e-5, atol=1e-5)


def test_no_expert_for_the_graph_is_refused_and_without_validation_texts_are_left_out():
    graph = replace(_clubs(), valid=np.empty((0, 3), dtype=np.int64))

    with pytest.raises(CompletionError, match="none of the experts"):
        _train(graph, config=replace(_CONFIG, experts=("text",)))
    alone = _train(graph, config=replace(_CONFIG, max_epochs=1))
    assert alone.parts.gate.experts == ("structure", "rules")
    assert alone.parts.gate.kind == "single"
    assert alone.parts.calibration is None


def test_scores_that_are_not_numbers_are_refused_with_the_experts_name(trained):
    class Broken:
        n_constant_parameters = n_entity_parameters = 0

        def score_all(self, anchors, relations):
            scores = np.zeros((len(anchors), _N), dtype=np.float32)
            scores[0, 3] = np.nan
            return scores

    traits, values = entity_traits(_clubs(), {})
    gate = Gate.fresh(("broken",), traits, n_relations=4)
    mixture = ExpertMixture({"broken": Broken()}, gate, values, n_relations=4)

    with pytest.raises(CompletionError, match="'broken' returned scores that are not finite"):
        mixture.score_all(np.array([0]), np.array([0]))


def test_experts_that_say_nothing_come_out_near_chance():
    class Constant:
        n_constant_parameters = n_entity_parameters = 0

        def score_all(self, anchors, relations):
            return np.zeros((len(anchors), _N), dtype=np.float32)

    graph = _clubs()
    traits, values = entity_traits(graph, {})
    gate = Gate.fresh(("one", "two"), traits, n_relations=4)
    mixture = ExpertMixture({"one": Constant(), "two": Constant()}, gate, values, n_relations=4)

    assert evaluate(mixture, graph, triples=graph.test).mrr < 3 / _N


def test_a_prediction_adds_up_to_its_experts_and_shows_rules_with_their_paths(trained, tmp_path):
    graph = _clubs()
    save_model(tmp_path, trained.model, graph, config=trained.config, metadata={}, parts=trained.parts)
    predictor = LinkPredictor(load_model(tmp_path), graph)

    link = predictor.predict(head="e120", relation="r0", k=1)[0]

    assert {share.expert for share in link.contributions} == {"structure", "rules", "text"}
    traits = trained.mixture.traits_NF[int(link.tail_id[1:])]
    total = sum(share.weight * share.log_probability for share in link.contributions)
    assert link.score == pytest.approx(total + float(traits @ trained.parts.gate.bias_F), abs=1e-4)
    assert link.calibrated
    assert 0.0 < link.probability < 1.0


def test_an_entity_added_later_is_scored_from_its_text_with_no_retraining(trained, tmp_path):
    save_model(tmp_path, trained.model, _clubs(), config=trained.config, metadata={}, parts=trained.parts)
    saved = load_model(tmp_path)
    old = _clubs()
    grown = replace(
        old,
        entity_ids=("newcomer", *old.entity_ids),
        entity_names=("Newcomer", *old.entity_names),
        entity_texts=("a person in blue", *old.entity_texts),
        train=old.train + [1, 0, 1],
        valid=old.valid + [1, 0, 1],
        test=old.test + [1, 0, 1],
    )

    with pytest.raises(CompletionError, match="not the same ones"):
        LinkPredictor(saved, grown)
    with pytest.raises(CompletionError, match=r"Give features\['text'\]"):
        extend_model(saved, grown)
    like = saved.parts.features["text"]
    extended = extend_model(saved, grown, features={"text": text_features(grown, WordEncoder(), like=like)})
    predictor = LinkPredictor(extended, grown)

    assert extended.metadata["n_new_entities"] == 1
    assert predictor.predict(head="newcomer", relation="r0", k=1)[0].tail_id == "e2"  # the blue club
    before = trained.mixture.score_all(np.array([10]), np.array([0]))[0]
    after = predictor.scorer.score_all(np.array([11]), np.array([0]))[0, 1:]
    assert np.argsort(-before)[:5].tolist() == np.argsort(-after)[:5].tolist()
    with pytest.raises(CompletionError, match="other relations"):
        extend_model(saved, replace(grown, relation_ids=("r0", "r9", "r2", "r3")))


def test_a_graph_of_one_entity_is_trained_and_offers_nothing(tmp_path):
    graph = graph_of([(0, 0, 0)])
    done = train_experts(graph, config=replace(_CONFIG, max_epochs=1), seed=0)
    save_model(tmp_path, done.model, graph, config=done.config, metadata={}, parts=done.parts)

    assert LinkPredictor(load_model(tmp_path), graph).predict(head="e0", relation="r0") == []


def test_a_relation_that_train_never_shows_is_still_scored(trained):
    graph = replace(_clubs(), relation_ids=("r0", "r1", "r2", "r3", "r4"), relation_names=("a", "b", "c", "d", "e"))
    done = train_experts(graph, config=replace(_CONFIG, max_epochs=1), seed=0)

    assert np.isfinite(done.mixture.score_all(np.array([5, 5]), np.array([4, 9]))).all()
