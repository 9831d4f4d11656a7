"""The ``mmkg`` command."""

from __future__ import annotations

import os

__all__ = ["main"]


def main() -> None:
    """Run the command line (the entry point of the ``mmkg`` script)."""
    # OpenMP's idle threads spin by default. On a machine that others use too, they spin away the time that the busy
    # thread needs: two threads then decoded a model's answer nine times slower than with this, on two shared cores.
    # It must be set before the first library that brings OpenMP is loaded; a user's own value wins.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from api.cli.app import app

    app()
