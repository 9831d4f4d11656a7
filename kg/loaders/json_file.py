"""JSON and lines of JSON: lists of flat objects are tables, passages are prose, all else is said key by key.

Layer: ``kg``; the standard library only. Each record is a block of its own under its title, so that a citation lands on
the record. A broken line among lines of JSON is left out and its number kept in the metadata.
"""

from __future__ import annotations

from collections.abc import Sequence

from kg.errors import CorruptFileError, EmptyFileError, LimitExceededError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.decode import Decoded, decode_text
from kg.loaders.json_records import Json, JsonParser, flat_record, scalar_text
from kg.loaders.sniff_data import JSON, JSON_LINES
from kg.loaders.tables import make_table, spoken_name
from kg.loaders.text import encoding_notes, require_text_size
from kg.loaders.text_tools import clean, squash, tidy_lines
from kg.types import Document, RawFile

__all__ = ["JsonLoader"]

_MAX_DEPTH = 100
_MAX_COLUMNS = 200
_MAX_HEADING = 200  # characters
_LONG = 80  # characters of a field called "text" or the like that make a record a passage
_VERY_LONG = 200  # … of a field of any name
_TITLE_KEYS = ("title", "name", "heading", "headline", "subject", "label", "question", "id", "_id")
_TEXT_KEYS = frozenset(
    {"text", "body", "content", "contents", "abstract", "passage", "paragraph", "article", "summary", "description"}
)
_SHOWN_BAD_LINES = 20


class _Writer:
    """Says values to a builder."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._n_records = builder.limits.max_table_rows
        self._n_cells = builder.limits.max_cells
        self.notes: list[str] = []
        self.has_words = False

    def add(self, value: Json, *, level: int = 1, name: str = "") -> None:
        """Say one value below the headings that are there.

        :param value: The value.
        :param level: The level of the next heading.
        :param name: The key it stood under.
        :raises LimitExceededError: If values are nested too deeply.
        """
        if level > _MAX_DEPTH:
            raise LimitExceededError(
                f"{self._builder.raw.name}: its values are nested deeper than {_MAX_DEPTH} levels. Flatten them."
            )
        if isinstance(value, dict):
            self._object(value, level=level)
        elif isinstance(value, list):
            self._list(value, level=level, name=name)
        else:
            self._words(scalar_text(value) or "")

    def _object(self, record: dict[str, Json], *, level: int, without: str = "") -> None:
        lines: list[str] = []
        prose: list[str] = []
        nested: list[tuple[str, Json]] = []
        for key, value in record.items():
            words = scalar_text(value)
            if words is None:
                nested.append((key, value))
            elif _is_prose(key, value):
                prose.append(words)
            elif words.strip() and key != without:
                lines.append(f"{spoken_name(squash(clean(key)))}: {squash(clean(words))}")
        self._block("\n".join(lines))
        for words in prose:
            self._words(words)
        for key, value in nested:
            self._heading(key, level=level)
            self.add(value, level=level + 1, name=key)

    def _words(self, words: str) -> None:
        for paragraph in tidy_lines(clean(words)).split("\n\n"):
            self._block(paragraph)

    def _block(self, text: str) -> None:
        self.has_words = self.has_words or bool(text.strip())
        self._builder.add(text)

    def _heading(self, words: str, *, level: int) -> None:
        self._builder.add_heading(clean(words)[:_MAX_HEADING], level=min(level, 9))

    def _list(self, values: Sequence[Json], *, level: int, name: str) -> None:
        if len(values) > self._n_records:
            place = f"the list {name!r}" if name else "the list"
            self.notes.append(f"Of {place} only the first {self._n_records} records were kept (max_table_rows).")
            values = values[: self._n_records]
        self._n_records -= len(values)
        words = scalar_text(list(values))
        if words is not None:
            self._block("\n".join(f"- {squash(clean(scalar_text(value) or ''))}" for value in values if value))
            return
        if not self._table(values):
            for number, value in enumerate(values, 1):
                self._record(value, number=number, level=level, name=name)

    def _record(self, value: Json, *, number: int, level: int, name: str) -> None:
        title_key = _title_key(value)
        numbered = f"{name or 'Record'} {number}"
        if isinstance(value, dict):
            title = squash(clean(scalar_text(value[title_key]) or "")) if title_key else ""
            self._heading(title or numbered, level=level)
            self._object(value, level=level + 1, without=title_key)
        elif isinstance(value, list):
            self._heading(numbered, level=level)
            self.add(value, level=level + 1, name=name)
        else:
            self._words(scalar_text(value) or "")

    def _table(self, values: Sequence[Json]) -> bool:
        """Add a list of flat objects, or of lists of single values, as a table; return whether it is one."""
        rows = _object_rows(values) or _list_rows(values)
        if rows is None or len(rows) < 2:
            return False
        n_kept = max(2, self._n_cells // len(rows[0]))
        if n_kept < len(rows):
            self.notes.append(f"Of a list of {len(rows) - 1} records the first {n_kept - 1} were kept (max_cells).")
            rows = rows[:n_kept]
        self._n_cells -= len(rows) * len(rows[0])
        draft = make_table(rows, source="sheet", n_header_rows=1 if isinstance(values[0], dict) else None)
        if draft is None:
            return False
        self._builder.add_table(draft)
        self.has_words = True
        return True


def _object_rows(values: Sequence[Json]) -> list[list[str]] | None:
    flat = [row for row in map(flat_record, values) if row is not None]
    if len(flat) != len(values) or len(flat) < 2 or any(_is_passage(value) for value in values):
        return None
    keys = list(dict.fromkeys(key for row in flat for key in row))
    n_filled = sum(map(len, flat))
    if not 2 <= len(keys) <= _MAX_COLUMNS or n_filled * 2 < len(keys) * len(flat):
        return None
    return [keys, *([row.get(key, "") for key in keys] for row in flat)]


def _list_rows(values: Sequence[Json]) -> list[list[str]] | None:
    rows: list[list[str]] = []
    for value in values:
        if not isinstance(value, list) or not 2 <= len(value) <= _MAX_COLUMNS:
            return None
        if rows and len(value) != len(rows[0]):
            return None
        cells = [scalar_text(cell) for cell in value]
        if any(cell is None or len(cell) > _VERY_LONG for cell in cells):
            return None
        rows.append([cell or "" for cell in cells])
    return rows


def _is_prose(key: str, value: Json) -> bool:
    if not isinstance(value, str):
        return False
    return len(value) > _VERY_LONG or (len(value) >= _LONG and key.casefold() in _TEXT_KEYS)


def _is_passage(value: Json) -> bool:
    return isinstance(value, dict) and any(_is_prose(key, inner) for key, inner in value.items())


def _title_key(value: Json) -> str:
    if not isinstance(value, dict):
        return ""
    by_name = {key.casefold(): key for key, inner in value.items() if isinstance(inner, str) and inner.strip()}
    return next((by_name[key] for key in _TITLE_KEYS if key in by_name), "")


class JsonLoader:
    """Reads JSON and lines of JSON; a file of one kind under the name of the other is read too.

    :param limits: What one file may cost.
    """

    media_types: frozenset[str] = frozenset({JSON, JSON_LINES})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Parse the file and say its values.

        :param raw: A JSON file.
        :returns: A document of one page. ``metadata`` names broken lines, repeated keys and what was left out.
        :raises CorruptFileError: If it is not JSON; the message has the line and the column.
        :raises LoadError: If it is empty, too large or nested too deeply.
        """
        builder = DocumentBuilder(raw, limits=self._limits)
        notes: list[str] = []
        decoded = self._decode(raw, notes)
        parser = JsonParser(name=raw.name)
        value = _parse(decoded.text.lstrip("\ufeff"), parser, is_lines=raw.media_type == JSON_LINES)
        builder.deadline.check("its values")
        writer = _Writer(builder)
        writer.add(value)
        if not writer.has_words:
            raise EmptyFileError(f"{raw.name}: is valid JSON that holds no words and no numbers.")
        metadata = encoding_notes(decoded)
        if parser.n_repeated_keys:
            metadata["repeated_keys"] = str(parser.n_repeated_keys)
        if parser.bad_lines:
            metadata["bad_lines"] = _say_bad_lines(parser.bad_lines)
        if left_out := " ".join((*notes, *writer.notes)):
            metadata["left_out"] = left_out
        title_key = _title_key(value)
        title = scalar_text(value[title_key]) if title_key and isinstance(value, dict) else ""
        return builder.build(title=clean(title or "")[:_MAX_HEADING], metadata=metadata)

    def _decode(self, raw: RawFile, notes: list[str]) -> Decoded:
        """Decode the file; of lines of JSON that are too many, those that fit."""
        limit = self._limits.max_text_bytes
        if raw.media_type != JSON_LINES or len(raw.data) <= limit:
            require_text_size(raw, self._limits)
            return decode_text(raw.data)
        end = raw.data.rfind(b"\n", 0, limit) + 1
        notes.append(f"Only the first {end} of {len(raw.data)} bytes were read (the limit max_text_bytes).")
        return decode_text(raw.data[:end])


def _parse(text: str, parser: JsonParser, *, is_lines: bool) -> Json:
    """Parse a file as what it is called, else as the other kind."""
    if is_lines:
        records = list(parser.lines(text))
        if records or not parser.bad_lines:
            return records
        parser.bad_lines.clear()
        return parser.parse(text)
    try:
        return parser.parse(text)
    except CorruptFileError:
        lines = JsonParser(name=parser.name)
        records = [value for value in lines.lines(text) if isinstance(value, dict | list)]
        if len(records) < 2 or lines.bad_lines:
            raise
        parser.n_repeated_keys = lines.n_repeated_keys
        return records


def _say_bad_lines(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_SHOWN_BAD_LINES]))
    return shown if len(numbers) <= _SHOWN_BAD_LINES else f"{shown}, … ({len(numbers)} lines)"
