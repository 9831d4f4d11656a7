"""Part a line of text that was read in one go where it has gaps too wide for spaces.

Layer: ``kg``; the standard library only.

The finder of text joins what stands on one line with little between: the entries of a legend, with their swatches, or
the names under neighbouring bars. The reader of text knows where each word stands, so the gaps can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from kg.captioning.layout import TextPiece

__all__ = ["GAP", "parted"]

GAP = 0.9
"""Of the line height. Spaces between words are 0.2 to 0.5 of it, in justified text a little more; the gaps in the
legends of our own generated charts begin at 1.0 (``tests/benchmarks/chart_tables.py``)."""


def parted(piece: TextPiece, words: Sequence[tuple[str, float, float]]) -> list[TextPiece]:
    """Cut a piece where the gap between two of its words is wider than :data:`GAP`.

    :param piece: A line of text.
    :param words: Its words from the left, each with its left and right edge; together they are its text but for spaces.
    :returns: The parts from the left; the piece itself where nothing is to be cut, or its words are not those given.
    """
    cuts = [i for i, (a, b) in enumerate(pairwise(words), 1) if b[1] - a[2] > GAP * piece.height]
    if not cuts:
        return [piece]
    parts: list[TextPiece] = []
    position = 0
    for first, last in pairwise([0, *cuts, len(words)]):
        begin = end = position
        for number, (text, _, _) in enumerate(words[first:last]):
            found = piece.text.find(text, end)
            if found < 0 or piece.text[end:found].strip():
                return [piece]
            begin = found if number == 0 else begin
            end = found + len(text)
        x0 = piece.x0 if first == 0 else words[first][1]
        x1 = piece.x1 if last == len(words) else words[last - 1][2]
        if x0 > x1:
            return [piece]
        parts.append(TextPiece(text=piece.text[begin:end], x0=x0, y0=piece.y0, x1=x1, y1=piece.y1, score=piece.score))
        position = end
    return [part for part in parts if part.text.strip()]
