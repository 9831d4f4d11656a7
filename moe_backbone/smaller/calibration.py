"""Run text through a mixture of experts once, and keep what pruning, merging and quantising need to know.

Layer: ``moe_backbone``; imports torch and safetensors.
Sums stream, by layer, label and expert: how often it was chosen, its gate weight, and gate times the norm of its
output (REAP, arXiv:2510.13999, equation 9 before the mean). A reservoir of token states with their routing, drawn
evenly over all tokens seen (Vitter's algorithm R), serves what needs whole states: reconstruction errors, likeness of
outputs, errors of quantised experts. A calibration can be saved, gone on with, and is bound to one model and one text.

Shape suffixes: T tokens, H model width, E experts, K experts per token, M labels, N tokens in the reservoir.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, edit_routing
from moe_backbone.smaller.data import LabelledTokens
from moe_backbone.smaller.surgery import ShrinkError, require_blocks
from moe_backbone.smaller.units import run_slots

__all__ = ["Calibration", "LayerCalibration", "calibrate", "load_calibration", "model_sha256"]

_SUMS = ("counts", "gates", "reaps")
_SAMPLE = ("hidden", "index", "weights", "label")
_FEW = 16  # an expert with fewer tokens has been seen too seldom to be judged


@dataclass(slots=True, kw_only=True)
class LayerCalibration:
    """What one layer did.

    :param name: Name of the block in the model.
    :param counts: Slots that went to each expert, by label. *Shape:* ``(M, E)``, float64.
    :param gates: Sum of their weights.
    :param reaps: Sum of weight times norm of the expert's output.
    :param n_seen: Tokens seen, padding left out.
    :param hidden: States of the tokens in the reservoir. *Shape:* ``(N, H)``.
    :param index: Their experts. *Shape:* ``(N, K)``.
    :param weights: The weights of those. *Shape:* ``(N, K)``.
    :param label: Their labels. *Shape:* ``(N,)``.
    """

    name: str
    counts: Tensor
    gates: Tensor
    reaps: Tensor
    n_seen: int
    hidden: Tensor
    index: Tensor
    weights: Tensor
    label: Tensor


@dataclass(slots=True, kw_only=True)
class Calibration:
    """A calibration, finished or not.

    :param model_sha256: Of the model it was made with.
    :param text_sha256: Of the tokens it was made with.
    :param labels: Names of the labels.
    :param tokens: Tokens seen of each label.
    :param n_batches: Batches done.
    :param layers: What each layer did.
    :param notes: What a reader of the results should know: experts that too few tokens reached.
    """

    model_sha256: str
    text_sha256: str
    labels: tuple[str, ...]
    tokens: tuple[int, ...]
    n_batches: int
    layers: list[LayerCalibration]
    notes: tuple[str, ...] = field(default=())

    def save(self, file: Path) -> None:
        """Write it to one safetensors file; a reader sees the old file or the new one, never half of one."""
        tensors = {
            f"{place}.{name}": getattr(layer, name).contiguous()
            for place, layer in enumerate(self.layers)
            for name in (*_SUMS, *_SAMPLE)
        }
        head = {
            "model_sha256": self.model_sha256, "text_sha256": self.text_sha256, "labels": self.labels,
            "tokens": self.tokens, "n_batches": self.n_batches, "notes": self.notes,
            "layers": [[layer.name, layer.n_seen] for layer in self.layers],
        }  # fmt: skip
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
        os.close(handle)
        try:
            save_file(tensors, part, metadata={"calibration": json.dumps(head)})
            Path(part).replace(file)
        finally:
            with suppress(FileNotFoundError):
                Path(part).unlink()


def load_calibration(file: Path) -> Calibration:
    """Read a calibration.

    :param file: What :meth:`Calibration.save` wrote.
    :returns: The calibration.
    :raises ShrinkError: If the file is damaged or something else.
    """
    try:
        with safe_open(file, framework="pt") as handle:
            head = json.loads((handle.metadata() or {})["calibration"])
            layers = [
                LayerCalibration(
                    name=name,
                    n_seen=n_seen,
                    **{key: handle.get_tensor(f"{place}.{key}") for key in (*_SUMS, *_SAMPLE)},
                )
                for place, (name, n_seen) in enumerate(head.pop("layers"))
            ]
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise ShrinkError(
            f"{file} is no calibration that can be read: {error}. Remove it and calibrate again."
        ) from error
    for key in ("labels", "tokens", "notes"):
        head[key] = tuple(head[key])
    return Calibration(layers=layers, **head)


def model_sha256(model: nn.Module) -> str:
    """Return a hash over the names, shapes, dtypes and a thousand spread values of every weight of ``model``."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, flat.numel() // 1000)].double().cpu().numpy()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(some.tobytes())
    return digest.hexdigest()


def calibrate(
    model: nn.Module,
    tokens: LabelledTokens,
    *,
    rows: int = 8,
    n_sampled: int = 1024,
    least_tokens: int = 256,
    seed: int = 0,
    file: Path | None = None,
    start_over: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Calibration:
    """Run ``tokens`` through ``model`` and record what its experts do.

    :param model: A model whose blocks :func:`~moe_backbone.smaller.surgery.require_blocks` accepts. It is not changed.
    :param tokens: What to run.
    :param rows: Rows in a batch, at least 1.
    :param n_sampled: The most tokens whose states are kept per layer. N·H floats of memory a layer.
    :param least_tokens: Fewer tokens than this are refused: their counts say nothing.
    :param seed: Seed of the reservoir.
    :param file: Where to save after each batch, and to go on from if it holds a part of the same calibration.
    :param start_over: Replace a ``file`` of another model or text, or a damaged one, instead of refusing it.
    :param on_progress: Called with the batches done and their number.
    :returns: The calibration.
    :raises ShrinkError: If there are too few tokens, or ``file`` belongs to another model or text.
    """
    blocks = require_blocks(model)
    if tokens.n_tokens < least_tokens:
        counts = ", ".join(f"{name}: {int((tokens.label == place).sum())}" for place, name in enumerate(tokens.labels))
        raise ShrinkError(
            f"{tokens.n_tokens} tokens ({counts}) are too few to calibrate on; at least {least_tokens} are needed. "
            "Give more text."
        )
    key = hashlib.sha256(f"{tokens.sha256()} {rows} {n_sampled} {seed}".encode()).hexdigest()
    model_hash = model_sha256(model)
    try:
        found = _resumed(file, model_hash, key)
    except ShrinkError:
        if not start_over:
            raise
        found = None
    state = found or _empty(blocks, model_hash, key, tokens)
    batches = tokens.batches(rows)
    for number in range(state.n_batches, len(batches)):
        _run(model, batches[number], state, n_sampled=n_sampled, seed=seed)
        state.n_batches = number + 1
        if number + 1 == len(batches):
            state.notes = _notes(state)
        if file is not None:
            state.save(file)
        if on_progress is not None:
            on_progress(number + 1, len(batches))
    return state


def _resumed(file: Path | None, model_hash: str, text_hash: str) -> Calibration | None:
    if file is None or not file.exists():
        return None
    found = load_calibration(file)
    for what, got, wanted in (("model", found.model_sha256, model_hash), ("text", found.text_sha256, text_hash)):
        if got != wanted:
            raise ShrinkError(
                f"{file} was made with another {what} (or other settings). Name another file, or remove it."
            )
    return found


def _empty(blocks: tuple[MoEBlock, ...], model_hash: str, text_hash: str, tokens: LabelledTokens) -> Calibration:
    shape = (len(tokens.labels),)
    return Calibration(
        model_sha256=model_hash,
        text_sha256=text_hash,
        labels=tokens.labels,
        tokens=tuple(0 for _ in tokens.labels),
        n_batches=0,
        layers=[
            LayerCalibration(
                name=block.name,
                n_seen=0,
                **{name: torch.zeros(*shape, block.n_experts, dtype=torch.float64) for name in _SUMS},
                hidden=torch.zeros(0, block.width),
                index=torch.zeros(0, 0, dtype=torch.long),
                weights=torch.zeros(0, 0),
                label=torch.zeros(0, dtype=torch.long),
            )
            for block in blocks
        ],
    )


def _run(model: Any, batch: LabelledTokens, state: Calibration, *, n_sampled: int, seed: int) -> None:
    label_T = batch.label.reshape(-1)

    def record(block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor) -> tuple[Tensor, Tensor]:
        layer = state.layers[block.layer]
        real_T = (label_T >= 0).to(hidden_TH.device)
        seen = (hidden_TH[real_T], index_TK[real_T], weights_TK[real_T])
        _add_sums(block, layer, *seen, label_T[label_T >= 0])
        # The draws depend on the layer and on the tokens seen so far only, so a resumed run makes the same ones.
        generator = torch.Generator().manual_seed(seed + 7919 * block.layer + 104_729 * layer.n_seen)
        _add_sample(layer, *seen, label_T[label_T >= 0], n_sampled=n_sampled, generator=generator)
        layer.n_seen += len(seen[0])
        return index_TK, weights_TK

    device = next(model.parameters()).device
    with torch.no_grad(), edit_routing(model, record):
        model(input_ids=batch.ids.to(device), attention_mask=(batch.label >= 0).long().to(device))
    state.tokens = tuple(n + int((label_T == place).sum()) for place, n in enumerate(state.tokens))


def _add_sums(
    block: MoEBlock, layer: LayerCalibration, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor, label_T: Tensor
) -> None:
    n_experts, top_k = block.n_experts, index_TK.shape[1]
    slots = ((index_TK >= 0) & (index_TK < n_experts)).reshape(-1)
    expert = index_TK.reshape(-1)[slots]
    norm = run_slots(block, hidden_TH.repeat_interleave(top_k, dim=0)[slots], expert).float().norm(dim=1)
    gate = weights_TK.reshape(-1)[slots].double().cpu()
    place = label_T.repeat_interleave(top_k)[slots.cpu()] * n_experts + expert.cpu()
    for sums, values in (
        (layer.counts, torch.ones_like(gate)),
        (layer.gates, gate),
        (layer.reaps, gate * norm.double().cpu()),
    ):
        sums.view(-1).index_add_(0, place, values)


def _add_sample(
    layer: LayerCalibration,
    hidden_TH: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    label_T: Tensor,
    *,
    n_sampled: int,
    generator: torch.Generator,
) -> None:
    new = {
        "hidden": hidden_TH.float().cpu(), "index": index_TK.cpu().long(),
        "weights": weights_TK.float().cpu(), "label": label_T,
    }  # fmt: skip
    room = max(0, n_sampled - len(layer.label))
    head = {name: values[:room] for name, values in new.items()}
    for name, values in head.items():
        old = getattr(layer, name)
        setattr(layer, name, torch.cat([old, values]) if len(old) else values.clone())
    rest = len(label_T) - min(room, len(label_T))
    if not rest or not n_sampled:
        return
    order = layer.n_seen + min(room, len(label_T)) + torch.arange(1, rest + 1)  # how many tokens, this one included
    draw = (torch.rand(rest, generator=generator, dtype=torch.float64) * order).long()
    for number in torch.nonzero(draw < n_sampled).view(-1).tolist():
        for name, values in new.items():
            getattr(layer, name)[int(draw[number])] = values[len(label_T) - rest + number]


def _notes(state: Calibration) -> tuple[str, ...]:
    notes = []
    for layer in state.layers:
        counts = layer.counts.sum(0)
        few = [f"{expert} ({int(count)})" for expert, count in enumerate(counts.tolist()) if count < _FEW]
        if few:
            shown = ", ".join(few[:6]) + (" …" if len(few) > 6 else "")
            notes.append(f"{layer.name}: {len(few)} experts saw fewer than {_FEW} tokens: {shown}")
    thin = [f"{name} ({n})" for name, n in zip(state.labels, state.tokens, strict=True) if n < _FEW * 4]
    if thin:
        notes.append(f"labels with few tokens: {', '.join(thin)}")
    return tuple(notes)
