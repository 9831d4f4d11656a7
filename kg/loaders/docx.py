"""Word files: paragraphs, headings by style, tables row by row, and the pictures between them.

Layer: ``kg``; python-docx opens the package and names the styles, the body is walked as XML (its table cells
are quadratic in rows). A page of a Word file exists only once it is laid out, so the document counts as one page.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from kg.errors import CorruptFileError, LoadError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.equations import latex_of_omml
from kg.loaders.office import check_package
from kg.loaders.pictures import open_picture
from kg.loaders.sniff import DOCX
from kg.loaders.tables import SpanCell, expand_spans, make_table
from kg.loaders.text_tools import clean, squash
from kg.types import Document, RawFile

if TYPE_CHECKING:
    from docx.document import Document as WordDocument
    from lxml.etree import _Element

__all__ = ["DocxLoader"]

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_DRAWING = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_WP = "{http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_VML = "{urn:schemas-microsoft-com:vml}"
_SKIPPED = frozenset({f"{_W}del", f"{_MC}Fallback", f"{_W}sectPr", f"{_W}instrText"})
_OWN_MATH = re.compile(r"\$[^$]*\$")
_NUMBER = re.compile(r"(\(?[A-Z]?\d{1,3}(?:\.\d{1,3})?\)?)?")
_HEADING_STYLE = re.compile(r"(?:heading|überschrift|titre|título)\s*([1-9])", re.IGNORECASE)


class _Cell(NamedTuple):
    text: str
    element: _Element


class _BodyWalker:
    """Feeds the body of one Word file to a builder, without recursion."""

    def __init__(self, word: WordDocument, builder: DocumentBuilder) -> None:
        self._part: Any = word.part
        self._builder = builder
        self._styles = {str(style.style_id): str(style.name) for style in word.styles if style.name}
        self._caption = ""  # of the paragraph right before, where its style is that of captions
        self.title = ""

    def walk(self, body: _Element) -> None:
        stack = [body]
        while stack:
            element = stack.pop()
            self._builder.deadline.check("the next paragraph")
            if element.tag == f"{_W}p":
                self._paragraph(element)
            elif element.tag == f"{_W}tbl":
                self._table(element)
            elif element.tag not in _SKIPPED:
                stack.extend(reversed(element))

    def _paragraph(self, paragraph: _Element) -> None:
        style = paragraph.find(f"{_W}pPr/{_W}pStyle")
        style_name = self._styles.get(style.get(f"{_W}val", ""), "") if style is not None else ""
        text = self._text(paragraph)
        if text:
            self._caption = text if style_name.casefold() == "caption" else ""
        heading = _HEADING_STYLE.match(style_name)
        if heading or style_name == "Title":
            self.title = self.title or squash(text)
            self._builder.add_heading(text, level=int(heading.group(1)) if heading else 1)
        else:
            if self._equations(paragraph, text):
                return
            is_item = paragraph.find(f"{_W}pPr/{_W}numPr") is not None or style_name.startswith("List ")
            self._builder.add(f"- {text}" if is_item and text else text, math=_inline_math(paragraph))
        self._pictures(paragraph)

    def _equations(self, paragraph: _Element, text: str) -> bool:
        """Add the equations of a paragraph that holds nothing else but, perhaps, their number; say whether it did."""
        displayed = paragraph.find(f"{_M}oMathPara")
        if displayed is None:
            return False
        sources = [latex_of_omml(math) for math in displayed.iter(f"{_M}oMath")]
        number = _NUMBER.fullmatch(_OWN_MATH.sub("", text).strip())
        if number is None:
            return False
        for source in sources:
            self._builder.add_equation(source, label=number[1] or "")
        return True

    def _text(self, root: _Element) -> str:
        """Return the words below ``root``, deleted ones left out; a paragraph inside begins a new line."""
        words: list[str] = []
        stack = list(reversed(root))
        while stack:
            element = stack.pop()
            if element.tag in _SKIPPED:
                continue
            if element.tag == f"{_W}t":
                words.append(element.text or "")
            elif element.tag in (f"{_W}tab", f"{_W}noBreakHyphen"):
                words.append(" " if element.tag == f"{_W}tab" else "-")
            elif element.tag in (f"{_W}br", f"{_W}cr", f"{_W}p"):
                words.append("\n")
            elif element.tag == f"{_M}oMath":
                words.append(f"${latex_of_omml(element)}$")
                continue
            stack.extend(reversed(element))
        lines = (squash(line) for line in clean("".join(words)).split("\n"))
        return "\n".join(line for line in lines if line)

    def _table(self, table: _Element) -> None:
        """Add all rows as one block, cells separated by ``|``; a table inside a cell becomes that cell's words."""
        caption, self._caption = self._caption, ""
        lines: list[str] = []
        rows: list[list[_Cell]] = []
        n_header = 0
        for row in table.findall(f"{_W}tr"):
            self._builder.deadline.check("the next table row")
            cells = [_Cell(squash(self._text(cell)), cell) for cell in row.iterfind(f"{_W}tc")]
            if any(cell.text for cell in cells):
                lines.append(" | ".join(cell.text for cell in cells))
            n_header += n_header == len(rows) and _is_on(row, f"{_W}trPr/{_W}tblHeader")
            rows.append(cells)
        draft = make_table(
            expand_spans(_span_cells(rows), max_cells=self._builder.limits.max_cells),
            source="markup",
            n_header_rows=n_header or (1 if rows and all(_is_bold(cell.element) for cell in rows[0]) else None),
            caption=caption,
            block="\n".join(lines),
        )
        if draft is None:
            self._builder.add("\n".join(lines))
        else:
            self._builder.add_table(draft)
        self._pictures(table)

    def _pictures(self, root: _Element) -> None:
        for reference in (*root.iter(f"{_DRAWING}blip"), *root.iter(f"{_VML}imagedata")):
            relation = reference.get(f"{_R}embed") or reference.get(f"{_R}id") or ""
            related = self._part.related_parts.get(relation)
            if related is None:
                self._builder.leave_out("linked, not embedded")
                continue
            where = f"{self._builder.raw.name}: picture {related.partname}"
            try:
                picture = open_picture(related.blob, limits=self._builder.limits, where=where)
            except LoadError as error:
                self._builder.leave_out(error.code)
                continue
            self._builder.add_picture(picture, alt_text=clean(_alt_text(reference)))


def _is_on(element: _Element, path: str) -> bool:
    """Return whether a switch of the format is there and not turned off."""
    switch = element.find(path)
    return switch is not None and switch.get(f"{_W}val", "1") not in ("0", "false", "off")


def _is_bold(cell: _Element) -> bool:
    """Return whether all words of a cell are set in bold; an empty cell is."""
    runs = [run for run in cell.iter(f"{_W}r") if any((text.text or "").strip() for text in run.iter(f"{_W}t"))]
    return all(_is_on(run, f"{_W}rPr/{_W}b") for run in runs)


def _span_cells(rows: Sequence[Sequence[_Cell]]) -> list[list[SpanCell]]:
    """Say how many columns and rows each cell covers; one that only continues the cell above it is left out."""
    starts: dict[int, tuple[int, int]] = {}  # grid column → the place in ``spans`` of the cell that may go on below
    spans: list[list[SpanCell]] = []
    for row in rows:
        line: list[SpanCell] = []
        column = 0
        for cell in row:
            width = _grid_span(cell.element)
            merge = cell.element.find(f"{_W}tcPr/{_W}vMerge")
            goes_on = merge is not None and merge.get(f"{_W}val", "continue") == "continue"
            if goes_on and column in starts:
                above, index = starts[column]
                spans[above][index] = replace(spans[above][index], n_rows=len(spans) - above + 1)
            else:
                starts.pop(column, None)
                if merge is not None:
                    starts[column] = (len(spans), len(line))
                line.append(SpanCell(text=cell.text, n_columns=width))
            column += width
        spans.append(line)
    return spans


def _grid_span(cell: _Element) -> int:
    span = cell.find(f"{_W}tcPr/{_W}gridSpan")
    digits = span.get(f"{_W}val", "1") if span is not None else "1"
    return max(1, int(digits)) if digits.isascii() and digits.isdigit() and len(digits) < 5 else 1


def _inline_math(paragraph: _Element) -> list[str]:
    return [source for math in paragraph.iter(f"{_M}oMath") if (source := latex_of_omml(math))]


def _alt_text(reference: _Element) -> str:
    """Return the description of the drawing that ``reference`` stands in; a VML shape calls it ``alt``."""
    for ancestor in reference.iterancestors():
        if ancestor.tag in (f"{_WP}inline", f"{_WP}anchor"):
            properties = ancestor.find(f"{_WP}docPr")
            return "" if properties is None else properties.get("descr") or properties.get("title") or ""
        if ancestor.tag == f"{_VML}shape":
            return ancestor.get("alt") or ""
    return ""


class DocxLoader:
    """Reads Word files (``.docx``).

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = frozenset({DOCX})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Check the package against bombs, then read its body.

        :param raw: A Word file.
        :returns: A document of one page; its title is that of the file's properties, else the first heading.
        :raises LoadError: If the file is damaged, too large, empty or takes too long.
        """
        import io

        import docx
        from docx.opc.exceptions import OpcError
        from lxml.etree import LxmlError

        builder = DocumentBuilder(raw, limits=self._limits)
        check_package(raw.data, name=raw.name, limits=self._limits)
        builder.deadline.check("parsing")
        try:
            word = docx.Document(io.BytesIO(raw.data))
            walker = _BodyWalker(word, builder)
            body, properties = word.element.body, word.core_properties
            title, author = clean(properties.title or ""), squash(clean(properties.author or ""))
        except (OpcError, LxmlError, LookupError, ValueError, AttributeError, TypeError) as error:
            raise CorruptFileError(
                f"{raw.name}: is packed like a Word file but cannot be read as one ({error}). Save it again in Word."
            ) from error
        if body is None:
            raise CorruptFileError(
                f"{raw.name}: is packed like a Word file, but its document has no body; damaged. Save it again in Word."
            )
        walker.walk(body)
        return builder.build(title=title or walker.title, metadata={"author": author} if author else {})
