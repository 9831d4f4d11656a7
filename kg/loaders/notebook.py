"""Jupyter notebooks: Markdown, code and outputs, cell by cell.

Layer: ``kg``; the standard library, and the Markdown and HTML walkers. The JSON is read directly (formats 3 and 4
differ in three places), because a validator refuses notebooks that people open every day. Code is read, never run.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from kg.errors import CorruptFileError, UnreadableFileError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.html import HtmlWalker, parse_html
from kg.loaders.markdown import walk_markdown
from kg.loaders.references import ReadReference, add_picture_bytes, read_reference
from kg.loaders.sniff import NOTEBOOK
from kg.loaders.text_tools import clean, squash, tidy_lines
from kg.types import Document, RawFile

__all__ = ["NotebookLoader"]

_MAX_CELLS = 20_000
_MAX_OUTPUT = 20_000  # characters of one output: a log of training says no more than its beginning and its end
_KEPT_ENDS = 8_000
_PICTURES = ("image/png", "image/jpeg", "image/svg+xml", "image/gif", "image/webp")
_OLD_PICTURES = {"png": "image/png", "jpeg": "image/jpeg", "svg": "image/svg+xml"}
_ANSI = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_CARRIAGE = re.compile(r"[^\n]*\r(?!\n)")  # a progress bar overwrites its line


def _text(value: Any) -> str:
    """Return a multi-line string of the format: a string, or a list of its lines."""
    if isinstance(value, list):
        return "".join(part for part in value if isinstance(part, str))
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _items(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class _Walker:
    """Feeds the cells of one notebook to a builder."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self.title = ""
        self.n_capped = 0

    def walk(self, cells: list[Any]) -> None:
        for number, cell in enumerate(cells[:_MAX_CELLS], start=1):
            self._builder.deadline.check(f"cell {number}")
            self._cell(_mapping(cell), number)

    def _cell(self, cell: Mapping[str, Any], number: int) -> None:
        kind = cell.get("cell_type")
        source = _text(cell.get("source", cell.get("input")))
        if kind == "markdown":
            text = tidy_lines(clean(source.expandtabs(4)))
            heading = walk_markdown(text, self._builder, read=self._attachments(cell))
            self.title = self.title or heading
        elif kind == "heading":  # format 3
            level = cell.get("level")
            self._builder.add_heading(clean(source), level=level if isinstance(level, int) and 1 <= level <= 6 else 1)
            self.title = self.title or squash(clean(source))
        elif kind == "code":
            self._builder.add(tidy_lines(clean(source.expandtabs(4))))
            for output in _items(cell.get("outputs")):
                self._output(_mapping(output), number)
        else:
            self._builder.add(tidy_lines(clean(source.expandtabs(4))))

    def _attachments(self, cell: Mapping[str, Any]) -> ReadReference:
        attachments = _mapping(cell.get("attachments"))
        raw, limits = self._builder.raw, self._builder.limits

        def read(reference: str) -> bytes:
            if not reference.startswith("attachment:"):
                return read_reference(reference, raw=raw, limits=limits)
            bundle = _mapping(attachments.get(reference.removeprefix("attachment:")))
            found = next((data for data in map(_bytes, bundle.values()) if data), b"")
            if not found:
                raise UnreadableFileError(f"{raw.name}: there is no attachment {reference[:80]!r} in its cell.")
            return found

        return read

    def _output(self, output: Mapping[str, Any], number: int) -> None:
        kind = output.get("output_type")
        if kind in ("stream", "error", "pyerr"):
            words = _text(output.get("text")) or f"{output.get('ename', '')}: {output.get('evalue', '')}"
            self._plain(words)
            return
        bundle = dict(_bundle(output))
        is_shown = False
        for media_type in _PICTURES:
            value = bundle.get(media_type)
            data = _text(value).encode() if media_type.endswith("xml") else _bytes(value)
            if data and not is_shown:
                where = f"picture of cell {number}"
                add_picture_bytes(self._builder, data, where=where, alt_text=f"Output of cell {number}")
                is_shown = True
        markup, latex = _text(bundle.get("text/html")), _text(bundle.get("text/latex"))
        if markup and len(markup) <= _MAX_OUTPUT * 10:
            HtmlWalker(self._builder).walk(parse_html(markup))
        elif latex.strip():
            self._builder.add_equation(latex.strip().strip("$").strip()[:_MAX_OUTPUT])
        elif not is_shown:  # beside a picture the plain text says "<Figure size 640x480>"
            self._plain(_text(bundle.get("text/markdown")) or _text(bundle.get("text/plain")))

    def _plain(self, words: str) -> None:
        text = tidy_lines(clean(_ANSI.sub("", _CARRIAGE.sub("", words[: 50 * _MAX_OUTPUT]))))
        if len(text) > _MAX_OUTPUT:
            self.n_capped += 1
            left_out = len(text) - 2 * _KEPT_ENDS
            text = f"{text[:_KEPT_ENDS]}\n[… {left_out} characters of this output left out …]\n{text[-_KEPT_ENDS:]}"
        self._builder.add(text)


def _bundle(output: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield what an output shows by media type; format 3 has its own names beside the other keys."""
    yield from _mapping(output.get("data")).items()
    for key, media_type in (*_OLD_PICTURES.items(), ("html", "text/html"), ("latex", "text/latex")):
        if key in output:
            yield media_type, output[key]
    if "text" in output:
        yield "text/plain", output["text"]


def _bytes(value: Any) -> bytes:
    """Return the bytes of a base64 string; empty where it is none."""
    try:
        return base64.b64decode("".join(_text(value).split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


class NotebookLoader:
    """Reads Jupyter notebooks (``.ipynb``) of formats 3 and 4.

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = frozenset({NOTEBOOK})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Read the cells in order.

        :param raw: A notebook.
        :returns: A document of one page; its title is that of its metadata, else the first heading.
        :raises CorruptFileError: If it is not the JSON of a notebook.
        :raises LoadError: If it is empty, too large or takes too long.
        """
        builder = DocumentBuilder(raw, limits=self._limits)
        try:
            notebook = _mapping(json.loads(raw.data.decode("utf-8-sig", errors="replace")))
        except (ValueError, RecursionError) as error:
            raise CorruptFileError(
                f"{raw.name}: starts like a notebook but is not JSON ({error}). The file is truncated or damaged."
            ) from error
        cells = _items(notebook.get("cells"))
        for sheet in _items(notebook.get("worksheets")):  # format 3
            cells = [*cells, *_items(_mapping(sheet).get("cells"))]
        metadata = _mapping(notebook.get("metadata"))
        language = _mapping(metadata.get("kernelspec")).get("language") or _mapping(metadata.get("language_info")).get(
            "name"
        )
        walker = _Walker(builder)
        walker.walk(cells)
        notes = {"format": f"nbformat {notebook.get('nbformat')}"} if isinstance(notebook.get("nbformat"), int) else {}
        if isinstance(language, str) and language:
            notes["language"] = squash(clean(language))[:40]
        if walker.n_capped:
            notes["outputs_capped"] = f"{walker.n_capped} of more than {_MAX_OUTPUT} characters"
        if len(cells) > _MAX_CELLS:
            notes["cells_left_out"] = str(len(cells) - _MAX_CELLS)
        stated = metadata.get("title")
        return builder.build(title=clean(stated) if isinstance(stated, str) else walker.title, metadata=notes)
