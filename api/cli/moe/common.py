"""What the commands of ``mmkg moe`` share: how a model is named, and how its failures are explained.

Layer: ``api.cli``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from api.cli.options import settings_of
from api.cli.output import ProgressBar, failures_explained, human_bytes
from kg.errors import InputError, ModelError

__all__ = [
    "ModelArgument",
    "OutOption",
    "check_rows",
    "folder_bytes",
    "model_failures_explained",
    "model_folder",
    "percent_of_bytes",
    "read_text",
    "yes_or_no",
]

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="A checkpoint folder, a name from `mmkg models list`, or hf:ORG/NAME@REVISION that was pulled.",
        show_default=False,
    ),
]
OutOption = Annotated[Path, typer.Option("--out", help="Folder of the new checkpoint; complete or absent.")]


@contextmanager
def model_failures_explained(*, as_json: bool = False) -> Iterator[None]:
    """Do as :func:`~api.cli.output.failures_explained`, and explain what ``moe_backbone`` refuses as well.

    :param as_json: Print the error as JSON.
    :yields: Nothing.
    """
    from moe_backbone.checkpoint import CheckpointError
    from retrieval.encoders.torchvision_ops import declare_missing_operators

    declare_missing_operators()  # transformers imports torchvision wherever it is installed
    with failures_explained(as_json=as_json):
        try:
            yield
        except CheckpointError as error:
            raise ModelError(str(error)) from error


def model_folder(context: typer.Context, name: str) -> Path:
    """Return the folder that ``name`` stands for.

    :param context: The command's context, which knows the cache.
    :param name: A folder, a known model's name, or ``hf:ORG/NAME@REVISION``.
    :returns: A folder.
    :raises InputError: If it is neither.
    """
    from api.models.cache import ModelCache
    from api.models.registry import DERIVED, PACKAGED

    cache = ModelCache(settings_of(context).cache)
    if name in PACKAGED or name in DERIVED:
        return cache.path(name)
    folder = cache.named_folder(name)
    if folder is None:
        known = ", ".join((*PACKAGED, *DERIVED))
        raise InputError(f"{name!r} is neither a folder nor a model. Known are {known}, and hf:ORG/NAME@REVISION.")
    return folder


def read_text(path: Path) -> str:
    """Read a text file that an option names.

    :param path: The file.
    :returns: Its text.
    :raises InputError: If it is no UTF-8 text that can be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text: {error}.") from error


def percent_of_bytes(bar: ProgressBar) -> Callable[[int, int], None]:
    """Return a function that moves a bar of 100 steps by the bytes written, of how many."""
    shown = 0

    def told(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // max(total, 1)
        bar.advance(f"{human_bytes(done)} of {human_bytes(total)}", percent - shown)
        shown = percent

    return told


def folder_bytes(folder: Path) -> int:
    """Return the bytes of the files of a checkpoint folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def check_rows(check: dict[str, Any]) -> list[tuple[str, Any]]:
    """Return what a comparison with the source measured, as rows of a table for people.

    :param check: A :class:`~moe_backbone.upcycle.checking.SourceCheck` as a mapping.
    :returns: What, and its value.
    """
    return [
        (f"logits, float32, {check['n_tokens']} tokens: largest difference", f"{check['max_difference']:.1e}"),
        ("the source's own float32 rounding", f"{check['source_rounding']:.1e}"),
        ("logits, float64: largest difference", f"{check['max_difference_float64']:.1e}"),
        ("next token: KL divergence from the source", f"{check['divergence']:.1e} nats"),
        ("perplexity of the text", f"{check['perplexity_before']:.2f} -> {check['perplexity_after']:.2f}"),
        ("same likeliest next token", f"{check['same_next_token']:.1%}"),
        (f"greedy text, {check['n_new']} tokens", "the same" if check["greedy_identical"] else "different"),
        ("greedy text, padded batch", "the same" if check["padded_identical"] else "different"),
    ]


def yes_or_no(value: bool) -> str:
    """Write a truth value for people."""
    return "yes" if value else "no"
