"""Parse JSON so that nothing is lost: numbers as they are written, keys that stand twice, lines that are broken.

Layer: ``kg``; the standard library only. Numbers come out as the text they were, so that ``1.10``, ``NaN`` and a
thousand digits stay what they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

from kg.errors import CorruptFileError, LimitExceededError

__all__ = ["Json", "JsonParser", "flat_record", "scalar_text"]

Json = None | bool | str | list["Json"] | dict[str, "Json"]

_MAX_FLAT_DEPTH = 3
_MAX_CELL = 200  # characters; a record with longer words is prose, not a row


@dataclass(slots=True)
class JsonParser:
    """Parses the values of one file.

    ``n_repeated_keys`` counts keys that stood twice in one object; the second is kept as ``key (2)``. ``bad_lines``
    are the numbers of lines that are no JSON.
    """

    name: str
    n_repeated_keys: int = 0
    bad_lines: list[int] = field(default_factory=list)

    def parse(self, text: str) -> Json:
        """Parse one value.

        :param text: JSON.
        :returns: The value; numbers as text.
        :raises CorruptFileError: If it is not JSON; the message has the line and the column.
        :raises LimitExceededError: If it is nested deeper than Python's parser goes (about a thousand levels).
        """
        try:
            value: Json = self._loads(text)
        except json.JSONDecodeError as error:
            raise CorruptFileError(
                f"{self.name}: is not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}. "
                "Mend it there, or name it .txt to read it as text."
            ) from error
        except RecursionError as error:
            raise LimitExceededError(f"{self.name}: its values are nested too deeply to be read.") from error
        return value

    def lines(self, text: str) -> Iterator[Json]:
        """Yield the value of each line that has one; the numbers of broken lines are kept in ``bad_lines``."""
        for number, line in enumerate(text.split("\n"), 1):
            if not line.strip():
                continue
            try:
                value: Json = self._loads(line)
            except (ValueError, RecursionError):
                self.bad_lines.append(number)
                continue
            yield value

    def _loads(self, text: str) -> Json:
        value: Json = json.loads(
            text, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=self._object
        )
        return value

    def _object(self, pairs: list[tuple[str, Json]]) -> Json:
        found = dict(pairs)
        if len(found) == len(pairs):
            return found
        found = {}
        for key, value in pairs:
            kept, n_times = key, 2
            while kept in found:
                kept, n_times = f"{key} ({n_times})", n_times + 1
            self.n_repeated_keys += kept != key
            found[kept] = value
        return found


def scalar_text(value: Json) -> str | None:
    """Return what a single value, or a list of single values, says; ``None`` for what is nested."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        words = [scalar_text(item) for item in value if not isinstance(item, list)]
        if len(words) == len(value) and None not in words:
            return ", ".join(word for word in words if word)
    return None


def flat_record(value: Json, *, prefix: str = "", depth: int = 0) -> dict[str, str] | None:
    """Return an object as one row, keys of inner objects joined with dots; ``None`` if it is not one.

    It is not one where it holds a list of objects, an object more than three deep, or long words.
    """
    if not isinstance(value, dict) or depth > _MAX_FLAT_DEPTH:
        return None
    row: dict[str, str] = {}
    for key, inner in value.items():
        words = scalar_text(inner)
        if words is not None:
            if len(words) > _MAX_CELL:
                return None
            row[prefix + key] = words
            continue
        flat = flat_record(inner, prefix=f"{prefix}{key}.", depth=depth + 1)
        if flat is None:
            return None
        row |= flat
    return row
