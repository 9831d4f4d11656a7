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
    # NumPy's OpenBLAS has threads of its own, which spin whatever OpenMP is told. Its products here are those of one
    # question (10 x 384 by 384 x 1,536), too small to share: on the same two shared cores a question took 420 ms to
    # encode with two threads and 11 ms with one. Torch, FAISS and ONNX are not touched by this.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # oneDNN keeps a work space for each shape of product it ever made, 1,024 of them; texts have many lengths.
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "32")
    from api.cli.app import app

    app()
