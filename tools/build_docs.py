"""Write docs/cli.md and docs/openapi.json from the code. ``make docs`` runs it; a test says when it is due."""

from __future__ import annotations

import inspect
import json
import tempfile
from pathlib import Path
from typing import Any

import typer

from api.app import create_app
from api.cli.app import app
from api.settings import load_settings
from api.wiring import build_service

DOCS = Path(__file__).resolve().parent.parent / "docs"


def walk(command: Any, path: tuple[str, ...]) -> list[str]:
    """Return the Markdown of a command (of click, or of typer's own copy of it) and of those under it."""
    children = getattr(command, "commands", None)
    if children:
        return [line for name, child in children.items() for line in walk(child, (*path, name))]
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = [*path, "[OPTIONS]", *(_argument(argument) for argument in arguments)]
    lines = [
        f"## `{' '.join(path)}`",
        "",
        inspect.cleandoc(command.help or ""),
        "",
        "```text",
        " ".join(usage),
        "```",
        "",
    ]
    lines += [f"- `{argument.name.upper()}`: {argument.help or ''}" for argument in arguments]
    lines += [f"- {_names(option)}: {option.help or ''}" for option in options]
    return [*lines, ""]


def _argument(argument: Any) -> str:
    name = argument.name.upper() + ("..." if argument.nargs == -1 else "")
    return name if argument.required else f"[{name}]"


def _names(option: Any) -> str:
    return ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))


def main() -> None:
    """Write both files."""
    DOCS.mkdir(exist_ok=True)
    header = [
        "# The command line",
        "",
        "Made by `make docs` from the commands' own help. Global options stand before",
        "the command: `--home`, `--config`, `--verbose`, `--version`.",
        "",
    ]
    text = "\n".join([*header, *walk(typer.main.get_command(app), ("mmkg",))])
    (DOCS / "cli.md").write_text(text.rstrip() + "\n", "utf-8")
    with tempfile.TemporaryDirectory() as home:
        service = build_service(load_settings(environ={}, overrides={"home": Path(home)}))
        schema = create_app(service).openapi()
    (DOCS / "openapi.json").write_text(json.dumps(schema, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
