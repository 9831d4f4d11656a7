"""The geometry of what is drawn on a PDF page: transforms, boxes, and the straight lines of paths.

Layer: ``kg``; pypdfium2's raw interface, as in :mod:`kg.loaders.pdf_page`.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

from kg.loaders.pdf_layout import Rect

__all__ = ["IDENTITY", "Matrix", "apply", "bounds_of", "is_blank", "is_outline", "matrix_of", "strokes_of", "times"]

Matrix = tuple[float, float, float, float, float, float]
"""``(a, b, c, d, e, f)`` as in PDF: a point is a row vector, multiplied from the left."""

IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)

_MAX_CLIP_SEGMENTS = 12
_MAX_SEGMENTS = 600  # of a path whose lines are looked at; the grid of a table has few, a coastline many
_WHITE = 250  # of 255; white panels behind text or charts are paper
_STRAIGHT = 1.0  # points: a line that is level or upright within this


def times(inner: Matrix, outer: Matrix) -> Matrix:
    """Return the transform that applies ``inner`` first, then ``outer`` (PDF's row vectors)."""
    a, b, c, d, e, f = inner
    p, q, r, s, t, u = outer
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)


def apply(matrix: Matrix, rect: Rect) -> Rect:
    """Return the box around a transformed rectangle."""
    a, b, c, d, e, f = matrix
    corners = [(x, y) for x in (rect[0], rect[2]) for y in (rect[1], rect[3])]
    xs, ys = [a * x + c * y + e for x, y in corners], [b * x + d * y + f for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def matrix_of(raw_object: Any) -> Matrix:
    """Return an object's own transform."""
    import pypdfium2.raw as pdfium

    matrix = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(raw_object, matrix):
        return IDENTITY
    return (matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f)


def bounds_of(raw_object: Any) -> Rect | None:
    """Return the box of what can be seen of an object, in the coordinates of its form; ``None`` if nothing can."""
    import pypdfium2.raw as pdfium

    sides = [ctypes.c_float() for _ in range(4)]
    if not pdfium.FPDFPageObj_GetBounds(raw_object, *sides):
        return None
    x0, y0, x1, y1 = (side.value for side in sides)
    clip = pdfium.FPDFPageObj_GetClipPath(raw_object)
    for index in range(max(0, pdfium.FPDFClipPath_CountPaths(clip)) if clip else 0):
        points = _clip_points(clip, index)
        if points:
            xs, ys = [x for x, _ in points], [y for _, y in points]
            x0, y0, x1, y1 = max(x0, min(xs)), max(y0, min(ys)), min(x1, max(xs)), min(y1, max(ys))
    return (x0, y0, x1, y1) if x0 <= x1 and y0 <= y1 else None


def _clip_points(clip: Any, index: int) -> list[tuple[float, float]]:
    """Return the corners of one clip path; none for an intricate one, whose box would seldom be smaller."""
    import pypdfium2.raw as pdfium

    n_segments = pdfium.FPDFClipPath_CountPathSegments(clip, index)
    if not 3 <= n_segments <= _MAX_CLIP_SEGMENTS:
        return []
    points = []
    x, y = ctypes.c_float(), ctypes.c_float()
    for segment_index in range(n_segments):
        segment = pdfium.FPDFClipPath_GetPathSegment(clip, index, segment_index)
        if not segment or not pdfium.FPDFPathSegment_GetPoint(segment, x, y):
            return []
        points.append((x.value, y.value))
    return points


def is_blank(path: Any) -> bool:
    """Return whether a path leaves no mark: neither filled nor stroked, transparent, or white without an outline."""
    import pypdfium2.raw as pdfium

    fill, stroke = ctypes.c_int(), ctypes.c_int()
    if not pdfium.FPDFPath_GetDrawMode(path, fill, stroke) or stroke.value:
        return False
    if fill.value == pdfium.FPDF_FILLMODE_NONE:
        return True
    channels = [ctypes.c_uint() for _ in range(4)]
    if not pdfium.FPDFPageObj_GetFillColor(path, *channels):
        return False
    *colour, alpha = (channel.value for channel in channels)
    return alpha == 0 or min(colour) >= _WHITE


def is_outline(path: Any) -> bool:
    """Return whether a path is stroked and not filled."""
    import pypdfium2.raw as pdfium

    fill, stroke = ctypes.c_int(), ctypes.c_int()
    known = pdfium.FPDFPath_GetDrawMode(path, fill, stroke)
    return bool(known and stroke.value and fill.value == pdfium.FPDF_FILLMODE_NONE)


def _line_ends(path: Any, n_segments: int) -> Iterator[Rect]:
    """Yield both ends of each straight line of a path, in its own coordinates."""
    import pypdfium2.raw as pdfium

    x, y = ctypes.c_float(), ctypes.c_float()
    first = last = (0.0, 0.0)
    for index in range(n_segments):
        segment = pdfium.FPDFPath_GetPathSegment(path, index)
        if not segment or not pdfium.FPDFPathSegment_GetPoint(segment, x, y):
            return
        kind, here = pdfium.FPDFPathSegment_GetType(segment), (x.value, y.value)
        if kind == pdfium.FPDF_SEGMENT_MOVETO:
            first = here
        elif kind == pdfium.FPDF_SEGMENT_LINETO:
            yield (*last, *here)
        last = here
        if pdfium.FPDFPathSegment_GetClose(segment):
            yield (*here, *first)
            last = first


def strokes_of(path: Any, transform: Matrix) -> tuple[Rect, ...]:
    """Return the level and upright lines of a path; none of an intricate one.

    :param path: PDFium's path object.
    :param transform: From the coordinates around the path to the page as displayed.
    :returns: Thin rectangles as displayed.
    """
    import pypdfium2.raw as pdfium

    n_segments = pdfium.FPDFPath_CountSegments(path)
    if not 2 <= n_segments <= _MAX_SEGMENTS:
        return ()
    to_display = times(matrix_of(path), transform)
    lines = (apply(to_display, ends) for ends in _line_ends(path, n_segments))
    return tuple(line for line in lines if min(line[2] - line[0], line[3] - line[1]) <= _STRAIGHT)
