"""A real open_clip model of 16 dimensions with random weights, written as open_clip reads it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from retrieval.encoders.open_clip_encoder import CONFIG_FILE

__all__ = ["CONFIG_FILE", "write_tiny_clip"]

_MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 32, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 2},
}


def write_tiny_clip(folder: Path, *, seed: int = 0, mean: float = 0.5, spoil: bool = False) -> Path:
    """Write the model into ``folder``; ``spoil`` puts a value that is not finite where pictures are projected."""
    import open_clip

    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": _MODEL, "preprocess_cfg": {"mean": [mean] * 3, "std": [0.5, 0.5, 0.5]}}
    (folder / CONFIG_FILE).write_text(json.dumps(config))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.CLIP(**_MODEL)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    if spoil:
        weights["visual.proj"][0, 0] = float("nan")
    save_file(weights, folder / "open_clip_model.safetensors")
    return folder
