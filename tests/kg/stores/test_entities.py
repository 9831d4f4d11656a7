"""Homonyms, aliases, a person's decisions and contradictions, on texts that can be checked by hand.

The matcher knows a name by its company: see :mod:`kg.testing.matchers`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kg.errors import InputError, NotFoundError
from kg.ids import entity_id, local_id, sense_id
from kg.ports import DecisionKind, EntityLink, LinkStatus
from kg.stores.record import SqlRecordStore, open_record
from kg.testing import CompanyMatcher, canonical_dump, make_delta
from kg.types import Entity

SAME, DIFFERENT, SPLIT = DecisionKind


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlRecordStore]:
    record = open_record(tmp_path / "record.db", matcher=CompanyMatcher())
    yield record
    record.close()


def put(store: SqlRecordStore, **texts: str) -> dict[str, str]:
    """Apply texts by name; return their document ids."""
    deltas = {name: make_delta(text, name=f"{name}.txt") for name, text in texts.items()}
    for delta in deltas.values():
        store.apply(delta)
    return {name: delta.document.document_id for name, delta in deltas.items()}


def called(store: SqlRecordStore, name: str) -> list[Entity]:
    return [one for one in store.entities() if name in (one.name, *one.aliases)]


def name(text: str) -> str:
    return entity_id(text.casefold())


def only_link(store: SqlRecordStore) -> EntityLink:
    (link,) = store.links()
    return link


def test_one_name_in_other_company_is_another_thing(store: SqlRecordStore):
    ids = put(store, sky="Mercury beside Venus", bench="Mercury beside Cadmium", night="Mercury beside Venus and Mars")
    first, second = called(store, "Mercury")

    assert {first.n_documents, second.n_documents} == {1, 2}
    alone = sense_id(name("Mercury"), local_id(ids["bench"], name("Mercury")))
    assert {alone} == {one.entity_id for one in (first, second) if one.n_documents == 1}
    (chunk,) = store.iter_chunks(document_id=ids["bench"])
    assert alone in {mention.entity_id for mention in store.mentions(chunk.chunk_id)}


def test_document_that_shows_two_senses_to_be_one_joins_them_and_leaves_them_parted(store: SqlRecordStore):
    put(store, sky="Mercury beside Venus", bench="Mercury beside Cadmium")
    before = canonical_dump(store)
    ids = put(store, both="Mercury beside Venus and Cadmium")
    assert [one.entity_id for one in called(store, "Mercury")] == [name("Mercury")]

    store.remove(ids["both"])
    assert canonical_dump(store) == before


def test_alias_in_the_same_company_becomes_one_entity_with_both_names(store: SqlRecordStore):
    ids = put(store, a="Turin. Ada King knows Babbage", b="Turin. Al King knows Babbage", c="Turin. Ada King")
    (entity,) = called(store, "Al King")

    assert (entity.entity_id, entity.name, entity.aliases) == (name("Ada King"), "Ada King", ("Al King",))
    assert (entity.n_mentions, entity.n_documents) == (3, 3)
    link = only_link(store)
    assert (link.status, link.is_joined) == (LinkStatus.AUTOMATIC, True)
    assert link.reasons == ("same last word and initial", "both beside babbage", "both beside turin")
    knows = [one for one in store.relations(entity_id=name("Ada King")) if one.name == "knows"]
    assert [(one.head_id, one.n_statements) for one in knows] == [(name("Ada King"), 2)]
    assert [one.document_id for one in store.contributions(name("Ada King"))] == sorted(ids.values())


def test_alias_without_common_company_waits_for_review(store: SqlRecordStore):
    put(store, a="Ada King knows Babbage", b="Al King knows Byron")
    assert [(one.status, one.score) for one in store.links(status=LinkStatus.REVIEW)] == [(LinkStatus.REVIEW, 0.5)]
    assert len(called(store, "Al King")) == len(called(store, "Ada King")) == 1
    assert store.links(status=LinkStatus.AUTOMATIC) == []


def test_contributions_keep_each_source_apart(store: SqlRecordStore):
    ids = put(store, a="Ada King knows Babbage. ADA KING", b="Al King knows Babbage", c="Babbage. Ada King")
    found = {one.document_id: one for one in store.contributions(name("Ada King"))}
    assert set(found) == set(ids.values())
    first, second = found[ids["a"]], found[ids["b"]]

    assert first.uses == {("ADA KING", "NAME"): 1, ("Ada King", "NAME"): 1}
    assert (first.n_mentions, second.uses, second.n_mentions) == (2, {("Al King", "NAME"): 1}, 1)
    assert {one.name for one in first.statements} == {"knows", "beside"}
    assert [one.name for one in second.statements] == ["knows"]
    with pytest.raises(NotFoundError, match="joined to another"):
        store.contributions(name("Al King"))


def test_filter_by_documents_shows_only_what_they_say(store: SqlRecordStore):
    ids = put(store, a="Turin. Ada King knows Babbage", b="Turin. Al King meets Babbage", c="Turin. Ada King", d="Oslo")
    within, everyone = [ids["b"]], {name("Turin"), name("Ada King"), name("Babbage")}

    (entity,) = store.entities([name("Ada King"), name("Oslo")], document_ids=within)
    assert (entity.entity_id, entity.name, entity.aliases, entity.n_documents) == (name("Ada King"), "Al King", (), 1)
    assert {one.entity_id for one in store.entities(document_ids=within)} == everyone
    assert {one.name for one in store.relations(document_ids=within)} == {"beside", "meets"}
    assert [one.name for one in store.relations(document_ids=[])] == []
    assert {one.entity_id for one in store.mention_rows(document_ids=within)} == everyone
    assert {one.name for one in store.triple_rows(document_ids=within)} == {"beside", "meets"}
    assert len(store.mention_rows(document_ids=list(ids.values()))) == len(store.mention_rows())


def test_confirmed_pair_is_one_entity_and_undoing_parts_it(store: SqlRecordStore):
    put(store, a="Ada King knows Babbage", b="Al King knows Byron")
    before, version = canonical_dump(store), store.version()
    taken = store.decide(SAME, name("Al King"), name("Ada King"), by="me", note="the Countess")

    assert (taken.decision_id, taken.by, taken.note, taken.is_active) == (1, "me", "the Countess", True)
    assert store.version() == version + 1
    (entity,) = called(store, "Al King")
    assert entity == called(store, "Ada King")[0]
    assert (only_link(store).status, only_link(store).decision_id) == (LinkStatus.CONFIRMED, 1)
    gone = ({name("Al King"), name("Ada King")} - {entity.entity_id}).pop()
    neighbour = "Byron" if gone == name("Al King") else "Babbage"  # whose relation leads to another entity now
    assert set(store.changed_since(version).entity_ids) == {gone, entity.entity_id, name(neighbour)}

    undone = store.undo(1)
    assert not undone.is_active
    assert canonical_dump(store) == before
    assert [one.is_active for one in store.decisions()] == [False]
    with pytest.raises(InputError, match="undone already"):
        store.undo(1)
    with pytest.raises(NotFoundError, match="no decision 2"):
        store.undo(2)


def test_rejected_pair_stays_apart_whatever_the_score(store: SqlRecordStore):
    put(store, a="Ada King knows Babbage", b="Al King knows Babbage")
    store.decide(DIFFERENT, name("Al King"), name("Ada King"))
    assert [len(called(store, one)) for one in ("Al King", "Ada King")] == [1, 1]
    assert called(store, "Al King") != called(store, "Ada King")
    assert only_link(store).status is LinkStatus.REJECTED

    put(store, c="Al King knows Babbage and Byron")
    assert called(store, "Al King") != called(store, "Ada King")


def test_decision_survives_the_replacement_of_its_documents(store: SqlRecordStore):
    put(store, a="Ada King knows Babbage", b="Countess Lovelace")
    store.decide(SAME, name("Ada King"), name("Countess Lovelace"))
    put(store, a="Oslo", b="Bergen")
    assert called(store, "Ada King") == []
    put(store, a="Ada King", b="Countess Lovelace")
    assert called(store, "Ada King") == called(store, "Countess Lovelace")


def test_pair_that_was_never_compared_can_be_merged_and_is_listed(store: SqlRecordStore):
    put(store, a="Samuel Clemens", b="Mark Twain")
    store.decide(SAME, name("Samuel Clemens"), name("Mark Twain"))
    assert (only_link(store).status, only_link(store).score) == (LinkStatus.CONFIRMED, 1.0)
    assert len(store.entities()) == 1


def test_saying_the_same_twice_is_one_decision(store: SqlRecordStore):
    put(store, a="Samuel Clemens", b="Mark Twain")
    first = store.decide(SAME, name("Samuel Clemens"), name("Mark Twain"))
    version = store.version()
    assert store.decide(SAME, name("Mark Twain"), name("Samuel Clemens")) == first
    assert (store.version(), len(store.decisions())) == (version, 1)


def test_contrary_decision_is_refused_by_name_or_takes_the_place_of_the_earlier_one(store: SqlRecordStore):
    put(store, a="Samuel Clemens", b="Mark Twain", c="Josh")
    store.decide(SAME, name("Samuel Clemens"), name("Mark Twain"), by="me")
    store.decide(SAME, name("Mark Twain"), name("Josh"))
    with pytest.raises(InputError, match=r"Decision 2 .* says that they are the same"):
        store.decide(DIFFERENT, name("Samuel Clemens"), name("Josh"))

    store.decide(DIFFERENT, name("Samuel Clemens"), name("Josh"), force=True)
    assert [one.is_active for one in store.decisions()] == [True, False, True]
    assert called(store, "Josh") != called(store, "Mark Twain") == called(store, "Samuel Clemens")
    with pytest.raises(InputError, match=r"Decision 3 .* says that they are different"):
        store.decide(SAME, name("Mark Twain"), name("Josh"))


def test_split_sets_a_name_apart_in_the_documents_named(store: SqlRecordStore):
    ids = put(store, a="Mercury beside Venus", b="Mercury beside Venus", c="Mercury beside Venus")
    before = canonical_dump(store)
    store.decide(SPLIT, name("Mercury"), document_ids=[ids["c"]])
    assert sorted(one.n_documents for one in called(store, "Mercury")) == [1, 2]

    put(store, d="Mercury beside Venus")
    assert sorted(one.n_documents for one in called(store, "Mercury")) == [1, 3]
    store.remove(put(store, d="Mercury beside Venus")["d"])
    store.undo(1)
    assert canonical_dump(store) == before


def test_split_that_parts_nothing_is_refused(store: SqlRecordStore):
    ids = put(store, a="Mercury beside Venus", b="Oslo")
    for document_ids, error in (
        ([ids["a"]], InputError),
        ([ids["b"]], InputError),
        (["d_x"], NotFoundError),
        ([], NotFoundError),
    ):
        with pytest.raises(error):
            store.decide(SPLIT, name("Mercury"), document_ids=document_ids)
    with pytest.raises(InputError, match="one name already"):
        store.decide(SAME, name("Mercury"), name("Mercury"))
    with pytest.raises(NotFoundError, match="no entity 'e_x'"):
        store.decide(SAME, name("Mercury"), "e_x")
    assert store.decisions() == []


def test_record_of_another_matcher_is_resolved_again_by_the_first_write(tmp_path: Path):
    old = open_record(tmp_path / "record.db")
    put(old, a="Ada King knows Babbage", b="Al King knows Babbage")
    assert old.links() == []
    old.close()

    store = open_record(tmp_path / "record.db", matcher=CompanyMatcher())
    assert store.links() == []
    put(store, c="Oslo")
    assert only_link(store).is_joined
    told: list[tuple[str, int, int]] = []
    store.resolve_again(lambda *progress: told.append(progress))
    assert {stage for stage, done, total in told if done == total} == {"features", "senses", "links", "entities"}
    store.close()


def test_sources_that_name_several_birthplaces_contradict_each_other_until_one_is_deleted(store: SqlRecordStore):
    ids = put(
        store, a="Bob. Ann born_in Oslo", b="Bob. Ann born_in Rome", c="Bob. Ann born_in Oslo", d="Bob. Ann knows Rome"
    )
    (found,) = store.contradictions()

    assert (found.entity_id, found.relation, found.fixed) == (name("Ann"), "born_in", "head")
    assert {(one.entity_id, len(one.statements)) for one in found.sides} == {(name("Oslo"), 2), (name("Rome"), 1)}
    assert store.contradictions(name("Ann")) == [found]
    assert store.contradictions(name("Oslo")) == []

    store.decide(SAME, name("Oslo"), name("Rome"))
    assert store.contradictions() == []
    store.undo(1)
    assert store.contradictions() == [found]
    store.remove(ids["b"])
    assert store.contradictions() == []


def test_country_has_one_capital_and_a_capital_one_country(store: SqlRecordStore):
    put(store, a="Sweden. Oslo capital_of Norway", b="Sweden. Bergen capital_of Norway")
    (found,) = store.contradictions()
    assert (found.entity_id, found.fixed) == (name("Norway"), "tail")
    assert {one.entity_id for one in found.sides} == {name("Oslo"), name("Bergen")}


def test_relations_that_a_caller_adds_are_checked_in_what_is_there_already(store: SqlRecordStore, tmp_path: Path):
    put(store, a="Bob. Ann leads Oslo", b="Bob. Ann leads Rome")
    assert store.contradictions() == []
    store.close()
    again = open_record(tmp_path / "record.db", matcher=CompanyMatcher(), functional={"leads": "head"})
    put(again, c="Cid")
    assert [one.relation for one in again.contradictions()] == ["leads"]
    again.close()
