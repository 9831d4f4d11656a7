"""What PDFium says of one page: its lines, what is drawn on it, and renderings of its parts.

Layer: ``kg``; pypdfium2. The only module that speaks PDFium's raw interface. All rectangles that leave it are in points on the page
as displayed (cropped and turned), origin at the top left.
"""

from __future__ import annotations

import ctypes
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kg.loaders.pdf_graphics import Drawn
from kg.loaders.pdf_layout import Line, Rect, union
from kg.loaders.pictures import Picture, encode_picture

if TYPE_CHECKING:
    from pypdfium2 import PdfPage

__all__ = ["PdfPageReader", "picture_keys"]

_MAX_OBJECTS = 50_000  # of one page; a map with more is told from the first ones
_MAX_DEPTH = 8  # of forms within forms
_UNITS = 1_000_000  # device units across the page, to learn PDFium's page-to-device transform
_Matrix = tuple[float, float, float, float, float, float]
_IDENTITY: _Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def _times(inner: _Matrix, outer: _Matrix) -> _Matrix:
    """Return the transform that applies ``inner`` first, then ``outer`` (PDF's row vectors)."""
    a, b, c, d, e, f = inner
    p, q, r, s, t, u = outer
    return (a * p + b * r, a * q + b * s, c * p + d * r, c * q + d * s, e * p + f * r + t, e * q + f * s + u)


def _apply(matrix: _Matrix, rect: Rect) -> Rect:
    a, b, c, d, e, f = matrix
    corners = [(x, y) for x in (rect[0], rect[2]) for y in (rect[1], rect[3])]
    xs, ys = [a * x + c * y + e for x, y in corners], [b * x + d * y + f for x, y in corners]
    return min(xs), min(ys), max(xs), max(ys)


def _matrix_of(raw_object: Any) -> _Matrix:
    import pypdfium2.raw as pdfium

    matrix = pdfium.FS_MATRIX()
    if not pdfium.FPDFPageObj_GetMatrix(raw_object, matrix):
        return _IDENTITY
    return (matrix.a, matrix.b, matrix.c, matrix.d, matrix.e, matrix.f)


def _objects(page: PdfPage) -> Iterator[tuple[Any, int, _Matrix]]:
    """Yield each object that is not a form, its type, and the transform of the forms around it."""
    import pypdfium2.raw as pdfium

    n_seen = 0
    stack: list[tuple[Callable[[int], Any], int, int, _Matrix, int]] = []
    stack.append((lambda i: pdfium.FPDFPage_GetObject(page, i), 0, pdfium.FPDFPage_CountObjects(page), _IDENTITY, 0))
    while stack and n_seen < _MAX_OBJECTS:
        get, index, n_objects, matrix, depth = stack.pop()
        if index >= n_objects:
            continue
        stack.append((get, index + 1, n_objects, matrix, depth))
        raw_object = get(index)
        if not raw_object:
            continue
        n_seen += 1
        kind = pdfium.FPDFPageObj_GetType(raw_object)
        if kind != pdfium.FPDF_PAGEOBJ_FORM:
            yield raw_object, kind, matrix
        elif depth < _MAX_DEPTH:
            inner = _times(_matrix_of(raw_object), matrix)
            n_inner = pdfium.FPDFFormObj_CountObjects(raw_object)
            stack.append((_form_getter(raw_object), 0, n_inner, inner, depth + 1))


def _form_getter(form: Any) -> Callable[[int], Any]:
    import pypdfium2.raw as pdfium

    return lambda index: pdfium.FPDFFormObj_GetObject(form, index)


def _picture_key(raw_object: Any) -> tuple[int, int]:
    """Return the length and checksum of a picture's stored bytes: equal for the same logo on every page."""
    import pypdfium2.raw as pdfium

    n_bytes = pdfium.FPDFImageObj_GetImageDataRaw(raw_object, None, 0)
    buffer = (ctypes.c_ubyte * n_bytes)()
    pdfium.FPDFImageObj_GetImageDataRaw(raw_object, buffer, n_bytes)
    return n_bytes, zlib.crc32(buffer)


def picture_keys(page: PdfPage) -> set[tuple[int, int]]:
    """Return one key per raster picture of a page; the same picture has the same key on each page."""
    import pypdfium2.raw as pdfium

    return {_picture_key(raw) for raw, kind, _ in _objects(page) if kind == pdfium.FPDF_PAGEOBJ_IMAGE}


class PdfPageReader:
    """Reads one open page.

    :param page: The page; it must stay open.
    """

    def __init__(self, page: PdfPage) -> None:
        self._page = page
        self.size: tuple[float, float] = page.get_size()
        self._to_display = self._display_matrix()

    def _display_matrix(self) -> _Matrix:
        """Return the transform from page to display coordinates, learnt from where three points come out."""
        import pypdfium2.raw as pdfium

        def at(x: float, y: float) -> tuple[float, float]:
            left, top = ctypes.c_int(), ctypes.c_int()
            pdfium.FPDF_PageToDevice(self._page, 0, 0, _UNITS, _UNITS, 0, x, y, left, top)
            return left.value / _UNITS * self.size[0], top.value / _UNITS * self.size[1]

        (e, f), (ax, ay), (cx, cy) = at(0, 0), at(1000, 0), at(0, 1000)
        return ((ax - e) / 1000, (ay - f) / 1000, (cx - e) / 1000, (cy - f) / 1000, e, f)

    def lines(self) -> list[Line]:
        """Return the lines of the text layer in drawing order, blank ones left out."""
        textpage = self._page.get_textpage()
        try:
            n_chars = textpage.count_chars()
            text = textpage.get_text_range() if n_chars else ""
            if len(text) != n_chars:
                text = _text_by_character(textpage, n_chars)
            lines, start = [], 0
            for line in text.split("\n"):
                if line.strip():
                    rect = self._line_rect(textpage, line, start)
                    lines.append(Line(text=_whole(line.rstrip("\r")), rect=rect))
                start += len(line) + 1
            return lines
        finally:
            textpage.close()

    def _line_rect(self, textpage: Any, line: str, start: int) -> Rect:
        """Return the box around the font boxes of the line's first and last visible characters."""
        import pypdfium2.raw as pdfium

        first = start + len(line) - len(line.lstrip())
        last = start + len(line.rstrip()) - 1
        boxes = []
        for index in {first, last}:
            box = pdfium.FS_RECTF()
            if pdfium.FPDFText_GetLooseCharBox(textpage, index, box):
                boxes.append(_apply(self._to_display, (box.left, box.bottom, box.right, box.top)))
        return union(boxes) if boxes else (0.0, 0.0, 0.0, 0.0)

    def drawn(self, *, but: frozenset[tuple[int, int]]) -> list[Drawn]:
        """Return the raster pictures and paths of the page.

        :param but: Keys of pictures to leave out: those that decorate many pages.
        :returns: They and their places, in drawing order.
        """
        import pypdfium2.raw as pdfium

        found = []
        for raw_object, kind, matrix in _objects(self._page):
            is_picture = kind == pdfium.FPDF_PAGEOBJ_IMAGE
            if not is_picture and kind not in (pdfium.FPDF_PAGEOBJ_PATH, pdfium.FPDF_PAGEOBJ_SHADING):
                continue
            if is_picture and but and _picture_key(raw_object) in but:
                continue
            sides = [ctypes.c_float() for _ in range(4)]
            if not pdfium.FPDFPageObj_GetBounds(raw_object, *sides):
                continue
            left, bottom, right, top = (side.value for side in sides)
            rect = _apply(self._to_display, _apply(matrix, (left, bottom, right, top)))
            if all(abs(side) < 1e6 for side in rect):
                resolution = _resolution(raw_object, rect) if is_picture else 0.0
                found.append(Drawn(rect=rect, pixels_per_point=resolution))
        return found

    def render(self, rect: Rect | None, *, pixels_per_point: float, max_pixels: int, lossless: bool) -> Picture:
        """Render a part of the page as an image file.

        :param rect: The part, or ``None`` for the whole page.
        :param pixels_per_point: The resolution; dpi / 72.
        :param max_pixels: A lower resolution is taken where the picture would have more pixels.
        :param lossless: PNG rather than JPEG.
        :returns: The picture, encoded; nothing decoded is kept.
        """
        width, height = self.size
        x0, y0, x1, y1 = rect or (0.0, 0.0, width, height)
        most = (max_pixels / max(1.0, (x1 - x0 + 1) * (y1 - y0 + 1))) ** 0.5
        crop = (max(0.0, x0), max(0.0, height - y1), max(0.0, width - x1), max(0.0, y0))
        bitmap = self._page.render(scale=min(pixels_per_point, most), crop=crop)
        try:
            return encode_picture(bitmap.to_pil(), lossless=lossless)
        finally:
            bitmap.close()


def _resolution(raw_object: Any, rect: Rect) -> float:
    import pypdfium2.raw as pdfium

    width, height = ctypes.c_uint(), ctypes.c_uint()
    if not pdfium.FPDFImageObj_GetImagePixelSize(raw_object, width, height):
        return 1.0
    return max(0.01, max(width.value, height.value) / max(1.0, rect[2] - rect[0], rect[3] - rect[1]))


def _text_by_character(textpage: Any, n_chars: int) -> str:
    """Return the text with exactly one code unit per character of PDFium's list, so that indexes agree."""
    import pypdfium2.raw as pdfium

    return "".join(chr(min(pdfium.FPDFText_GetUnicode(textpage, i), 0x10FFFF)) for i in range(n_chars))


def _whole(text: str) -> str:
    """Return ``text`` with surrogate pairs put together."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
