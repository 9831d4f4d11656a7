"""Delimited text (CSV, TSV): one table, read until a limit is reached.

Layer: ``kg``; the standard library only. What the separator is, is told from the lines; a file in which none cuts most
lines into columns is read as plain text.
"""

from __future__ import annotations

from kg.errors import EmptyFileError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.decode import Decoded, decode_text
from kg.loaders.delimited import Dialect, find_dialect, read_rows
from kg.loaders.sniff_data import CSV, TSV
from kg.loaders.tables import cell_text, make_table
from kg.loaders.text import encoding_notes
from kg.loaders.text_tools import clean, tidy_lines
from kg.types import Document, RawFile

__all__ = ["CsvLoader"]

_SEPARATORS = ',;|\t\r\n "'
_HINT = "sep="  # the first line that Excel writes to say what separates the columns


class CsvLoader:
    """Reads delimited text.

    :param limits: What one file may cost; of a file beyond ``max_text_bytes`` the beginning is read.
    """

    media_types: frozenset[str] = frozenset({CSV, TSV})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        """Find the separator and read the rows.

        :param raw: A delimited text.
        :returns: A document of one page, with its table; ``metadata["left_out"]`` says where reading stopped.
        :raises EmptyFileError: If no cell holds anything.
        :raises LimitExceededError: If it takes too long.
        """
        builder = DocumentBuilder(raw, limits=self._limits)
        notes: list[str] = []
        decoded = self._decode(raw, notes)
        text = decoded.text.lstrip("\ufeff")
        hint = ""
        if text[: len(_HINT)].lower() == _HINT and len(text) > len(_HINT):
            hint = text[len(_HINT)]
            text = text.partition("\n")[2]
        dialect = find_dialect(text, preferred=hint or ("\t" if raw.media_type == TSV else ","))
        if dialect is None:
            builder.add(tidy_lines(clean(text)) if text.strip(_SEPARATORS) else "")
        else:
            rows = self._rows(text, dialect, builder, notes)
            draft = make_table(rows, source="sheet")
            if draft is None:
                builder.add("\n".join(" | ".join(filter(None, row)) for row in rows))
            else:
                builder.add_table(draft)
        if not builder.next_offset:
            raise EmptyFileError(f"{raw.name}: the file holds separators and white space only.")
        metadata = encoding_notes(decoded)
        if dialect is not None:
            metadata["delimiter"] = {"\t": "tab"}.get(dialect.delimiter, dialect.delimiter)
        if notes:
            metadata["left_out"] = " ".join(notes)
        return builder.build(title="", metadata=metadata)

    def _decode(self, raw: RawFile, notes: list[str]) -> Decoded:
        limit = self._limits.max_text_bytes
        if len(raw.data) <= limit:
            return decode_text(raw.data)
        notes.append(f"Only the first {limit} of {len(raw.data)} bytes were read (the limit max_text_bytes).")
        end = raw.data.rfind(b"\n", 0, limit) + 1 or limit
        return decode_text(raw.data[: end + end % 2])

    def _rows(self, text: str, dialect: Dialect, builder: DocumentBuilder, notes: list[str]) -> list[list[str]]:
        """Return the rows that hold anything, those too many left out."""
        limits = self._limits
        rows: list[list[str]] = []
        n_cells = 0
        for number, cells in enumerate(read_rows(text, delimiter=dialect.delimiter, has_quotes=dialect.has_quotes), 1):
            if number % 256 == 0:
                builder.deadline.check(f"row {number}")
            row = [cell_text(cell) for cell in cells]
            if not any(row):
                continue
            if len(rows) >= limits.max_table_rows:
                notes.append(f"Only the first {limits.max_table_rows} rows were kept (the limit max_table_rows).")
                break
            room = limits.max_cells - n_cells
            rows.append(row[:room])
            n_cells += len(row)
            if n_cells > limits.max_cells:
                notes.append(f"Only the cells up to row {number} were kept (the limit max_cells).")
                break
        return rows
