"""Saving and loading: stock where it can be, a layout where it must be, whole or not at all."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from moe_backbone.blocks import find_blocks
from moe_backbone.checkpoint import CheckpointError, read_manifest
from moe_backbone.smaller.merging import merge
from moe_backbone.smaller.mixed import mix_precision
from moe_backbone.smaller.pruning import prune
from moe_backbone.smaller.saving import LAYOUT_NAME, load_policy, load_shrunk, save_policy, save_shrunk, stored_bytes
from moe_backbone.smaller.skipping import SkipPolicy
from moe_backbone.smaller.surgery import expert_bytes
from tests.moe_backbone.smaller.test_merging import TWINS
from tests.moe_backbone.smaller.tiny_moe import FAMILIES, make, random_tokens

IDS = random_tokens(rows=2).ids
BITS = [(2, 3, 4, 8, 4, 3, 2, 8)] * 2


def saved(tmp_path, changed, model, **options):
    source = tmp_path / "source"
    model.save_pretrained(source)
    stock = save_shrunk(changed, tmp_path / "out", source=source, recipe={"kind": "test"}, **options)
    return tmp_path / "out", stock


def logits(model):
    with torch.no_grad():
        return model(IDS).logits


@pytest.mark.parametrize("family", FAMILIES)
def test_even_counts_make_a_stock_checkpoint(family, tmp_path):
    model = make(family)
    pruned = prune(model, [(0, 2, 3, 5, 6)] * len(find_blocks(model)))
    folder, stock = saved(tmp_path, pruned, model)
    loaded = AutoModelForCausalLM.from_pretrained(folder).eval()

    assert stock
    assert not (folder / LAYOUT_NAME).exists()
    assert torch.equal(logits(pruned), logits(loaded))
    assert len(find_blocks(model)[0].router.weight) == 8
    assert model.config.get_text_config().num_hidden_layers == 2


@pytest.mark.parametrize("family", ["mixtral", "glm4", "gpt_oss", "granite"])
@pytest.mark.parametrize(
    "change",
    [
        lambda model, n: prune(model, [(0, 2, 3), (1, 2, 3, 4, 7)][:n]),
        lambda model, n: merge(model, [TWINS] * n),
        lambda model, n: mix_precision(model, BITS[:n]),
        lambda model, n: mix_precision(model, [(0, 4, 4, 8, 0, 2, 2, 2), (8,) * 8][:n]),
    ],
    ids=["uneven", "merged", "packed", "pruned and packed"],
)
def test_what_stock_models_cannot_be_is_saved_with_a_layout(family, change, tmp_path):
    model = make(family)
    n_blocks = len(find_blocks(model))
    changed = change(model, n_blocks)
    folder, stock = saved(tmp_path, changed, model)
    loaded = load_shrunk(folder)

    assert torch.equal(logits(changed), logits(loaded))
    assert expert_bytes(loaded) == expert_bytes(changed)
    assert stock == (not (folder / LAYOUT_NAME).exists())  # one block of any number of experts is a stock model
    if not stock:
        assert json.loads((folder / LAYOUT_NAME).read_text())["kind"] == "experts"
        with pytest.raises(OSError, match=r"model\.safetensors"):
            AutoModelForCausalLM.from_pretrained(folder)  # no stock loader takes it for a whole model


def test_tied_embeddings_are_stored_once_and_tied_again(tmp_path):
    model = make(tie_word_embeddings=True)
    changed = mix_precision(model, BITS)
    folder, _ = saved(tmp_path, changed, model)
    loaded = load_shrunk(folder)

    assert loaded.lm_head.weight.data_ptr() == loaded.model.embed_tokens.weight.data_ptr()
    assert torch.equal(logits(changed), logits(loaded))
    assert stored_bytes(folder) < sum(p.numel() * 4 for p in model.parameters())


def test_half_precision_is_saved_as_such_and_the_model_at_hand_is_not_touched(tmp_path):
    model = make(tie_word_embeddings=True)
    for parameter in model.parameters():
        parameter.data = parameter.data.to(torch.bfloat16).float()
    pruned = prune(model, [(0, 2, 3, 5)] * 2)
    folder, _ = saved(tmp_path, pruned, model, dtype=torch.bfloat16)
    loaded = load_shrunk(folder)

    assert loaded.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(logits(load_shrunk(folder, dtype=torch.float32)), logits(pruned))  # all were bfloat16 values


def test_a_folder_without_all_of_its_files_is_refused(tmp_path):
    model = make()
    folder, _ = saved(tmp_path, mix_precision(model, BITS), model)
    weights = folder / "mmkg_experts.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])

    with pytest.raises(CheckpointError, match="lacks files or parts of files"):
        load_shrunk(folder)


def test_a_layout_of_another_version_or_no_json_is_refused(tmp_path):
    model = make()
    folder, _ = saved(tmp_path, mix_precision(model, BITS), model)
    layout = folder / LAYOUT_NAME
    layout.write_text(layout.read_text().replace('"version": 1', '"version": 9'))

    with pytest.raises(CheckpointError, match="has version 9; this program reads version 1"):
        load_shrunk(folder)
    layout.write_text("{")
    with pytest.raises(CheckpointError, match="no readable mmkg_moe.json"):
        load_shrunk(folder)


def test_nothing_is_left_of_a_save_that_failed(tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "source")
    packed = mix_precision(model, BITS)
    (tmp_path / "source" / "config.json").unlink()

    with pytest.raises(FileNotFoundError):
        save_shrunk(packed, tmp_path / "out", source=tmp_path / "source", recipe={})
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_policy_is_a_folder_of_its_own(tmp_path):
    policy = SkipPolicy(layer_importance=(1.0, 0.3), text_threshold=0.1, evidence_threshold=0.2)
    save_policy(policy, tmp_path / "policy", recipe={"kind": "shrink-skip"})

    assert load_policy(tmp_path / "policy") == policy
    assert read_manifest(tmp_path / "policy")["recipe"] == {"kind": "shrink-skip"}
    with pytest.raises(CheckpointError, match="holds a policy of skipping, no weights"):
        load_shrunk(tmp_path / "policy")
