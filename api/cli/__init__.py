"""The ``mmkg`` command."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the command line (the entry point of the ``mmkg`` script)."""
    from api.cli.app import app

    app()
