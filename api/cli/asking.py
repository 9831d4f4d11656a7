"""The options of ``mmkg ask`` and ``mmkg search`` that say what may be seen and how the question is understood.

Layer: ``api.cli``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from retrieval.options import Refinement

__all__ = [
    "DecomposeOption",
    "DocumentOption",
    "HistoryFileOption",
    "HistoryOption",
    "ModalityOption",
    "RewriteOption",
    "SinceOption",
    "TimesOption",
    "UntilOption",
    "WhereOption",
    "understanding_of",
]

DocumentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--document", "-d", help="Search this document only: name, id, source or pattern with * (repeatable)."
    ),
]
ModalityOption = Annotated[
    list[str] | None, typer.Option("--modality", help="Search this kind only: text, image, chart, table or page.")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where",
        help="Search what fits only: KEY=VALUE, also != >= <= > <, with * and A|B (repeatable; all must hold). Keys: "
        "name, title, folder, type, page, date, … and the documents' metadata.",
    ),
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", help="Search what is of this day or later, by document or mentioned date.", show_default=False
    ),
]
UntilOption = Annotated[
    str | None, typer.Option("--until", help="Search what is of this day or earlier.", show_default=False)
]
HistoryOption = Annotated[
    list[str] | None,
    typer.Option("--history", help="An earlier turn of the conversation, oldest first; replies as 'assistant: …'."),
]
HistoryFileOption = Annotated[
    Path | None,
    typer.Option("--history-file", help="A file of earlier turns, one a line, before --history.", show_default=False),
]
DecomposeOption = Annotated[
    str,
    typer.Option("--decompose", help="Who takes apart a question with several parts: auto, off, rules, lm or openai."),
]
RewriteOption = Annotated[
    str, typer.Option("--rewrite", help="Who completes the question by the history: rules, off, lm or openai.")
]
TimesOption = Annotated[
    str, typer.Option("--times", help="What 'in 2019' in the question does: auto, off, soft or hard.")
]


def understanding_of(
    *,
    history: Sequence[str] | None,
    history_file: Path | None,
    decompose: str,
    rewrite: str,
    times: str,
    route: str,
) -> Refinement:
    """Return the switches that these options set.

    :param history: Turns, oldest first.
    :param history_file: A file of turns before them.
    :param decompose: Who takes questions apart.
    :param rewrite: Who completes questions.
    :param times: What phrases of time do.
    :param route: Who chooses the kinds that are searched first.
    :returns: The refinement.
    :raises InputError: If the file cannot be read, or a switch has no such value.
    """
    from api.refinement import refinement_of
    from kg.errors import InputError

    turns: list[str] = []
    if history_file is not None:
        try:
            turns = [line for line in history_file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--history-file: {history_file} cannot be read as text ({error}).") from error
    return refinement_of(
        history=(*turns, *(history or ())), decompose=decompose, rewrite=rewrite, times=times, route=route
    )
