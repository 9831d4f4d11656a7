"""What every record store must do, as tests that a store's own test class inherits.

Layer: ``kg``. Subclass :class:`RecordStoreContract` in a test module, say how a store is opened, and run it. The tests
are in three classes by subject, so that a failure says where to look; ``RecordStoreContract`` is all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from kg.errors import InputError, NotFoundError
from kg.ids import entity_id, relation_id
from kg.ports import RecordStore
from kg.testing.builders import make_delta
from kg.testing.dump import canonical_dump
from kg.types import Box, GraphDelta, Heading, IngestStatus, Origin, Span

__all__ = ["RecordStoreContract"]

CURIE = "Marie Curie discovered Polonium in Paris.\n\n[picture: Marie Curie beside Pierre Curie]\n\fParis is in France."
EULER = "Leonhard Euler lived in Basel. Basel lies near France.\n\nMARIE CURIE read Leonhard Euler."


def _id(name: str) -> str:
    return entity_id(name.casefold())


@contextmanager
def _refused(error_type: type[Exception]) -> Iterator[None]:
    try:
        yield
    except error_type:
        return
    raise AssertionError(f"Expected {error_type.__name__}, and nothing was raised.")


class _Opened:
    """How the tests get a store: each makes its own below ``tmp_path``."""

    def open_store(self, folder: Path) -> RecordStore:
        """Return a store on a record in ``folder``: the same record for the same folder."""
        raise NotImplementedError("A store's test class says how it is opened.")

    @contextmanager
    def opened(self, folder: Path) -> Iterator[RecordStore]:
        """Open a store for a block."""
        store = self.open_store(folder)
        try:
            yield store
        finally:
            store.close()


class _WritingContract(_Opened):
    def test_new_record_is_empty_at_version_zero(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            assert isinstance(store, RecordStore)
            assert store.version() == 0
            assert store.documents() == []
            assert set(store.statistics().values()) == {0}

    def test_applied_document_is_read_back_whole(self, tmp_path: Path) -> None:
        delta = _with_every_field(make_delta(CURIE))
        with self.opened(tmp_path) as store:
            assert store.apply(delta) is IngestStatus.ADDED
            assert store.version() == 1
            assert store.document(delta.document.document_id) == delta.document
            assert tuple(store.iter_chunks()) == delta.chunks
            assert store.asset(delta.document.assets[0].asset_id) == delta.document.assets[0]
            assert store.caption(delta.document.assets[0].asset_id) == delta.captions[0]
            stored = [mention for chunk in delta.chunks for mention in store.mentions(chunk.chunk_id)]
            assert stored == list(delta.extraction.mentions)
            said = [triple for chunk in delta.chunks for triple in store.triples(chunk.chunk_id)]
            assert said == list(delta.extraction.triples)

    def test_record_survives_being_closed(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta(CURIE))
            before = canonical_dump(store)
        with self.opened(tmp_path) as store:
            assert canonical_dump(store) == before
            assert store.version() == 1

    def test_same_document_again_changes_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta(CURIE))
            before, version, listed = canonical_dump(store), store.version(), store.documents()

            assert store.apply(make_delta(CURIE)) is IngestStatus.UNCHANGED
            assert (canonical_dump(store), store.version(), store.documents()) == (before, version, listed)

    def test_other_bytes_from_the_same_source_replace_the_document_wholly(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store, self.opened(tmp_path / "fresh") as fresh:
            store.apply(make_delta(CURIE))
            assert store.apply(make_delta(EULER)) is IngestStatus.REPLACED
            fresh.apply(make_delta(EULER))

            assert canonical_dump(store) == canonical_dump(fresh)
            assert store.version() == 2

    def test_removing_restores_the_state_before_the_insert(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta(CURIE, name="curie.txt"))
            before = canonical_dump(store, encoders=["test"])
            added = make_delta(EULER, name="euler.txt")
            store.apply(added)
            store.put_vectors(encoder="test", rows=[(added.chunks[0].chunk_id, np.ones(4, dtype=np.float32))])
            assert canonical_dump(store, encoders=["test"]) != before

            store.remove(added.document.document_id)
            assert canonical_dump(store, encoders=["test"]) == before
            assert store.version() == 3

    def test_removing_an_unknown_document_is_refused_and_changes_nothing(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            with _refused(NotFoundError):
                store.remove("d_unknown")
            assert store.version() == 0

    def test_delta_that_fails_half_way_leaves_nothing(self, tmp_path: Path) -> None:
        delta = make_delta(CURIE)
        twice = replace(delta, captions=delta.captions * 2)
        with self.opened(tmp_path) as store:
            store.apply(make_delta(EULER))
            before = canonical_dump(store)
            with _refused(InputError):
                store.apply(twice)
            assert canonical_dump(store) == before
            assert store.version() == 1

    def test_order_of_documents_does_not_matter(self, tmp_path: Path) -> None:
        deltas = [make_delta(CURIE, name="a.txt"), make_delta(EULER, name="b.txt"), make_delta("Basel", name="c.txt")]
        with self.opened(tmp_path / "one") as one, self.opened(tmp_path / "two") as two:
            for delta in deltas:
                one.apply(delta)
            for delta in reversed(deltas):
                two.apply(delta)
            assert canonical_dump(one) == canonical_dump(two)


class _ReadingContract(_Opened):
    def test_documents_come_by_name_and_are_found_by_source(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta(EULER, name="b.txt"))
            store.apply(make_delta(CURIE, name="a.txt"))
            first, second = store.documents()

            assert (first.name, first.n_pages, first.n_chunks, first.n_assets, first.is_paged) == (
                "a.txt",
                2,
                3,
                1,
                True,
            )
            assert (second.name, second.n_pages, second.n_chunks, second.n_assets) == ("b.txt", 1, 2, 0)
            assert first.added_at.endswith("+00:00")
            assert store.find(source="/docs/b.txt") == second
            assert store.find(source="/docs/c.txt") is None

    def test_chunks_come_in_the_order_of_their_ids_given(self, tmp_path: Path) -> None:
        text = "\n\n".join(f"Paragraph {number}" for number in range(1200))
        with self.opened(tmp_path) as store:
            store.apply(make_delta(text))
            wanted = store.chunk_ids()[::-1]

            assert len(wanted) == 1200
            assert wanted == sorted(wanted, reverse=True)
            assert [chunk.chunk_id for chunk in store.chunks(wanted)] == wanted
            assert [chunk.ordinal for chunk in store.iter_chunks()] == list(range(1200))
            with _refused(NotFoundError):
                store.chunks([wanted[0], "c_unknown"])

    def test_chunks_of_one_document_leave_the_others_out(self, tmp_path: Path) -> None:
        one, other = make_delta(CURIE, name="a.txt"), make_delta(EULER, name="b.txt")
        with self.opened(tmp_path) as store:
            store.apply(one)
            store.apply(other)
            assert tuple(store.iter_chunks(document_id=other.document.document_id)) == other.chunks
            assert list(store.iter_chunks(document_id="d_unknown")) == []

    def test_unknown_parts_are_refused_or_empty(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            refused: list[Callable[[], object]] = [
                lambda: store.document("d_unknown"),
                lambda: store.asset("a_unknown"),
                lambda: store.entities(["e_unknown"]),
            ]
            for call in refused:
                with _refused(NotFoundError):
                    call()
            assert store.caption("a_unknown") is None
            assert store.mentions("c_unknown") == []
            assert store.triples("c_unknown") == []

    def test_vectors_are_kept_by_encoder_and_go_with_their_chunk(self, tmp_path: Path) -> None:
        delta = make_delta(CURIE)
        first, second, third = (chunk.chunk_id for chunk in delta.chunks)
        vector = np.array([0.6, -0.8, 1e-7], dtype=np.float32)
        with self.opened(tmp_path) as store:
            store.apply(delta)
            store.put_vectors(encoder="one", rows=[(first, vector * 2), ("c_unknown", vector)])
            store.put_vectors(encoder="one", rows=[(first, vector), (second, -vector)])
            found = store.vectors(encoder="one", chunk_ids=[third, second, "c_unknown", first])

            assert list(found) == [second, first]
            assert found[first].dtype == np.float32
            assert np.array_equal(found[first], vector)
            assert np.array_equal(found[second], -vector)
            assert store.vectors(encoder="two", chunk_ids=[first]) == {}
            assert store.version() == 1
            store.remove(delta.document.document_id)
            store.apply(delta)
            assert store.vectors(encoder="one", chunk_ids=[first, second]) == {}

    def test_vectors_that_are_not_rows_of_finite_numbers_are_refused(self, tmp_path: Path) -> None:
        delta = make_delta(CURIE)
        chunk = delta.chunks[0].chunk_id
        with self.opened(tmp_path) as store:
            store.apply(delta)
            for bad in (np.full(3, np.nan), np.ones((2, 2))):
                with _refused(InputError):
                    store.put_vectors(encoder="one", rows=[(chunk, bad.astype(np.float32))])
            assert store.vectors(encoder="one", chunk_ids=[chunk]) == {}

    def test_statistics_count_everything(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta(CURIE))
            assert store.statistics() == {
                "documents": 1,
                "pages": 2,
                "assets": 1,
                "chunks": 3,
                "mentions": 7,  # Marie Curie, Polonium, Paris | Paris, France | Marie Curie, Pierre Curie
                "entities": 5,
                "relations": 4,  # discovered, in | is in | beside
                "triples": 4,
            }


class _GraphContract(_Opened):
    def test_entity_is_named_as_most_mentions_name_it(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta("New York and NEW YORK", name="a.txt"))
            (tied,) = store.entities()
            assert (tied.name, tied.aliases, tied.n_mentions, tied.n_documents) == ("NEW YORK", ("New York",), 2, 1)

            store.apply(make_delta("New\nYork", name="b.txt"))
            (entity,) = store.entities([_id("new york")])
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
            assert store.entities([_id("new york")])[0].name == "NEW YORK"

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
            with _refused(InputError):
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
            found = {(one.head_id, one.name, one.tail_id): one for one in store.relations(entity_id=_id("ann"))}

            knows = found[(_id("ann"), "knows", _id("bob"))]
            assert list(found) == [(_id("ann"), "knows", _id("bob"))]
            assert knows.relation_id == relation_id(_id("ann"), "knows", _id("bob"))
            assert (knows.n_statements, knows.score, knows.origin) == (3, 0.5, Origin.EXTRACTED)
            assert len(store.triple_rows(relation=(_id("ann"), "knows", _id("bob")))) == 3
            assert {one.name for one in store.relations(entity_id=_id("cid"))} == {"likes"}

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


class RecordStoreContract(_WritingContract, _ReadingContract, _GraphContract):
    """All that a record store must do. Subclass it as ``TestX`` and define :meth:`open_store`."""


def _with_every_field(delta: GraphDelta) -> GraphDelta:
    """Fill the fields that the fakes leave at their defaults, so that each is seen to survive."""
    box = Box(x0=0.1, y0=0.2, x1=0.3, y1=1 / 3)
    asset = replace(
        delta.document.assets[0],
        box=box,
        caption="Fig. 1",
        surrounding_text="Zürich 東京 🜁\x00",
        data=bytes(range(256)),
    )
    caption = delta.captions[0]
    caption = replace(caption, score=0.75, lines=(replace(caption.lines[0], box=box, score=0.1),))
    chunk = replace(delta.chunks[0], heading="Manual > Safety", page_last=2)
    picture = replace(delta.chunks[2], box=box)
    document = replace(
        delta.document,
        assets=(asset,),
        headings=(Heading(level=2, text="Marie", span=Span(start=0, end=5)),),
        metadata={"author": "Ève", "a": "1"},
    )
    return replace(delta, document=document, captions=(caption,), chunks=(chunk, delta.chunks[1], picture))
