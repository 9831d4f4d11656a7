"""PowerPoint files: each slide is a page, with its title as heading, its text in reading order, tables and pictures.

Layer: ``kg``; python-pptx. Shapes are read from top to bottom and from left to right; a group is read whole, where it
stands; what only newer versions draw comes last. The numbers behind a chart become a table. Speaker notes follow their
slide, marked ``Notes:``.
"""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kg.errors import CorruptFileError, LoadError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.office import check_package
from kg.loaders.pictures import open_picture
from kg.loaders.pptx_charts import plot_rows
from kg.loaders.sniff import PPTX
from kg.loaders.tables import SpanCell, expand_spans, make_table
from kg.loaders.text_tools import clean, squash
from kg.types import Box, Document, RawFile

if TYPE_CHECKING:
    from pptx.presentation import Presentation

__all__ = ["PptxLoader"]

_SAME_LINE = 0.03  # of the slide's height: shapes whose tops differ less stand side by side
_MAX_GROUPS = 50  # groups inside one another
_A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
_DIAGRAM = "{http://schemas.openxmlformats.org/drawingml/2006/diagram}"
_MC = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
_R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"


class _SlideReader:
    """Feeds the slides of one presentation to a builder."""

    def __init__(self, presentation: Presentation, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._width = int(presentation.slide_width or 0) or 1
        self._height = int(presentation.slide_height or 0) or 1
        self.hidden: list[str] = []
        self.left_out: list[str] = []
        self.title = ""
        self._page = 0

    def read(self, slide: Any, number: int) -> None:
        builder = self._builder
        builder.deadline.check(f"slide {number}")
        self._page = number
        builder.start_page()
        if slide.element.get("show") in ("0", "false"):
            self.hidden.append(str(number))
        title = slide.shapes.title
        words = squash(clean(title.text_frame.text)) if title is not None and title.has_text_frame else ""
        builder.add_heading(words, level=1)
        self.title = self.title or words
        for shape in self._in_order(slide.shapes):
            if title is None or shape.shape_id != title.shape_id:
                self._shape(shape)
        for choice in slide.element.iterfind(f"{_P}cSld/{_P}spTree//{_MC}AlternateContent"):
            builder.add("\n".join(filter(None, map(_words, choice.iterfind(f"{_MC}Choice//{_A}p")))))
        if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
            notes = _paragraphs(slide.notes_slide.notes_text_frame)
            builder.add(f"Notes: {notes}" if notes else "")
        builder.end_page(number)

    def _in_order(self, shapes: Iterable[Any]) -> Iterator[Any]:
        """Yield shapes as they are read, those inside groups in the place of their group."""
        stack: list[tuple[Any, int]] = [(shape, 0) for shape in reversed(self._sorted(shapes))]
        while stack:
            shape, depth = stack.pop()
            if hasattr(shape, "shapes"):
                if depth < _MAX_GROUPS:
                    stack.extend((inner, depth + 1) for inner in reversed(self._sorted(shape.shapes)))
            else:
                yield shape

    def _sorted(self, shapes: Iterable[Any]) -> list[Any]:
        step = max(1, int(self._height * _SAME_LINE))
        return sorted(shapes, key=lambda shape: ((shape.top or 0) // step, shape.left or 0))

    def _shape(self, shape: Any) -> None:
        self._builder.deadline.check(f"a shape of slide {self._page}")
        if getattr(shape, "has_table", False):
            self._table(shape)
        elif getattr(shape, "has_chart", False):
            self._chart(shape)
        elif getattr(shape, "has_text_frame", False):
            self._builder.add(_paragraphs(shape.text_frame))
        for diagram in shape.element.iter(f"{_DIAGRAM}relIds"):
            self._diagram(shape, diagram.get(f"{_R}dm") or "")
        for blip in shape.element.iter(f"{_A}blip"):
            self._picture(shape, blip.get(f"{_R}embed") or "")

    def _table(self, shape: Any) -> None:
        rows = [[_span_cell(cell) for cell in row.tc_lst if not _is_covered(cell)] for row in shape.table._tbl.tr_lst]
        lines = [" | ".join(cell.text for cell in row) for row in rows if any(cell.text for cell in row)]
        draft = make_table(
            expand_spans(rows, max_cells=self._builder.limits.max_cells),
            source="markup",
            n_header_rows=1 if shape.table.first_row else None,
            block="\n".join(lines),
        )
        if draft is None:
            self._builder.add("\n".join(lines))
        else:
            self._builder.add_table(draft, box=self._box(shape))

    def _chart(self, shape: Any) -> None:
        chart = shape.chart
        title = ""
        if chart.has_title and chart.chart_title.has_text_frame:
            title = squash(clean(chart.chart_title.text_frame.text))
        for plot in chart.plots:
            rows, is_cut = plot_rows(plot, max_rows=self._builder.limits.max_table_rows)
            if is_cut:
                self.left_out.append(f"Slide {self._page}: only the first {len(rows) - 1} points of a chart were kept.")
            draft = make_table(rows, source="markup", n_header_rows=1, caption=title)
            if draft is not None:
                self._builder.add(title)
                self._builder.add_table(draft, box=self._box(shape))

    def _diagram(self, shape: Any, relation: str) -> None:
        """Add the words of a diagram that PowerPoint draws from a list ("SmartArt")."""
        from lxml import etree

        part = shape.part.related_part(relation) if relation in shape.part.rels else None
        if part is not None:
            root = etree.fromstring(part.blob, etree.XMLParser(resolve_entities=False, no_network=True))
            self._builder.add("\n".join(filter(None, map(_words, root.iter(f"{_A}p")))))

    def _picture(self, shape: Any, relation: str) -> None:
        part = shape.part.related_part(relation) if relation in shape.part.rels else None
        if part is None:
            self._builder.leave_out("linked, not embedded")
            return
        where = f"{self._builder.raw.name}: picture {part.partname}"
        try:
            picture = open_picture(part.blob, limits=self._builder.limits, where=where)
        except LoadError as error:
            self._builder.leave_out(error.code)
            return
        properties = shape.element._nvXxPr.cNvPr
        alt_text = clean(properties.get("descr") or properties.get("title") or "")
        self._builder.add_picture(picture, page=self._page, box=self._box(shape), alt_text=alt_text)

    def _box(self, shape: Any) -> Box | None:
        """Return the place of a shape on its slide, cut off at the slide's edges; inside a group it is not known."""
        if None in (shape.left, shape.top, shape.width, shape.height) or _is_grouped(shape):
            return None
        x0, y0 = shape.left / self._width, shape.top / self._height
        x1, y1 = x0 + max(shape.width, 0) / self._width, y0 + max(shape.height, 0) / self._height
        return Box(x0=_fraction(x0), y0=_fraction(y0), x1=_fraction(x1), y1=_fraction(y1))


def _fraction(value: float) -> float:
    return min(1.0, max(0.0, value))


def _is_grouped(shape: Any) -> bool:
    parent = shape.element.getparent()
    return parent is not None and str(parent.tag).endswith("}grpSp")


def _paragraphs(frame: Any) -> str:
    lines = (squash(line) for line in clean(frame.text).split("\n"))
    return "\n".join(line for line in lines if line)


def _words(paragraph: Any) -> str:
    return squash(clean("".join(text.text or "" for text in paragraph.iter(f"{_A}t"))))


def _is_covered(cell: Any) -> bool:
    return bool(cell.hMerge or cell.vMerge)


def _span_cell(cell: Any) -> SpanCell:
    words = " ".join(_words(paragraph) for paragraph in cell.iter(f"{_A}p"))
    return SpanCell(text=squash(words), n_columns=int(cell.gridSpan), n_rows=int(cell.rowSpan))


class PptxLoader:
    """Reads PowerPoint files (``.pptx``).

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = frozenset({PPTX})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Check the package against bombs, then read slide after slide.

        :param raw: A PowerPoint file.
        :returns: A document whose pages are its slides; hidden slides are read too and named in its metadata. Its
            title is that of the file's properties, else that of the first slide.
        :raises LoadError: If the file is damaged, too large, empty or takes too long.
        """
        from lxml.etree import LxmlError
        from pptx.exc import PythonPptxError

        builder = DocumentBuilder(raw, limits=self._limits)
        check_package(raw.data, name=raw.name, limits=self._limits)
        builder.deadline.check("parsing")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of two parts of one name, which python-pptx only warns about
                return self._read(raw, builder)
        except (
            PythonPptxError,
            LxmlError,
            zipfile.BadZipFile,
            LookupError,
            ValueError,
            AttributeError,
            TypeError,
            NotImplementedError,
        ) as error:
            raise CorruptFileError(
                f"{raw.name}: is packed like a PowerPoint file but cannot be read as one ({error}). Save it again in "
                "PowerPoint."
            ) from error

    def _read(self, raw: RawFile, builder: DocumentBuilder) -> Document:
        import pptx

        presentation = pptx.Presentation(io.BytesIO(raw.data))
        properties = presentation.core_properties
        reader = _SlideReader(presentation, builder)
        for number, slide in enumerate(presentation.slides, 1):
            reader.read(slide, number)
        if not len(presentation.slides):
            builder.start_page()
            builder.end_page(1)
        author = squash(clean(properties.author or ""))
        notes = {
            "hidden_slides": ", ".join(reader.hidden),
            "left_out": " ".join(reader.left_out),
            "author": author,
        }
        title = clean(properties.title or "") if properties.title != "PowerPoint Presentation" else ""
        return builder.build(
            title=title or reader.title, is_paged=True, metadata={key: value for key, value in notes.items() if value}
        )
