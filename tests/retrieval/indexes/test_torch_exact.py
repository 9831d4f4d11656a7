"""The torch index returns the lists of the exact reference, in float32 and in float16, in one block or in many."""

from __future__ import annotations

import numpy as np
import pytest

from kg.errors import ConfigError
from retrieval.indexes.exact import ExactIndex
from retrieval.indexes.torch_exact import TorchExactIndex
from retrieval.testing import clustered_vectors


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("block_rows", [7, 1000, 262_144])
def test_it_agrees_with_the_exact_index_at_an_encoders_width(half: bool, block_rows: int):
    vectors_ND, queries_QD = clustered_vectors(3000, 384, seed=1), clustered_vectors(20, 384, seed=2)
    vectors_ND[1500:1530] = queries_QD[0]  # a tie across blocks and across the cut
    ids = [f"c{(i * 7919) % 10_007:05d}" for i in range(3000)]
    exact, index = ExactIndex(384), TorchExactIndex(384, device="cpu", half=half, block_rows=block_rows)
    for each in (exact, index):
        each.add(ids, vectors_ND)
        each.remove(ids[:200])

    for allowed in (None, frozenset(ids[::3])):
        assert index.search(queries_QD, k=10, allowed=allowed) == exact.search(queries_QD, k=10, allowed=allowed)


def test_half_precision_loses_nothing_where_float16_cannot_tell_vectors_apart():
    base_D = clustered_vectors(1, 384, seed=1)[0]
    near_ND = base_D + 1e-5 * np.random.default_rng(2).standard_normal((500, 384)).astype(np.float32)
    near_ND /= np.linalg.norm(near_ND, axis=1, keepdims=True)
    ids = [f"c{i:03d}" for i in range(500)]
    exact, index = ExactIndex(384), TorchExactIndex(384, device="cpu", half=True)
    exact.add(ids, near_ND)
    index.add(ids, near_ND)

    assert index.search(base_D[None, :], k=5) == exact.search(base_D[None, :], k=5)


def test_numbers_that_are_not_positive_are_refused():
    with pytest.raises(ConfigError, match="block_rows=0"):
        TorchExactIndex(8, block_rows=0)
