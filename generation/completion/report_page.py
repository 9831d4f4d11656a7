"""Write a broken-down evaluation as one HTML page that needs no other file, with its figures also as PNG and SVG.

Layer: ``generation``; Matplotlib, imported when something is drawn. Figures are fractions in JSON and times 100 on the
page.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from generation.completion.breakdown import Breakdown, Group
from generation.completion.evaluation_log import EvaluationLog
from generation.completion.files import write_bytes_atomically
from kg.errors import CompletionError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["write_report"]

_RELATIONS_DRAWN = 20
_COLUMNS = ("MRR", "Hits@1", "Hits@3", "Hits@10")
_BASELINES = (
    "Each triple is two questions, one for its head and one for its tail; figures are times 100. Baselines: rules-1 "
    "looks whether train links the same pair by another relation, frequency ranks by how often an entity stands at "
    "that end of the relation, whatever is asked."
)
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:.6rem 0 1.6rem}th,td{padding:.2rem .7rem;border-bottom:1px solid #ddd;"
    "text-align:right}th:first-child,td:first-child{text-align:left}svg{max-width:100%;height:auto}"
    "p.note{color:#555}details{margin:.3rem 0}pre{font-size:12px}"
)


def write_report(
    out: Path,
    found: Breakdown,
    *,
    about: Mapping[str, object],
    notes: Sequence[str],
    log: EvaluationLog,
    permuted: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write ``report.html``, ``report.json`` and the figures.

    :param out: The folder; made if it does not exist. Files of those names in it are replaced, each whole.
    :param found: The evaluation.
    :param about: What stands in the head of the page, for example graph, split and protocol.
    :param notes: Sentences on what calls for caution.
    :param log: Every evaluation of this model folder.
    :param permuted: What :func:`generation.completion.evaluation_run.permutation_results` found, if it was asked for.
    :returns: The files written.
    :raises CompletionError: If the folder cannot be written.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CompletionError(f"{out}: cannot be made a folder for the report ({error.strerror}).") from error
    figures = {
        "by-degree": _draw(lambda axes: _lines(axes, found)),
        "by-kind": _draw(lambda axes: _bars(axes, found.kinds, list(found.baselines))),
        "by-relation": _draw(
            lambda axes: _relation_bars(axes, found.relations),
            height=1.4 + 0.3 * min(_RELATIONS_DRAWN, len(found.relations)),
        ),
    }
    plain = {
        **about,
        **found.to_mapping(),
        "permuted": permuted or {},
        "notes": list(notes),
        "evaluations": list(log.entries),
    }
    files = {
        "report.html": _page(found, figures, about=about, notes=notes, log=log, permuted=permuted or {}).encode(
            "utf-8"
        ),
        "report.json": (json.dumps(plain, indent=2, ensure_ascii=False) + "\n").encode("utf-8"),
    }
    for name, pictures in figures.items():
        files |= {f"{name}.{kind}": picture for kind, picture in pictures.items()}
    for name, data in files.items():
        write_bytes_atomically(out / name, data)
    return [out / name for name in files]


def _draw(fill: Callable[[Axes], None], *, height: float = 4.2) -> dict[str, bytes]:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    # Text stays text, so that it can be searched; the salt makes equal figures equal files.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "mmkgrag"}):
        fill(axes)
        axes.spines[["top", "right"]].set_visible(False)
        pictures = {}
        for kind in ("png", "svg"):
            stream = BytesIO()
            figure.savefig(stream, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
            pictures[kind] = stream.getvalue()
    return pictures


def _lines(axes: Axes, found: Breakdown) -> None:
    for title, groups in (("the answer", found.answer_degree), ("the anchor", found.anchor_degree)):
        names = [group.name for group in groups]
        axes.plot(names, [100 * group.metrics.mrr for group in groups], marker="o", label=f"by degree of {title}")
    for name in found.baselines:
        groups = found.answer_degree
        axes.plot(
            [group.name for group in groups],
            [100 * group.baselines[name] for group in groups],
            linestyle="--",
            label=f"{name}, by the answer",
        )
    axes.set_xlabel("train triples of the entity")
    axes.set_ylabel("MRR × 100")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)


def _bars(axes: Axes, groups: Sequence[Group], others: Sequence[str]) -> None:
    series = {"model": [group.metrics.mrr for group in groups]}
    series |= {name: [group.baselines[name] for group in groups] for name in others}
    width = 0.8 / len(series)
    for number, (name, values) in enumerate(series.items()):
        places = [place + number * width for place in range(len(groups))]
        bars = axes.bar(places, [100 * value for value in values], width=width * 0.94, label=name)
        axes.bar_label(bars, fmt="%.1f", fontsize=7)
    ticks = [place + 0.4 - width / 2 for place in range(len(groups))]
    axes.set_xticks(ticks, [f"{group.name}\nn = {group.metrics.n}" for group in groups])
    axes.set_ylabel("MRR × 100")
    axes.legend(fontsize=8)


def _relation_bars(axes: Axes, groups: Sequence[Group]) -> None:
    shown = groups[:_RELATIONS_DRAWN][::-1]
    names = [_short(group.name) for group in shown]
    places = range(len(shown))
    axes.barh([place + 0.2 for place in places], [100 * group.tail.mrr for group in shown], height=0.38, label="tails")
    axes.barh([place - 0.2 for place in places], [100 * group.head.mrr for group in shown], height=0.38, label="heads")
    axes.set_yticks(list(places), names, fontsize=8, parse_math=False)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel(f"MRR × 100, the {len(shown)} relations asked most")
    axes.legend(fontsize=8)


def _short(name: str, limit: int = 48) -> str:
    return name if len(name) <= limit else "…" + name[-limit:]


def _page(
    found: Breakdown,
    figures: Mapping[str, Mapping[str, bytes]],
    *,
    about: Mapping[str, object],
    notes: Sequence[str],
    log: EvaluationLog,
    permuted: Mapping[str, Any],
) -> str:
    title = html.escape(f"Link prediction: {about.get('graph', '')}, {about.get('split', '')}")
    parts = [f"<h1>{title}</h1>", _table(("", ""), [(name, str(value)) for name, value in about.items()])]
    parts += [f'<p class="note">{html.escape(note)}</p>' for note in notes]
    result = found.evaluation
    scores = [("both", result.both), ("head", result.head), ("tail", result.tail), ("unseen", result.unseen)]
    scores += [(f"baseline {name}", other.both) for name, other in found.baselines.items()]
    rows = [(name, *_cells(m.to_mapping()), str(m.n)) for name, m in scores if m.n]
    parts += ["<h2>Overall</h2>", _table(("", *_COLUMNS, "questions"), rows), f'<p class="note">{_BASELINES}</p>']
    parts += [_permuted(kind, one, result.both.to_mapping()) for kind, one in permuted.items()]
    for heading, name, groups in (
        ("By train degree of the answer", "by-degree", found.answer_degree),
        ("By train degree of the anchor", None, found.anchor_degree),
        ("By kind of relation", "by-kind", found.kinds),
        *((f"By who has {name}", None, groups) for name, groups in found.modalities.items()),
        ("By relation", "by-relation", found.relations),
    ):
        parts += [f"<h2>{html.escape(heading)}</h2>", _inline(figures[name]["svg"]) if name else ""]
        parts.append(_group_table(groups, list(found.baselines)))
    parts += ["<h2>Every evaluation of this model</h2>", _log_table(log)]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"</head><body>{''.join(parts)}</body></html>\n"
    )


def _permuted(kind: str, one: Mapping[str, Any], full: Mapping[str, object]) -> str:
    rows = [("as it is", *_cells(full)), *((f"{kind} {name}", *_cells(arm)) for name, arm in one["arms"].items())]
    lost = "there is no gain to lose"
    if one["lost_share"] is not None:
        share = "all" if one["lost_share"] >= 1.0 else f"{100 * one['lost_share']:.0f} %"
        lost = f"{share} of it is lost where the vectors are dealt out among the wrong entities"
    said = f"It adds {100 * one['gain']:.2f} MRR over leaving it out; {lost}."
    return f"<h2>Is {html.escape(kind)} read?</h2><p>{html.escape(said)}</p>{_table(('', *_COLUMNS), rows)}"


def _inline(svg: bytes) -> str:
    text = svg.decode("utf-8")
    return text[text.index("<svg") :]


def _cells(metrics: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(f"{100 * float(str(metrics[key])):.1f}" for key in ("mrr", "hits@1", "hits@3", "hits@10"))


def _group_table(groups: Sequence[Group], others: Sequence[str]) -> str:
    columns = ("", *_COLUMNS, "heads", "tails", *(f"{name} MRR" for name in others), "questions")
    rows = [
        (
            group.name,
            *_cells(group.metrics.to_mapping()),
            f"{100 * group.head.mrr:.1f}" if group.head.n else "–",
            f"{100 * group.tail.mrr:.1f}" if group.tail.n else "–",
            *(f"{100 * group.baselines[name]:.1f}" for name in others),
            str(group.metrics.n),
        )
        for group in groups
    ]
    return _table(columns, rows)


def _log_table(log: EvaluationLog) -> str:
    columns = ("when", "command", "split", "questions", "MRR", "validation MRR", "seed", "model", "ranked beside it")
    rows = []
    settings: dict[str, str] = {}
    for entry in log.entries:
        said = entry.get("settings")
        known = said if isinstance(said, Mapping) else {}
        model = (
            str(known.get("weights") or known.get("train") or "").removeprefix("model-").removesuffix(".safetensors")
        )
        settings[model] = json.dumps(known, ensure_ascii=False, indent=1)
        n = entry.get("n")
        rows.append(
            (
                str(entry.get("when", "")).replace("T", " ").removesuffix("+00:00"),
                str(entry.get("command", "")),
                str(entry.get("split", "")),
                str(2 * n) if isinstance(n, int) else "",
                _times_100(entry.get("mrr")),
                _times_100(known.get("best_valid_mrr")),
                str(known.get("seed", "")),
                model,
                _beside(entry.get("beside")),
            )
        )
    damaged = f"<p>{log.n_damaged} lines of the log are damaged.</p>" if log.n_damaged else ""
    folded = [
        f"<details><summary>settings of model {html.escape(model)}</summary><pre>{html.escape(told)}</pre></details>"
        for model, told in settings.items()
    ]
    return _table(columns, rows) + damaged + "".join(folded)


def _times_100(value: object) -> str:
    return f"{100 * value:.1f}" if isinstance(value, (int, float)) else "–"


def _beside(groups: object) -> str:
    counts = groups.items() if isinstance(groups, Mapping) else ()
    return ", ".join(f"{name}: {len(arms)}" for name, arms in counts if isinstance(arms, Mapping))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
