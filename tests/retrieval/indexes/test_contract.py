"""Each vector index keeps the contract, and its file is refused unless it is whole, current and of the same encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kg.errors import ConfigError, VectorIndexError
from retrieval.indexes.exact import ExactIndex
from retrieval.indexes.faiss_cpu import FaissIndex, choose_faiss_kind
from retrieval.indexes.storage import IndexFile, read_index_file, write_index_file
from retrieval.testing import VectorIndexContract, naive_search, unit_vectors


class TestExactIndex(VectorIndexContract):
    def make(self, dimension: int) -> ExactIndex:
        return ExactIndex(dimension)


class TestFlatFaissIndex(VectorIndexContract):
    def make(self, dimension: int) -> FaissIndex:
        return FaissIndex(dimension, kind="flat")


class TestHnswFaissIndex(VectorIndexContract):
    def make(self, dimension: int) -> FaissIndex:
        return FaissIndex(dimension, kind="hnsw")


def _exact(path: Path, encoder: str, version: int | None) -> ExactIndex:
    return ExactIndex.load(path, encoder=encoder, record_version=version)


def _flat(path: Path, encoder: str, version: int | None) -> FaissIndex:
    return FaissIndex.load(path, kind="flat", encoder=encoder, record_version=version)


def _hnsw(path: Path, encoder: str, version: int | None) -> FaissIndex:
    return FaissIndex.load(path, kind="hnsw", encoder=encoder, record_version=version)


Load = Callable[[Path, str, int | None], ExactIndex | FaissIndex]
KINDS = [
    pytest.param(ExactIndex(16), _exact, id="exact"),
    pytest.param(FaissIndex(16, kind="flat"), _flat, id="flat"),
    pytest.param(FaissIndex(16, kind="hnsw"), _hnsw, id="hnsw"),
]


def _filled(index: ExactIndex | FaissIndex) -> ExactIndex | FaissIndex:
    index.remove(sorted(index.ids()))
    index.add([f"ü{i}" for i in range(40)], unit_vectors(40, 16, seed=1))
    index.remove(["ü3", "ü7"])
    return index


@pytest.mark.parametrize(("index", "load"), KINDS)
def test_a_saved_index_answers_as_before_and_still_takes_changes(
    index: ExactIndex | FaissIndex, load: Load, tmp_path: Path
):
    queries_QD = unit_vectors(3, 16, seed=2)
    _filled(index).save(tmp_path / "v.idx", encoder="e1", record_version=7)

    loaded = load(tmp_path / "v.idx", "e1", None)

    assert loaded.record_version == 7
    assert loaded.search(queries_QD, k=40) == index.search(queries_QD, k=40)
    loaded.add(["new"], queries_QD[:1])
    loaded.remove(["ü1"])
    assert loaded.search(queries_QD, k=40)[0][0][0] == "new"
    assert loaded.ids() == (index.ids() | {"new"}) - {"ü1"}


@pytest.mark.parametrize(("index", "load"), KINDS)
def test_an_index_of_another_encoder_or_record_version_is_refused_as_stale(
    index: ExactIndex | FaissIndex, load: Load, tmp_path: Path
):
    path = tmp_path / "v.idx"
    _filled(index).save(path, encoder="e1", record_version=7)

    assert len(load(path, "e1", 7)) == 38
    with pytest.raises(VectorIndexError, match="built_with is 'e1', now it must be 'e2'"):
        load(path, "e2", None)
    with pytest.raises(VectorIndexError, match="record_version is 7, now it must be 8"):
        load(path, "e1", 8)


@pytest.mark.parametrize(("index", "load"), KINDS)
def test_a_flipped_byte_or_a_cut_anywhere_is_noticed(index: ExactIndex | FaissIndex, load: Load, tmp_path: Path):
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


def test_a_missing_file_and_one_of_another_kind_are_refused(tmp_path: Path):
    with pytest.raises(VectorIndexError, match="cannot be read"):
        _exact(tmp_path / "none.idx", "e1", None)
    _filled(FaissIndex(16)).save(tmp_path / "v.idx", encoder="e1", record_version=1)
    with pytest.raises(VectorIndexError, match="kind is 'faiss-flat', now it must be 'faiss-hnsw'"):
        _hnsw(tmp_path / "v.idx", "e1", None)


def test_contents_that_contradict_each_other_are_refused_even_with_a_right_checksum(tmp_path: Path):
    path = tmp_path / "v.idx"
    details = {"dimension": 4, "next": 1, "links": 8, "build_beam": 8, "search_beam": 8}
    ids = json.dumps({"a": 0}).encode()
    sections = {"ids": ids, "vectors": b"\0" * 8, "faiss": b"not faiss"}
    for kind in ("exact", "faiss-flat"):
        write_index_file(
            path, IndexFile(kind=kind, built_with="e", record_version=1, details=details, sections=sections)
        )
        with pytest.raises(VectorIndexError):
            (_exact if kind == "exact" else _flat)(path, "e", None)


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


def _clustered(n: int, dimension: int) -> np.ndarray:
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((40, dimension))
    rows = centres[rng.integers(40, size=n)] + 0.7 * rng.standard_normal((n, dimension))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_hnsw_finds_at_least_98_percent_of_what_exact_search_finds_filtered_or_not():
    vectors_ND = _clustered(13_000, 32)
    queries_QD, vectors_ND = vectors_ND[:50], vectors_ND[50:]
    ids = [f"c{i:05d}" for i in range(len(vectors_ND))]
    exact, hnsw = ExactIndex(32), FaissIndex(32, kind="hnsw", links=16, build_beam=40)
    exact.add(ids, vectors_ND)
    hnsw.add(ids, vectors_ND)
    hnsw.remove(ids[:100])
    exact.remove(ids[:100])
    filters = [None, frozenset(ids[:12_000]), frozenset(ids[::3]), frozenset(ids[5000:5050])]

    for allowed in filters:
        expected = exact.search(queries_QD, k=10, allowed=allowed)
        found = hnsw.search(queries_QD, k=10, allowed=allowed)
        shared = [len({i for i, _ in a} & {i for i, _ in b}) / 10 for a, b in zip(expected, found, strict=True)]
        assert np.mean(shared) >= 0.98
    assert found == expected  # the last filter leaves few vectors, which are scanned exactly


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
    with caplog.at_level("INFO", logger="retrieval.indexes.faiss_cpu"):
        assert choose_faiss_kind(100, flat_up_to=100) == "flat"
        assert choose_faiss_kind(101, flat_up_to=100) == "hnsw"

    assert "101 vectors: hnsw (a query must not read every vector; the limit is 100)" in caplog.messages[1]


def test_an_unknown_kind_and_a_parameter_that_is_not_positive_are_refused():
    with pytest.raises(ConfigError, match="kind='ivf'"):
        FaissIndex(8, kind="ivf")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="links=0"):
        FaissIndex(8, kind="hnsw", links=0)
