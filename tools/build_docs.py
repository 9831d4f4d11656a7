"""Write docs/cli.md and docs/openapi.json from the code. ``make docs`` runs it; a test says when it is due."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import click
import typer

from api.app import create_app
from api.cli.app import app
from api.settings import load_settings
from api.wiring import build_service

DOCS = Path(__file__).resolve().parent.parent / "docs"


def walk(command: click.Command, path: tuple[str, ...]) -> list[str]:
    """Return the Markdown of a command and of those under it."""
    children = getattr(command, "commands", None)
    if children:
        return [line for name, child in children.items() for line in walk(child, (*path, name))]
    lines = [f"## `{' '.join(path)}`", "", (command.help or "").strip(), ""]
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and p.name != "help"]
    usage = " ".join(
        [*path, *(f"[{o.opts[-1]} …]" for o in options), *(p.make_metavar(click.Context(command)) for p in arguments)]
    )
    lines += ["```text", usage, "```", ""]
    for argument in arguments:
        lines.append(f"- `{argument.human_readable_name}`: {getattr(argument, 'help', '') or ''}")
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        lines.append(f"- {names}: {option.help or ''}")
    return [*lines, ""]


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
