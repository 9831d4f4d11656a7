"""Make the model of a folder smaller by one method at some budgets, judge every result, and save it.

Layer: ``moe_backbone``; imports torch only, and names transformers in what it reports.
Each result stands beside the original, beside a dense model where one is named, and beside baselines of its own size: a
random choice of what to drop, merge or skip, and one precision for all experts.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from moe_backbone.blocks import find_blocks
from moe_backbone.checkpoint import read_manifest, source_sha256
from moe_backbone.loading import open_model, open_tokenizer, stored_dtype
from moe_backbone.smaller.calibration import Calibration, calibrate
from moe_backbone.smaller.data import LabelledTokens, pack_texts, split_held_out
from moe_backbone.smaller.methods import METHODS, Variant, Workbench
from moe_backbone.smaller.packed_experts import PackedExperts
from moe_backbone.smaller.quality import Quality, Reference, Speed, compare_speed, judge, reference
from moe_backbone.smaller.report import Row, ShrinkReport, mean_quality
from moe_backbone.smaller.saving import save_policy, save_shrunk, stored_bytes
from moe_backbone.smaller.skipping import skipping, skipping_at_random
from moe_backbone.smaller.surgery import ShrinkError, expert_bytes, require_blocks, shared_copy

__all__ = ["OnProgress", "ShrinkRequest", "load_for_measuring", "model_bytes", "shrink"]

OnProgress = Callable[[str, int, int], None]
"""Called with the stage, what is done of it and how much there is."""

_DRAWS = 3  # of a random baseline
_HALVES = (torch.bfloat16, torch.float16)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkRequest:
    """What to do.

    :param model: Folder of the model.
    :param out: Folder to make; with several budgets, the folder of the folders.
    :param method: ``prune``, ``merge``, ``skip`` or ``mixed``.
    :param budgets: Share of experts to keep (prune, merge), share of expert calls to run (skip), or stored bits per
        expert weight, scales counted (mixed).
    :param texts: Texts by label; without ``held_out`` every fourth row of tokens is held out.
    :param held_out: Texts to judge on, by label.
    :param criterion: Of pruning, one of :data:`~moe_backbone.smaller.criteria.CRITERIA`.
    :param stock: Keep the same number of experts in each layer, so that the result is a stock checkpoint.
    :param dense: Folder of a dense model to stand beside, with the same tokenizer.
    :param label_weights: How much each label counts for pruning; ``None`` counts every token alike.
    :param bits: Choices of ``mixed``.
    :param compensate: Spread rounding errors by calibrated inputs (GPTQ) in ``mixed``.
    :param length: Tokens per row.
    :param rows: The most rows of each label to calibrate on.
    :param held_out_rows: The most rows of each label to judge on.
    :param seed: Seed of everything random.
    :param calibration: File to keep the calibration in, and to go on from. ``None`` keeps it beside ``out`` under a
        hidden name until the run is done, so that an interrupted run goes on.
    :param measure_speed: Time each result in turns with the original.
    """

    model: Path
    out: Path
    method: str
    budgets: tuple[float, ...]
    texts: Mapping[str, Sequence[str]]
    held_out: Mapping[str, Sequence[str]] | None = None
    criterion: str = "gate_mass"
    stock: bool = False
    dense: Path | None = None
    label_weights: Mapping[str, float] | None = None
    bits: tuple[int, ...] = (2, 3, 4, 8)
    compensate: bool = True
    length: int = 128
    rows: int = 64
    held_out_rows: int = 8
    seed: int = 0
    calibration: Path | None = None
    measure_speed: bool = True


def load_for_measuring(folder: Path) -> tuple[Any, torch.dtype, tuple[str, ...]]:
    """Load a model to compute with on this machine's CPU.

    :param folder: Folder of a causal language model.
    :returns: The model in evaluation mode, the dtype of its folder, and notes. Half precision is computed in float32,
        as many a CPU has no instructions for it.
    :raises CheckpointError: If the folder is no whole checkpoint of a known architecture, or is quantised.
    """
    stored = stored_dtype(folder)
    half = stored in _HALVES
    opened = open_model(folder, device="cpu", dtype=torch.float32 if half else stored)
    name = str(stored).removeprefix("torch.")
    return opened.model, stored, (f"the weights are {name}; computed in float32, saved in {name}",) if half else ()


def model_bytes(model: Any) -> int:
    """Return the bytes of all weights and buffers of ``model``; shared ones count once."""
    tensors = {tensor.data_ptr(): tensor for tensor in (*model.parameters(), *model.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def shrink(request: ShrinkRequest, *, on_progress: OnProgress | None = None) -> ShrinkReport:
    """Do what ``request`` asks for.

    :param request: What to do.
    :param on_progress: Told of each stage.
    :returns: All rows, the folders of the results among them.
    :raises ShrinkError: If the request, the model's blocks or the text do not allow it.
    :raises CheckpointError: If a folder holds no model that can be loaded.
    """
    return _shrink(request, on_progress or (lambda stage, done, total: None))


def _shrink(request: ShrinkRequest, tell: OnProgress) -> ShrinkReport:
    _check(request)
    tell("loading", 0, 1)
    model, stored, notes = load_for_measuring(request.model)
    require_blocks(model)
    tokens, held_out = _tokens(request)
    kept = request.calibration
    part = request.out.with_name(f".{request.out.name}.calibration")
    calibration = calibrate(
        model,
        tokens,
        seed=request.seed,
        file=kept if kept is not None else part,
        start_over=kept is None,
        on_progress=lambda done, total: tell("calibrating", done, total),
    )
    original = reference(model, held_out)
    bench = Workbench(model=model, calibration=calibration, probe=_probe(tokens), request=request, on_progress=tell)
    judged = _Judge(model=model, held_out=held_out, original=original, request=request)
    rows = [judged.row(Variant(name="original", budget=None, model=model, is_timed=True))]
    if request.dense is not None:
        rows.append(_dense_row(request.dense, judged))
    for number, budget in enumerate(request.budgets):
        tell("judging", number, len(request.budgets))
        for variant in METHODS[request.method](bench, budget):
            folder = _folder(request, budget) if variant.is_result else None
            rows.append(judged.row(variant, folder=folder, stored=stored, calibration=calibration))
    tell("judging", len(request.budgets), len(request.budgets))
    part.unlink(missing_ok=True)
    return ShrinkReport(
        method=request.method, rows=tuple(rows), notes=(*notes, *calibration.notes), hardware=_hardware()
    )


def _check(request: ShrinkRequest) -> None:
    if request.method not in METHODS:
        raise ShrinkError(f"there is no method {request.method!r}; choose one of {', '.join(sorted(METHODS))}.")
    if not request.budgets:
        raise ShrinkError("no budget was given.")
    for budget in request.budgets:
        if request.method == "mixed" and not budget > 0:
            raise ShrinkError(f"bits per weight must be above 0, got {budget:g}.")
        if request.method != "mixed" and not 0 < budget <= 1:
            raise ShrinkError(f"a budget of {request.method} is a share in (0, 1], got {budget:g}.")

    for budget in request.budgets:
        folder = _folder(request, budget)
        if folder.exists() and any(folder.iterdir()) and read_manifest(folder) is None:
            raise ShrinkError(f"{folder} holds something else, which is not replaced. Name a new folder.")


def _tokens(request: ShrinkRequest) -> tuple[LabelledTokens, LabelledTokens]:
    tokenizer = open_tokenizer(request.model)

    def encode(text: str) -> Any:
        return tokenizer(text, add_special_tokens=False, verbose=False)

    if request.held_out is not None:
        held = pack_texts(encode, request.held_out, length=request.length, limit=request.held_out_rows)
        tokens = pack_texts(encode, request.texts, length=request.length, limit=request.rows)
        return tokens, held
    both = pack_texts(encode, request.texts, length=request.length, limit=request.rows + request.held_out_rows)
    largest = max(int((both.label[:, 0] == place).sum()) for place in range(len(both.labels)))
    return split_held_out(both, share=min(0.5, max(0.02, request.held_out_rows / max(largest, 1))))


def _probe(tokens: LabelledTokens) -> LabelledTokens:
    """Return at most two rows of each label: one small batch that has every label in it."""
    first = tokens.label[:, 0].tolist()
    chosen = [
        row for place in range(len(tokens.labels)) for row in [n for n, at in enumerate(first) if at == place][:2]
    ]
    return tokens.rows(chosen)


def _folder(request: ShrinkRequest, budget: float) -> Path:
    return request.out if len(request.budgets) == 1 else request.out / f"{request.method}-{budget:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """Runs, times and saves variants, all on the same text and beside the same original."""

    model: Any
    held_out: LabelledTokens
    original: Reference | None
    request: ShrinkRequest

    def row(
        self,
        variant: Variant,
        *,
        folder: Path | None = None,
        stored: torch.dtype | None = None,
        calibration: Calibration | None = None,
    ) -> Row:
        quality, calls_run = self._quality(variant)
        speed = None
        if self.request.measure_speed and variant.is_timed:
            speed = self._speed(variant)
        row_folder, stock = None, None
        if folder is not None and calibration is not None:
            stock = self._save(variant, folder, stored=stored, calibration=calibration)
            row_folder = str(folder)
        return Row(
            name=variant.name,
            budget=variant.budget,
            n_experts=_n_experts(variant.model),
            expert_bytes=expert_bytes(variant.model),
            total_bytes=model_bytes(variant.model),
            calls_run=calls_run,
            quality=quality,
            speed=speed,
            disk_bytes=None if folder is None else stored_bytes(folder),
            folder=row_folder,
            stock=stock,
            details=variant.details,
        )

    def _speed(self, variant: Variant) -> Speed:
        if variant.policy is None:
            return compare_speed(self.model, variant.model, self._prompt())
        changed = shared_copy(variant.model)  # the policy must not be in force in the original that is timed in turns
        with skipping(changed, variant.policy):
            return compare_speed(self.model, changed, self._prompt())

    def _prompt(self) -> Any:
        whole = (self.held_out.label >= 0).all(1).nonzero().view(-1)
        return self.held_out.ids[int(whole[0]) if len(whole) else 0][None]

    def _quality(self, variant: Variant) -> tuple[Quality, float]:
        if variant.random_share is not None:
            draws = []
            for draw in range(_DRAWS):
                with skipping_at_random(variant.model, variant.random_share, seed=self.request.seed + draw):
                    draws.append(judge(variant.model, self.held_out, original=self.original))
            return mean_quality(draws), 1 - variant.random_share
        if variant.policy is not None:
            with skipping(variant.model, variant.policy) as running:
                quality = judge(variant.model, self.held_out, original=self.original, before=running.set_labels)
                return quality, 1 - running.share
        models = [variant.model, *variant.more_draws]
        return mean_quality([judge(model, self.held_out, original=self.original) for model in models]), 1.0

    def _save(
        self, variant: Variant, folder: Path, *, stored: torch.dtype | None, calibration: Calibration
    ) -> bool | None:
        recipe = {
            "kind": f"shrink-{self.request.method}",
            "version": 1,
            "source_sha256": source_sha256(self.request.model),
            "text_sha256": calibration.text_sha256,
            "budget": variant.budget,
            "details": variant.details,
        }
        if variant.policy is not None:
            save_policy(variant.policy, folder, recipe=recipe)
            return None
        return save_shrunk(variant.model, folder, source=self.request.model, recipe=recipe, dtype=stored)


def _n_experts(model: Any) -> int:
    packed = sum(len(module.bits) for module in model.modules() if isinstance(module, PackedExperts))
    return packed or sum(block.n_experts for block in find_blocks(model))


def _dense_row(folder: Path, judged: _Judge) -> Row:
    model, _, _ = load_for_measuring(folder)
    words = model.config.get_text_config().vocab_size
    same_words = words == judged.model.config.get_text_config().vocab_size
    if int(judged.held_out.ids.max()) >= words:
        raise ShrinkError(f"{folder} has another vocabulary than {judged.request.model}: it cannot stand beside it.")
    quality = judge(model, judged.held_out, original=judged.original if same_words else None)
    speed = compare_speed(judged.model, model, judged._prompt()) if judged.request.measure_speed else None
    return Row(
        name="dense", budget=None, n_experts=0, expert_bytes=0, total_bytes=model_bytes(model), calls_run=1.0,
        quality=quality, speed=speed,
    )  # fmt: skip


def _hardware() -> str:
    import transformers

    return (
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads, "
        f"torch {torch.__version__}, transformers {transformers.__version__}"
    )
