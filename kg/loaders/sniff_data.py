"""Whether a text is data: JSON, lines of JSON, delimited columns.

Layer: ``kg``; the standard library only. Content decides first: what parses as a JSON object or list is JSON under any
name but that of Markdown. The suffix decides where content cannot: a text that happens to hold commas is a text, unless
it is called ``.csv``; a broken file called ``.json`` is a broken JSON file.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import PurePosixPath

from kg.loaders.decode import decode_text
from kg.loaders.delimited import find_dialect

__all__ = ["CSV", "JSON", "JSON_LINES", "TSV", "data_type"]

CSV = "text/csv"
TSV = "text/tab-separated-values"
JSON = "application/json"
JSON_LINES = "application/jsonl"

_BY_SUFFIX = {
    ".csv": CSV,
    ".tsv": TSV,
    ".tab": TSV,
    ".json": JSON,
    ".geojson": JSON,
    ".jsonl": JSON_LINES,
    ".ndjson": JSON_LINES,
}
_NAMELESS = frozenset({"", ".dat", ".data"})
_NEVER = frozenset({".md", ".markdown", ".mdown", ".mkd", ".mkdn", ".tex", ".eml", ".mbox", ".ipynb"})
_MAX_PARSED = 32 * 1024 * 1024  # bytes; a larger file is not parsed only to learn what it is
_HEAD_BYTES = 64 * 1024
_MIN_ROWS = 3


def data_type(data: bytes, *, name: str) -> str | None:
    """Return the type of a text that is data, or ``None``.

    :param data: The whole file, known to be text.
    :param name: Its name.
    :returns: One of the types of this module.
    """
    suffix = PurePosixPath(name.lower()).suffix
    if suffix in _NEVER:
        return None
    head = decode_text(data[:_HEAD_BYTES]).text.lstrip("\ufeff \t\r\n")
    named = _BY_SUFFIX.get(suffix)
    if head[:1] in ("{", "[") and named not in (JSON, JSON_LINES):
        found = _json_type(data, head)
        if found is not None:
            return found
    if named is None and suffix in _NAMELESS and _is_even(head):
        return TSV if "\t" in head.partition("\n")[0] else CSV
    return named


def _json_type(data: bytes, head: str) -> str | None:
    lines = [line for line in islice(head.splitlines(), 3) if line.strip()][:2]
    if len(lines) == 2 and all(line.lstrip().startswith("{") and _parses(line) for line in lines):
        return JSON_LINES
    if len(data) <= _MAX_PARSED and _parses(decode_text(data).text.lstrip("\ufeff")):
        return JSON
    return None


def _parses(text: str) -> bool:
    try:
        return bool(json.loads(text, parse_int=str))
    except (ValueError, RecursionError):
        return False


def _is_even(head: str) -> bool:
    """Return whether all lines have the same number of columns, at least two."""
    dialect = find_dialect(head)
    n_rows = sum(1 for line in head.splitlines() if line.strip())
    return dialect is not None and dialect.agreement >= 1.0 and n_rows >= _MIN_ROWS and dialect.delimiter != ","
