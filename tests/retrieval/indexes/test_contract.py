"""Each vector index keeps the contract, and its file is refused unless it is whole, current and of the same encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import pytest

from kg.errors import ConfigError, VectorIndexError
from retrieval.indexes.exact import ExactIndex
from retrieval.indexes.faiss_cpu import FaissIndex
from retrieval.indexes.faiss_kinds import FaissKind, FaissParameters, choose_faiss_kind
from retrieval.indexes.storage import IndexFile, read_index_file, read_index_kind, write_index_file
from retrieval.indexes.torch_exact import TorchExactIndex
from retrieval.testing import VectorIndexContract, clustered_vectors, naive_search, unit_vectors

SMALL = FaissParameters(train_at=300)


class TestExactIndex(VectorIndexContract):
    def make(self, dimension: int) -> ExactIndex:
        return ExactIndex(dimension)

    def reloaded(self, index: ExactIndex, path: Path) -> ExactIndex:
        index.save(path, encoder="e", record_version=1)
        return ExactIndex.load(path, encoder="e")


class TestTorchExactIndex(VectorIndexContract):
    def make(self, dimension: int) -> TorchExactIndex:
        return TorchExactIndex(dimension, device="cpu", block_rows=50)

    def reloaded(self, index: TorchExactIndex, path: Path) -> TorchExactIndex:
        index.save(path, encoder="e", record_version=1)
        return TorchExactIndex.load(path, encoder="e", device="cpu")


class TestHalfTorchExactIndex(VectorIndexContract):
    def make(self, dimension: int) -> TorchExactIndex:
        return TorchExactIndex(dimension, device="cpu", half=True, block_rows=50)

    def reloaded(self, index: TorchExactIndex, path: Path) -> TorchExactIndex:
        index.save(path, encoder="e", record_version=1)
        return TorchExactIndex.load(path, encoder="e", device="cpu", half=True)


class FaissContract(VectorIndexContract):
    kind: FaissKind

    def make(self, dimension: int) -> FaissIndex:
        return FaissIndex(dimension, kind=self.kind, parameters=SMALL)

    def reloaded(self, index: FaissIndex, path: Path) -> FaissIndex:
        index.save(path, encoder="e", record_version=1)
        return FaissIndex.load(path, kind=self.kind, encoder="e")


class TestFlatFaissIndex(FaissContract):
    kind = "flat"


class TestSq8FaissIndex(FaissContract):
    kind = "sq8"
    least_recall = 0.99


class TestHnswFaissIndex(FaissContract):
    kind = "hnsw"
    least_recall = 0.99


class TestIvfPqFaissIndex(FaissContract):
    kind = "ivfpq"
    least_recall = 0.98


@pytest.fixture(autouse=True)
def files_are_mapped_whatever_their_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("retrieval.indexes.storage._MAP_FROM_BYTES", 1)


def _exact(path: Path, encoder: str, version: int | None) -> ExactIndex:
    return ExactIndex.load(path, encoder=encoder, record_version=version)


def _faiss(path: Path, encoder: str, version: int | None) -> FaissIndex:
    return FaissIndex.load(path, encoder=encoder, record_version=version)


def _torch(path: Path, encoder: str, version: int | None) -> TorchExactIndex:
    return TorchExactIndex.load(path, encoder=encoder, record_version=version, device="cpu")


Index = ExactIndex | FaissIndex | TorchExactIndex
Load = Callable[[Path, str, int | None], Index]
KINDS = [
    pytest.param(ExactIndex(16), _exact, id="exact"),
    pytest.param(TorchExactIndex(16, device="cpu"), _torch, id="torch"),
    *(
        pytest.param(FaissIndex(16, kind=kind, parameters=SMALL), _faiss, id=kind)
        for kind in ("flat", "sq8", "hnsw", "ivfpq")
    ),
]


def _filled(index: Index) -> Index:
    index.remove(sorted(index.ids()))
    index.add([f"ü{i}" for i in range(300)], unit_vectors(300, 16, seed=1))
    index.remove(["ü3", "ü7"])
    return index


@pytest.mark.parametrize(("index", "load"), KINDS)
def test_a_saved_index_answers_as_before_and_still_takes_changes(index: Index, load: Load, tmp_path: Path):
    queries_QD = unit_vectors(3, 16, seed=2)
    _filled(index).save(tmp_path / "v.idx", encoder="e1", record_version=7)

    loaded = load(tmp_path / "v.idx", "e1", None)

    assert loaded.record_version == 7
    assert loaded.search(queries_QD, k=300) == index.search(queries_QD, k=300)
    loaded.add(["new"], queries_QD[:1])
    loaded.remove(["ü1"])
    assert loaded.search(queries_QD, k=300)[0][0][0] == "new"
    assert loaded.ids() == (index.ids() | {"new"}) - {"ü1"}


@pytest.mark.parametrize(("index", "load"), KINDS)
def test_an_index_of_another_encoder_or_record_version_is_refused_as_stale(index: Index, load: Load, tmp_path: Path):
    path = tmp_path / "v.idx"
    _filled(index).save(path, encoder="e1", record_version=7)

    assert len(load(path, "e1", 7)) == 298
    with pytest.raises(VectorIndexError, match="built_with is 'e1', now it must be 'e2'"):
        load(path, "e2", None)
    with pytest.raises(VectorIndexError, match="record_version is 7, now it must be 8"):
        load(path, "e1", 8)


@pytest.mark.parametrize(("index", "load"), KINDS)
def test_a_flipped_byte_or_a_cut_anywhere_is_noticed(index: Index, load: Load, tmp_path: Path):
    path = tmp_path / "v.idx"
    _filled(index).save(path, encoder="e1", record_version=7)
    whole = path.read_bytes()

    for place in [0, 9, 41, 45, 60, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(VectorIndexError, match="Build the index again"):
            load(path, "e1", None)
    for length in [0, 5, 30, 60, len(whole) // 2, len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(VectorIndexError, match="Build the index again"):
            load(path, "e1", None)
    path.write_bytes(whole + b"\0")
    with pytest.raises(VectorIndexError, match="1 bytes too many"):
        load(path, "e1", None)


@pytest.mark.parametrize(("index", "load"), KINDS)
def test_a_file_cut_short_in_or_at_the_end_of_any_section_is_refused_and_built_again(
    index: Index, load: Load, tmp_path: Path
):
    path = tmp_path / "v.idx"
    _filled(index).save(path, encoder="e1", record_version=7)
    whole = path.read_bytes()
    length = int.from_bytes(whole[40:48], "little")
    ends, place = [], 48 + length
    for section in json.loads(whole[48:place])["sections"]:
        ends += [place + section["n_bytes"] // 2, place + section["n_bytes"]]
        place = ends[-1]
    assert ends[-1] == len(whole)

    for end in [8, 40, 47, 48, 48 + length, *ends[:-1], len(whole) - 1]:
        path.write_bytes(whole[:end])
        with pytest.raises(VectorIndexError, match="Build the index again"):
            load(path, "e1", None)
    path.write_bytes(whole.replace(b"MMKGIDX1", b"MMKGIDX0", 1))
    with pytest.raises(VectorIndexError, match="not an index file of this version"):
        load(path, "e1", None)
    _filled(index).save(path, encoder="e1", record_version=8)
    assert load(path, "e1", 8).ids() == index.ids()


@pytest.mark.parametrize(("index", "load"), KINDS)
def test_a_mapped_file_may_be_replaced_while_an_index_reads_it(index: Index, load: Load, tmp_path: Path):
    path, queries_QD = tmp_path / "v.idx", unit_vectors(3, 16, seed=2)
    _filled(index).save(path, encoder="e1", record_version=7)
    loaded = load(path, "e1", None)
    expected = loaded.search(queries_QD, k=20)

    index.add(["later"], queries_QD[:1])
    index.save(path, encoder="e1", record_version=8)

    assert loaded.search(queries_QD, k=20) == expected
    loaded.remove(["ü1"])  # the first change, which copies
    loaded.add(["mine"], -queries_QD[:1])
    assert loaded.search(-queries_QD[:1], k=1)[0][0][0] == "mine"
    assert "later" not in loaded.ids()
    assert load(path, "e1", 8).search(queries_QD[:1], k=1)[0][0][0] == "later"


def test_the_kind_is_read_from_the_header_alone_and_is_none_where_there_is_no_index(tmp_path: Path):
    path = tmp_path / "v.idx"
    assert read_index_kind(path) is None
    _filled(ExactIndex(16)).save(path, encoder="e1", record_version=7)
    whole = path.read_bytes()
    assert read_index_kind(path) == "exact"
    path.write_bytes(whole[:-100])
    assert read_index_kind(path) == "exact"
    for damaged in (whole[:60], b"MMKGIDX1" + b"\xff" * 100, b"", whole[:9] + b"\0" + whole[10:]):
        path.write_bytes(damaged)
        assert read_index_kind(path) is None


def test_a_missing_file_and_one_of_another_kind_are_refused(tmp_path: Path):
    with pytest.raises(VectorIndexError, match="cannot be read"):
        _exact(tmp_path / "none.idx", "e1", None)
    _filled(FaissIndex(16)).save(tmp_path / "v.idx", encoder="e1", record_version=1)
    with pytest.raises(VectorIndexError, match="kind is 'faiss-flat', now it must be 'faiss-hnsw'"):
        FaissIndex.load(tmp_path / "v.idx", kind="hnsw", encoder="e1")


@pytest.mark.parametrize("kind", ["exact", "faiss-flat", "faiss-sq8"])
def test_contents_that_contradict_each_other_are_refused_even_with_a_right_checksum(tmp_path: Path, kind: str):
    path = tmp_path / "v.idx"
    details = {"layout": 2, "dimension": 4, "parameters": {}, "learnt": [0, 0, 0, 0]}
    flat = FaissIndex(4)
    flat.add(["a", "b"], unit_vectors(2, 4, seed=1))
    faiss_of_two = bytes(memoryview(faiss.serialize_index(flat._index)))
    for codes in (b"not faiss", faiss_of_two, b""):
        sections = {"ids": json.dumps(["a"]).encode(), "vectors": b"\0" * 32, "faiss": codes}
        write_index_file(
            path, IndexFile(kind=kind, built_with="e", record_version=1, details=details, sections=sections)
        )
        with pytest.raises(VectorIndexError):
            (_exact if kind == "exact" else _faiss)(path, "e", None)


def test_what_was_added_and_removed_after_a_file_was_mapped_survives_the_next_file(tmp_path: Path):
    for kind in ("sq8", "ivfpq"):
        index = FaissIndex(16, kind=kind, parameters=SMALL)
        vectors_ND = clustered_vectors(500, 16, seed=1)
        index.add([f"c{i}" for i in range(400)], vectors_ND[:400])
        for start in (400, 450):
            index.save(tmp_path / "v.idx", encoder="e", record_version=1)
            index = _faiss(tmp_path / "v.idx", "e", 1)
            index.add([f"c{i}" for i in range(start, start + 50)], vectors_ND[start : start + 50])
            index.remove([f"c{start - 400}"])

        expected = {f"c{i}" for i in range(500)} - {"c0", "c50"}
        assert index.ids() == expected
        hits = index.search(vectors_ND[100:], k=1)
        assert [pairs[0][0] for pairs in hits] == [f"c{i}" for i in range(100, 500)]


def test_a_file_of_another_layout_is_refused(tmp_path: Path):
    path = tmp_path / "v.idx"
    older = {"dimension": 4, "next": 1, "links": 8, "build_beam": 8, "search_beam": 8}
    sections = {"ids": json.dumps({"a": 0}).encode(), "faiss": b""}
    for kind, details in (("faiss-flat", older), ("faiss-ivf", {"layout": 2})):
        write_index_file(
            path, IndexFile(kind=kind, built_with="e", record_version=1, details=details, sections=sections)
        )
        with pytest.raises(VectorIndexError, match="this version reads FAISS indexes of layout 2"):
            _faiss(path, "e", None)


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "v.idx"
    _filled(ExactIndex(16)).save(path, encoder="e1", record_version=1)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(VectorIndexError, match="No space left"):
        _filled(ExactIndex(16)).save(path, encoder="e1", record_version=2)

    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(VectorIndexError, match="cannot be written"):
        ExactIndex(16).save(tmp_path / "no folder" / "v.idx", encoder="e1", record_version=2)


def test_sections_come_back_byte_for_byte(tmp_path: Path):
    file = IndexFile(
        kind="k", built_with="e", record_version=3, details={"n": 1}, sections={"empty": b"", "some": b"\0\xff"}
    )
    write_index_file(tmp_path / "f", file)

    read = read_index_file(tmp_path / "f", kind="k", built_with="e", record_version=3)

    assert {name: bytes(data) for name, data in read.sections.items()} == dict(file.sections)
    assert read.details == {"n": 1}


@pytest.mark.parametrize(("kind", "least"), [("sq8", 0.999), ("hnsw", 0.98), ("ivfpq", 0.98)])
def test_approximate_kinds_find_nearly_all_that_exact_search_finds_filtered_or_not(kind: FaissKind, least: float):
    vectors_ND, queries_QD = clustered_vectors(13_000, 32, seed=3), clustered_vectors(50, 32, seed=4)
    ids = [f"c{i:05d}" for i in range(len(vectors_ND))]
    exact, index = ExactIndex(32), FaissIndex(32, kind=kind, parameters=FaissParameters(links=16, build_beam=40))
    exact.add(ids, vectors_ND)
    index.add(ids, vectors_ND)
    index.remove(ids[:100])
    exact.remove(ids[:100])
    filters = [None, frozenset(ids[:12_000]), frozenset(ids[::3]), frozenset(ids[5000:5050])]

    for allowed in filters:
        expected = exact.search(queries_QD, k=10, allowed=allowed)
        found = index.search(queries_QD, k=10, allowed=allowed)
        shared = [len({i for i, _ in a} & {i for i, _ in b}) / 10 for a, b in zip(expected, found, strict=True)]
        assert np.mean(shared) >= least
    assert found == expected  # the last filter leaves few vectors, which are scanned exactly


@pytest.mark.parametrize("kind", ["sq8", "ivfpq"])
def test_codes_are_learnt_again_only_when_the_index_has_grown_fourfold(kind: FaissKind):
    index = FaissIndex(16, kind=kind, parameters=SMALL)
    vectors_ND = clustered_vectors(1300, 16, seed=1)
    learnt_from = []
    for start in range(0, 1300, 100):
        index.add([f"c{i}" for i in range(start, start + 100)], vectors_ND[start : start + 100])
        learnt_from.append(index._learnt_from)

    assert learnt_from == [0, 0, *[300] * 9, 1200, 1200]


@pytest.mark.parametrize("kind", ["sq8", "ivfpq"])
def test_codes_are_learnt_again_when_what_comes_is_unlike_what_they_were_learnt_from(kind: FaissKind):
    index = FaissIndex(16, kind=kind, parameters=SMALL)
    one_place_ND = np.zeros((300, 16), dtype=np.float32) + unit_vectors(1, 16, seed=1)
    one_place_ND += 0.05 * unit_vectors(300, 16, seed=2)
    index.add([f"a{i}" for i in range(300)], one_place_ND / np.linalg.norm(one_place_ND, axis=1, keepdims=True))
    others_ND = unit_vectors(60, 16, seed=3)

    index.add([f"b{i}" for i in range(20)], others_ND[:20])
    assert index._learnt_from == 300  # too few to tell
    index.add([f"c{i}" for i in range(40)], others_ND[20:])
    assert index._learnt_from == 360

    found = index.search(others_ND, k=1)
    assert [hits[0][0] for hits in found] == [f"b{i}" for i in range(20)] + [f"c{i}" for i in range(40)]


def test_an_hnsw_graph_is_built_again_when_a_quarter_of_it_is_tombstones():
    index = FaissIndex(16, kind="hnsw")
    ids = [f"c{i:02d}" for i in range(40)]
    vectors_ND = unit_vectors(40, 16, seed=4)
    index.add(ids, vectors_ND)

    index.remove(ids[:10])
    assert index._index.ntotal == 40  # 10 of 40 are tombstones: not more than a quarter yet
    index.remove(ids[10:11])
    assert index._index.ntotal == 29

    query_D = unit_vectors(1, 16, seed=5)[0]
    found = [item_id for item_id, _ in index.search(query_D[None, :], k=5)[0]]
    assert found == [item_id for item_id, _ in naive_search(ids[11:], vectors_ND[11:], query_D, k=5)]


def test_the_kind_follows_the_size_and_the_reason_is_logged(caplog: pytest.LogCaptureFixture):
    with caplog.at_level("INFO", logger="retrieval.indexes.faiss_kinds"):
        kinds = [choose_faiss_kind(n, flat_up_to=100, sq8_up_to=200).kind for n in (100, 101, 200, 201)]

    assert kinds == ["flat", "sq8", "sq8", "ivfpq"]
    assert "201 vectors: ivfpq (a query must not read every vector; past 200 vectors)" in caplog.messages[3]


def test_a_larger_kind_is_kept_until_the_size_is_half_its_limit():
    assert choose_faiss_kind(60, current="sq8", flat_up_to=100).kind == "sq8"
    assert choose_faiss_kind(50, current="sq8", flat_up_to=100).kind == "flat"
    assert choose_faiss_kind(60, current="hnsw", flat_up_to=100).kind == "flat"
    assert choose_faiss_kind(150, current="ivfpq", flat_up_to=100, sq8_up_to=200).kind == "ivfpq"
    assert choose_faiss_kind(101, current="flat", flat_up_to=100).kind == "sq8"


def test_a_kind_that_is_set_is_taken_whatever_the_size_and_an_unknown_one_refused():
    assert choose_faiss_kind(3, wanted="ivfpq").kind == "ivfpq"
    with pytest.raises(ConfigError, match="'ivf' is unknown"):
        choose_faiss_kind(3, wanted="ivf")


def test_an_unknown_kind_and_a_parameter_that_is_not_positive_are_refused():
    with pytest.raises(ConfigError, match="kind='ivf'"):
        FaissIndex(8, kind="ivf")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="links: 0"):
        FaissParameters(links=0)
    with pytest.raises(ConfigError, match="train_at: 299"):
        FaissParameters(train_at=299)
