"""Memory that an ingest has freed goes back to the system."""

import ctypes
import sys
from pathlib import Path

import pytest

from kg.ingest import memory

_MIB = 1024 * 1024


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.skipif(
    sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library is not glibc"
)
def test_pages_between_what_is_held_go_back():
    pieces = [bytes(100_000) for _ in range(2_000)]  # 190 MiB, below the size that is mapped on its own
    held = pieces[::20]
    before = _resident_bytes()

    del pieces
    memory.give_back_free_memory()

    assert before - _resident_bytes() > 100 * _MIB
    assert len(held) == 100


def test_where_the_c_library_cannot_nothing_happens(monkeypatch: pytest.MonkeyPatch):
    memory._trim.cache_clear()
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    try:
        assert memory.give_back_free_memory() is False
    finally:
        memory._trim.cache_clear()
