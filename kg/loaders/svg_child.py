"""Draws one SVG: run as a process of its own, so that no drawing can hang, crash or fill the process that reads.

Layer: ``kg``; resvg. Reads from standard input a line ``WIDTH MEMORY_BYTES SECONDS`` and then the SVG, writes a PNG to
standard output, and exits with 1 and a line on standard error where it cannot. :mod:`kg.loaders.svg` is the only
caller; it has taken out everything that names a file or an address.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def _bound(memory_bytes: int, seconds: int) -> None:
    try:
        import resource
    except ImportError:  # Windows: the caller's time limit still holds
        return
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Draw what stands on standard input; return the exit status."""
    width, memory_bytes, seconds = (int(part) for part in sys.stdin.buffer.readline().split())
    markup = sys.stdin.buffer.read().decode("utf-8")
    import resvg_py

    _bound(memory_bytes, seconds)
    try:
        drawn = resvg_py.svg_to_bytes(svg_string=markup, width=width, background="#ffffff", resources_dir="/dev/null")
    except (ValueError, MemoryError) as error:
        sys.stderr.write(str(error)[:300])
        return 1
    sys.stdout.buffer.write(bytes(drawn))
    return 0


if __name__ == "__main__":
    sys.exit(main())
