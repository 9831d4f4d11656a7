"""Write prompts from their template files.

Layer: ``generation``; Jinja2. Templates live in ``generation/prompts`` inside the package; a variable that a template
names and nobody gave is an error, never an empty string. Evidence is a value, so template marks inside it stay what
they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files

import jinja2

from generation.context import Context
from generation.types import Message
from kg.errors import GenerationError

__all__ = ["answer_messages", "render_template"]


def answer_messages(question: str, context: Context) -> list[Message]:
    """Write the messages that ask a model for a cited answer.

    :param question: The question as asked.
    :param context: The evidence, packed.
    :returns: A system and a user message.
    :raises GenerationError: If a template is missing or names a variable that it is not given.
    """
    return [
        Message(role="system", content=render_template("answer_system.jinja", {})),
        Message(role="user", content=render_template("answer.jinja", {"question": question, "context": context})),
    ]


def render_template(name: str, values: Mapping[str, object]) -> str:
    """Fill a template of ``generation/prompts``.

    :param name: The template's file name.
    :param values: Its variables.
    :returns: The text, without white space at its ends.
    :raises GenerationError: If the template is missing or names a variable that it is not given.
    """
    try:
        return _environment().get_template(name).render(values).strip()
    except jinja2.TemplateError as error:
        raise GenerationError(f"The prompt template {name} cannot be rendered: {error}.") from error


@cache
def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(_source), undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True
    )


def _source(name: str) -> str:
    try:
        return files("generation").joinpath("prompts", name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise GenerationError(f"The prompt template {name} is missing: reinstall mmkgrag.") from error
