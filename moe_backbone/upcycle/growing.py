"""Add experts to an existing mixture of experts, or take some away; the result is a stock checkpoint again.

Layer: ``moe_backbone``; imports torch.

When is adding an expert **exact**, so that the model computes what it did until it is trained?

- GLM4-MoE (sigmoid, and a bias that only the choice sees): always, with one group of experts. The new bias lies 2 below
  the lowest, and scores lie between 0 and 1, so the new expert is never chosen. Balancing by bias
  (arXiv:2408.15664) raises it until it is.
- Mixtral (softmax over the chosen k, no bias): a logit is linear in the token, so no row loses on every token as such.
  The mean of all rows does where the k highest logits are always equal, that is with ``k = 1`` or while the rows come
  in groups of k equal ones (upcycled and not yet trained): a mean is never above the highest. Up to rounding where all
  groups tie. **Otherwise it cannot be exact**, nor can a copy that shares its original's row: both are chosen together
  and push out the k-th, and halving their probability would need a bias.

Taking an expert away equals masking it in the router.

Shape suffixes: E experts, H model width, K experts per token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from moe_backbone.checkpoint import (
    CheckpointError,
    PlannedTensor,
    TensorReader,
    checkpoint_folder,
    copy_side_files,
    is_complete,
    read_manifest,
    source_sha256,
    write_safetensors,
)
from moe_backbone.upcycle.pieces import seeded
from moe_backbone.upcycle.writing import OnProgress, check_destination

__all__ = ["ExpertCounts", "add_experts", "describe_experts", "remove_experts"]

_BIASED = "glm4_moe"  # its choice has a bias, so an expert can stand there and never be chosen
_COUNT_FIELDS = {"mixtral": "num_local_experts", _BIASED: "n_routed_experts"}
_EXPERT = re.compile(r"(.*\.experts)\.(\d+)\.(.+)")
_ROUTER = re.compile(r".*\.(block_sparse_moe|mlp)\.gate\.weight")
_BIAS = re.compile(r".*\.gate\.e_score_correction_bias")
_NEVER = 2.0  # scores lie in (0, 1): a bias lower by more than 1 always loses


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertCounts:
    """The kind of a mixture and its numbers.

    :param kind: ``mixtral`` or ``glm4_moe``.
    :param n_experts: Routed experts of a layer.
    :param top_k: Of them, those that a token visits.
    """

    kind: str
    n_experts: int
    top_k: int

    @property
    def always_grows_exactly(self) -> bool:
        """Whether experts can be added without a change of the function however the model was trained."""
        return self.kind == _BIASED


@dataclass(frozen=True, slots=True, kw_only=True)
class _Experts:
    """An existing mixture of experts: its settings as written, and its tensors."""

    folder: Path
    settings: dict[str, Any]
    reader: TensorReader
    n_experts: int
    top_k: int

    def rows(self, name: str) -> Tensor:
        """Read a router, and refuse one that cannot rank experts."""
        rows_EH = self.reader.read(name)
        if rows_EH.shape[0] != self.n_experts:
            raise CheckpointError(
                f"{name} of {self.folder} has {rows_EH.shape[0]} rows, but its config.json speaks of {self.n_experts} "
                "experts."
            )
        if not torch.isfinite(rows_EH).all():
            raise CheckpointError(f"{name} of {self.folder} holds values that are not finite (NaN or infinite).")
        return rows_EH


def add_experts(
    folder: Path,
    out: Path,
    *,
    copies: Sequence[int],
    exact: bool = True,
    router_std: float = 0.02,
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Path:
    """Write the checkpoint with more experts, each a copy of an existing one, in every layer.

    :param folder: A Mixtral or GLM4-MoE checkpoint in safetensors with one tensor per expert and projection.
    :param out: Folder to make; complete or absent.
    :param copies: For each new expert, the existing one to copy; new experts stand after the old.
    :param exact: Refuse where the result would not compute the same (the module header says when). ``False`` gives a
        new expert of a Mixtral the row of its original, with noise: **not function-preserving**. It changes nothing in
        a GLM4-MoE, which is always extended exactly.
    :param router_std: Deviation of a GLM4-MoE's new rows, and of the noise on copied rows, > 0.
    :param seed: Seed of the new rows.
    :param on_progress: Called as ``on_progress(done_bytes, total_bytes)`` after each tensor.
    :returns: ``out``.
    :raises CheckpointError: If the checkpoint is of another kind, damaged, or cannot be extended exactly.
    """
    model = _open(folder)
    unknown = [expert for expert in copies if not 0 <= expert < model.n_experts]
    if not copies or unknown:
        raise CheckpointError(f"copies must name experts 0 to {model.n_experts - 1} of {folder}, got {list(copies)}.")
    if not router_std > 0:
        raise CheckpointError(f"router_std must be > 0, got {router_std!r}.")
    _refuse_grouped_choice(model)
    stamp = {
        "kind": "add-experts", "version": 1, "source_sha256": source_sha256(folder), "copies": list(copies),
        "exact": exact, "router_std": router_std, "seed": seed,
    }  # fmt: skip
    if is_complete(out, recipe=stamp):
        return out

    def routers(name: str) -> Tensor:
        return _more_rows(model, name, copies, exact=exact, router_std=router_std, seed=seed)

    def biases(name: str) -> Tensor:
        bias_E = model.reader.read(name)
        return torch.cat([bias_E, bias_E.new_full((len(copies),), bias_E.min().item() - _NEVER)])

    originals = [*range(model.n_experts), *copies]
    return _write(model, out, originals, routers=routers, biases=biases, stamp=stamp, on_progress=on_progress)


def remove_experts(folder: Path, out: Path, *, experts: Collection[int], on_progress: OnProgress | None = None) -> Path:
    """Write the checkpoint without some experts, the same in every layer; it equals the model with them masked.

    :param folder: A Mixtral or GLM4-MoE checkpoint in safetensors with one tensor per expert and projection.
    :param out: Folder to make; complete or absent.
    :param experts: Which to leave out; at least ``top_k`` must stay. The others move up.
    :param on_progress: Called as ``on_progress(done_bytes, total_bytes)`` after each tensor.
    :returns: ``out``.
    :raises CheckpointError: If the checkpoint is of another kind or damaged, or too few experts would stay.
    """
    model = _open(folder)
    unknown = sorted(expert for expert in experts if not 0 <= expert < model.n_experts)
    if not experts or unknown:
        raise CheckpointError(f"experts must name some of 0 to {model.n_experts - 1} of {folder}, got {list(experts)}.")
    kept = [expert for expert in range(model.n_experts) if expert not in experts]
    if len(kept) < max(model.top_k, 2):
        raise CheckpointError(
            f"{len(kept)} experts would stay of {folder}, but each token visits {model.top_k}. Remove fewer."
        )
    _refuse_grouped_choice(model)
    stamp = {
        "kind": "remove-experts", "version": 1, "source_sha256": source_sha256(folder), "experts": sorted(experts),
    }  # fmt: skip
    if is_complete(out, recipe=stamp):
        return out
    return _write(
        model,
        out,
        kept,
        routers=lambda name: model.rows(name)[kept],
        biases=lambda name: model.reader.read(name)[kept],
        stamp=stamp,
        on_progress=on_progress,
    )


def describe_experts(folder: Path) -> ExpertCounts:
    """Return what a checkpoint says of its experts.

    :param folder: A Mixtral or GLM4-MoE checkpoint.
    :returns: Its kind and counts.
    :raises CheckpointError: If the checkpoint is of another kind or damaged.
    """
    model = _open(folder)
    return ExpertCounts(kind=model.settings["model_type"], n_experts=model.n_experts, top_k=model.top_k)


def _open(folder: Path) -> _Experts:
    try:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}/config.json cannot be read: {error}.") from error
    kind = settings.get("model_type")
    if kind not in _COUNT_FIELDS:
        raise CheckpointError(
            f"{folder} is a {kind!r} model; experts can be added to and removed from {', '.join(_COUNT_FIELDS)}."
        )
    if settings.get("quantization_config"):
        raise CheckpointError(f"{folder} is quantised. Use the unquantised checkpoint.")
    if read_manifest(folder) is not None and not is_complete(folder):
        raise CheckpointError(f"{folder} is not complete: files differ from its manifest. Make it again.")
    n_experts, top_k = settings.get(_COUNT_FIELDS[kind], 0), settings.get("num_experts_per_tok", 0)
    if not 1 <= top_k <= n_experts:
        raise CheckpointError(f"{folder}/config.json asks for {top_k} of {n_experts} experts per token.")
    reader = TensorReader(folder)
    found: dict[str, set[int]] = {}
    for name in reader.names:
        if match := _EXPERT.fullmatch(name):
            found.setdefault(f"{match[1]} {match[3]}", set()).add(int(match[2]))
    wrong = [where for where, numbers in found.items() if numbers != set(range(n_experts))]
    if not found or wrong:
        said = f"{wrong[0]} holds {len(found[wrong[0]])}" if wrong else "no tensor of a single expert was found"
        raise CheckpointError(f"{folder}: config.json speaks of {n_experts} experts, but {said}.")
    return _Experts(folder=folder, settings=settings, reader=reader, n_experts=n_experts, top_k=top_k)


def _refuse_grouped_choice(model: _Experts) -> None:
    if model.settings.get("n_group", 1) != 1:
        raise CheckpointError(
            f"{model.folder} chooses among n_group={model.settings['n_group']} groups of experts of equal size; the "
            "number of its experts cannot be changed here."
        )


def _more_rows(
    model: _Experts, name: str, copies: Sequence[int], *, exact: bool, router_std: float, seed: int
) -> Tensor:
    rows_EH = model.rows(name)
    draw = torch.randn(len(copies), rows_EH.shape[1], generator=seeded(seed, "rows", name)) * router_std
    if model.settings["model_type"] == _BIASED:
        fresh = draw
    elif not exact:
        fresh = rows_EH[list(copies)].float() + draw
    elif model.top_k == 1 or _groups_of_equal_rows(rows_EH, model.top_k):
        fresh = rows_EH.double().mean(dim=0, keepdim=True).expand(len(copies), -1)
    else:
        raise CheckpointError(
            f"{name} of {model.folder} ranks its {model.n_experts} experts one by one (top {model.top_k}), and a "
            "router without a bias has no row that loses on every token: an expert cannot be added exactly. Allow "
            "that the function changes (exact=False, --inexact), or upcycle to glm4_moe."
        )
    return torch.cat([rows_EH, fresh.to(rows_EH.dtype)])


def _groups_of_equal_rows(rows_EH: Tensor, size: int) -> bool:
    if rows_EH.shape[0] % size:
        return False
    groups = rows_EH.view(-1, size, rows_EH.shape[1])
    return bool((groups == groups[:, :1]).all())


def _write(
    model: _Experts,
    out: Path,
    originals: Sequence[int],
    *,
    routers: Any,
    biases: Any,
    stamp: dict[str, Any],
    on_progress: OnProgress | None,
) -> Path:
    check_destination(out, model.folder)
    plan = list(_plan(model, originals, routers=routers, biases=biases))
    settings = {**model.settings, _COUNT_FIELDS[model.settings["model_type"]]: len(originals)}
    with checkpoint_folder(out, recipe=stamp, size_bytes=sum(item.size_bytes for item in plan)) as part:
        write_safetensors(part, plan, on_progress=on_progress)
        (part / "config.json").write_text(json.dumps(settings, indent=2, sort_keys=True), encoding="utf-8")
        copy_side_files(model.folder, part)
    return out


def _plan(model: _Experts, originals: Sequence[int], *, routers: Any, biases: Any) -> Iterator[PlannedTensor]:
    for name in sorted(model.reader.names):
        shape, dtype = model.reader.planned(name)
        if match := _EXPERT.fullmatch(name):
            old = int(match[2])
            for new in (place for place, original in enumerate(originals) if original == old):
                yield PlannedTensor(
                    name=f"{match[1]}.{new}.{match[3]}", shape=shape, dtype=dtype, make=partial(model.reader.read, name)
                )
        elif _ROUTER.fullmatch(name) or _BIAS.fullmatch(name):
            values = (routers if _ROUTER.fullmatch(name) else biases)(name)
            yield PlannedTensor(name=name, shape=tuple(values.shape), dtype=dtype, make=partial(_value, values))
        else:
            yield PlannedTensor(name=name, shape=shape, dtype=dtype, make=partial(model.reader.read, name))


def _value(values: Tensor) -> Tensor:
    return values
