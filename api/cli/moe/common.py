"""What the commands of ``mmkg moe`` share: how a model is named, and how its failures are explained.

Layer: ``api.cli``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from api.cli.options import settings_of
from api.cli.output import failures_explained
from kg.errors import InputError, ModelError

__all__ = ["ModelArgument", "model_failures_explained", "model_folder"]

ModelArgument = Annotated[
    str,
    typer.Argument(
        help="A checkpoint folder, a name from `mmkg models list`, or hf:ORG/NAME@REVISION that was pulled.",
        show_default=False,
    ),
]


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
