"""A question is put to a part of the workspace, and the rest fills up."""

from __future__ import annotations

import pytest

from kg.errors import InputError
from kg.types import Modality
from retrieval.options import Refinement
from retrieval.retriever import Retriever
from retrieval.routing import CORPORA, ModelRouter, Route, Router, RuleRouter, filled_up, route_of, within
from retrieval.types import Query

TEXTS = {
    "herring.txt": "Herring\n\nHerring swim in cold water all winter.\n\n[picture: Chart of herring caught by year]",
    "cod.txt": "Cod\n\nCod is caught with lines.\n\n[picture: Map of cod and herring]",
    "curie.txt": "Marie Curie\n\nMarie Curie was born in Warsaw.",
}
PICTURES = frozenset({Modality.IMAGE, Modality.CHART, Modality.PAGE})


def kinds(evidence):
    return [item.chunk.modality for item in evidence]


@pytest.mark.parametrize(
    ("question", "corpora"),
    [
        ("What does the chart of herring show?", ("picture",)),
        ("What colour are the icons?", ("picture",)),
        ("Which row of the table is the largest?", ("table",)),
        ("Does the figure agree with Table 2?", ("picture", "table")),
        ("How is Marie Curie related to Warsaw?", ("triple",)),
        ("What is the connection between Oslo and Bergen?", ("triple",)),
        ("Where was Marie Curie born?", ()),
        ("Who charted the coast?", ()),
        ("", ()),
    ],
)
def test_rules_route_by_the_words_that_name_a_kind(question, corpora):
    route = RuleRouter().route(question)

    assert route.corpora == corpora
    assert bool(route.reason) == bool(corpora)


def test_a_route_to_several_corpora_has_the_kinds_of_all_and_a_mode_only_if_they_agree():
    assert Route.to("picture", reason="").modalities == PICTURES
    assert Route.to("picture", "table", reason="").modalities == PICTURES | {Modality.TABLE}
    assert Route.to("triple", reason="") == Route(corpora=("triple",), mode="local")
    assert Route.to("triple", "table", reason="").modalities is None
    assert Route.to("triple", "table", reason="").mode == ""
    assert Route.to(reason="") == Route()


def test_the_kinds_of_a_route_come_first_and_the_rest_fills_up(engine):
    question = Query(text="chart of herring")
    plain, _ = engine.search(question, k=9)
    routed, trace = engine.search(question, k=9, route="rules")

    assert {item.chunk.chunk_id for item in routed} == {item.chunk.chunk_id for item in plain}
    n_pictures = sum(kind in PICTURES for kind in kinds(routed))
    assert n_pictures == 2
    assert all(kind in PICTURES for kind in kinds(routed)[:n_pictures])
    assert [item.rank for item in routed] == list(range(1, len(routed) + 1))
    assert [item.score for item in routed] == sorted((item.score for item in routed), reverse=True)
    assert any(note.startswith("routed to picture: it speaks of 'chart'") for note in trace.notes)


def test_enough_hits_of_a_route_need_no_filling_up(engine):
    routed, _ = engine.search(Query(text="chart of herring"), k=2, route="rules")

    assert all(kind in PICTURES for kind in kinds(routed))


def test_a_filter_of_the_request_holds_on_every_route(engine):
    routed, _ = engine.search(Query(text="chart of herring"), k=9, modalities={Modality.TEXT}, route="rules")

    assert set(kinds(routed)) == {Modality.TEXT}


def test_an_unknown_route_is_refused_with_the_known_ones(engine):
    with pytest.raises(InputError, match="no route 'scenic'; known are off, rules"):
        engine.search(Query(text="x"), k=1, route="scenic")


def test_a_request_carries_its_route_to_the_search(engine):
    _, trace = Retriever(engine).search(
        Query(text="Which picture shows cod?"), k=1, refinement=Refinement(route="rules")
    )

    assert any(note.startswith("routed to picture") for note in trace.notes)


def test_off_is_the_whole_index(engine):
    plain, trace = engine.search(Query(text="chart of herring"), k=9)

    assert plain == engine.search(Query(text="chart of herring"), k=9, route="off")[0]
    assert not any("routed" in note for note in trace.notes)


def test_a_model_routes_by_the_names_it_says(engine):
    prompts = []

    def complete(prompt: str) -> str:
        prompts.append(prompt)
        return " Tables, and perhaps the picture collection."

    router = ModelRouter(complete)
    engine.routers["model"] = router
    _, trace = engine.search(Query(text="chart of herring"), k=1, route="model")

    assert isinstance(router, Router)
    assert any(note.startswith("routed to picture, table: the model said so") for note in trace.notes)
    assert all(f"- {name}: " in prompts[0] for name in CORPORA)
    assert prompts[0].endswith("Question: chart of herring\nNames:")


@pytest.mark.parametrize("reply", ["all", "", "I cannot say."])
def test_a_model_that_names_no_corpus_routes_nowhere(reply):
    assert ModelRouter(lambda _: reply).route("x") == Route()


def test_a_picture_alone_is_not_routed():
    assert route_of("rules", {"rules": RuleRouter()}, "  ") == Route()


def test_two_filters_hold_together():
    one, other = frozenset("ab"), frozenset("bc")

    assert within(None, None) is None
    assert within(one, None) == within(None, one) == one
    assert within(one, other) == frozenset("b")


def test_filling_up_keeps_each_hit_once(engine):
    evidence, _ = engine.search(Query(text="herring"), k=4, mode="bm25")
    filled = filled_up(evidence[1:2], evidence, k=3)

    assert [item.chunk.chunk_id for item in filled] == [evidence[row].chunk.chunk_id for row in (1, 0, 2)]
    assert filled[1].score == evidence[1].score  # capped by the one before
    assert filled_up([], evidence, k=2) == evidence[:2]
