"""The reference resolver: local entities, senses, links and people's decisions, by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import permutations

from kg.ids import entity_id, local_id, sense_id
from kg.ports import EntityMatcher, EntityProfile, LinkProposal, LocalEntity
from kg.resolution.reference import SAMPLE, LinkDecision, locals_of, make_profile, name_senses, resolve_all
from kg.testing.builders import make_delta
from kg.types import Extraction, GraphDelta, Mention, Span


class WordMatcher:
    """A matcher with rules simple enough to work by hand.

    The first word of a document tells the senses of all its names apart; names of one first letter are one thing.
    """

    version = "word-1"

    def features(self, delta: GraphDelta) -> Mapping[str, tuple[str, ...]]:
        return {m.entity_id: (delta.document.text.split()[0],) for m in delta.extraction.mentions}

    def senses(self, locals_of_name: Sequence[LocalEntity]) -> list[int]:
        words = sorted({local.features[0] for local in locals_of_name})
        return [words.index(local.features[0]) for local in locals_of_name]

    def blocks(self, profile: EntityProfile) -> frozenset[str]:
        return frozenset(name[0] for name, _ in profile.uses)

    def compare(self, left: EntityProfile, right: EntityProfile) -> LinkProposal | None:
        score = 1.0 if sorted(left.features) == sorted(right.features) else 0.6
        return LinkProposal(
            left_id=left.sense_id, right_id=right.sense_id, score=score, reasons=("one letter",),
            is_automatic=score == 1.0,
        )  # fmt: skip


def entities_by_name(deltas, decisions=()) -> dict[tuple[str, str], str]:
    entities = resolve_all(deltas, WordMatcher(), decisions)
    return {
        (delta.document.name, mention.text): entities[mention.mention_id]
        for delta in deltas
        for mention in delta.extraction.mentions
    }


ALPHA = make_delta("north Anna met Boris.", name="a.txt")
BETA = make_delta("north Anna met Clara.", name="b.txt")
GAMMA = make_delta("south Anna met Alma.", name="c.txt")


def test_toy_matcher_is_a_matcher():
    assert isinstance(WordMatcher(), EntityMatcher)


def test_a_name_with_one_sense_keeps_the_id_of_its_name():
    found = entities_by_name([ALPHA, BETA])

    assert found["a.txt", "Anna"] == found["b.txt", "Anna"] == entity_id("anna")
    assert found["b.txt", "Clara"] == entity_id("clara")


def test_senses_of_one_name_are_called_by_their_smallest_local_entity():
    boris = make_delta("south Anna met Boris.", name="c.txt")
    found = entities_by_name([ALPHA, BETA, boris])

    anna = entity_id("anna")
    locals_ = [local_id(delta.document.document_id, anna) for delta in (ALPHA, BETA, boris)]
    assert found["a.txt", "Anna"] == found["b.txt", "Anna"] == sense_id(anna, min(locals_[:2]))
    assert found["c.txt", "Anna"] == sense_id(anna, locals_[2])


def test_automatic_link_joins_under_the_smaller_id_of_equals():
    found = entities_by_name([GAMMA])  # Anna and Alma share a letter and their only feature

    assert found["c.txt", "Anna"] == found["c.txt", "Alma"] == min(entity_id("anna"), entity_id("alma"))


def test_different_keeps_an_automatic_link_apart():
    apart = LinkDecision(left_id=entity_id("anna"), right_id=entity_id("alma"), is_same=False)
    found = entities_by_name([GAMMA], [apart])

    assert found["c.txt", "Anna"] == entity_id("anna")
    assert found["c.txt", "Alma"] == entity_id("alma")


def test_same_joins_what_no_link_would():
    joined = LinkDecision(left_id=entity_id("boris"), right_id=entity_id("clara"), is_same=True)
    found = entities_by_name([ALPHA, BETA], [joined])

    assert found["a.txt", "Boris"] == found["b.txt", "Clara"] == min(entity_id("boris"), entity_id("clara"))


def test_different_also_keeps_whole_components_apart():
    delta = make_delta("north Anna met Alma and Ada.", name="d.txt")
    names = sorted(entity_id(word) for word in ("anna", "alma", "ada"))
    apart = LinkDecision(left_id=names[0], right_id=names[2], is_same=False)
    entities = set(resolve_all([delta], WordMatcher(), [apart]).values())

    # All three are linked with score 1; by ids (0, 1) joins first, and then 2 may not join what holds 0.
    assert entities == {names[0], names[2]}


def test_order_of_documents_does_not_matter():
    results = [resolve_all(order, WordMatcher()) for order in permutations([ALPHA, BETA, GAMMA])]

    assert all(result == results[0] for result in results)


def test_mention_that_only_refers_back_belongs_to_its_entity_and_gives_it_no_name():
    name, pronoun = (
        Mention(
            mention_id=f"m_{start}", chunk_id=ALPHA.chunks[0].chunk_id, text=text,
            span=Span(start=start, end=start + 4), label="PERSON", source="ner", entity_id="e_1", refers_to=refers_to,
        )
        for start, text, refers_to in ((0, "Anna", ""), (10, "she ", "m_0"))
    )  # fmt: skip
    delta = dataclasses.replace(ALPHA, extraction=Extraction(mentions=(name, pronoun)))

    [local] = locals_of(delta, WordMatcher())

    assert local.uses == {("Anna", "PERSON"): 1}
    assert resolve_all([delta], WordMatcher()) == {"m_0": "e_1", "m_10": "e_1"}


def test_profile_sums_the_names_features_and_documents_of_its_local_entities():
    local = LocalEntity(local_id="l_1", document_id="d_1", name_id="e_1", uses={("Anna", "PERSON"): 2}, features=("x",))
    other = LocalEntity(local_id="l_2", document_id="d_2", name_id="e_1", uses={("Anna", "PERSON"): 1}, features=("x",))
    profile = make_profile("e_1", [other, local])

    assert profile.uses == {("Anna", "PERSON"): 3}
    assert profile.features == {"x": 2}
    assert profile.n_documents == 2


def test_what_is_outside_the_sample_joins_the_sense_it_falls_into_and_else_the_largest():
    words = ["a"] * 3 + ["b"] * (SAMPLE - 3) + ["a"] * 2 + ["c"] * 5
    locals_ = [
        LocalEntity(local_id=f"l_{i:03}", document_id=f"d_{i}", name_id="e_1", uses={}, features=(word,))
        for i, word in enumerate(words)
    ]
    senses = name_senses(locals_, WordMatcher())

    assert sorted(len(group) for group in senses.values()) == [5, SAMPLE - 3 + 5]


def test_senses_of_one_name_are_not_joined_through_a_third():
    north, south = make_delta("north Anna slept.", name="a.txt"), make_delta("south Anna slept.", name="b.txt")
    both = make_delta("north Alma slept.", name="c.txt")  # has the one feature of the north's Anna
    found = entities_by_name([north, south, both])

    assert found["a.txt", "Anna"] == found["c.txt", "Alma"] != found["b.txt", "Anna"]


def test_well_known_name_gives_the_entity_its_id():
    decision = LinkDecision(left_id=entity_id("anna"), right_id=entity_id("alma"), is_same=True)
    common = [make_delta("north Anna slept.", name=f"{i}.txt") for i in range(3)]
    found = entities_by_name([*common, make_delta("north Alma slept.", name="c.txt")], [decision])

    assert found["c.txt", "Alma"] == found["0.txt", "Anna"] == entity_id("anna")
