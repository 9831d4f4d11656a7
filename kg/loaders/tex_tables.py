"""The cells of a LaTeX table, as its words.

Layer: ``kg``; the standard library.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kg.loaders.tex_words import TexWords

__all__ = ["table_grid"]

_RULES = re.compile(
    r"\\(?:hline|toprule|midrule|bottomrule|endhead|endfirsthead|endfoot|endlastfoot)\b|\\c(?:line|midrule)(?:\([lr]*\))?\{[^{}]*\}"
)
_SPANNING = re.compile(r"\\multi(?:column|row)\s*\{[^{}]*\}\s*\{[^{}]*\}\s*(?=\{)")
_ROW_END = re.compile(r"\\\\(?:\s*\[[^\]\n]{0,40}\])?|\\tabularnewline\b")
_CELL_END = re.compile(r"(?<!\\)&")
_MAX_CELL = 5_000


def table_grid(body: str, words: TexWords, *, check: Callable[[str], None]) -> list[list[str]]:
    r"""Part the inside of a ``tabular`` into rows of cells.

    :param body: What stands between its ``\begin``, with its arguments, and its ``\end``.
    :param words: Turns mark-up into words.
    :param check: Asked before each row; raises when the time is spent.
    :returns: Rows of cells, of any lengths; rows without words are left out.
    """
    rows: list[list[str]] = []
    for row in _ROW_END.split(_SPANNING.sub("", _RULES.sub("", body))):
        check("the next table row")
        cells = [words.of(cell[:_MAX_CELL])[0] for cell in _CELL_END.split(row)]
        if any(cells):
            rows.append(cells)
    return rows
