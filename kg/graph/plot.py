"""A picture of a part of the graph, as an image or as a page to move around in.

Layer: ``kg``; Matplotlib is imported when something is drawn. Equal graphs give equal pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kg.errors import InputError
from kg.graph.files import atomic_path
from kg.graph.picture import Picture, type_colours

__all__ = ["FORMATS", "PlotReport", "plot"]

FORMATS = ("png", "svg", "pdf", "html")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlotReport:
    """What was drawn, and where it lies."""

    path: Path
    n_entities: int
    n_relations: int
    n_left_out: int


def plot(picture: Picture, path: Path) -> PlotReport:
    """Draw a picture into a file; its suffix says which kind.

    :param picture: What is drawn.
    :param path: Where to: ``.png``, ``.svg``, ``.pdf``, or ``.html`` for a page to move around in.
    :returns: What was drawn.
    :raises InputError: If the suffix is not one of these, or there is nothing to draw.
    """
    kind = path.suffix.lower().lstrip(".")
    if kind not in FORMATS:
        raise InputError(f"{path}: a picture is one of {', '.join('.' + one for one in FORMATS)}, got {path.suffix!r}.")
    if not picture.entities:
        raise InputError("There is nothing to draw: no entity was found. `mmkg graph stats` shows what there is.")
    with atomic_path(path) as part:
        if kind == "html":
            from kg.graph.plot_html import write_page

            write_page(
                part,
                title=picture.title,
                note=picture.note,
                entities=picture.entities,
                relations=picture.relations,
                colours=type_colours(picture.entities),
                focus=picture.focus,
            )
        else:
            from kg.graph.draw import draw

            draw(picture, part, kind)
    return PlotReport(
        path=path,
        n_entities=len(picture.entities),
        n_relations=len(picture.relations),
        n_left_out=picture.n_left_out,
    )
