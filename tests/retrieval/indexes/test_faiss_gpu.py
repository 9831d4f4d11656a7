"""The road over a GPU, with a copy in the host's memory in the card's place: no filters, and at most so many hits.

What a real card does (float16, shards, its own memory) is not shown here: no GPU was at hand.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pytest

from kg.errors import ConfigError
from retrieval.indexes import faiss_gpu
from retrieval.indexes.choice import GPU_FLAT_UP_TO, Gpus, choose_index, load_index, make_index
from retrieval.indexes.exact import ExactIndex
from retrieval.indexes.faiss_cpu import FaissIndex
from retrieval.indexes.faiss_gpu import Card, copy_to_gpus, gpu_count
from retrieval.indexes.faiss_kinds import FaissKind, FaissParameters
from retrieval.testing import VectorIndexContract, clustered_vectors, unit_vectors


class HostCopy:
    """A copy in the host's memory with the limits of a GPU index, and float16's rounding where that is asked for."""

    def __init__(self, index: Any, *, half: bool) -> None:
        self._index = faiss.deserialize_index(faiss.serialize_index(index))
        if half and isinstance(index, faiss.IndexFlat):
            rows = index.reconstruct_n(0, index.ntotal).astype(np.float16).astype(np.float32)
            self._index.reset()
            self._index.add(rows)
        self.nprobe = 1

    def search(self, queries: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
        assert 1 <= m <= faiss_gpu.MOST_ASKED
        if isinstance(self._index, faiss.IndexIVF):
            self._index.nprobe = self.nprobe
        scores, places = self._index.search(queries, m)
        return scores, places


class GpuContract(VectorIndexContract):
    kind: FaissKind
    half = False

    @pytest.fixture(autouse=True)
    def copies_fall_behind_soon(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(faiss_gpu, "_LEAST_TAIL", 20)

    def make(self, dimension: int) -> FaissIndex:
        card = Card(copy=HostCopy, half=self.half)
        return FaissIndex(dimension, kind=self.kind, parameters=FaissParameters(train_at=300), card=card)

    def reloaded(self, index: FaissIndex, path: Any) -> FaissIndex:
        index.save(path, encoder="e", record_version=1)
        again = FaissIndex.load(path, kind=self.kind, encoder="e")
        again.card = Card(copy=HostCopy, half=self.half)
        return again


class TestFlatOnACard(GpuContract):
    kind = "flat"


class TestHalfFlatOnACard(GpuContract):
    kind = "flat"
    half = True


class TestIvfPqOnACard(GpuContract):
    kind = "ivfpq"
    least_recall = 0.98


@pytest.mark.parametrize("half", [False, True])
def test_a_card_finds_what_exact_search_finds_with_few_copies_and_under_any_filter(half: bool):
    vectors_ND, queries_QD = clustered_vectors(6000, 32, seed=1), clustered_vectors(10, 32, seed=2)
    ids = [f"c{i:05d}" for i in range(6000)]
    card = Card(copy=HostCopy, half=half)
    exact, index = ExactIndex(32), FaissIndex(32, card=card)
    for start in range(0, 6000, 500):
        for each in (exact, index):
            each.add(ids[start : start + 500], vectors_ND[start : start + 500])
        assert index.search(queries_QD, k=10) == exact.search(queries_QD, k=10)
    assert card.n_copies == 2  # at the first search, and once the tail was 4,096 long

    for each in (exact, index):
        each.remove(ids[100:400])
    for allowed in (None, frozenset(ids[::2]), frozenset(ids[::50]), frozenset(ids[5990:]), frozenset(ids[100:300])):
        assert index.search(queries_QD, k=10, allowed=allowed) == exact.search(queries_QD, k=10, allowed=allowed)
    assert card.n_copies == 2


def test_half_precision_loses_nothing_where_float16_cannot_tell_vectors_apart():
    base_D = clustered_vectors(1, 384, seed=1)[0]
    near_ND = base_D + 1e-5 * np.random.default_rng(2).standard_normal((5000, 384)).astype(np.float32)
    near_ND /= np.linalg.norm(near_ND, axis=1, keepdims=True)
    ids = [f"c{i:04d}" for i in range(5000)]
    exact, index = ExactIndex(384), FaissIndex(384, card=Card(copy=HostCopy, half=True))
    for each in (exact, index):
        each.add(ids, near_ND)

    assert index.search(base_D[None, :], k=5) == exact.search(base_D[None, :], k=5)


class Stand(SimpleNamespace):
    """Notes what a GPU build of faiss would be told."""

    def __init__(self, n_gpus: int) -> None:
        super().__init__(told=[], StandardGpuResources=lambda: "resources", get_num_gpus=lambda: n_gpus)

    def GpuClonerOptions(self) -> SimpleNamespace:  # noqa: N802 - faiss's name
        return SimpleNamespace()

    GpuMultipleClonerOptions = GpuClonerOptions

    def index_cpu_to_gpu(self, resources: str, device: int, index: Any, options: SimpleNamespace) -> SimpleNamespace:
        self.told.append((resources, device, index, vars(options)))
        return SimpleNamespace()

    def index_cpu_to_all_gpus(self, index: Any, co: SimpleNamespace) -> SimpleNamespace:
        self.told.append((index, vars(co)))
        return SimpleNamespace()


def test_one_gpu_gets_the_whole_index_and_several_get_shards_of_it(monkeypatch: pytest.MonkeyPatch):
    for n_gpus, told in (
        (1, [("resources", 0, "index", {"useFloat16": True, "useFloat16LookupTables": True})]),
        (3, [("index", {"shard": True, "useFloat16": True, "useFloat16LookupTables": True})]),
    ):
        stand = Stand(n_gpus)
        monkeypatch.setattr(faiss_gpu, "faiss_module", lambda stand=stand: stand)
        copy = copy_to_gpus("index", half=True)
        assert stand.told == told
        assert n_gpus > 1 or copy.resources_of_ours == "resources"


def test_the_cpu_build_of_faiss_has_no_gpu():
    assert gpu_count() == 0


class Found(Gpus):
    def __init__(self, *, faiss: int = 0, torch: bool = False) -> None:
        self._found = faiss, torch
        self.n_asked = 0

    def n_of_faiss(self) -> int:
        self.n_asked += 1
        return self._found[0]

    def of_torch(self) -> bool:
        self.n_asked += 1
        return self._found[1]


MANY = GPU_FLAT_UP_TO + 1
BOTH, TORCH, NONE = {"faiss": 2, "torch": True}, {"torch": True}, {}


@pytest.mark.parametrize(
    ("n", "wanted", "device", "found", "kind", "on_gpu"),
    [
        (1000, "auto", "auto", BOTH, "flat", False),
        (60_000, "auto", "auto", BOTH, "flat", True),
        (60_000, "ivfpq", "auto", BOTH, "ivfpq", True),
        (60_000, "sq8", "auto", BOTH, "sq8", False),
        (60_000, "hnsw", "auto", BOTH, "hnsw", False),
        (MANY, "auto", "auto", BOTH, "ivfpq", True),
        (MANY, "flat", "auto", BOTH, "flat", True),
        (60_000, "auto", "cpu", BOTH, "sq8", False),
        (60_000, "torch", "auto", BOTH, "torch", True),
        (60_000, "auto", "auto", TORCH, "torch", True),
        (MANY, "auto", "auto", TORCH, "ivfpq", False),
        (60_000, "auto", "auto", NONE, "sq8", False),
        (1000, "auto", "gpu", BOTH, "flat", True),
        (1000, "auto", "gpu", TORCH, "torch", True),
        (1000, "torch", "auto", NONE, "torch", False),
        (1000, "torch", "cpu", BOTH, "torch", False),
    ],
)
def test_the_index_follows_the_size_the_setting_and_the_gpus_there_are(n, wanted, device, found, kind, on_gpu):
    choice = choose_index(n, wanted=wanted, device=device, gpus=Found(**found))

    assert (choice.kind, choice.on_gpu) == (kind, on_gpu)
    assert choice.is_exact == (kind in ("flat", "torch"))


def test_a_small_corpus_is_not_worth_the_question_whether_there_is_a_gpu():
    gpus = Found(**BOTH)
    choose_index(50_000, gpus=gpus)
    assert gpus.n_asked == 0


@pytest.mark.parametrize(
    ("wanted", "found"), [("auto", NONE), ("torch", NONE), ("sq8", BOTH), ("hnsw", BOTH), ("flat", TORCH)]
)
def test_a_gpu_that_is_not_there_for_that_kind_is_refused_with_what_to_do(wanted, found):
    with pytest.raises(ConfigError, match=rf"retrieval.index {wanted}.*faiss-gpu-cu12.*device: auto"):
        choose_index(10, wanted=wanted, device="gpu", gpus=Found(**found))


def test_unknown_names_are_refused():
    for given in ({"wanted": "ivf"}, {"device": "tpu"}):
        with pytest.raises(ConfigError, match="unknown"):
            choose_index(10, **given)


@pytest.mark.parametrize("wanted", ["flat", "sq8", "hnsw", "ivfpq", "torch"])
def test_what_was_chosen_is_made_saved_and_loaded(wanted, tmp_path):
    choice = choose_index(10, wanted=wanted, device="cpu")
    made, rows_ND = make_index(choice, 16), unit_vectors(20, 16, seed=1)
    made.add([f"c{i}" for i in range(20)], rows_ND)
    made.save(tmp_path / "v.idx", encoder="e", record_version=3)

    loaded = load_index(tmp_path / "v.idx", choice, encoder="e")

    assert loaded.name == made.name == ("torch-exact" if wanted == "torch" else f"faiss-{wanted}")
    assert loaded.search(rows_ND[:3], k=5) == made.search(rows_ND[:3], k=5)


def test_a_gpu_on_which_a_trial_search_ends_the_process_is_not_used(caplog):
    faiss_gpu.searches_on_gpu.cache_clear()
    script = "import os, sys; print('CUDA error 209 no kernel image', file=sys.stderr, flush=True); os.abort()"

    assert not faiss_gpu.searches_on_gpu(script)
    assert "CUDA error 209 no kernel image" in caplog.text


def test_a_gpu_on_which_a_trial_search_works_is_used_and_tried_once(tmp_path):
    faiss_gpu.searches_on_gpu.cache_clear()
    script = f"open({str(tmp_path / 'tried')!r}, 'a').write('x')"

    assert faiss_gpu.searches_on_gpu(script)
    assert faiss_gpu.searches_on_gpu(script)
    assert (tmp_path / "tried").read_text() == "x"


def test_a_trial_search_that_hangs_is_given_up(monkeypatch, caplog):
    faiss_gpu.searches_on_gpu.cache_clear()
    monkeypatch.setattr(faiss_gpu, "_TRIAL_TIMEOUT_S", 0.2)

    assert not faiss_gpu.searches_on_gpu("import time; time.sleep(60)")
    assert "took over 0.2 s" in caplog.text
