"""What making a model smaller gained and cost: rows of one table, and a picture.

Layer: ``moe_backbone``; the standard library, and matplotlib where a picture is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from moe_backbone.smaller.quality import LabelQuality, Quality, Speed
from moe_backbone.smaller.surgery import ShrinkError

__all__ = ["Row", "ShrinkReport", "mean_quality", "plot"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One model, before or after.

    :param name: What it is: ``original``, ``dense``, the method, or a baseline of the method.
    :param budget: What was asked for; ``None`` for models that have none.
    :param n_experts: Routed experts of all layers.
    :param expert_bytes: Bytes of all routed experts in memory, as they are stored there.
    :param total_bytes: Bytes of all weights in memory.
    :param calls_run: Share of the expert calls that are run, in [0, 1].
    :param quality: On held-out text; the mean over draws for a random baseline.
    :param speed: ``None`` where it was not measured.
    :param disk_bytes: Of the weights in ``folder``.
    :param folder: Where it was saved.
    :param stock: Whether the folder is a stock checkpoint.
    :param details: What else is known: counts per layer, bits, thresholds.
    """

    name: str
    budget: float | None
    n_experts: int
    expert_bytes: int
    total_bytes: int
    calls_run: float
    quality: Quality
    speed: Speed | None = None
    disk_bytes: int | None = None
    folder: str | None = None
    stock: bool | None = None
    details: dict[str, Any] = field(default_factory=dict)

    def cells(self, method: str) -> tuple[str, ...]:
        """Return the row as text, in the order of :meth:`ShrinkReport.columns`."""
        total, speed = self.quality.total, self.speed
        many = f"{100 * self.calls_run:.0f} %" if method == "skip" else str(self.n_experts)
        return (
            self.name,
            "–" if self.budget is None else f"{self.budget:g}",
            many if self.n_experts else "–",
            f"{self.expert_bytes / 1e6:.4g}" if self.n_experts else "–",
            f"{total.perplexity:.4g}",
            "–" if total.kl is None else f"{total.kl:.4f}",
            "–" if total.same_top is None else f"{100 * total.same_top:.1f}",
            "–" if speed is None else f"{speed.prefill_ratio:.2f}",
            "–" if speed is None else f"{speed.decode_ratio:.2f}",
        )

    def label_cells(self) -> list[tuple[str, ...]]:
        """Return one line per label: name, budget, label, tokens, perplexity, KL."""
        return [
            (
                self.name,
                "–" if self.budget is None else f"{self.budget:g}",
                label,
                str(part.n_tokens),
                f"{part.perplexity:.3f}",
                "–" if part.kl is None else f"{part.kl:.4f}",
            )
            for label, part in self.quality.by_label.items()
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShrinkReport:
    """All rows of one run.

    :param method: Which method.
    :param rows: The original first, then the dense baseline if there is one, then each budget with its baselines.
    :param notes: What a reader should know.
    :param hardware: Processor, threads, versions: what the speeds were measured with.
    """

    method: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    hardware: str

    @property
    def columns(self) -> tuple[str, ...]:
        """Headings: MB of the experts, agreement of the likeliest token in %, speeds over the original's."""
        many = "run" if self.method == "skip" else "experts"
        return ("model", "budget", many, "MB", "ppl", "KL", "top %", "prefill", "decode")

    def to_mapping(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)


def mean_quality(draws: Sequence[Quality]) -> Quality:
    """Return the mean over draws: of KL and agreement, and the geometric mean of perplexity."""

    def mean(parts: Sequence[LabelQuality]) -> LabelQuality:
        kls = [part.kl for part in parts if part.kl is not None]
        tops = [part.same_top for part in parts if part.same_top is not None]
        return LabelQuality(
            n_tokens=parts[0].n_tokens,
            perplexity=math.exp(sum(math.log(part.perplexity) for part in parts) / len(parts)),
            kl=sum(kls) / len(kls) if kls else None,
            same_top=sum(tops) / len(tops) if tops else None,
        )

    return Quality(
        total=mean([draw.total for draw in draws]),
        by_label={name: mean([draw.by_label[name] for draw in draws]) for name in draws[0].by_label},
    )


def plot(report: ShrinkReport, file: Path) -> None:
    """Draw quality against size: divergence from the original over what the experts take, one line per kind of row.

    :param report: A report, best of several budgets.
    :param file: Where to write; the ending chooses the format (png, svg, pdf).
    :raises ShrinkError: If there is nothing to draw or the format is unknown.
    """
    from matplotlib.figure import Figure

    series: dict[str, list[tuple[float, float]]] = {}
    by_calls = report.method == "skip"
    for row in report.rows:
        if row.budget is not None and row.quality.total.kl is not None:
            size = 100 * row.calls_run if by_calls else row.expert_bytes / 1e6
            name = "uniform bits" if row.name.startswith("uniform") else row.name
            series.setdefault(name, []).append((size, row.quality.total.kl))
    if not series:
        raise ShrinkError("the report holds no shrunk model to draw.")
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, points in series.items():
        points.sort()
        axes.plot([x for x, _ in points], [y for _, y in points], marker="o", label=name)
    axes.axhline(0.0, color="0.6", linewidth=0.8)
    axes.set_xlabel("expert calls run, %" if by_calls else "experts in memory, MB")
    axes.set_ylabel("KL from the original, nats per token")
    axes.set_title(f"{report.method}: what it costs")
    axes.legend(frameon=False)
    try:
        figure.savefig(file, dpi=150)
    except ValueError as error:
        raise ShrinkError(f"{file} cannot be drawn: {error}") from error
