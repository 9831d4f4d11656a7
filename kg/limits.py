"""How much one file may cost before loading refuses it, and how far one fetch may go.

Layer: ``kg``; the standard library only. Every default is meant for a laptop: one file at its limit is loaded in a few
GiB of memory at most. A service that takes files from strangers should lower them.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from kg.errors import ConfigError

__all__ = ["FetchLimits", "LoadLimits"]

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
    :param max_archive_members: Members of one archive or Word file.
    :param max_archive_bytes: Bytes that all members of one archive or Word file expand to, counted while expanding.
    :param max_archive_depth: How deep an archive, or a message with attachments, may lie inside another.
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
    max_archive_depth: int = 3
    max_compression_ratio: float = 200.0
    ratio_free_bytes: int = 4 * _MIB

    def __post_init__(self) -> None:
        _require_positive(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """Limits on fetching one address.

    :param max_bytes: Size of what comes, after any compression is undone.
    :param timeout_s: Seconds for the whole fetch, redirects included.
    :param connect_timeout_s: Seconds to wait for a connection.
    :param max_redirects: Redirects that are followed; 0 follows none. Browsers follow 20, honest pages need few.
    :param allow_private: Whether loopback, link-local, private and reserved addresses may be fetched.
    :param images: Whether the pictures that a fetched page names are fetched too, by the same rules.
    :param max_images: Pictures fetched for one page.
    :param user_agent: How the program names itself to servers.
    :raises ConfigError: If a limit is not positive.
    """

    max_bytes: int = 64 * _MIB
    timeout_s: float = 60.0
    connect_timeout_s: float = 10.0
    max_redirects: int = 5
    allow_private: bool = False
    images: bool = False
    max_images: int = 50
    user_agent: str = "mmkgrag"

    def __post_init__(self) -> None:
        _require_positive(self, but=("max_redirects", "allow_private", "images", "user_agent"))
        if self.max_redirects < 0:
            raise ConfigError(f"FetchLimits.max_redirects: must not be negative, got {self.max_redirects!r}.")
        if not self.user_agent.isprintable() or not self.user_agent.isascii():
            raise ConfigError(f"FetchLimits.user_agent: must be printable ASCII, got {self.user_agent!r}.")


def _require_positive(limits: LoadLimits | FetchLimits, *, but: tuple[str, ...] = ()) -> None:
    for limit in fields(limits):
        value = getattr(limits, limit.name)
        if limit.name not in but and not value > 0:
            raise ConfigError(f"{type(limits).__name__}.{limit.name}: must be above 0, got {value!r}.")
