"""Memory that is free goes back to the system, so that a long ingest takes no more of it than a short one.

Layer: ``kg``; the standard library only.

Each stage has a thread, and glibc a heap for each thread. What a stage frees stays in its heap, in pieces between
what is still held, and the next batch, of other lengths, takes new pages: 1,000 notes took 1,102 MiB, of which 573
were in use. Nothing else was growing.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable

__all__ = ["CHUNKS_BETWEEN", "give_back_free_memory"]

CHUNKS_BETWEEN = 128
"""Chunks stored from one time to the next: a batch of the encoder, which takes seconds; giving back takes 20 ms."""


def give_back_free_memory() -> bool:
    """Ask the C library to return the pages that hold nothing; tell whether there were any.

    Does nothing where the C library is not glibc: others return what is free by themselves.
    """
    return bool(_trim()(0))


@functools.cache
def _trim() -> Callable[[int], int]:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # musl and macOS lack it; Windows has no process handle to load
        return lambda pad: 0
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim
