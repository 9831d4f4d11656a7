"""``mmkg kgc compare``: models beside one another, with means over seeds.

Layer: ``api.cli``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.cli.options import JsonOption
from api.cli.output import console, failures_explained, print_json, print_table

if TYPE_CHECKING:
    from generation.completion.comparison import ModelGroup

__all__ = ["compare"]

_SCORES = ("mrr", "hits@1", "hits@3", "hits@10", "unseen")
_COLUMNS = ("seed", "MRR", "Hits@1", "Hits@3", "Hits@10", "unseen", "valid")


def compare(
    models: Annotated[list[Path], typer.Argument(help="Model folders, each evaluated with `mmkg kgc eval`.")],
    split: Annotated[str, typer.Option("--split", help="Whose evaluations to read: test, valid or train.")] = "test",
    as_json: JsonOption = False,
) -> None:
    """Compare trained models: mean and deviation over seeds, and what one recipe gains over another.

    Models of the same train triples and the same settings are one group. The figures are those that the evaluations of
    each left in the log of its folder; nothing is ranked anew, so it costs no further look at test.
    """
    with failures_explained(as_json=as_json):
        from generation.completion.comparison import compare_models

        found = compare_models(models, split)
        alike = len({model.name for model in models}) < len(models)
    if as_json:
        print_json(found.to_mapping())
        return
    for group in found.groups:
        _show(group, split, full_paths=alike)
    for note in found.notes:
        console().print(f"note: {note}", markup=False, soft_wrap=True)


def _show(group: ModelGroup, split: str, *, full_paths: bool) -> None:
    rows: list[tuple[object, ...]] = []
    for model in group.models:
        scores = [_points(model.figures.get(name)) for name in _SCORES]
        name = model.folder if full_paths else Path(model.folder).name
        rows.append((name, "–" if model.seed is None else model.seed, *scores, _points(model.valid_mrr)))
    if len(group.models) > 1:
        spreads = [group.figures.get(name) for name in _SCORES]
        rows.append((f"mean of {len(group.models)}", "", *(_points(one.mean if one else None) for one in spreads), ""))
        rows.append(("deviation", "", *(_points(one.deviation if one else None) for one in spreads), ""))
    settings = ", ".join(f"{name} {value}" for name, value in group.differs.items())
    title = f"{group.graph}, {split}: MRR and Hits x 100" + (f" · {settings}" if settings else "")
    print_table(title, ("", *_COLUMNS), rows, right=_COLUMNS)
    if group.gain is not None:
        error = "" if group.gain.standard_error is None else f" (standard error {100 * group.gain.standard_error:.2f})"
        console().print(f"MRR over the first recipe: {100 * group.gain.mean:+.2f}{error}", markup=False)
    if group.beside:
        columns = ("ranked beside", "MRR", "deviation")
        beside = [(name, _points(one.mean), _points(one.deviation)) for name, one in group.beside.items()]
        print_table("", columns, beside, right=columns[1:])


def _points(score: float | None) -> str:
    return "–" if score is None else f"{100 * score:.2f}"
