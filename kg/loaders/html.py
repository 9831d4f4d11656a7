"""HTML pages: their words in reading order, headings, tables row by row, and pictures.

Layer: ``kg``; beautifulsoup4 and lxml. What a reader does not see (scripts, styles, hidden parts) is dropped, and so
are navigation and form controls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.decode import decode_text
from kg.loaders.equations import find_tex_math
from kg.loaders.fetch import Fetcher
from kg.loaders.html_parts import equation_of, figure_of, inline_drawing
from kg.loaders.references import ReadReference, add_reference, picture_fetcher
from kg.loaders.sniff import HTML
from kg.loaders.tables import SpanCell, expand_spans, make_table
from kg.loaders.text import encoding_notes, require_text_size
from kg.loaders.text_tools import clean, squash, tidy_lines
from kg.types import Document, RawFile

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

__all__ = ["HtmlLoader", "HtmlWalker"]

_UNSEEN = frozenset(
    {"script", "style", "noscript", "template", "head", "nav", "button", "select", "textarea", "input", "object"}
)
_BLOCKS = frozenset(
    {"address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt"}
    | {"fieldset", "figcaption", "figure", "footer", "form", "header", "hr", "html", "legend", "li", "main", "ol", "p"}
    | {"pre", "section", "summary", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "ul"}
)
_CELL_SECTIONS = ("thead", "tbody", "tfoot")
_UNSEEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([A-Za-z0-9_.:-]{2,40})", re.IGNORECASE)
_MATH_MARK = re.compile(r"\$|\\[(\[b]")
_TYPESETTER = re.compile(rb"mathjax|katex", re.IGNORECASE)
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]{0,500}>", re.IGNORECASE)


def parse_html(markup: str) -> BeautifulSoup:
    """Parse ``markup`` with lxml; an XML declaration is dropped first, for it makes Beautiful Soup warn about XHTML."""
    from bs4 import BeautifulSoup

    declaration = _XML_DECLARATION.match(markup)
    return BeautifulSoup(markup[declaration.end() :] if declaration else markup, "lxml")


class HtmlWalker:
    """Walks a parsed page without recursion, so that no depth of nesting can overflow the stack.

    :param builder: Takes the blocks, headings, equations and pictures.
    :param read: Gives the bytes that a picture's address names; ``None`` looks beside the page.
    :param dollars: Whether words between single dollars are mathematics, as on pages that a script typesets.
    :param mark_quotes: Whether blocks of a quotation begin with ``>``, as in messages.
    """

    def __init__(
        self,
        builder: DocumentBuilder,
        *,
        read: ReadReference | None = None,
        dollars: bool = False,
        mark_quotes: bool = False,
    ) -> None:
        self._builder = builder
        self._read = read
        self._dollars = dollars
        self._mark_quotes = mark_quotes
        self._n_quotes = 0
        self._words: list[str] = []
        self._math: list[str] = []
        self._prefix = ""

    def walk(self, root: Tag) -> None:
        """Add everything below ``root``."""
        from bs4 import Tag
        from bs4.element import NavigableString, PreformattedString

        stack: list[tuple[Tag, Iterator[object]]] = [(root, iter(root.contents))]
        while stack:
            tag, children = stack[-1]
            child = next(children, None)
            if child is None:
                stack.pop()
                self._leave(tag)
            elif isinstance(child, Tag):
                if self._enter(child):
                    stack.append((child, iter(child.contents)))
            elif isinstance(child, NavigableString) and not isinstance(child, PreformattedString):
                self._words.append(clean(str(child)))
        self._flush()

    def _flush(self) -> None:
        text, prefix = squash("".join(self._words)), self._prefix
        dollars = self._dollars or bool(self._math)
        self._words, self._math = [], []
        math: list[str] = []
        place = 0
        for item in find_tex_math(text, dollars=dollars) if _MATH_MARK.search(text) else ():
            if item.is_display:  # it stands by itself, so the words before and behind it are blocks of their own
                self._add(text[place : item.start], math, prefix)
                self._builder.add_equation(item.source, label=item.label)
                place, math, prefix = item.end, [], ""
            else:
                math.append(item.source)
        self._add(text[place:], math, prefix)

    def _add(self, text: str, math: list[str], prefix: str) -> None:
        if text.strip():
            self._builder.add(">" * self._n_quotes + " " * bool(self._n_quotes) + prefix + text.strip(), math=math)
            self._prefix = ""

    def _equation(self, source: str, label: str, *, is_display: bool) -> None:
        if is_display:
            self._flush()
            self._builder.add_equation(source, label=label)
        elif source:
            self._words.append(f"${squash(source)}$")
            self._math.append(squash(source))

    def _enter(self, tag: Tag) -> bool:
        """Begin ``tag``; return whether its children are to be walked."""
        self._builder.deadline.check(f"<{tag.name}>")
        equation = equation_of(tag)
        if equation is not None:
            self._equation(equation[0], equation[1], is_display=equation[2])
            return False
        if tag.name in _UNSEEN or _is_hidden(tag):
            return False
        if tag.name == "svg":
            self._flush()
            inline_drawing(self._builder, tag, read=self._read)
            return False
        if tag.name == "img":
            self._picture(tag)
        elif tag.name == "br":
            self._words.append(" ")
        elif tag.name == "table" and _is_data_table(tag):
            self._flush()
            self._table(tag)
            return False
        elif tag.name == "pre":
            self._flush()
            self._builder.add(tidy_lines(clean(tag.get_text())))
            return False
        elif tag.name in _BLOCKS or tag.name in _HEADINGS:
            self._flush()
            self._prefix = "- " if tag.name == "li" else self._prefix
            self._n_quotes += _is_quote(tag) and self._mark_quotes
        return True

    def _leave(self, tag: Tag) -> None:
        if tag.name in _HEADINGS:
            text = squash("".join(self._words))
            self._words, self._math = [], []
            self._builder.add_heading(text, level=_HEADINGS[tag.name])
        elif tag.name in _BLOCKS:
            self._flush()
            self._prefix = "" if tag.name == "li" else self._prefix
            self._n_quotes -= _is_quote(tag) and self._mark_quotes

    def _table(self, table: Tag) -> None:
        """Add the caption, then all rows as one block, cells separated by ``|``; keep the cells where it is a table."""
        element = table.find("caption", recursive=False)
        caption = squash(clean(element.get_text(" "))) if element is not None else ""
        self._builder.add(caption)
        lines: list[str] = []
        rows: list[list[SpanCell]] = []
        n_header, in_header, names_rows = 0, True, False
        for row in _rows(table):
            self._builder.deadline.check("the next table row")
            cells = row.find_all(["td", "th"], recursive=False)
            rows.append([_span_cell(cell) for cell in cells])
            words = [cell.text for cell in rows[-1]]
            in_header = in_header and _is_header_row(row, cells)
            n_header += in_header
            names_rows |= not in_header and bool(cells) and cells[0].name == "th"
            if any(words):
                lines.append(" | ".join(words))
        draft = make_table(
            expand_spans(rows, max_cells=self._builder.limits.max_cells),
            source="markup",
            n_header_rows=n_header or (0 if names_rows else None),
            caption=caption,
            block="\n".join(lines),
        )
        if draft is None:
            self._builder.add("\n".join(lines))
        else:
            self._builder.add_table(draft)
        for picture in table.find_all("img"):
            self._picture(picture)

    def _picture(self, tag: Tag) -> None:
        caption, label = figure_of(tag)
        reference = str(tag.get("src") or tag.get("data-src") or "")
        if reference:
            add_reference(
                self._builder,
                reference,
                alt_text=clean(str(tag.get("alt") or tag.get("title") or "")),
                caption=caption,
                label=label,
                read=self._read,
            )


def _is_quote(tag: Tag) -> bool:
    return tag.name == "blockquote"


def _is_hidden(tag: Tag) -> bool:
    """Return whether the page itself says that ``tag`` is not shown; style sheets are not read."""
    if tag.has_attr("hidden") or tag.get("aria-hidden") == "true":
        return True
    return _UNSEEN_STYLE.search(str(tag.get("style") or "")) is not None


def _span_cell(cell: Tag) -> SpanCell:
    return SpanCell(
        text=squash(clean(cell.get_text(" "))),
        n_columns=_count(cell.get("colspan")),
        n_rows=_count(cell.get("rowspan")),
    )


def _count(value: object) -> int:
    digits = str(value or "").strip()[:6]
    return int(digits) if digits.isascii() and digits.isdigit() else 1


def _is_header_row(row: Tag, cells: Sequence[Tag]) -> bool:
    """Return whether a row at the top names the columns: it stands in ``<thead>``, or all its cells say so."""
    in_head = row.parent is not None and row.parent.name == "thead"
    return in_head or (bool(cells) and all(cell.name == "th" for cell in cells))


def _rows(table: Tag) -> list[Tag]:
    """Return the rows of ``table`` itself, without those of a table inside one of its cells."""
    sections = [table, *table.find_all(_CELL_SECTIONS, recursive=False)]
    return [row for section in sections for row in section.find_all("tr", recursive=False)]


def _is_data_table(table: Tag) -> bool:
    """Return whether a table holds data, rather than laying out a page.

    It does where no heading, list or table is inside it, or where it has header cells of its own and no heading: a list
    or a small table in a cell then belongs to its row.
    """
    if table.find(list(_HEADINGS)) is not None:
        return False
    if table.find(["table", "ul", "ol"]) is None:
        return True
    return any(row.find("th", recursive=False) is not None for row in _rows(table))


class HtmlLoader:
    """Reads HTML and XHTML.

    :param limits: What one file may cost.
    :param fetcher: Fetches the pictures of a page that was fetched; ``None`` leaves them out.
    """

    media_types: frozenset[str] = frozenset({HTML})

    def __init__(self, limits: LoadLimits, *, fetcher: Fetcher | None = None) -> None:
        self._limits = limits
        self._fetcher = fetcher

    def load(self, raw: RawFile) -> Document:
        """Parse the page and read what a reader would see.

        :param raw: An HTML file.
        :returns: A document of one page; its title is ``<title>``, else the first heading, else the file's name.
        :raises LoadError: If the page is empty, too large or takes too long.
        """
        require_text_size(raw, self._limits)
        builder = DocumentBuilder(raw, limits=self._limits)
        declared = _CHARSET.search(raw.data[:4096])
        decoded = decode_text(raw.data, declared=declared.group(1).decode("ascii") if declared else None)
        soup = parse_html(decoded.text)
        heading = soup.title or soup.find("h1")
        title = squash(clean(heading.get_text(" "))) if heading is not None else ""
        read = picture_fetcher(raw, self._fetcher) if self._fetcher is not None else None
        HtmlWalker(builder, read=read, dollars=_TYPESETTER.search(raw.data) is not None).walk(soup)
        return builder.build(title=title, metadata=encoding_notes(decoded))
