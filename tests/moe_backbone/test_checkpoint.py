"""Checkpoint folders: complete or absent, in one file or in shards."""

import json
import os

import pytest
import torch
from safetensors.torch import load_file

from moe_backbone.checkpoint import (
    MANIFEST_NAME,
    CheckpointError,
    PlannedTensor,
    TensorReader,
    checkpoint_folder,
    is_complete,
    source_sha256,
    verify,
    write_safetensors,
)


def plan(tensors):
    return [
        PlannedTensor(name=name, shape=tuple(value.shape), dtype=value.dtype, make=lambda value=value: value)
        for name, value in tensors.items()
    ]


TENSORS = {
    "a": torch.arange(6.0).reshape(2, 3),
    "b": torch.ones(5, dtype=torch.bfloat16),
    "c": torch.arange(8.0).reshape(4, 2).T,  # not contiguous
}


@pytest.mark.parametrize("shard_bytes", [10**9, 40], ids=["one file", "shards"])
def test_what_is_written_is_what_is_read(tmp_path, shard_bytes):
    write_safetensors(tmp_path, plan(TENSORS), shard_bytes=shard_bytes)
    reader = TensorReader(tmp_path)

    assert reader.names == TENSORS.keys()
    for name, value in TENSORS.items():
        assert reader.planned(name) == (tuple(value.shape), value.dtype)
        assert torch.equal(reader.read(name), value)
    assert torch.equal(reader.read("a", columns=slice(1, 3)), TENSORS["a"][:, 1:3])
    assert torch.equal(reader.read("a", rows=slice(1, 2)), TENSORS["a"][1:2])


def test_shards_are_named_by_an_index_and_a_missing_one_is_reported(tmp_path):
    write_safetensors(tmp_path, plan(TENSORS), shard_bytes=40)
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {
        "a": "model-00001-of-00002.safetensors", "b": "model-00001-of-00002.safetensors",
        "c": "model-00002-of-00002.safetensors",
    }  # fmt: skip
    (tmp_path / "model-00002-of-00002.safetensors").unlink()

    with pytest.raises(CheckpointError, match=r"lacks model-00002-of-00002\.safetensors"):
        TensorReader(tmp_path)


def test_a_failure_half_way_leaves_no_folder(tmp_path):
    broken = PlannedTensor(name="x", shape=(3,), dtype=torch.float32, make=lambda: torch.ones(2))
    with (
        pytest.raises(CheckpointError, match="x was planned as"),
        checkpoint_folder(tmp_path / "out", recipe={}, size_bytes=1) as folder,
    ):
        write_safetensors(folder, [*plan(TENSORS), broken])

    assert list(tmp_path.iterdir()) == []


def make(out, *, recipe, value=1.0):
    with checkpoint_folder(out, recipe=recipe, size_bytes=1) as folder:
        write_safetensors(folder, plan({"a": torch.full((4,), value)}))
        (folder / "config.json").write_text("{}")


def test_a_truncated_or_altered_file_is_noticed(tmp_path):
    out = tmp_path / "out"
    make(out, recipe={"seed": 1})
    assert is_complete(out, recipe={"seed": 1})
    assert not is_complete(out, recipe={"seed": 2})
    assert verify(out) == ()

    data = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").write_bytes(data[:-1] + b"\x01")
    assert verify(out) == ("model.safetensors",)
    (out / "model.safetensors").write_bytes(data[:-1])
    assert not is_complete(out)


def test_of_two_conversions_at_once_the_first_to_finish_stays(tmp_path):
    out = tmp_path / "out"
    with checkpoint_folder(out, recipe={"seed": 1}, size_bytes=1) as slow:
        write_safetensors(slow, plan({"a": torch.zeros(4)}))
        (slow / "config.json").write_text("{}")
        make(out, recipe={"seed": 1})

    assert torch.equal(load_file(out / "model.safetensors")["a"], torch.ones(4))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_folder_of_another_recipe_or_without_manifest_is_replaced(tmp_path):
    out = tmp_path / "out"
    make(out, recipe={"seed": 1})
    make(out, recipe={"seed": 2}, value=2.0)
    assert load_file(out / "model.safetensors")["a"][0] == 2
    (out / MANIFEST_NAME).unlink()
    make(out, recipe={"seed": 2}, value=3.0)

    assert load_file(out / "model.safetensors")["a"][0] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_leavings_of_a_killed_conversion_are_removed_and_a_running_one_is_left_alone(tmp_path):
    dead, alive = tmp_path / ".out.part-dead", tmp_path / ".out.part-alive"
    for folder in (dead, alive):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
    for path in (dead / "model.safetensors", dead):
        os.utime(path, (1, 1))

    make(tmp_path / "out", recipe={})

    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.part-alive", "out"]


def test_a_disk_too_small_is_refused_before_anything_is_written(tmp_path):
    with (
        pytest.raises(CheckpointError, match=r"needs 1000000000\.00 GB and the disk has"),
        checkpoint_folder(tmp_path / "out", recipe={}, size_bytes=10**18),
    ):
        pytest.fail("the block must not run")
    assert list(tmp_path.iterdir()) == []


def test_the_source_hash_does_not_depend_on_having_a_manifest(tmp_path):
    make(tmp_path / "out", recipe={})
    with_manifest = source_sha256(tmp_path / "out")
    (tmp_path / "out" / MANIFEST_NAME).unlink()

    assert source_sha256(tmp_path / "out") == with_manifest


def test_what_is_no_safetensors_file_is_named(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"garbage" * 10)
    with pytest.raises(CheckpointError, match="cannot be read as safetensors"):
        TensorReader(tmp_path)
