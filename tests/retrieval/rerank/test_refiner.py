"""The steps after a search, over a real record: weighed, arranged, made diverse, cut, judged, and explained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from generation.testing import make_evidence
from kg.errors import InputError, RetrievalError
from retrieval.options import Refinement
from retrieval.rerank.coverage import CoverageArranger
from retrieval.rerank.refiner import Refiner
from retrieval.rerank.scale import first_stage, standard
from retrieval.retriever import Retriever
from retrieval.types import Contribution, Query, Trace
from retrieval.verdicts import GateDecision, GateVerdict, PassageVerdict

TEXTS = {
    "film.txt": "Lone Harbour\n\nLone Harbour is a film by the director Anna Reyes.",
    "review.txt": "Review\n\nLone Harbour, the film, was liked by the critics of the harbour.",
    "birth.txt": "Reyes\n\nAnna Reyes was born in Quito.",
    "fish.txt": "Fish\n\nHerring swim in cold water all winter.",
}
QUESTION = Query(text="Where was the director of Lone Harbour born?")


class ByLength:
    """Likes long passages."""

    name = "length"
    is_calibrated = False

    def __init__(self, trust=1.0):
        self.trust = trust

    def scores(self, query, evidence):
        return [float(len(item.chunk.text)) for item in evidence]


class Broken(ByLength):
    def scores(self, query, evidence):
        return [float("nan")] * len(evidence)


class Strict:
    """A gate that calls every passage irrelevant, and a question without a mark small talk."""

    name = "strict"

    def before(self, query):
        if query.text.endswith("?"):
            return None
        return GateVerdict(gate="strict", decision=GateDecision.NOT_NEEDED, reason="no question", reply="Yes?")

    def after(self, query, evidence):
        passages = tuple(
            PassageVerdict(
                chunk_id=item.chunk.chunk_id,
                relevance=0.0,
                is_relevant=False,
                is_consistent=rank != 1,
                conflicts=("born in: Quito (1) here, elsewhere Lima (2)",) if rank == 1 else (),
            )
            for rank, item in enumerate(evidence, start=1)
        )
        return GateVerdict(gate="strict", decision=GateDecision.NOTHING_RELEVANT, reason="strict", passages=passages)


class Parts:
    """What these tests name."""

    def __init__(self, vectors=None):
        self.known = {"coverage": CoverageArranger(), "length": ByLength(), "broken": Broken(), "half": ByLength(0.5)}
        self.stored = vectors or {}

    def reranker(self, name):
        if name not in self.known:
            raise InputError(f"There is no reranker {name!r}; known are {', '.join(sorted(self.known))}.")
        return self.known[name]

    def gate(self, name):
        if name != "strict":
            raise InputError(f"There is no gate {name!r}; known are off, strict.")
        return Strict()

    def vectors(self, chunk_ids):
        return {chunk_id: self.stored[chunk_id] for chunk_id in chunk_ids if chunk_id in self.stored}


class StoredParts(Parts):
    def __init__(self, store, engine):
        super().__init__()
        self.store, self.engine = store, engine

    def vectors(self, chunk_ids):
        return self.store.vectors(encoder=self.engine.vector_space, chunk_ids=chunk_ids)


@pytest.fixture
def retriever(store, engine):
    return Retriever(engine, refiner=Refiner(StoredParts(store, engine)))


def items(*texts):
    return [
        make_evidence(text, rank=rank, name=f"{rank}.txt") for rank, text in enumerate(texts, start=1)
    ]  # scores 1, 1/2, 1/3, …


def refined(pool, *, k=10, parts=None, **switches):
    refiner = Refiner(parts or Parts())
    return refiner.refine(QUESTION, pool, Trace(), k=k, refinement=Refinement(**switches))


def said(evidence):
    return [item.chunk.text for item in evidence]


def test_a_refinement_that_asks_for_nothing_is_the_plain_search(engine, retriever):
    plain, _ = engine.search(QUESTION, k=3)

    assert retriever.search(QUESTION, k=3)[0] == plain
    assert retriever.search(QUESTION, k=3, refinement=Refinement())[0] == plain


def test_coverage_brings_the_second_half_of_a_question_up_and_says_so(retriever):
    plain, _ = retriever.search(QUESTION, k=2, mode="hybrid")
    evidence, trace = retriever.search(QUESTION, k=2, mode="hybrid", refinement=Refinement(rerank=("coverage",)))

    assert {item.document.name for item in plain} == {"film.txt", "review.txt"}
    assert {item.document.name for item in evidence} == {"film.txt", "birth.txt"}
    assert [item.rank for item in evidence] == [1, 2]
    assert [item.score for item in evidence] == sorted((item.score for item in evidence), reverse=True)
    assert [one.rank for item in evidence for one in item.contributions if one.retriever == "coverage"] == [1, 2]
    assert "coverage" in dict(trace.stages)


def test_a_step_that_the_search_took_already_is_named_once(retriever):
    evidence, _ = retriever.search(QUESTION, k=3, mode="mix", refinement=Refinement(rerank=("coverage",)))

    for item in evidence:
        assert [one.retriever for one in item.contributions].count("coverage") == 1


def test_a_reranker_that_is_trusted_alone_decides_the_order_and_is_named_with_its_own_score():
    evidence, _ = refined(items("aa", "a", "aaaa"), rerank=("length",))

    assert said(evidence) == ["aaaa", "aa", "a"]
    assert [item.contributions[-1] for item in evidence] == [
        Contribution(retriever="length", rank=1, score=4.0),
        Contribution(retriever="length", rank=2, score=2.0),
        Contribution(retriever="length", rank=3, score=1.0),
    ]


def test_a_reranker_and_the_search_are_weighed_in_units_of_their_spread():
    evidence, _ = refined(items("aa", "a", "aaaa"), rerank=("half",))

    # Search 1, 1/2, 1/3: mean .6111, spread .2833: 1.3728, -.3922, -.9806. Lengths 2, 1, 4: mean 2.3333, spread 1.2472:
    # -.2673, -1.0690, 1.3363. Half of the sums: .5528, -.7306, .1779.
    assert said(evidence) == ["aa", "aaaa", "a"]
    assert [item.score for item in evidence] == pytest.approx([0.5528, 0.1779, -0.7306], abs=1e-3)


def test_what_stands_behind_the_candidates_keeps_its_order_and_its_distance():
    evidence, _ = refined(items("a", "aaaa", "aaaaaaaa", "aaaaaaaaaaa"), rerank=("length",), n_candidates=2)

    assert said(evidence) == ["aaaa", "a", "aaaaaaaa", "aaaaaaaaaaa"]
    scores = [item.score for item in evidence]
    assert scores == sorted(scores, reverse=True)
    assert scores[1] - scores[2] == pytest.approx(1 / 2 - 1 / 3)


def test_a_gate_alone_changes_no_score_however_many_hits_there_are():
    pool = items(*(f"text {n}" for n in range(6)))

    evidence, _ = refined(pool, gate="strict", n_candidates=2)

    assert evidence == pool


def test_a_hit_behind_the_candidates_that_scored_better_than_one_of_them_stays_behind():
    pool = items("a", "aaaa", "aa")
    pool[1] = replace(pool[1], score=0.1)  # a search may put forward what scored less

    evidence, _ = refined(pool, rerank=("length",), n_candidates=2)

    assert said(evidence) == ["aaaa", "a", "aa"]
    assert evidence[2].score == evidence[1].score


def test_rerankers_run_one_after_another():
    evidence, trace = refined(items("aa", "a", "aaaa"), rerank=("length", "coverage"))

    assert [one.retriever for one in evidence[0].contributions] == ["length", "coverage"]
    assert [name for name, _ in trace.stages] == ["length", "coverage"]
    assert evidence[0].chunk.text == "aaaa"


def test_diversity_puts_a_repetition_back_by_the_stored_vectors():
    pool = items("one", "one again", "other")
    rows = ([1.0, 0.0], [1.0, 0.0], [0.0, 1.0])
    vectors = {item.chunk.chunk_id: np.array(row, dtype=np.float32) for item, row in zip(pool, rows, strict=True)}

    evidence, trace = refined(pool, diversity=0.6, parts=Parts(vectors))

    assert said(evidence) == ["one", "other", "one again"]
    assert evidence[1].contributions[-1].retriever == "mmr"
    assert [item.score for item in evidence] == [1.0, 1 / 2, 1 / 3]  # dealt out in the new order
    assert trace.notes == ()


def test_a_candidate_without_a_vector_is_like_nothing_and_counted():
    pool = items("one", "one again")

    evidence, trace = refined(pool, diversity=0.5)

    assert said(evidence) == ["one", "one again"]
    assert trace.notes == ("diversity: 2 of 2 candidates have no vector",)


def test_diversity_over_a_real_record_keeps_every_hit_once(engine, retriever):
    plain, _ = engine.search(QUESTION, k=10)

    evidence, _ = retriever.search(QUESTION, k=10, refinement=Refinement(diversity=0.5))

    assert sorted(said(evidence)) == sorted(said(plain))


def test_a_gate_that_finds_nothing_relevant_keeps_the_evidence_and_says_so(retriever):
    evidence, trace = retriever.search(QUESTION, k=2, refinement=Refinement(gate="strict"))

    assert len(evidence) == 2
    assert trace.gate.decision is GateDecision.NOTHING_RELEVANT
    assert [one.chunk_id for one in trace.gate.passages] == [item.chunk.chunk_id for item in evidence]
    assert "gate strict: nothing_relevant (strict)" in trace.notes
    assert "gate: hit 1 contradicts more sources: born in: Quito (1) here, elsewhere Lima (2)" in trace.notes


def test_a_gate_that_needs_no_documents_searches_nothing(retriever):
    evidence, trace = retriever.search(Query(text="Hello"), k=2, refinement=Refinement(gate="strict"))

    assert evidence == []
    assert trace.stages == ()
    assert trace.gate.decision is GateDecision.NOT_NEEDED


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"rerank": ("planet",)}, "no reranker 'planet'; known are broken, coverage, half, length"),
        ({"gate": "planet"}, "no gate 'planet'"),
        ({"rerank": ("length",), "n_candidates": 0}, "n_candidates must be at least 1"),
        ({"diversity": 1.5}, r"diversity must lie in \[0, 1\]"),
        ({"diversity": -0.1}, r"diversity must lie in \[0, 1\]"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_searched(retriever, encoder, switches, message):
    with pytest.raises(InputError, match=message):
        retriever.search(QUESTION, k=2, refinement=Refinement(**switches))
    assert encoder.encoded == []


def test_a_retriever_without_these_steps_says_so(engine):
    with pytest.raises(InputError, match="no steps after the search"):
        Retriever(engine).search(QUESTION, k=2, refinement=Refinement(rerank=("coverage",)))


def test_a_score_that_is_not_finite_is_refused():
    with pytest.raises(RetrievalError, match=r"length: the score of candidate 0 is nan"):
        refined(items("a", "b"), rerank=("broken",))


def test_nothing_found_is_refined_to_nothing():
    assert refined([], rerank=("length", "coverage"), diversity=0.5)[0] == []


def test_scores_that_are_all_alike_say_nothing():
    assert standard([2.0, 2.0, 2.0], who="x").tolist() == [0.0, 0.0, 0.0]
    assert standard([], who="x").tolist() == []
    assert standard([1.0, 3.0], who="x").tolist() == [-1.0, 1.0]


def test_shares_of_a_walk_are_compared_by_their_logarithms():
    walked = [
        replace(item, score=score, contributions=(Contribution(retriever="graph", rank=1, score=score),))
        for item, score in zip(items("a", "b", "c"), (0.1, 0.01, 0.001), strict=True)
    ]

    assert first_stage(walked) == pytest.approx(standard([3.0, 2.0, 1.0], who="x"))
    assert np.isfinite(first_stage([replace(walked[0], score=0.0), walked[1]])).all()


def test_sums_of_standard_scores_are_compared_as_they_are_though_a_walk_found_them():
    added = [
        replace(item, score=score, contributions=(Contribution(retriever="graph", rank=1, score=0.1),))
        for item, score in zip(items("a", "b", "c"), (2.0, 0.5, -1.0), strict=True)
    ]

    assert first_stage(added) == pytest.approx(standard([2.0, 0.5, -1.0], who="x"))


def test_the_order_of_a_search_is_its_last_word():
    assert first_stage(
        [replace(item, score=score) for item, score in zip(items("a", "b"), (1.0, 3.0), strict=True)]
    ) == (pytest.approx([1.0, -1.0]))
