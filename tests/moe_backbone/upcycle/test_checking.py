"""The check of an upcycled model tells a faithful one from one that is not."""

import pytest
import torch

from moe_backbone.checkpoint import CheckpointError
from moe_backbone.upcycle import Target, UpcycleRecipe, upcycle
from moe_backbone.upcycle.checking import check_against_source, compute_in_float64
from tests.moe_backbone.tiny_llama import make_tiny_llama
from tests.moe_backbone.upcycle.models import load, random_ids


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return make_tiny_llama(tmp_path_factory.mktemp("checking") / "dense")


def test_a_faithful_model_is_within_rounding_and_writes_the_same(dense, tmp_path):
    moe = upcycle(dense, tmp_path / "moe", UpcycleRecipe(target=Target.GLM4_MOE, slices=3))
    check = check_against_source(dense, moe, max_tokens=100, n_new=32)

    assert (check.n_tokens, check.n_new) == (100, 32)
    assert check.greedy_identical
    assert check.padded_identical
    assert check.same_next_token == 1.0
    assert 0 < check.max_difference <= 2e-5
    assert check.max_difference_float64 <= 1e-10
    assert 0 < check.source_rounding <= 1e-4
    assert check.largest_logit > 0.5


def test_a_model_that_lost_half_its_neurons_is_found_out(dense, tmp_path):
    recipe = UpcycleRecipe(slices=1, groups=2, groups_per_token=2, drop=0.5)
    check = check_against_source(dense, upcycle(dense, tmp_path / "moe", recipe), max_tokens=60, n_new=16, exact=False)

    assert check.max_difference > 0.05
    assert not check.greedy_identical
    assert check.same_next_token < 1.0
    assert (check.source_rounding, check.max_difference_float64) == (None, None)


def test_float64_throughout_has_no_float32_norm_in_it(dense):
    ids = random_ids(1, 20)
    with torch.no_grad():
        stock = load(dense, dtype=torch.float64)(ids).logits
        wide = compute_in_float64(load(dense))(ids).logits

    assert 1e-9 < (stock - wide).abs().max() < 1e-4


def test_a_short_text_and_a_missing_tokenizer_are_refused(dense, tmp_path):
    with pytest.raises(CheckpointError, match="has 3 tokens"):
        check_against_source(dense, dense, text="abc")
    bare = make_tiny_llama(tmp_path / "bare", tokenizer=False)
    with pytest.raises(CheckpointError, match="no tokenizer that can be opened"):
        check_against_source(bare, bare)
