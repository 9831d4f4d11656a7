"""How much of an ingest goes on at once, and how often what failed for a passing reason is tried again.

Layer: ``kg``; the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from kg.errors import ConfigError

__all__ = ["IngestConfig"]

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """The settings section ``ingest``.

    :param workers: Threads that parse files; 0 takes one file after the other through all stages, in the calling
        thread: the reference that the overlapping stages are tested against.
    :param caption_workers: Threads that hand pictures to the captioner. The packaged OCR reads one picture at a time
        on all its threads, so a second one gains nothing with it; a remote captioner gains with each.
    :param max_in_flight: Files between being read and being in the record.
    :param max_in_flight_bytes: Bytes of these files, and of the documents that were made of them. One file that is
        larger is let through alone.
    :param extract_chunks: Chunks, of one or many documents, that the extractor reads at once.
    :param encode_chunks: Chunks that the encoder takes at once; it sorts them by length.
    :param max_attempts: How often a job tries a file that failed for a passing reason (a busy record, a captioner
        that did not answer).
    :param backoff_s: Seconds before the second attempt; each further one waits twice as long.
    :param max_backoff_s: The longest wait between two attempts, in seconds.
    :param server_paths: Whether a job sent over REST may name files of the server.
    :raises ConfigError: If a number is out of its range.
    """

    workers: int = 1
    caption_workers: int = 1
    max_in_flight: int = 64
    max_in_flight_bytes: int = 256 * _MIB
    extract_chunks: int = 64
    encode_chunks: int = 128
    max_attempts: int = 3
    backoff_s: float = 2.0
    max_backoff_s: float = 120.0
    server_paths: bool = False

    def __post_init__(self) -> None:
        for setting in fields(self):
            value, least = getattr(self, setting.name), 0 if setting.name == "workers" else 1
            if setting.name in {"backoff_s", "max_backoff_s"}:
                least = 0
            if not isinstance(value, int | float) or (value < least and setting.name != "server_paths"):
                raise ConfigError(f"ingest.{setting.name} must be a number of at least {least}, got {value!r}.")
        if not isinstance(self.server_paths, bool):
            raise ConfigError(f"ingest.server_paths must be true or false, got {self.server_paths!r}.")
