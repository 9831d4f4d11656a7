"""What every record store must do with entities, relations and changes; part of :mod:`kg.testing.contract`.

Layer: ``kg``.
"""

# ruff: noqa: D102 - a test's name is the sentence that a docstring would be

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from kg.errors import InputError
from kg.ids import relation_id
from kg.ports import ChangeSet
from kg.testing.builders import make_delta
from kg.testing.contract_base import CURIE, EULER, Opened, name_id, refused
from kg.types import Origin

__all__ = ["ChangesContract", "GraphContract"]


class ChangesContract(Opened):
    """What changed since a version."""

    def test_changes_name_what_a_reader_has_to_read_again(self, tmp_path: Path) -> None:
        curie, euler = make_delta(CURIE, name="a.txt"), make_delta(EULER, name="b.txt")
        with self.opened(tmp_path) as store:
            assert store.changed_since(0) == ChangeSet(version=0)
            store.apply(curie)
            first = store.changed_since(0)
            assert first.version == 1
            assert first.document_ids == (curie.document.document_id,)
            assert first.entity_ids == tuple(sorted(entity.entity_id for entity in store.entities()))

            store.apply(euler)
            assert store.changed_since(1) == ChangeSet(
                version=2,
                document_ids=(euler.document.document_id,),
                entity_ids=tuple(sorted(map(name_id, ("leonhard euler", "basel", "france", "marie curie")))),
            )
            assert store.changed_since(2) == ChangeSet(version=2)

    def test_changes_name_what_vanished(self, tmp_path: Path) -> None:
        delta = make_delta("Ada knows Bob.", name="a.txt")
        with self.opened(tmp_path) as store:
            store.apply(delta)
            store.remove(delta.document.document_id)
            assert store.changed_since(1) == ChangeSet(
                version=2,
                document_ids=(delta.document.document_id,),
                entity_ids=tuple(sorted((name_id("ada"), name_id("bob")))),
            )

    def test_replacing_names_the_old_document_and_the_new_one(self, tmp_path: Path) -> None:
        old, new = make_delta("Ada"), make_delta("Bob")
        with self.opened(tmp_path) as store:
            store.apply(old)
            store.apply(new)
            changed = store.changed_since(1)
            assert changed.document_ids == tuple(sorted((old.document.document_id, new.document.document_id)))
            assert changed.entity_ids == tuple(sorted((name_id("ada"), name_id("bob"))))

    def test_same_document_again_changes_nothing_to_read_again(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta(CURIE))
            store.apply(make_delta(CURIE))
            assert store.changed_since(1) == ChangeSet(version=1)

    def test_changes_since_a_version_that_never_was_are_refused(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            for version in (-1, 1):
                with refused(InputError):
                    store.changed_since(version)


class GraphContract(Opened):
    """Entities and relations as sums over the documents."""

    def test_pronoun_counts_as_a_mention_and_gives_no_name(self, tmp_path: Path) -> None:
        delta = make_delta("Ada and Ada and She and She and She")
        named, again, *pronouns = delta.extraction.mentions
        referring = [
            replace(one, entity_id=named.entity_id, label="PERSON", refers_to=named.mention_id) for one in pronouns
        ]
        extraction = replace(delta.extraction, mentions=(named, again, *referring))
        with self.opened(tmp_path) as store:
            store.apply(replace(delta, extraction=extraction))
            (entity,) = store.entities()
            assert (entity.name, entity.aliases, entity.type, entity.n_mentions) == ("Ada", (), "NAME", 5)
            assert store.find_entities("She") == []
            assert [one.refers_to for one in store.mentions(delta.chunks[0].chunk_id)][2:] == [named.mention_id] * 3

    def test_entity_is_named_as_most_mentions_name_it(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta("New York and NEW YORK", name="a.txt"))
            (tied,) = store.entities()
            assert (tied.name, tied.aliases, tied.n_mentions, tied.n_documents) == ("NEW YORK", ("New York",), 2, 1)

            store.apply(make_delta("New\nYork", name="b.txt"))
            (entity,) = store.entities([name_id("new york")])
            assert (entity.name, entity.aliases, entity.n_mentions, entity.n_documents) == (
                "New York",
                ("NEW YORK",),
                3,
                2,
            )

    def test_removed_document_takes_its_names_with_it(self, tmp_path: Path) -> None:
        shouted = make_delta("NEW YORK and NEW YORK and Gotham", name="b.txt")
        with self.opened(tmp_path) as store:
            store.apply(make_delta("New York", name="a.txt"))
            store.apply(shouted)
            assert store.entities([name_id("new york")])[0].name == "NEW YORK"

            store.remove(shouted.document.document_id)
            (entity,) = store.entities()
            assert (entity.name, entity.aliases) == ("New York", ())
            assert store.find_entities("Gotham") == []

    def test_entity_type_is_the_label_that_most_mentions_carry(self, tmp_path: Path) -> None:
        delta = make_delta("Paris and Paris and Paris")
        labels = ("PERSON", "PLACE", "PLACE")
        mentions = tuple(
            replace(mention, label=label) for mention, label in zip(delta.extraction.mentions, labels, strict=True)
        )
        with self.opened(tmp_path) as store:
            store.apply(replace(delta, extraction=replace(delta.extraction, mentions=mentions)))
            assert store.entities()[0].type == "PLACE"

    def test_entities_are_found_by_exact_then_folded_then_alias_then_similar_names(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta("Marie Curie", name="a.txt"))
            store.apply(make_delta("Marie Currie", name="b.txt"))
            store.apply(make_delta("Curie", name="c.txt"))
            store.apply(make_delta("Zanzibar", name="d.txt"))

            assert [entity.name for entity in store.find_entities("Marie Curie")] == [
                "Marie Curie",
                "Marie Currie",
                "Curie",
            ]
            assert [entity.name for entity in store.find_entities(" marie  CURIE ", limit=1)] == ["Marie Curie"]
            assert store.find_entities("  ") == []
            assert store.find_entities("Xylophone") == []
            with refused(InputError):
                store.find_entities("Curie", limit=0)

    def test_exact_name_outranks_folded_name_outranks_alias(self, tmp_path: Path) -> None:
        delta = make_delta("Mercury and MERCURY and Hermes and Mercury")
        first, second, third, fourth = delta.extraction.mentions
        # Three entities: one called Mercury, one called MERCURY, one called Hermes that is also called Mercury.
        god = [replace(third, entity_id="e_god"), replace(third, mention_id="m_x", entity_id="e_god")]
        mentions = (
            replace(first, entity_id="e_planet"),
            replace(second, entity_id="e_metal"),
            *god,
            replace(fourth, entity_id="e_god"),
        )
        with self.opened(tmp_path) as store:
            store.apply(replace(delta, extraction=replace(delta.extraction, mentions=mentions)))
            found = [entity.entity_id for entity in store.find_entities("Mercury")]
            assert found == ["e_planet", "e_metal", "e_god"]

    def test_relations_sum_the_statements_of_all_documents(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta("Ann knows Bob.\n\nAnn knows Bob.", name="a.txt"))
            store.apply(make_delta("Ann knows Bob.\n\nBob likes Cid.", name="b.txt"))
            found = {(one.head_id, one.name, one.tail_id): one for one in store.relations(entity_id=name_id("ann"))}

            knows = found[(name_id("ann"), "knows", name_id("bob"))]
            assert list(found) == [(name_id("ann"), "knows", name_id("bob"))]
            assert knows.relation_id == relation_id(name_id("ann"), "knows", name_id("bob"))
            assert (knows.n_statements, knows.score, knows.origin) == (3, 0.5, Origin.EXTRACTED)
            assert len(store.triple_rows(relation=(name_id("ann"), "knows", name_id("bob")))) == 3
            assert {one.name for one in store.relations(entity_id=name_id("cid"))} == {"likes"}

    def test_predicted_link_is_never_mixed_with_an_extracted_one(self, tmp_path: Path) -> None:
        delta = make_delta("Ann knows Bob.")
        (extracted,) = delta.extraction.triples
        predicted = replace(extracted, triple_id="t_predicted", origin=Origin.PREDICTED, score=0.9)
        with self.opened(tmp_path) as store:
            store.apply(replace(delta, extraction=replace(delta.extraction, triples=(extracted, predicted))))
            assert [(one.origin, one.score) for one in store.relations()] == [
                (Origin.EXTRACTED, 0.5),
                (Origin.PREDICTED, 0.9),
            ]

    def test_incidence_lists_every_mention_and_statement(self, tmp_path: Path) -> None:
        delta = make_delta(EULER)
        with self.opened(tmp_path) as store:
            store.apply(delta)
            expected = [(m.chunk_id, m.entity_id, m.span.start, m.span.end) for m in delta.extraction.mentions]
            assert sorted((r.chunk_id, r.entity_id, r.start, r.end) for r in store.mention_rows()) == sorted(expected)
            entity_of = {mention.mention_id: mention.entity_id for mention in delta.extraction.mentions}
            assert {(r.triple_id, r.head_id, r.name, r.tail_id) for r in store.triple_rows()} == {
                (t.triple_id, entity_of[t.head_mention_id], t.name, entity_of[t.tail_mention_id])
                for t in delta.extraction.triples
            }
