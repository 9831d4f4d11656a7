"""The gates over real records: relevance by rules, the word of a model, and contradictions of sources."""

from __future__ import annotations

from dataclasses import replace

import pytest

from generation.testing import make_evidence
from kg.ports.curation import Contradiction, ContradictionSide
from kg.ports.record_rows import TripleRow
from retrieval.analysis import Analyzer
from retrieval.gate.consistency import RecordConsistency
from retrieval.gate.model import ModelGate
from retrieval.gate.relevance import RelevanceModel, features_of
from retrieval.gate.rules import RulesGate
from retrieval.rerank.refiner import Gate
from retrieval.rerank.types import YesNoModel
from retrieval.rerank.yes_no import YesNoReranker
from retrieval.types import Contribution, Query
from retrieval.verdicts import GateDecision

BRIDGE = "The Kestrel Bridge crosses the River Aune at Holmford. It was designed by the engineer Ida Lindqvist in 1931."
TERNS = "Arctic terns breed on the northern islands, where volunteers count their nests every summer."


class Contradictions:
    """The part of a record that the gate asks, with what it says counted."""

    def __init__(self, found=()):
        self.found = list(found)
        self.n_read = 0
        self.number = 1

    def version(self):
        return self.number

    def contradictions(self, entity_id=None):
        self.n_read += 1
        return self.found


class Sure:
    """A model that says yes as surely as the text holds a word."""

    name = "sure"
    sees_pictures = True

    def __init__(self, word):
        self.word = word
        self.asked = []

    def yes_probabilities(self, questions):
        self.asked.extend(questions)
        return [0.9 if self.word in question.text.split("Question:")[0] else 0.05 for question in questions]


def found(text, cosine, **options):
    item = make_evidence(text, **options)
    return replace(item, contributions=(Contribution(retriever="dense", rank=1, score=cosine),))


def rules(record=None):
    return RulesGate(consistency=RecordConsistency(record or Contradictions()))


def test_evidence_that_speaks_of_what_is_asked_passes():
    verdict = rules().after(Query(text="Who designed the Kestrel Bridge?"), [found(BRIDGE, 0.7)])

    assert verdict.decision is GateDecision.PASSED
    assert verdict.relevance > 0.8
    assert verdict.passages[0].is_relevant


def test_evidence_about_something_else_is_nothing_relevant():
    verdict = rules().after(Query(text="Who designed the Kestrel Bridge?"), [found(TERNS, 0.1)])

    assert verdict.decision is GateDecision.NOTHING_RELEVANT
    assert verdict.relevance < 0.2
    assert not verdict.passages[0].is_relevant
    assert "dense 0.10" in verdict.reason


def test_a_question_in_other_words_passes_by_its_cosine():
    asked = Query(text="Whose plan gave the town its way over the water?")

    assert rules().after(asked, [found(BRIDGE, 0.2)]).decision is GateDecision.NOTHING_RELEVANT
    assert rules().after(asked, [found(BRIDGE, 0.45)]).decision is GateDecision.PASSED


def test_nothing_found_is_nothing_relevant():
    verdict = rules().after(Query(text="Who designed the Kestrel Bridge?"), [])

    assert verdict.decision is GateDecision.NOTHING_RELEVANT
    assert "nothing was found" in verdict.reason
    assert verdict.passages == ()


def test_a_picture_alone_passes_unjudged():
    assert rules().after(Query(image=b"x"), [found(TERNS, 0.1)]).decision is GateDecision.PASSED
    assert rules().before(Query(text="hello", image=b"x")) is None


def test_a_greeting_needs_no_search_and_a_question_does():
    verdict = rules().before(Query(text="Hello!"))

    assert verdict.decision is GateDecision.NOT_NEEDED
    assert verdict.reply.startswith("Hello.")
    assert rules().before(Query(text="Who designed the Kestrel Bridge?")) is None


def test_features_are_worked_out_by_hand():
    evidence = [found("amber harbour", 0.5, name="a", rank=1), found("quiet fields of 1931", 0.3, name="b", rank=2)]

    features = features_of("When did Amber leave the harbour: 1931 or 1950?", evidence, analyzer=Analyzer())

    assert features["dense"] == 0.5
    assert features["names"] == 1.0  # Amber stands in the first
    assert features["numbers"] == 0.5  # of 1931 and 1950 one stands anywhere
    assert 0.0 < features["best"] < features["together"] < 1.0  # two of five, and three of five, by weight


def test_without_vectors_and_without_evidence_relevance_is_still_a_number():
    plain = RelevanceModel().judge("Who designed the Kestrel Bridge?", [make_evidence(BRIDGE)])

    assert 0.5 < plain.together < 1.0
    assert RelevanceModel().judge("anything", []).together == 0.0
    assert not RelevanceModel().judge("anything", []).is_any


def contradiction(own, other):
    """Sources that name two makers of the bridge: each side with the chunks that state it."""

    def side(value, chunks):
        rows = tuple(
            TripleRow(
                triple_id=f"{value}{chunk}", chunk_id=chunk, head_id="b", name="designed by", tail_id=value, score=1.0,
                origin="rule",
            )
            for chunk in chunks
        )  # fmt: skip
        return ContradictionSide(entity_id=value, value=value, statements=rows)

    return Contradiction(
        entity_id="b", relation="designed by", fixed="head", sides=(side("Ida", own), side("Otto", other))
    )


def test_a_passage_that_more_sources_contradict_is_flagged():
    item = found(BRIDGE, 0.7)
    record = Contradictions([contradiction([item.chunk.chunk_id], ["x", "y"])])

    (passage,) = rules(record).after(Query(text="Who designed the Kestrel Bridge?"), [item]).passages

    assert not passage.is_consistent
    assert passage.conflicts == ("designed by: Ida (1) here, elsewhere Otto (2)",)


def test_a_passage_of_the_majority_is_consistent_and_still_says_who_differs():
    item = found(BRIDGE, 0.7)
    record = Contradictions([contradiction([item.chunk.chunk_id, "x"], ["y"])])

    (passage,) = rules(record).after(Query(text="Who designed the Kestrel Bridge?"), [item]).passages

    assert passage.is_consistent
    assert passage.conflicts == ("designed by: Ida (2) here, elsewhere Otto (1)",)


def test_contradictions_are_read_once_for_each_version_of_the_record():
    record = Contradictions()
    consistency = RecordConsistency(record)

    for _ in range(3):
        consistency.conflicts([found(BRIDGE, 0.7)])
    record.number = 2
    consistency.conflicts([found(BRIDGE, 0.7)])

    assert record.n_read == 2


def model_gate(model):
    return ModelGate(model, relevance=YesNoReranker(model), consistency=RecordConsistency(Contradictions()))


def test_a_model_judges_each_passage_and_the_best_decides():
    gate = model_gate(Sure("Kestrel"))
    asked = Query(text="Who designed it?")

    passed = gate.after(asked, [found(TERNS, 0.1, name="t"), found(BRIDGE, 0.7, name="b")])
    refused = gate.after(asked, [found(TERNS, 0.1)])

    assert passed.decision is GateDecision.PASSED
    assert [one.is_relevant for one in passed.passages] == [False, True]
    assert passed.relevance == 0.9
    assert refused.decision is GateDecision.NOTHING_RELEVANT
    assert gate.after(asked, []).decision is GateDecision.NOTHING_RELEVANT


def test_a_model_may_say_that_no_document_is_needed_and_rules_come_first():
    model = Sure("bridge")
    gate = model_gate(model)

    assert gate.before(Query(text="Thanks!")).reply == "You are welcome."
    assert model.asked == []
    assert gate.before(Query(text="Tell me of the bridge")) is None
    verdict = gate.before(Query(text="Tell me a joke"))
    assert verdict.decision is GateDecision.NOT_NEEDED
    assert verdict.reason == "sure says so with 0.95"
    assert gate.before(Query(text="Tell me a joke", image=b"x")) is None


def test_the_gates_satisfy_the_port():
    gates: list[Gate] = [rules(), model_gate(Sure("x"))]

    assert [gate.name for gate in gates] == ["rules", "model"]
    assert isinstance(Sure("x"), YesNoModel)


@pytest.mark.parametrize("n", [1, 9])
def test_every_passage_gets_a_verdict_between_zero_and_one(n):
    evidence = [found(f"{TERNS} {i}", 0.3, name=str(i), rank=i + 1) for i in range(n)]

    passages = rules().after(Query(text="Where do terns breed in summer?"), evidence).passages

    assert [one.chunk_id for one in passages] == [item.chunk.chunk_id for item in evidence]
    assert all(0.0 <= one.relevance <= 1.0 for one in passages)
