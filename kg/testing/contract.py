"""What every record store must do, as tests that a store's own test class inherits.

Layer: ``kg``. Subclass :class:`RecordStoreContract` in a test module, say how a store is opened, and run it. The tests
are in three classes by subject, so that a failure says where to look; ``RecordStoreContract`` is all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from kg.errors import InputError, NotFoundError
from kg.ports import RecordStore
from kg.testing.builders import make_delta, with_every_field
from kg.testing.contract_base import CURIE, EULER, Opened, refused
from kg.testing.contract_graph import ChangesContract, GraphContract
from kg.testing.dump import canonical_dump
from kg.types import IngestStatus

__all__ = ["CURIE", "EULER", "RecordStoreContract"]


class _WritingContract(Opened):
    def test_new_record_is_empty_at_version_zero(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            assert isinstance(store, RecordStore)
            assert store.version() == 0
            assert store.documents() == []
            assert set(store.statistics().values()) == {0}

    def test_applied_document_is_read_back_whole(self, tmp_path: Path) -> None:
        delta = with_every_field(make_delta(CURIE))
        with self.opened(tmp_path) as store:
            assert store.apply(delta) is IngestStatus.ADDED
            assert store.version() == 1
            assert store.document(delta.document.document_id) == delta.document
            assert tuple(store.iter_chunks()) == delta.chunks
            assert store.asset(delta.document.assets[0].asset_id) == delta.document.assets[0]
            assert store.caption(delta.document.assets[0].asset_id) == delta.captions[0]
            stored = [mention for chunk in delta.chunks for mention in store.mentions(chunk.chunk_id)]
            assert stored == list(delta.extraction.mentions)
            assert store.tables(document_id=delta.document.document_id) == list(delta.tables)
            assert [store.table(table.table_id) for table in delta.tables] == list(delta.tables)
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
            with refused(NotFoundError):
                store.remove("d_unknown")
            assert store.version() == 0

    def test_delta_that_fails_half_way_leaves_nothing(self, tmp_path: Path) -> None:
        delta = make_delta(CURIE)
        twice = replace(delta, captions=delta.captions * 2)
        with self.opened(tmp_path) as store:
            store.apply(make_delta(EULER))
            before = canonical_dump(store)
            with refused(InputError):
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


class _ReadingContract(Opened):
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
            with refused(NotFoundError):
                store.chunks([wanted[0], "c_unknown"])

    def test_chunks_of_one_document_leave_the_others_out(self, tmp_path: Path) -> None:
        one, other = make_delta(CURIE, name="a.txt"), make_delta(EULER, name="b.txt")
        with self.opened(tmp_path) as store:
            store.apply(one)
            store.apply(other)
            assert tuple(store.iter_chunks(document_id=other.document.document_id)) == other.chunks
            assert list(store.iter_chunks(document_id="d_unknown")) == []

    def test_places_of_chunks_and_documents_of_some_ids_are_those_of_the_whole_lists(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            for name, text in (("a.txt", CURIE), ("b.txt", EULER)):
                store.apply(make_delta(text, name=name))
            first, second = store.documents()
            places = {(row.chunk_id, row.document_id, row.modality): row for row in store.chunk_rows()}

            assert places.keys() == {(c.chunk_id, c.document_id, c.modality) for c in store.iter_chunks()}
            assert store.documents(document_ids=["d_unknown", second.document_id]) == [second]
            assert {row.document_id for row in store.chunk_rows(document_ids=[first.document_id, "d_unknown"])} == {
                first.document_id
            }
            assert store.chunk_rows(document_ids=[]) == []
            assert store.documents(document_ids=[]) == []

    def test_unknown_parts_are_refused_or_empty(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            calls: list[Callable[[], object]] = [
                lambda: store.document("d_unknown"),
                lambda: store.asset("a_unknown"),
                lambda: store.entities(["e_unknown"]),
            ]
            for call in calls:
                with refused(NotFoundError):
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

    def test_missing_vectors_are_listed_and_an_encoders_vectors_are_counted_and_removed(self, tmp_path: Path) -> None:
        delta = make_delta(CURIE)
        first, second, third = sorted(chunk.chunk_id for chunk in delta.chunks)
        vector = np.ones(3, dtype=np.float32)
        with self.opened(tmp_path) as store:
            assert store.chunks_without_vector(encoder="one") == []
            assert store.vector_counts() == {}
            store.apply(delta)
            store.put_vectors(encoder="one", rows=[(second, vector)])
            store.put_vectors(encoder="two", rows=[(first, vector), (second, vector), (third, vector)])

            assert store.chunks_without_vector(encoder="one") == [first, third]
            assert store.chunks_without_vector(encoder="two") == []
            assert store.chunks_without_vector(encoder="three") == [first, second, third]
            assert store.vector_counts() == {"one": 1, "two": 3}
            assert store.remove_vectors(encoder="two") == 3
            assert store.remove_vectors(encoder="two") == 0
            assert store.vector_counts() == {"one": 1}
            assert list(store.vectors(encoder="one", chunk_ids=[first, second])) == [second]
            assert store.version() == 1

    def test_vectors_are_found_by_the_text_that_was_encoded_while_a_chunk_has_it(self, tmp_path: Path) -> None:
        one, other = make_delta(CURIE, name="a.txt"), make_delta(EULER, name="b.txt")
        vector = np.array([0.6, -0.8], dtype=np.float32)
        with self.opened(tmp_path) as store:
            store.apply(one)
            store.apply(other)
            rows = [
                (one.chunks[0].chunk_id, vector),
                (other.chunks[0].chunk_id, vector),
                (one.chunks[1].chunk_id, -vector),
            ]
            store.put_vectors(encoder="one", rows=rows, contents=["x_same", "x_same", "x_else"])

            found = store.vectors_by_content(encoder="one", contents=["x_else", "x_none", "x_same", ""])
            assert {name: row.tolist() for name, row in found.items()} == {
                "x_else": (-vector).tolist(),
                "x_same": vector.tolist(),
            }
            assert store.vectors_by_content(encoder="two", contents=["x_same"]) == {}
            store.remove(one.document.document_id)
            assert list(store.vectors_by_content(encoder="one", contents=["x_else", "x_same"])) == ["x_same"]
            with refused(InputError):
                store.put_vectors(encoder="one", rows=rows, contents=["x_same"])

    def test_vectors_of_a_picture_are_kept_once_and_go_with_its_last_document(self, tmp_path: Path) -> None:
        one, other = make_delta(CURIE, name="a.txt"), make_delta(CURIE, name="b.txt")
        (asset,), vector = one.document.assets, np.array([0.6, -0.8], dtype=np.float32)
        assert other.document.assets[0].sha256 == asset.sha256
        with self.opened(tmp_path) as store:
            store.apply(one)
            store.apply(other)
            assert {row.sha256 for row in store.picture_rows()} == {asset.sha256}
            assert [row.asset_id for row in store.picture_rows()] == sorted(
                [asset.asset_id, other.document.assets[0].asset_id]
            )
            assert store.picture_data(asset.sha256) == asset.data
            assert store.pictures_without_vector(encoder="eye") == [asset.sha256]
            store.put_picture_vectors(encoder="eye", rows=[(asset.sha256, vector * 2), ("0" * 64, vector)])
            store.put_picture_vectors(encoder="eye", rows=[(asset.sha256, vector)])

            assert store.pictures_without_vector(encoder="eye") == []
            assert store.pictures_without_vector(encoder="other") == [asset.sha256]
            found = store.picture_vectors(encoder="eye", sha256s=["0" * 64, asset.sha256])
            assert {name: row.tolist() for name, row in found.items()} == {asset.sha256: vector.tolist()}
            store.remove(one.document.document_id)
            assert store.picture_vector_counts() == {"eye": 1}
            store.apply(make_delta(f"More.\n\n{CURIE}", name="b.txt"))  # another version, with the same picture
            assert store.picture_vector_counts() == {"eye": 1}
            store.apply(make_delta("No picture.", name="b.txt"))
            assert store.picture_vector_counts() == {}
            with refused(NotFoundError):
                store.picture_data(asset.sha256)

    def test_picture_vectors_of_an_encoder_are_removed_together(self, tmp_path: Path) -> None:
        delta, vector = make_delta(CURIE), np.ones(2, dtype=np.float32)
        sha256 = delta.document.assets[0].sha256
        with self.opened(tmp_path) as store:
            store.apply(delta)
            for encoder in ("one", "two"):
                store.put_picture_vectors(encoder=encoder, rows=[(sha256, vector)])
            assert (store.remove_picture_vectors(encoder="two"), store.remove_picture_vectors(encoder="two")) == (1, 0)
            assert store.picture_vector_counts() == {"one": 1}
            assert store.version() == 1
            with refused(InputError):
                store.put_picture_vectors(encoder="one", rows=[(sha256, vector * np.float32(np.nan))])

    def test_vectors_that_are_not_rows_of_finite_numbers_are_refused(self, tmp_path: Path) -> None:
        delta = make_delta(CURIE)
        chunk = delta.chunks[0].chunk_id
        with self.opened(tmp_path) as store:
            store.apply(delta)
            for bad in (np.full(3, np.nan), np.ones((2, 2))):
                with refused(InputError):
                    store.put_vectors(encoder="one", rows=[(chunk, bad.astype(np.float32))])
            assert store.vectors(encoder="one", chunk_ids=[chunk]) == {}

    def test_statistics_count_everything(self, tmp_path: Path) -> None:
        with self.opened(tmp_path) as store:
            store.apply(make_delta(CURIE))
            assert store.statistics() == {
                "documents": 1,
                "pages": 2,
                "assets": 1,
                "tables": 0,
                "equations": 0,
                "chunks": 3,
                "mentions": 7,  # Marie Curie, Polonium, Paris | Paris, France | Marie Curie, Pierre Curie
                "entities": 5,
                "relations": 4,  # discovered, in | is in | beside
                "triples": 4,
            }


class RecordStoreContract(_WritingContract, _ReadingContract, ChangesContract, GraphContract):
    """All that a record store must do. Subclass it as ``TestX`` and define :meth:`open_store`."""
