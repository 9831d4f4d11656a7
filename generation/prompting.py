"""Write the prompt of an answer from its template files.

Layer: ``generation``; Jinja2. Templates live in ``generation/prompts`` inside the package; a variable that a template
names and nobody gave is an error, never an empty string. Evidence is a value, so template marks inside it stay what
they are.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import jinja2

from generation.context import Context
from generation.types import Message
from kg.errors import GenerationError

__all__ = ["answer_messages"]


def answer_messages(question: str, context: Context) -> list[Message]:
    """Write the messages that ask a model for a cited answer.

    :param question: The question as asked.
    :param context: The evidence, packed.
    :returns: A system and a user message.
    :raises GenerationError: If a template is missing or names a variable that it is not given.
    """
    return [
        Message(role="system", content=_render("answer_system.jinja", {})),
        Message(role="user", content=_render("answer.jinja", {"question": question, "context": context})),
    ]


def _render(name: str, values: dict[str, object]) -> str:
    try:
        return _template(name).render(values).strip()
    except jinja2.TemplateError as error:
        raise GenerationError(f"The prompt template {name} cannot be rendered: {error}.") from error


@cache
def _template(name: str) -> jinja2.Template:
    resource = files("generation").joinpath("prompts", name)
    try:
        source = resource.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise GenerationError(f"The prompt template {name} is missing: reinstall mmkgrag.") from error
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True)
    return environment.from_string(source)
