import numpy as np
import pytest

from generation.completion.complex_n3 import ComplExModel
from generation.completion.config import CompletionConfig
from generation.completion.model_io import load_model, save_model
from generation.completion.names import NameIndex
from generation.completion.predict import LinkPredictor
from generation.completion.training import train_experts
from kg.errors import CompletionError
from kg.types import Origin
from tests.generation.completion.helpers import graph_of

_GRAPH = graph_of(
    [(0, 0, 1), (2, 0, 1), (3, 1, 0)],
    valid=[(0, 0, 4)],
    n_entities=7,
    entity_names=("Ada Lovelace", "London", "Bob", "Cyd", "Paris", "Springfield", "Springfield"),
    entity_aliases=(("Countess",), (), (), (), ("Lutetia",), (), ()),
    relation_names=("born in", "knows"),
)


@pytest.fixture
def predictor(tmp_path):
    model = ComplExModel.fresh(n_entities=7, n_relations=2, rank=3, init_scale=0.5, seed=0)
    model.note_train(_GRAPH.train)
    save_model(tmp_path, model, _GRAPH, config=CompletionConfig(rank=3), metadata={})
    return LinkPredictor(load_model(tmp_path), _GRAPH)


def test_links_are_ranked_by_score_without_known_answers_and_without_the_anchor(predictor):
    links = predictor.predict(head="Ada Lovelace", relation="born in", k=10)

    scores = predictor.saved.model.score_tails(np.array([0]), np.array([0]))[0]
    expected = sorted((2, 3, 5, 6), key=lambda e: -scores[e])  # 1 and 4 are known, 0 is the anchor
    assert [link.tail_id for link in links] == [f"e{e}" for e in expected]
    assert [link.rank for link in links] == [1, 2, 3, 4]
    assert [link.score for link in links] == pytest.approx([scores[e] for e in expected])
    assert sum(link.probability for link in links) == pytest.approx(1.0)
    weights = np.exp(scores[expected].astype(float))
    assert [link.probability for link in links] == pytest.approx(weights / weights.sum())
    assert {(link.head, link.relation, link.origin) for link in links} == {
        ("Ada Lovelace", "born in", Origin.PREDICTED)
    }


def test_links_below_the_least_probability_are_left_out_and_the_others_stay_as_they_are(predictor):
    everything = predictor.predict(head="Ada Lovelace", relation="born in", k=10)

    least = everything[1].probability
    some = predictor.ask(head="Ada Lovelace", relation="born in", k=10, min_probability=least)

    assert list(some.links) == everything[:2]
    assert predictor.ask(head="Ada Lovelace", relation="born in", min_probability=1.0).links == ()


def test_of_the_best_links_those_of_named_entities_keep_their_rank_and_numbers(predictor):
    everything = predictor.predict(head="Ada Lovelace", relation="born in", k=3)
    wanted = {everything[2].tail_id, everything[0].tail_id, "e1", "unknown"}

    some = predictor.ask(head="Ada Lovelace", relation="born in", k=3, among=wanted)

    assert list(some.links) == [everything[0], everything[2]]
    assert [link.rank for link in some.links] == [1, 3]
    assert predictor.ask(head="Ada Lovelace", relation="born in", k=3, among=()).links == ()


def test_heads_are_asked_through_the_inverse_relation(predictor):
    links = predictor.predict(tail="London", relation="r0", k=2)

    scores = predictor.saved.model.score_heads(np.array([0]), np.array([1]))[0]
    expected = sorted((3, 4, 5, 6), key=lambda e: -scores[e])[:2]  # 0 and 2 are known heads, 1 is the anchor
    assert [link.head_id for link in links] == [f"e{e}" for e in expected]
    assert {link.tail for link in links} == {"London"}


def test_entities_are_found_by_id_by_name_in_any_case_and_by_alias(predictor):
    wanted = predictor.predict(head="e0", relation="r0")

    assert predictor.predict(head="ada  lovelace", relation="Born_In") == wanted
    assert predictor.predict(head="countess", relation="BORN IN") == wanted


def test_an_unknown_name_is_refused_with_the_nearest_ones(predictor):
    with pytest.raises(CompletionError, match="no entity 'Ada Lovelase'.*Did you mean 'Ada Lovelace'"):
        predictor.predict(head="Ada Lovelase", relation="born in")
    with pytest.raises(CompletionError, match="no relation 'born'.*Did you mean 'born in'"):
        predictor.predict(head="Bob", relation="born")
    with pytest.raises(CompletionError, match="There are, for example, 'born in', 'knows'"):
        predictor.predict(head="Bob", relation="zzz")
    with pytest.raises(CompletionError, match="No entity has a name like it"):
        predictor.predict(head="zzzzqqq", relation="born in")


def test_an_ambiguous_name_is_refused_with_the_ids_to_choose_from(predictor):
    with pytest.raises(CompletionError, match=r"2 entities are called 'Springfield': e5 \(Springfield\), e6"):
        predictor.predict(head="Springfield", relation="born in")


def test_a_name_that_only_case_tells_apart_is_resolved_by_its_exact_case():
    names = NameIndex("entity", ("e0", "e1"), ("US", "us"))

    assert names.resolve("us") == 1
    with pytest.raises(CompletionError, match="2 entities are called"):
        names.resolve("Us")


def test_exactly_one_end_must_be_given_and_k_must_be_positive(predictor):
    with pytest.raises(CompletionError, match="either a head or a tail"):
        predictor.predict(relation="born in")
    with pytest.raises(CompletionError, match="either a head or a tail"):
        predictor.predict(head="Bob", relation="born in", tail="Paris")
    with pytest.raises(CompletionError, match="k must be at least 1"):
        predictor.predict(head="Bob", relation="born in", k=0)


def test_a_prediction_says_how_little_it_stands_on(predictor):
    prediction = predictor.ask(head="e5", relation="knows")

    assert prediction.n_examples == 1
    assert prediction.n_known == 0
    assert not prediction.anchor_seen
    assert len(prediction.notes) == 2
    assert predictor.relations() == [("born in", 2), ("knows", 1)]


def test_equal_scores_are_ordered_by_entity_id_even_at_the_cut(predictor):
    predictor.saved.model.entities_NW[:] = 0.0
    predictor.saved.model.anchors_RW[:] = 0.0

    links = predictor.predict(head="e3", relation="r0", k=2)

    assert [link.tail_id for link in links] == ["e0", "e1"]
    assert links[0].probability == pytest.approx(1 / 6)


def test_a_link_that_a_rule_leads_to_shows_the_rule_its_support_and_the_path(tmp_path):
    graph = graph_of(
        [(0, 0, 3), (1, 0, 4), (2, 0, 4), (3, 1, 5), (4, 1, 6), (0, 2, 5), (1, 2, 6)],
        n_entities=7,
        entity_names=("Ada", "Bob", "Cyd", "York", "Oslo", "England", "Norway"),
        relation_names=("born in", "part of", "citizen of"),
    )
    trained = train_experts(graph, config=CompletionConfig(rank=2, max_epochs=1, threads=1), seed=0)
    save_model(tmp_path, trained.model, graph, config=trained.config, metadata={}, parts=trained.parts)
    predictor = LinkPredictor(load_model(tmp_path), graph)

    links = {link.tail: link for link in predictor.predict(head="Cyd", relation="citizen of", k=6)}
    heads = {link.head: link for link in predictor.predict(tail="Norway", relation="citizen of", k=6)}

    (evidence,) = links["Norway"].rules
    assert evidence.text == "born in(x, z), part of(z, y) → citizen of(x, y)"
    assert (evidence.support, evidence.n_body, evidence.confidence) == (2, 3, pytest.approx(2 / 8))
    steps = [(step.head, step.relation, step.tail) for step in evidence.path]
    assert steps == [("Cyd", "born in", "Oslo"), ("Oslo", "part of", "Norway")]
    assert links["England"].rules == ()
    assert heads["Cyd"].rules[0].text == "part of(z, x), born in(y, z) → citizen of(y, x)"
    assert not links["Norway"].calibrated  # no validation, no calibration
    assert {share.expert: share.weight for share in links["Norway"].contributions}["structure"] == 1.0


def test_scores_that_are_not_finite_are_refused(predictor):
    predictor.saved.model.relations_RW[0] = float("nan")

    with pytest.raises(CompletionError, match="not finite numbers"):
        predictor.predict(head="Bob", relation="born in")
