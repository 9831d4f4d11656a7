"""The trained model that several test files of this folder shrink."""

import pytest

from tests.moe_backbone.smaller.tiny_moe import prose, trained_moe


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory):
    return trained_moe(tmp_path_factory.mktemp("trained") / "moe", text=prose(), steps=90, seed=1)
