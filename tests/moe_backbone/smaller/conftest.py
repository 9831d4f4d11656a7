"""The trained model that several test files of this folder shrink."""

import pytest

from tests.moe_backbone.smaller.tiny_moe import trained_moe


@pytest.fixture(scope="session")
def trained_folder(tmp_path_factory):
    return trained_moe(tmp_path_factory.mktemp("trained") / "moe", steps=90)
