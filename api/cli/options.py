"""The options that many commands share, and how a command gets its settings.

Layer: ``api.cli``; typer and the standard library, so ``mmkg --help`` starts fast.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from api.service import Service
    from api.settings import Settings

__all__ = [
    "ConfigOption",
    "GlobalOptions",
    "HomeOption",
    "JsonOption",
    "WorkspaceOption",
    "service_of",
    "settings_of",
]

HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Folder of the workspaces [env MMKG_HOME; default: the user's data folder].", show_default=False
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="YAML file of settings [env MMKG_CONFIG].", show_default=False)
]
WorkspaceOption = Annotated[
    str | None,
    typer.Option(
        "--workspace", "-w", help="Which workspace to use [env MMKG_WORKSPACE; default: default].", show_default=False
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document to standard output instead of text.")]


@dataclass(slots=True)
class GlobalOptions:
    """What was given before the command's name; an option after it wins."""

    home: Path | None = None
    config: Path | None = None
    verbose: bool = False


def settings_of(context: typer.Context, *, home: Path | None = None, **overrides: Any) -> Settings:
    """Load the settings for one command.

    :param context: The command's context; its root holds the global options.
    :param home: The command's own ``--home``.
    :param **overrides: Further settings from options; ``None`` means "not given".
    :returns: The merged settings.
    """
    from api.settings import load_settings

    given = context.find_object(GlobalOptions) or GlobalOptions()
    return load_settings(config=given.config, overrides={"home": home or given.home, **overrides})


def service_of(context: typer.Context, *, home: Path | None = None, **overrides: Any) -> tuple[Service, Settings]:
    """Load the settings and build the service over them.

    :param context: The command's context.
    :param home: The command's own ``--home``.
    :param **overrides: Further settings from options.
    :returns: The service and the settings that it was built from.
    """
    from api.wiring import build_service

    settings = settings_of(context, home=home, **overrides)
    return build_service(settings), settings
