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
from kg.loaders.references import add_reference
from kg.loaders.sniff import HTML
from kg.loaders.tables import SpanCell, expand_spans, make_table
from kg.loaders.text import encoding_notes, require_text_size
from kg.loaders.text_tools import clean, squash, tidy_lines
from kg.types import Document, RawFile

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

__all__ = ["HtmlLoader", "HtmlWalker"]

_UNSEEN = frozenset(
    {"script", "style", "noscript", "template", "svg", "head", "nav", "button", "select", "textarea", "input", "object"}
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
_XML_DECLARATION = re.compile(r"\s*<\?xml[^>]{0,500}>", re.IGNORECASE)


def parse_html(markup: str) -> BeautifulSoup:
    """Parse ``markup`` with lxml; an XML declaration is dropped first, for it makes Beautiful Soup warn about XHTML."""
    from bs4 import BeautifulSoup

    declaration = _XML_DECLARATION.match(markup)
    return BeautifulSoup(markup[declaration.end() :] if declaration else markup, "lxml")


class HtmlWalker:
    """Walks a parsed page without recursion, so that no depth of nesting can overflow the stack.

    :param builder: Takes the blocks, headings and pictures.
    """

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._words: list[str] = []
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
        self._words.clear()
        if text:
            self._builder.add(prefix + text)
            self._prefix = ""

    def _enter(self, tag: Tag) -> bool:
        """Begin ``tag``; return whether its children are to be walked."""
        self._builder.deadline.check(f"<{tag.name}>")
        if tag.name in _UNSEEN or _is_hidden(tag):
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
        return True

    def _leave(self, tag: Tag) -> None:
        if tag.name in _HEADINGS:
            text = squash("".join(self._words))
            self._words.clear()
            self._builder.add_heading(text, level=_HEADINGS[tag.name])
        elif tag.name in _BLOCKS:
            self._flush()
            self._prefix = "" if tag.name == "li" else self._prefix

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
        figure = tag.find_parent("figure")
        figcaption = figure.find("figcaption") if figure is not None else None
        reference = str(tag.get("src") or tag.get("data-src") or "")
        if reference:
            add_reference(
                self._builder,
                reference,
                alt_text=clean(str(tag.get("alt") or tag.get("title") or "")),
                caption=clean(figcaption.get_text(" ")) if figcaption is not None else "",
            )


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
    """

    media_types: frozenset[str] = frozenset({HTML})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

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
        HtmlWalker(builder).walk(soup)
        return builder.build(title=title, metadata=encoding_notes(decoded))
