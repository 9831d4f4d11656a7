"""The packaged SmolLM2 itself as a GLM4-MoE (as a Mixtral: tests/generation/models/test_packaged_model.py)."""

import os
import shutil
from pathlib import Path

import platformdirs
import pytest

from moe_backbone.checkpoint import is_complete, source_sha256
from moe_backbone.upcycle import Target, UpcycleRecipe, upcycle
from moe_backbone.upcycle.checking import check_against_source

pytestmark = pytest.mark.models

CACHE = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag")) / "models"


@pytest.fixture(scope="module")
def smollm2():
    if not (CACHE / "smollm2" / "config.json").is_file():
        pytest.skip(f"smollm2 is not in {CACHE}: run `mmkg models pull`")
    return CACHE / "smollm2"


def test_smollm2_as_a_glm4_differs_by_rounding_and_writes_the_same(smollm2, tmp_path):
    moe = upcycle(smollm2, tmp_path / "moe", UpcycleRecipe(target=Target.GLM4_MOE, slices=3))
    try:
        check = check_against_source(smollm2, moe, max_tokens=48, n_new=8)
    finally:
        shutil.rmtree(moe)  # 870 MB that pytest would keep

    assert check.max_difference_float64 <= 1e-10
    # Logits reach 39, and the float32 dense model itself is about 6e-5 from its float64 value: that is the yardstick.
    assert check.max_difference <= 3 * check.source_rounding
    assert check.same_next_token == 1.0
    assert check.greedy_identical
    assert check.padded_identical


def test_the_mixtral_in_the_cache_is_recognised_as_made_by_the_defaults(smollm2):
    moe = CACHE / "smollm2-moe"
    if not (moe / "config.json").is_file():
        pytest.skip(f"smollm2-moe is not in {CACHE}: run `mmkg models pull`")

    assert is_complete(moe, recipe=UpcycleRecipe().stamp(source_sha256=source_sha256(smollm2)))
