"""How much one file may cost before loading refuses it.

Layer: ``kg``; the standard library only. Every default is meant for a laptop: one file at its limit is loaded in a few
GiB of memory at most. A service that takes files from strangers should lower them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from kg.errors import ConfigError

__all__ = ["LoadLimits"]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadLimits:
    """Limits on one input file; reaching one is a :class:`kg.errors.LimitExceededError` for that file alone.

    :param max_bytes: Size of one file, or of one expanded archive member, in bytes. 256 MiB holds a scanned book.
    :param max_text_bytes: Size of a text, Markdown or HTML file, or of one XML part of a Word file, in bytes. Parsed
        mark-up takes some 10 to 30 times its size in memory, so this is lower: 32 MiB, about 6,000 pages of prose.
    :param max_pixels: Pixels (width times height) of one picture, read from its header before it is decoded. 64
        million take 256 MB as RGBA; Pillow itself warns at 89 million.
    :param max_pages: Pages of one PDF.
    :param max_table_rows: Rows kept of one table of a spreadsheet or data file, or records of a JSON file; the rest is
        not read, and the document's metadata and the ingest report say so. 20,000 rows of six short cells are some
        4,000 chunks, minutes of work on a laptop.
    :param max_cells: Cells kept of all tables of one file; likewise. A million short cells take about 100 MB.
    :param max_assets: Pictures kept of one document; those beyond it are left out and counted in its metadata.
    :param max_asset_bytes: Bytes of all pictures kept of one document; the rest is left out likewise.
    :param timeout_s: Seconds for one file, checked between pages, blocks and pictures. One call into a C parser
        is not interrupted; the byte, pixel and page limits bound how long such a call can be.
    :param max_archive_members: Members of one zip archive or Word file.
    :param max_archive_bytes: Bytes that all members of one archive or Word file expand to, counted while expanding.
    :param max_compression_ratio: Expanded over compressed bytes of one member, applied past ``ratio_free_bytes``.
        Deflate cannot pass 1032; XML of real Word files stays below about 100.
    :param ratio_free_bytes: Bytes that a member may expand to whatever its ratio; short runs of zeros are no bomb.
    :raises ConfigError: If a limit is not positive.
    """

    max_bytes: int = 256 * _MIB
    max_text_bytes: int = 32 * _MIB
    max_pixels: int = 64_000_000
    max_pages: int = 2_000
    max_table_rows: int = 20_000
    max_cells: int = 1_000_000
    max_assets: int = 2_000
    max_asset_bytes: int = 512 * _MIB
    timeout_s: float = 300.0
    max_archive_members: int = 10_000
    max_archive_bytes: int = 1024 * _MIB
    max_compression_ratio: float = 200.0
    ratio_free_bytes: int = 4 * _MIB

    def __post_init__(self) -> None:
        for limit in fields(self):
            value = getattr(self, limit.name)
            if not value > 0:
                raise ConfigError(f"LoadLimits.{limit.name}: must be above 0, got {value!r}.")
