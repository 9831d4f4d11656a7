"""Markdown (CommonMark and tables): words, headings and pictures, without the mark-up.

Layer: ``kg``; markdown-it-py, and the HTML walker for HTML inside Markdown. Blocks are parsed first; the inline mark-up
of each is parsed on its own, and not at all past ``_MAX_INLINE`` characters, where that can take quadratic time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.decode import decode_text
from kg.loaders.html import HtmlWalker, parse_html
from kg.loaders.markdown_math import enable_math, split_label
from kg.loaders.references import ReadReference, add_reference
from kg.loaders.sniff import MARKDOWN
from kg.loaders.tables import make_table
from kg.loaders.text import encoding_notes, require_text_size
from kg.loaders.text_tools import clean, squash, tidy_lines
from kg.types import Document, RawFile

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

__all__ = ["MarkdownLoader", "walk_markdown"]

_MAX_INLINE = 20_000
_MAX_NESTING = 100  # of quotes and lists; the parser drops what is deeper
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.{0,20000}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.{1,500})$", re.MULTILINE | re.IGNORECASE)


class _Walker:
    """Feeds the tokens of one file to a builder."""

    def __init__(
        self, builder: DocumentBuilder, parser: MarkdownIt, env: dict[str, object], *, read: ReadReference | None
    ) -> None:
        self._builder = builder
        self._read = read
        self._math: list[str] = []
        self._parser = parser
        self._env = env
        self._heading = 0
        self._item_prefix = ""
        self._row: list[str] | None = None
        self._rows: list[list[str]] = []
        self.title = ""

    def walk(self, tokens: list[Token]) -> None:
        for token in tokens:
            self._builder.deadline.check(f"line {token.map[0] + 1 if token.map else 'next'}")
            if token.type == "inline":
                self._text(token)
            elif token.type in {"fence", "code_block"}:
                self._builder.add(token.content)
            elif token.type == "math_block":
                source, label = split_label(token.content)
                self._builder.add_equation(source, label=label or token.info)
            elif token.type == "html_block":
                HtmlWalker(self._builder, read=self._read).walk(parse_html(token.content))
            elif token.type == "heading_open":
                self._heading = int(token.tag[1:])
            elif token.type == "list_item_open":
                self._item_prefix = "- " if token.markup in {"-", "*", "+"} else f"{token.info}{token.markup} "
            else:
                self._table(token)

    def _table(self, token: Token) -> None:
        if token.type == "tr_open":
            self._row = []
        elif token.type == "tr_close" and self._row is not None:
            self._rows.append(self._row)
            self._row = None
        elif token.type == "table_close":
            block = "\n".join(" | ".join(row) for row in self._rows)
            draft = make_table(self._rows, source="markup", n_header_rows=1, block=block)
            if draft is None:
                self._builder.add(block)
            else:
                self._builder.add_table(draft)
            self._rows = []

    def _text(self, token: Token) -> None:
        text = self._inline(token.content)
        if self._row is not None:
            self._row.append(squash(text))
        elif self._heading:
            self.title = self.title or squash(text)
            self._builder.add_heading(text, level=self._heading)
            self._heading = 0
        elif text.strip():
            self._builder.add(self._item_prefix + text.strip(), math=self._math)
            self._item_prefix = ""

    def _inline(self, content: str) -> str:
        """Return the words of one block, adding its pictures on the way."""
        self._math = []
        if len(content) > _MAX_INLINE:
            return squash(content)
        children: list[Token] = []
        self._parser.inline.parse(content, self._parser, self._env, children)
        words: list[str] = []
        for child in children:
            if child.type in {"text", "text_special", "code_inline"}:
                words.append(child.content)
            elif child.type in {"softbreak", "hardbreak"}:
                words.append(" " if child.type == "softbreak" else "\n")
            elif child.type == "image":
                title = str(child.attrs.get("title") or "")
                self._picture(str(child.attrs.get("src") or ""), alt_text=child.content, caption=title)
            elif child.type == "math_inline":
                words.append(f"${child.content}$")
                self._math.append(child.content)
            elif child.type == "html_inline":
                words.append(self._html_inline(child.content))
        return "\n".join(squash(line) for line in "".join(words).split("\n"))

    def _html_inline(self, markup: str) -> str:
        head = markup[:4].lower()
        if head == "<img":
            tag = parse_html(markup).find("img")
            if tag is not None:
                self._picture(str(tag.get("src") or ""), alt_text=str(tag.get("alt") or ""), caption="")
        return "\n" if head == "<br>" or head[:3] == "<br" else ""

    def _picture(self, reference: str, *, alt_text: str, caption: str) -> None:
        if reference:
            add_reference(self._builder, reference, alt_text=clean(alt_text), caption=clean(caption), read=self._read)


def _split_front_matter(text: str) -> tuple[str, str]:
    """Return the title in the YAML front matter (empty if none), and the text without the front matter."""
    front = _FRONT_MATTER.match(text)
    if front is None:
        return "", text
    title = _FRONT_TITLE.search(front.group(1))
    return (title.group(1).strip().strip("\"'") if title else ""), text[front.end() :]


def walk_markdown(text: str, builder: DocumentBuilder, *, read: ReadReference | None = None) -> str:
    """Add Markdown to a document that is being made.

    :param text: Clean Markdown without front matter.
    :param builder: Takes the blocks, headings, equations and pictures.
    :param read: Gives the bytes that a picture's address names; ``None`` looks beside the file.
    :returns: The first heading; empty where there is none.
    """
    from markdown_it import MarkdownIt

    parser = enable_math(MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable("table"))
    parser.core.ruler.disable(["inline", "text_join"])
    parser.validateLink = lambda url: True  # type: ignore[method-assign]  # data: URIs are decoded, never followed
    env: dict[str, object] = {}
    walker = _Walker(builder, parser, env, read=read)
    walker.walk(parser.parse(text, env))
    return walker.title


class MarkdownLoader:
    """Reads Markdown.

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = frozenset({MARKDOWN})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Parse the file and read its words, headings and pictures.

        :param raw: A Markdown file.
        :returns: A document of one page; its title is that of the front matter, else the first heading.
        :raises LoadError: If the file is empty, too large or takes too long.
        """
        require_text_size(raw, self._limits)
        builder = DocumentBuilder(raw, limits=self._limits)
        decoded = decode_text(raw.data)
        title, text = _split_front_matter(tidy_lines(clean(decoded.text.expandtabs(4))))
        heading = walk_markdown(text, builder)
        if not builder.next_offset and not builder.n_pictures:
            builder.add(text)  # nothing but mark-up, or nested too deeply: better read as plain text than lost
        return builder.build(title=title or heading, metadata=encoding_notes(decoded))
