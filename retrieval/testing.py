"""The contract that every vector index keeps, as tests to inherit.

Layer: ``retrieval``; imports pytest, so only test modules import it. A new index inherits :class:`VectorIndexContract`,
says how to make itself, and is held to the same lists as the naive reference below, ties and filters included.

Shape suffixes: N vectors, Q queries, D vector width.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kg.errors import EncoderError, InputError, VectorIndexError
from retrieval.types import VectorIndex

__all__ = ["VectorIndexContract", "clustered_vectors", "naive_search", "unit_vectors"]


def unit_vectors(n: int, dimension: int, *, seed: int) -> NDArray[np.float32]:
    """Return random directions. *Shape:* ``(N, D)``."""
    rows_ND = np.random.default_rng(seed).standard_normal((n, dimension))
    unit_ND: NDArray[np.float32] = (rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)).astype(np.float32)
    return unit_ND


def clustered_vectors(n: int, dimension: int, *, seed: int, n_centres: int = 40) -> NDArray[np.float32]:
    """Return unit vectors around common centres, alike in their spread to those of an encoder. *Shape:* ``(N, D)``.

    A vector is a centre plus noise of the same strength; in both, the i-th direction has the scale ``i ** -0.4``. With
    384 numbers and 1,000 centres the participation ratio of 2,000 vectors' spectrum is 67; it is 68 with the packaged
    encoder over 1,436 passages. Random directions, which have no near neighbours, are every approximate index's worst
    case.

    :param n: How many.
    :param dimension: Their width.
    :param seed: Of the choice of centres and of the noise; the centres themselves are always the same.
    :param n_centres: How many centres.
    :returns: The vectors.
    """
    rng, scale_D = np.random.default_rng(seed), np.arange(1, dimension + 1, dtype=np.float32) ** np.float32(-0.4)
    centres_CD = np.random.default_rng(0).standard_normal((n_centres, dimension), dtype=np.float32)
    rows_ND = centres_CD[rng.integers(n_centres, size=n)] + rng.standard_normal((n, dimension), dtype=np.float32)
    rows_ND *= scale_D
    unit_ND: NDArray[np.float32] = rows_ND / np.linalg.norm(rows_ND, axis=1, keepdims=True)
    return unit_ND


def naive_search(
    ids: Sequence[str], vectors_ND: NDArray[np.float32], query_D: NDArray[np.float32], *, k: int
) -> list[tuple[str, float]]:
    """Score one vector after the other in Python and sort everything: slow and plainly right.

    :param ids: One id per vector.
    :param vectors_ND: The vectors. *Shape:* ``(N, D)``.
    :param query_D: The query. *Shape:* ``(D,)``.
    :param k: The most pairs to return.
    :returns: ``(id, inner product)`` pairs by falling score, ties by id.
    """
    pairs = [
        (item_id, sum(float(a) * float(b) for a, b in zip(vector_D, query_D, strict=True)))
        for item_id, vector_D in zip(ids, vectors_ND, strict=True)
    ]
    return sorted(pairs, key=lambda pair: (-round(pair[1], 12), pair[0]))[:k]


def _same(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> None:
    assert [item_id for item_id, _ in found] == [item_id for item_id, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-6)


def _reference(
    content: Mapping[str, NDArray[np.float32]], query_D: NDArray[np.float32], k: int
) -> list[tuple[str, float]]:
    """Score everything in float64 and sort everything."""
    pairs = [(item_id, float(vector_D.astype(np.float64) @ query_D)) for item_id, vector_D in content.items()]
    return sorted(pairs, key=lambda pair: (-round(pair[1], 12), pair[0]))[:k]


class VectorIndexContract:
    """Inherit, override :meth:`make`, and the index is tested.

    An approximate index states its recall: over a history it finds at least this share of what exact search finds. All
    else holds for it as well: it never returns what was removed or is not allowed, nor fewer than there are, and its
    scores are the exact ones.
    """

    dimension = 24
    least_recall = 1.0

    def make(self, dimension: int) -> VectorIndex:
        """Return an empty index.

        :param dimension: Width of its vectors.
        :returns: The index under test.
        :raises NotImplementedError: Always, here.
        """
        raise NotImplementedError

    def reloaded(self, index: VectorIndex, path: Path) -> VectorIndex:
        """Save the index, load it again and return that; an index without files returns itself.

        :param index: The index.
        :param path: A file that may be written.
        :returns: An index that holds the same.
        """
        return index

    def filled(self, n: int) -> tuple[VectorIndex, list[str], NDArray[np.float32]]:
        """Return an index of ``n`` vectors, their ids in no order, and the vectors."""
        ids = [f"c{(i * 7919) % 10_007:05d}" for i in range(n)]
        vectors_ND = unit_vectors(n, self.dimension, seed=1)
        index = self.make(self.dimension)
        index.add(ids, vectors_ND)
        return index, ids, vectors_ND

    def test_it_satisfies_the_port(self) -> None:
        """The protocol's names are there."""
        assert isinstance(self.make(4), VectorIndex)

    def test_search_returns_the_lists_of_the_naive_reference(self) -> None:
        """Same ids in the same order, same scores."""
        index, ids, vectors_ND = self.filled(120)
        queries_QD = unit_vectors(5, self.dimension, seed=2)

        found = index.search(queries_QD, k=10)

        for hits, query_D in zip(found, queries_QD, strict=True):
            _same(hits, naive_search(ids, vectors_ND, query_D, k=10))

    def test_a_filter_is_applied_before_the_cut_to_k(self) -> None:
        """The allowed vectors are the query's farthest, and still all come back."""
        index, ids, vectors_ND = self.filled(120)
        query_D = unit_vectors(1, self.dimension, seed=3)[0]
        allowed = [item_id for item_id, _ in naive_search(ids, vectors_ND, query_D, k=120)[-6:]]

        (hits,) = index.search(query_D[None, :], k=5, allowed=frozenset([*allowed, "unknown"]))

        rows = [ids.index(item_id) for item_id in allowed]
        _same(hits, naive_search(allowed, vectors_ND[rows], query_D, k=5))

    def test_a_filter_that_allows_nothing_known_finds_nothing(self) -> None:
        """An empty filter is not the same as no filter."""
        index, _, vectors_ND = self.filled(10)

        assert index.search(vectors_ND[:2], k=3, allowed=frozenset()) == [[], []]
        assert index.search(vectors_ND[:1], k=3, allowed=frozenset({"unknown"})) == [[]]

    def test_equal_vectors_are_ordered_by_id_whatever_the_order_of_adding(self) -> None:
        """Forty equal vectors tie across the cut; the smallest ids win."""
        index = self.make(self.dimension)
        (vector_D,) = unit_vectors(1, self.dimension, seed=4)
        ids = [f"t{i:02d}" for i in reversed(range(40))]
        index.add(ids, np.tile(vector_D, (40, 1)))
        index.add(["a-far"], -vector_D[None, :])

        (hits,) = index.search(vector_D[None, :], k=3)

        assert [item_id for item_id, _ in hits] == ["t00", "t01", "t02"]

    def test_k_beyond_the_size_returns_everything(self) -> None:
        """No padding, no error."""
        index, ids, vectors_ND = self.filled(7)

        (hits,) = index.search(vectors_ND[:1], k=50)

        _same(hits, naive_search(ids, vectors_ND, vectors_ND[0], k=50))

    @pytest.mark.parametrize("k", [0, -1])
    def test_k_below_one_is_refused(self, k: int) -> None:
        """A caller's mistake, not an empty answer.

        :param k: What is asked for.
        """
        index, _, vectors_ND = self.filled(3)

        with pytest.raises(InputError, match="at least 1"):
            index.search(vectors_ND[:1], k=k)

    def test_an_empty_index_finds_nothing(self) -> None:
        """One empty list per query, none for no queries."""
        index = self.make(self.dimension)
        index.add([], np.empty((0, self.dimension), dtype=np.float32))

        assert len(index) == 0
        assert index.search(unit_vectors(2, self.dimension, seed=5), k=3) == [[], []]
        assert index.search(np.empty((0, self.dimension), dtype=np.float32), k=3) == []

    def test_a_removed_vector_is_never_found_and_the_rest_still_is(self) -> None:
        """Removing most of the index and adding again leaves no trace; unknown ids are ignored."""
        index, ids, vectors_ND = self.filled(60)
        query_D = unit_vectors(1, self.dimension, seed=6)[0]

        index.remove([*ids[:5], "unknown", ids[0]])
        (hits,) = index.search(query_D[None, :], k=60)
        _same(hits, naive_search(ids[5:], vectors_ND[5:], query_D, k=60))

        index.remove(ids[5:50])
        index.add(ids[:3], vectors_ND[:3])
        left = [*ids[:3], *ids[50:]]
        (hits,) = index.search(query_D[None, :], k=60)
        _same(hits, naive_search(left, np.vstack([vectors_ND[:3], vectors_ND[50:]]), query_D, k=60))
        assert index.ids() == frozenset(left)
        assert len(index) == 13

    def test_everything_can_be_removed_and_the_index_used_again(self) -> None:
        """An emptied index is an empty index."""
        index, ids, vectors_ND = self.filled(12)

        index.remove(ids)
        assert index.search(vectors_ND[:1], k=3) == [[]]
        index.add(ids[:2], vectors_ND[:2])

        assert {item_id for item_id, _ in index.search(vectors_ND[:1], k=3)[0]} == set(ids[:2])

    def test_adding_an_id_again_replaces_its_vector(self) -> None:
        """The old vector is gone and the id counts once."""
        index, ids, vectors_ND = self.filled(20)

        index.add([ids[0]], -vectors_ND[:1])
        (hits,) = index.search(-vectors_ND[:1], k=20)

        assert hits[0][0] == ids[0]
        assert hits[0][1] == pytest.approx(1.0, abs=1e-6)
        assert len(hits) == len(index) == 20

    @pytest.mark.parametrize("bad", [np.nan, np.inf])
    def test_values_that_are_not_finite_are_refused_and_change_nothing(self, bad: float) -> None:
        """Neither stored nor searched for.

        :param bad: The value.
        """
        index, _, vectors_ND = self.filled(3)
        wrong_ND = vectors_ND[:2].copy()
        wrong_ND[1, 0] = bad

        with pytest.raises(EncoderError, match="not finite"):
            index.add(["x", "y"], wrong_ND)
        with pytest.raises(EncoderError, match="not finite"):
            index.search(wrong_ND, k=1)
        assert len(index) == 3

    def test_vectors_of_another_width_are_refused(self) -> None:
        """The message says which width was expected."""
        index, _, vectors_ND = self.filled(3)

        with pytest.raises(EncoderError, match=rf"\(N, {self.dimension}\)"):
            index.add(["x"], unit_vectors(1, self.dimension + 1, seed=7))
        with pytest.raises(EncoderError, match=rf"\(N, {self.dimension}\)"):
            index.search(vectors_ND[0], k=1)

    def test_ids_that_do_not_name_each_vector_once_are_refused(self) -> None:
        """Too few, and one twice."""
        index = self.make(self.dimension)
        vectors_ND = unit_vectors(2, self.dimension, seed=8)

        with pytest.raises(VectorIndexError, match="1 ids"):
            index.add(["x"], vectors_ND)
        with pytest.raises(VectorIndexError, match="1 different"):
            index.add(["x", "x"], vectors_ND)

    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_any_history_of_changes_searches_and_restarts_agrees_with_a_plain_dictionary(
        self, seed: int, tmp_path: Path
    ) -> None:
        """Additions, replacements, removals, filters and files in random order, checked after each.

        :param seed: Of the history.
        :param tmp_path: Where files are written.
        """
        rng = np.random.default_rng(seed)
        pool_ND = clustered_vectors(2000, self.dimension, seed=seed, n_centres=12)
        index = self.make(self.dimension)
        content: dict[str, NDArray[np.float32]] = {}
        shared = wanted = 0
        for step in range(60):
            match rng.choice(["add", "add", "add", "remove", "reload"]):
                case "add":
                    ids = [f"h{i}" for i in rng.choice(900, size=int(rng.integers(1, 80)), replace=False)]
                    rows = rng.integers(len(pool_ND), size=len(ids))
                    index.add(ids, pool_ND[rows])
                    content.update(zip(ids, pool_ND[rows], strict=True))
                case "remove":
                    ids = [f"h{i}" for i in rng.choice(900, size=int(rng.integers(1, 120)), replace=False)]
                    index.remove(ids)
                    for item_id in ids:
                        content.pop(item_id, None)
                case _:
                    index = self.reloaded(index, tmp_path / f"{step}.index")
            assert index.ids() == content.keys()
            allowed = None if step % 2 else frozenset(f"h{i}" for i in range(0, 900, int(rng.integers(1, 300))))
            queries_QD, k = clustered_vectors(2, self.dimension, seed=step, n_centres=12), int(rng.integers(1, 30))
            eligible = {i: v for i, v in content.items() if allowed is None or i in allowed}
            for hits, query_D in zip(index.search(queries_QD, k=k, allowed=allowed), queries_QD, strict=True):
                expected = _reference(eligible, query_D, k)
                _same(hits, _reference({item_id: eligible[item_id] for item_id, _ in hits}, query_D, k))
                assert len(hits) == len(expected)
                shared += len(dict(hits).keys() & dict(expected).keys())
                wanted += len(expected)
        assert shared >= self.least_recall * wanted

    def test_eight_threads_may_add_remove_and_search_at_once(self) -> None:
        """Each thread has ids of its own, sees its own changes at once, and never what it removed."""
        index, ids, _ = self.filled(300)
        rows_ND = unit_vectors(8 * 40, self.dimension, seed=9)
        faults: list[str] = []
        n_found = [0] * 8
        start = threading.Barrier(8)

        def work(thread: int) -> None:
            start.wait()
            for i in range(thread * 40, thread * 40 + 40):
                index.add([f"m{i:03d}"], rows_ND[i : i + 1])
                (hits,) = index.search(rows_ND[i : i + 1], k=5)
                n_found[thread] += hits[0][0] == f"m{i:03d}"
                scores = [score for _, score in hits]
                if len(hits) != 5 or scores != sorted(scores, reverse=True) or len(index) < 300:
                    faults.append(str(hits))
                if i % 2:
                    index.remove([f"m{i:03d}"])
                    (hits,) = index.search(rows_ND[i : i + 1], k=5)
                    if f"m{i:03d}" in dict(hits) or not dict(hits).keys() <= {*ids, *known}:
                        faults.append(str(hits))

        known = {f"m{i:03d}" for i in range(8 * 40)}
        threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert faults == []
        assert sum(n_found) >= self.least_recall * 8 * 40
        assert index.ids() == {*ids, *sorted(known)[::2]}
        assert len(index) == 300 + 4 * 40
