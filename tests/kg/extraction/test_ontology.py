"""An ontology renames, allows and refuses; what it refuses is said."""

from __future__ import annotations

import pytest

from kg.errors import ConfigError
from kg.extraction.ontology import Ontology
from kg.ids import mention_id, triple_id
from kg.types import Extraction, Mention, Span, Triple

GIVEN = {
    "entities": {"PERSON": "a human being", "PLACE": {"labels": ["GPE", "LOC"]}, "ORG": None},
    "relations": {
        "born in": {"from": ["PERSON"], "to": ["PLACE"], "functional": True, "aliases": ["birthplace"]},
        "employ": {"from": ["ORG"], "to": ["PERSON"], "inverse": "work for"},
    },
}


def mention(text: str, label: str, start: int) -> Mention:
    span = Span(start=start, end=start + len(text))
    identity = mention_id("c", span.start, span.end, label)
    return Mention(mention_id=identity, chunk_id="c", text=text, span=span, label=label, source="ner")


def triple(head: Mention, name: str, tail: Mention) -> Triple:
    identity = triple_id("c", head.mention_id, name, tail.mention_id, 0, 40)
    return Triple(
        triple_id=identity, chunk_id="c", head_mention_id=head.mention_id, name=name, tail_mention_id=tail.mention_id,
        span=Span(start=0, end=40), extractor="rules",
    )  # fmt: skip


ADA, BONN, FIRM = mention("Ada", "PERSON", 0), mention("Bonn", "GPE", 10), mention("Firm", "ORG", 20)


def extraction(*triples: Triple) -> Extraction:
    return Extraction(mentions=(ADA, BONN, FIRM), triples=triples)


def test_labels_become_types_and_other_names_of_a_relation_its_own():
    found = Ontology.from_mapping(GIVEN).apply(extraction(triple(ADA, "birthplace", BONN)))

    assert [m.label for m in found.mentions] == ["PERSON", "PLACE", "ORG"]
    assert [m.mention_id for m in found.mentions] == [ADA.mention_id, BONN.mention_id, FIRM.mention_id]
    assert [(t.name, t.head_mention_id) for t in found.triples] == [("born in", ADA.mention_id)]
    assert found.refused == ()


def test_an_inverse_is_turned_round_and_said_once():
    both = extraction(triple(ADA, "work for", FIRM), triple(FIRM, "employ", ADA))
    found = Ontology.from_mapping(GIVEN).apply(both)

    assert [(t.head_mention_id, t.name, t.tail_mention_id) for t in found.triples] == [
        (FIRM.mention_id, "employ", ADA.mention_id)
    ]


def test_a_statement_outside_domain_or_range_is_refused_with_the_reason():
    found = Ontology.from_mapping(GIVEN).apply(extraction(triple(FIRM, "born in", BONN), triple(ADA, "born in", FIRM)))

    assert found.triples == ()
    assert [(r.head, r.name, r.tail, r.reason) for r in found.refused] == [
        ("Firm", "born in", "Bonn", "'born in' starts at PERSON, and 'Firm' is ORG"),
        ("Ada", "born in", "Firm", "'born in' ends at PLACE, and 'Firm' is ORG"),
    ]


def test_an_open_ontology_keeps_what_it_does_not_know_and_a_closed_one_refuses_it():
    said = extraction(triple(ADA, "visit", BONN))

    assert len(Ontology.from_mapping(GIVEN).apply(said).triples) == 1
    closed = Ontology.from_mapping({**GIVEN, "closed": True}).apply(said)
    assert closed.triples == ()
    assert closed.refused[0].reason == "the ontology has no relation 'visit'"
    assert len(closed.mentions) == 3  # passages are still found by them


def test_functional_relations_are_named_for_the_search_for_contradictions():
    assert Ontology.from_mapping(GIVEN).functional == {"born in"}


def test_an_empty_ontology_changes_nothing():
    said = extraction(triple(ADA, "visit", BONN))
    assert Ontology.from_mapping({}).apply(said) == said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"entites": {}}, "Did you mean 'entities'"),
        ({"relations": {"r": {"domain": []}}}, "relations.r: there is no 'domain'"),
        ({"entities": {"A": None}, "relations": {"r": {"from": ["B"]}}}, "no type 'B'; known are A"),
        ({"relations": {"r": {"functional": "yes"}}}, "functional: must be true or false"),
        ({"relations": {"r": {"aliases": [3]}}}, "aliases: must be a name or a list of names"),
        ({"relations": {"r": {"aliases": "x"}, "s": {"inverse": "x"}}}, "'x' stands for both 'r' and 's'"),
        ({"closed": "no"}, "closed must be true or false"),
        ({"entities": 3}, "entities must be a mapping"),
        ({"relations": {"r": 3}}, "must be a mapping"),
    ],
)
def test_a_malformed_ontology_says_where_and_what(given, message):
    with pytest.raises(ConfigError, match="my.yaml") as caught:
        Ontology.from_mapping(given, where="my.yaml")
    assert message in str(caught.value)
