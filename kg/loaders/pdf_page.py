"""What PDFium says of one page: its lines, what is drawn on it, and renderings of its parts.

Layer: ``kg``; pypdfium2. The only module that speaks PDFium's raw interface. All rectangles that leave it are in points
on the page as displayed (cropped and turned), origin at the top left.
"""

from __future__ import annotations

import ctypes
import re
import zlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from kg.loaders.pdf_graphics import Drawn
from kg.loaders.pdf_layout import HYPHEN, Line, Rect, Word, union
from kg.loaders.pdf_paths import IDENTITY, Matrix, apply, bounds_of, is_blank, is_outline, matrix_of, strokes_of, times
from kg.loaders.pictures import Picture, encode_picture

if TYPE_CHECKING:
    from pypdfium2 import PdfPage, PdfTextPage

__all__ = ["PdfPageReader", "picture_keys"]

_MAX_OBJECTS = 50_000  # of one page; a map with more is told from the first ones
_MAX_SIDE = 16_000  # pixels; JPEG ends at 65,500
_MAX_DEPTH = 8  # of forms within forms
_BROKEN_LINE = HYPHEN + "\n"  # PDFium writes a hyphen at the end of a line without the line break
_INVISIBLE = HYPHEN + "\x00 \t\r\f\v\xa0"
_SAMPLES = 4  # steps along a line at which its font is looked at
_MAX_BOX_SEGMENTS = 13  # a box with round corners has as many; what has more is a shape
_WORD = re.compile(r"[^\s\x00]+")
_MAX_FONT_NAME = 128  # bytes
_BOLD_NAMES = (b"bold", b"black", b"heavy", b"demi", b"-bd", b"nimbusromno9l-medi", b"cmbx")
_BOLD_WEIGHT = 600
_ASCENT = 0.8  # of the font size lies above the baseline, nearly enough in every Latin font
_UNITS = 1_000_000  # device units across the page, to learn PDFium's page-to-device transform


def _objects(page: PdfPage) -> Iterator[tuple[Any, int, Matrix]]:
    """Yield each object that is not a form, its type, and the transform of the forms around it."""
    import pypdfium2.raw as pdfium

    n_seen = 0
    stack: list[tuple[Callable[[int], Any], int, int, Matrix, int]] = []
    stack.append((lambda i: pdfium.FPDFPage_GetObject(page, i), 0, pdfium.FPDFPage_CountObjects(page), IDENTITY, 0))
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
            inner = times(matrix_of(raw_object), matrix)
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
        self._text: PdfTextPage | None = None
        self._raw: dict[int, str] = {}

    def _display_matrix(self) -> Matrix:
        """Return the transform from page to display coordinates, learnt from where three points come out."""
        import pypdfium2.raw as pdfium

        def at(x: float, y: float) -> tuple[float, float]:
            left, top = ctypes.c_int(), ctypes.c_int()
            pdfium.FPDF_PageToDevice(self._page, 0, 0, _UNITS, _UNITS, 0, x, y, left, top)
            return left.value / _UNITS * self.size[0], top.value / _UNITS * self.size[1]

        (e, f), (ax, ay), (cx, cy) = at(0, 0), at(1000, 0), at(0, 1000)
        return ((ax - e) / 1000, (ay - f) / 1000, (cx - e) / 1000, (cy - f) / 1000, e, f)

    def lines(self) -> list[Line]:
        """Return the lines of the text layer in drawing order, blank ones and those off the page left out."""
        textpage = self._textpage()
        n_chars = textpage.count_chars()
        text = textpage.get_text_range() if n_chars else ""
        if len(text) != n_chars:
            text = _text_by_character(textpage, n_chars)
        lines, start = [], 0
        for line in text.replace(HYPHEN, _BROKEN_LINE).split("\n"):
            if line.strip(_INVISIBLE):
                rect = self._line_rect(textpage, line.replace(HYPHEN, " "), start)
                if self._is_on_page(rect):
                    lines.append(Line(text=_whole(line.rstrip("\r")), rect=rect, start=start))
                    self._raw[start] = line
            start += len(line) + (0 if line.endswith(HYPHEN) else 1)
        return lines

    def _textpage(self) -> PdfTextPage:
        """Return the page's text, laid out by PDFium once; it is closed with the page."""
        if self._text is None:
            self._text = self._page.get_textpage()
        return self._text

    def words(self, line: Line) -> list[Word]:
        """Return the words of a line, in drawing order, each with its own box and baseline.

        :param line: One of :meth:`lines`.
        :returns: Its words; none for a line that is not this page's.
        """
        textpage, words = self._textpage(), []
        for found in _WORD.finditer(self._raw.get(line.start, "")):
            first, last = line.start + found.start(), line.start + found.end() - 1
            if found[0].endswith(HYPHEN) and last > first:
                last -= 1  # the hyphen's own box may be that of the next line
            rect = self._apply_box(union([_loose_box(textpage, index) for index in {first, last}]))
            base = self._baseline(textpage, first)
            words.append(Word(text=_whole(found[0]), rect=rect, base=rect[3] if base is None else base, start=first))
        return words

    def is_bold(self, word: Word) -> bool:
        """Return whether the font of a word's first character is a bold one, by its name or its weight."""
        import pypdfium2.raw as pdfium

        raw_textpage, name = self._textpage(), ctypes.create_string_buffer(_MAX_FONT_NAME)
        pdfium.FPDFText_GetFontInfo(raw_textpage, word.start, name, _MAX_FONT_NAME, ctypes.c_int())
        is_named = any(mark in name.value.lower() for mark in _BOLD_NAMES)
        return is_named or pdfium.FPDFText_GetFontWeight(raw_textpage, word.start) >= _BOLD_WEIGHT

    def _baseline(self, textpage: PdfTextPage, index: int) -> float | None:
        import pypdfium2.raw as pdfium

        x, y = ctypes.c_double(), ctypes.c_double()
        if not pdfium.FPDFText_GetCharOrigin(textpage, index, x, y):
            return None
        _, b, _, d, _, f = self._to_display
        return b * x.value + d * y.value + f

    def _line_rect(self, textpage: Any, line: str, start: int) -> Rect:
        """Return the line's box: from its first to its last visible character, and one font size high.

        The font's size and the baseline are those of the middle one of a few characters, so that an index, a footnote
        mark or a font whose own boxes are odd does not change the height. Turned text gets the box of its characters.
        """
        first = start + len(line) - len(line.lstrip())
        last = start + len(line.rstrip()) - 1
        places = sorted({first + (last - first) * step // _SAMPLES for step in range(_SAMPLES + 1)})
        boxes = [self._apply_box(_loose_box(textpage, index)) for index in places]
        around = union(boxes)
        sized = [sized for index in places if (sized := self._size_and_baseline(textpage, index)) is not None]
        if not sized:
            return around
        size, baseline = sorted(sized)[len(sized) // 2]
        return (around[0], baseline - _ASCENT * size, around[2], baseline + (1 - _ASCENT) * size)

    def _is_on_page(self, rect: Rect) -> bool:
        """Return whether a part of ``rect`` can be seen: text beyond a page's crop box is not part of the page."""
        return rect[0] <= self.size[0] and rect[1] <= self.size[1] and rect[2] >= 0 and rect[3] >= 0

    def _apply_box(self, box: Rect) -> Rect:
        return apply(self._to_display, box)

    def _size_and_baseline(self, textpage: Any, index: int) -> tuple[float, float] | None:
        """Return the displayed font size and baseline of an upright character, ``None`` for a turned or unknown one."""
        import pypdfium2.raw as pdfium

        matrix, x, y = pdfium.FS_MATRIX(), ctypes.c_double(), ctypes.c_double()
        known = pdfium.FPDFText_GetMatrix(textpage, index, matrix)
        if not known or not pdfium.FPDFText_GetCharOrigin(textpage, index, x, y):
            return None
        own: Matrix = (matrix.a, matrix.b, matrix.c, matrix.d, 0.0, 0.0)
        _, across, _, down, _, _ = times(own, self._to_display)
        size = pdfium.FPDFText_GetFontSize(textpage, index) * abs(down)
        if abs(across) > 0.2 * abs(down) or not 0.5 < size < 2_000:
            return None
        return size, apply(self._to_display, (x.value, y.value, x.value, y.value))[1]

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
            if kind == pdfium.FPDF_PAGEOBJ_PATH and is_blank(raw_object):
                continue
            bounds = bounds_of(raw_object)
            rect = apply(self._to_display, apply(matrix, bounds)) if bounds is not None else None
            if rect is not None and all(abs(side) < 1e6 for side in rect):
                resolution = _resolution(raw_object, rect) if is_picture else 0.0
                item = Drawn(rect=rect, pixels_per_point=resolution)
                if kind == pdfium.FPDF_PAGEOBJ_PATH and not item.is_thin:
                    item = self._path(raw_object, matrix, rect)
                found.append(item)
        return found

    def _path(self, path: Any, matrix: Matrix, rect: Rect) -> Drawn:
        import pypdfium2.raw as pdfium

        if is_outline(path):
            return Drawn(rect=rect, strokes=strokes_of(path, times(matrix, self._to_display)), is_outline=True)
        return Drawn(rect=rect, is_shape=pdfium.FPDFPath_CountSegments(path) > _MAX_BOX_SEGMENTS)

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
        x0, y0, x1, y1 = max(0.0, x0), max(0.0, y0), min(width, x1), min(height, y1)
        most = (max_pixels / max(1.0, (x1 - x0 + 1) * (y1 - y0 + 1))) ** 0.5
        most = min(most, _MAX_SIDE / max(1.0, x1 - x0, y1 - y0))  # a page that claims to be a thousand kilometres wide
        crop = (x0, height - y1, width - x1, y0)
        bitmap = self._page.render(scale=min(pixels_per_point, most), crop=crop)
        try:
            return encode_picture(bitmap.to_pil(), lossless=lossless)
        finally:
            bitmap.close()


def _loose_box(textpage: Any, index: int) -> Rect:
    import pypdfium2.raw as pdfium

    box = pdfium.FS_RECTF()
    pdfium.FPDFText_GetLooseCharBox(textpage, index, box)
    return (box.left, box.bottom, box.right, box.top)


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
