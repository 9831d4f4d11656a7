r"""LaTeX before it is read: comments out, files in, simple macros expanded.

Layer: ``kg``; the standard library only. Nothing is executed: ``\write18``, ``\input|"…"`` and the like are words.
Macros are replaced in rounds against one budget of characters, so that definitions that double each other end in a
refusal.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from kg.errors import LimitExceededError, LoadError

__all__ = ["Groups", "expand_macros", "include_files", "strip_comments"]

_COMMENT = re.compile(
    r"\\(?P<edge>begin|end)\{(?P<name>verbatim|Verbatim|lstlisting|minted|filecontents)\*?\}"
    r"|\\(?:url|href|path)\{[^{}\n]{0,2000}\}|\\verb\*?(?P<mark>[^A-Za-z\s*])[^\n]{0,300}?(?P=mark)|\\.|(?P<comment>%)"
)  # addresses and escaped characters are taken whole, so that their "%" opens nothing
_INPUT = re.compile(r"\\(?:input|include|subfile)\s*\{([^{}\n|]{1,300})\}")
_DEFINITION = re.compile(
    r"\\(?:(?:re)?newcommand|providecommand|DeclareMathOperator)\*?\s*(?:\{\s*\\([A-Za-z]+)\s*\}|\\([A-Za-z]+))"
    r"\s*(?:\[(\d)\])?\s*(?:\[([^\]\n]{0,200})\])?\s*(?=\{)|\\def\s*\\([A-Za-z]+)\s*(?=\{)"
)
_COMMAND = re.compile(r"\\([A-Za-z]+)")
_ARGUMENT = re.compile(r"#([1-9])")
_MAX_INCLUDES = 8  # deep
_MAX_FILES = 200
_MAX_MACROS = 2_000
_MAX_BODY = 2_000  # characters; a longer definition is a program
_MAX_ROUNDS = 6
_MAX_GROWTH = 4  # the expanded text over the text, and never less than a million characters


class Groups:
    """The matching brace of each opening one, found in a single pass."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._ends: dict[int, int] = {}
        stack: list[int] = []
        for brace in re.finditer(r"\\.|[{}]", text, re.DOTALL):
            if brace[0] == "{":
                stack.append(brace.start())
            elif brace[0] == "}" and stack:
                self._ends[stack.pop()] = brace.start()

    def at(self, place: int) -> tuple[str, int] | None:
        """Return the content of the group that begins at or right behind ``place``, and where it ends."""
        place = self.skip_space(place)
        end = self._ends.get(place)
        return None if end is None else (self._text[place + 1 : end], end + 1)

    def option(self, place: int) -> tuple[str, int]:
        """Return the content of the ``[…]`` at ``place`` and where it ends; empty, and ``place``, without one."""
        start = self.skip_space(place)
        if not self._text.startswith("[", start):
            return "", place
        end = self._text.find("]", start, start + 500)
        return ("", place) if end < 0 else (self._text[start + 1 : end], end + 1)

    def skip_space(self, place: int) -> int:
        """Return the first place from ``place`` on that is no space, over one line end at most."""
        n_lines = 0
        while place < len(self._text) and self._text[place] in " \t\n" and n_lines < 2:
            n_lines += self._text[place] == "\n"
            place += 1
        return place


def strip_comments(text: str) -> str:
    """Drop what stands behind ``%`` on each line, but not in verbatim text."""
    kept: list[str] = []
    verbatim = ""
    for line in text.split("\n"):
        end, verbatim = _before_comment(line, verbatim)
        if end == len(line) or line[:end].strip():  # a line that is nothing but a comment does not end a paragraph
            kept.append(line[:end])
    return "\n".join(kept)


def _before_comment(line: str, verbatim: str) -> tuple[int, str]:
    """Return where the comment of a line begins, and the verbatim environment that is open at its end."""
    for mark in _COMMENT.finditer(line):
        if mark["edge"] == "begin":
            verbatim = verbatim or mark["name"]
        elif mark["edge"] == "end" and mark["name"] == verbatim:
            verbatim = ""
        elif mark["comment"] and not verbatim:
            return mark.start(), verbatim
    return len(line), verbatim


@dataclass(slots=True, kw_only=True)
class _Including:
    read: Callable[[str], str]
    max_characters: int
    on_failure: Callable[[LoadError | None], None]
    n_characters: int = 0
    n_files: int = 0


def include_files(
    text: str, *, read: Callable[[str], str], max_characters: int, on_failure: Callable[[LoadError | None], None]
) -> str:
    r"""Put the files that ``\input`` and ``\include`` name in their place.

    :param text: LaTeX without comments.
    :param read: Gives the text of a file by its name, or raises a :class:`LoadError`.
    :param max_characters: The most characters of all files together.
    :param on_failure: Told of each file that is left out; ``None`` stands for a cycle, too deep a nest, or too many.
    :returns: The whole text.
    :raises LimitExceededError: If it becomes too long.
    """
    state = _Including(read=read, max_characters=max_characters, on_failure=on_failure)
    return _include(text, state, ())


def _include(text: str, state: _Including, path: tuple[str, ...]) -> str:
    state.n_characters += len(text)
    if state.n_characters > state.max_characters:
        raise LimitExceededError(f"the LaTeX files together have more than {state.max_characters} characters.")

    def replace(found: re.Match[str]) -> str:
        name = found[1].strip()
        state.n_files += 1
        if name in path or len(path) >= _MAX_INCLUDES or state.n_files > _MAX_FILES:
            state.on_failure(None)
            return ""
        try:
            inner = strip_comments(state.read(name))
        except LimitExceededError:
            raise
        except LoadError as error:
            state.on_failure(error)
            return ""
        return "\n" + _include(inner, state, (*path, name)) + "\n"

    return _INPUT.sub(replace, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Macro:
    body: str
    n_arguments: int
    default: str | None


def _definitions(text: str) -> tuple[dict[str, _Macro], str]:
    """Return the macros that ``text`` defines, and the text without their definitions."""
    groups = Groups(text)
    macros: dict[str, _Macro] = {}
    kept: list[str] = []
    place = 0
    for found in _DEFINITION.finditer(text):
        body = groups.at(found.end())
        if body is None or found.start() < place:
            continue
        name = found[1] or found[2] or found[5]
        if len(body[0]) <= _MAX_BODY and len(macros) < _MAX_MACROS:
            source = rf"\operatorname{{{body[0]}}}" if found[0].startswith(r"\Declare") else body[0]
            macros[name] = _Macro(body=source, n_arguments=int(found[3] or 0), default=found[4])
        kept.append(text[place : found.start()])
        place = body[1]
    kept.append(text[place:])
    return macros, "".join(kept)


def expand_macros(text: str) -> str:
    r"""Replace what ``\newcommand`` and ``\def`` define, in at most six rounds; a macro in itself stays as it is.

    :param text: LaTeX without comments.
    :returns: The text without the definitions.
    :raises LimitExceededError: If it grows more than four fold and beyond a million characters.
    """
    macros, text = _definitions(text)
    macros = {name: macro for name, macro in macros.items() if rf"\{name}" not in macro.body}
    most = max(1_000_000, _MAX_GROWTH * len(text))
    for _ in range(_MAX_ROUNDS if macros else 0):
        expanded, n_replaced = _round(text, macros, most)
        text = expanded
        if not n_replaced:
            break
    return text


def _round(text: str, macros: dict[str, _Macro], most: int) -> tuple[str, int]:
    groups = Groups(text)
    parts: list[str] = []
    place = n_characters = n_replaced = 0
    for found in _COMMAND.finditer(text):
        macro = macros.get(found[1])
        if macro is None or found.start() < place:
            continue
        arguments, end = _arguments(groups, macro, found.end())
        values = [*arguments, *[""] * 9]
        body = _ARGUMENT.sub(lambda mark, values=values: values[int(mark[1]) - 1], macro.body)  # type: ignore[misc]
        follows_letter = body[-1:].isalpha() and "\\" in body[-20:] and text[end : end + 1].isalpha()
        parts += [text[place : found.start()], body, " " if follows_letter else ""]
        n_characters += found.start() - place + len(body)
        n_replaced += 1
        place = end
        if n_characters > most:
            raise LimitExceededError(f"its macros expand the text beyond {most} characters, as a bomb of macros does.")
    parts.append(text[place:])
    return "".join(parts), n_replaced


def _arguments(groups: Groups, macro: _Macro, place: int) -> tuple[list[str], int]:
    arguments: list[str] = []
    if macro.default is not None and macro.n_arguments:
        option, end = groups.option(place)
        arguments.append(option if end != place else macro.default)
        place = end
    while len(arguments) < macro.n_arguments:
        group = groups.at(place)
        if group is None:
            break
        arguments.append(group[0])
        place = group[1]
    return arguments, place
