r"""LaTeX: sections, paragraphs, lists, figures with caption and label, tables row by row, equations as their source.

Layer: ``kg``; the structure is read here, the words of each stretch by :mod:`kg.loaders.tex_words`. The text is walked
once from front to back; what ends where (braces, environments) was found before, in one pass, so no input costs more
than linear time. Nothing is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from kg.errors import CorruptFileError, LimitExceededError, LoadError, UnreadableFileError
from kg.limits import LoadLimits
from kg.loaders.builder import DocumentBuilder
from kg.loaders.decode import decode_text
from kg.loaders.references import add_picture_bytes, read_reference
from kg.loaders.sniff import TEX
from kg.loaders.tables import make_table
from kg.loaders.tex_source import Groups, expand_macros, include_files, strip_comments
from kg.loaders.tex_tables import table_grid
from kg.loaders.tex_words import TexWords
from kg.loaders.text import encoding_notes, require_text_size
from kg.loaders.text_tools import clean, squash, tidy_lines
from kg.types import Document, RawFile

__all__ = ["TexLoader"]

_EQUATIONS = frozenset(
    {"align", "alignat", "flalign", "gather", "multline", "eqnarray", "subequations", "IEEEeqnarray"}
)
_BARE_EQUATIONS = frozenset({"equation", "displaymath", "math", "dmath"})
_VERBATIM = frozenset({"verbatim", "Verbatim", "lstlisting", "minted", "alltt", "filecontents"})
_SKIPPED = frozenset({"comment", "tikzpicture", "pgfpicture", "tabbing"})
_FLOATS = frozenset({"figure", "table", "wrapfigure", "SCfigure", "sidewaysfigure", "sidewaystable", "subfigure"})
_TABLES = frozenset({"tabular", "tabularx", "tabulary", "longtable", "supertabular", "array"})
_TABLE_ARGUMENTS = {"tabularx": 2, "tabulary": 2, "tabular*": 2}
_LISTS = frozenset({"itemize", "enumerate", "description"})
_LEVELS = {
    "part": 1,
    "chapter": 1,
    "section": 2,
    "subsection": 3,
    "subsubsection": 4,
    "paragraph": 5,
    "subparagraph": 6,
}
_STEP = re.compile(
    r"(?P<break>\n[ \t]*\n\s*|\\par\b|\\\\(?:\[[^\]\n]{0,40}\])?)"
    r"|\\begin\s*\{(?P<begin>[A-Za-z]{1,40}\*?)\}|\\end\s*\{(?P<end>[A-Za-z]{1,40}\*?)\}"
    r"|\\(?P<section>part|chapter|section|subsection|subsubsection|paragraph|subparagraph)\*?(?![A-Za-z])"
    r"|\\(?P<command>caption|captionof|label|includegraphics|item|bibitem|title|author|date|maketitle)\*?(?![A-Za-z])"
    r"|(?P<display>\$\$|\\\[)"
)
_PAIR = re.compile(r"\\(begin|end)\s*\{([A-Za-z]{1,40}\*?)\}")
_LABEL = re.compile(r"\\label\s*\{([^{}]{1,200})\}")
_TAG = re.compile(r"\\tag\*?\s*\{([^{}]{1,80})\}")
_GRAPHICS_PATH = re.compile(r"\\graphicspath\s*\{((?:\s*\{[^{}]{0,200}\}){1,20})\s*\}")
_AND = re.compile(r"\s*\\and\b\s*")
_SUFFIXES = ("", ".png", ".jpg", ".jpeg", ".svg", ".gif", ".webp")


@dataclass(slots=True, kw_only=True)
class _Float:
    caption: str = ""
    label: str = ""
    pictures: list[str] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)


class _Walker:
    """Walks one expanded text."""

    def __init__(self, text: str, builder: DocumentBuilder, *, folders: list[str]) -> None:
        self._text = text
        self._builder = builder
        self._folders = folders
        self._groups = Groups(text)
        self._ends = _environment_ends(text)
        self._words = TexWords()
        self._run: list[str] = []
        self._prefix = ""
        self._floats: list[_Float] = []
        self._lists: list[list[int]] = []
        self.stated: dict[str, str] = {}
        self.first_heading = ""

    def walk(self, place: int, stop: int) -> None:
        steps: dict[str, Callable[[re.Match[str]], int]] = {
            "break": self._break,
            "begin": self._begin,
            "end": self._end,
            "section": self._section,
            "command": self._command,
            "display": self._display,
        }
        while place < stop:
            found = _STEP.search(self._text, place, stop)
            if found is None:
                break
            self._builder.deadline.check(f"character {found.start()}")
            self._run.append(self._text[place : found.start()])
            place = max(steps[str(found.lastgroup)](found), found.end())
        self._run.append(self._text[place:stop])
        self._flush()
        while self._floats:
            self._end_float()

    def _flush(self) -> None:
        source = "".join(self._run)
        self._run = []
        if source.strip():
            text, math = self._words.of(source)
            if text:
                self._builder.add(self._prefix + text, math=math)
                self._prefix = ""

    def _break(self, found: re.Match[str]) -> int:
        if found[0].startswith("\\\\"):
            self._run.append(" ")
        elif not self._floats:
            self._flush()
        else:
            self._run.append(" ")
        return found.end()

    def _begin(self, found: re.Match[str]) -> int:
        name, start = found["begin"], found.end()
        plain = name.rstrip("*")
        self._flush()
        end = self._ends.get(found.start())
        body = self._text[start : end[0]] if end else ""
        if end and plain in _EQUATIONS | _BARE_EQUATIONS:
            source = body if plain in _BARE_EQUATIONS else self._text[found.start() : end[1]]
            self._equation(source)
            return end[1]
        if end and plain in _VERBATIM:
            self._builder.add(tidy_lines(clean(body)))
            return end[1]
        if end and plain in _TABLES:
            self._table(start, end[0], name)
            return end[1]
        if end and plain in _SKIPPED:
            return end[1]
        return self._open(plain, start)

    def _open(self, name: str, start: int) -> int:
        """Begin an environment whose content is walked."""
        option, start = self._groups.option(start)
        if name in _FLOATS:
            self._floats.append(_Float())
            group = self._groups.at(start) if name in ("wrapfigure", "subfigure") else None
            while group is not None:
                start = group[1]
                group = self._groups.at(start)
        elif name in _LISTS:
            self._lists.append([0, name == "enumerate"])
        elif name in ("abstract", "thebibliography"):
            self._builder.add_heading("Abstract" if name == "abstract" else "References", level=2)
            group = self._groups.at(start) if name == "thebibliography" else None
            start = group[1] if group else start
        elif option and name not in ("document", "minipage", "center"):
            self._run.append(f"{option}. ")
        return start

    def _end(self, found: re.Match[str]) -> int:
        name = found["end"].rstrip("*")
        if name in _FLOATS and self._floats:
            self._flush()
            self._end_float()
        else:
            self._flush()
            if name in _LISTS and self._lists:
                self._lists.pop()
        return found.end()

    def _end_float(self) -> None:
        done = self._floats.pop()
        text, math = self._words.of(done.caption)
        for name in done.pictures:
            self._picture(name, caption=text, label=done.label)
        for grid in done.tables:
            self._add_table(grid, caption=text, label=done.label)
        if text:
            self._builder.add(text, math=math)

    def _section(self, found: re.Match[str]) -> int:
        self._flush()
        _, place = self._groups.option(found.end())
        title = self._groups.at(place)
        if title is None:
            return found.end()
        text = self._words.of(title[0])[0]
        self.first_heading = self.first_heading or text
        self._builder.add_heading(text, level=_LEVELS[found["section"]])
        return title[1]

    def _command(self, found: re.Match[str]) -> int:
        name = found["command"]
        if name in ("item", "bibitem"):
            return self._item(found.end(), name)
        if name == "maketitle":
            return found.end()
        place = found.end()
        if name == "captionof":
            place = (self._groups.at(place) or ("", place))[1]
        _, place = self._groups.option(place)
        group = self._groups.at(place)
        if group is None:
            return found.end()
        if name in ("title", "author", "date"):
            self.stated.setdefault(name, self._words.of(group[0])[0])
        else:
            self._float_part(name, group[0])
        return group[1]

    def _float_part(self, name: str, content: str) -> None:
        inside = self._floats[-1] if self._floats else None
        if name == "includegraphics":
            if inside is None:
                self._picture(content.strip())
            else:
                inside.pictures.append(content.strip())
        elif name == "label":
            if inside is not None:
                inside.label = inside.label or squash(clean(content))
        elif inside is not None:
            inside.caption = inside.caption or content
            if label := _LABEL.search(content):
                inside.label = inside.label or squash(clean(label[1]))
        else:
            self._run.append(content)

    def _item(self, place: int, name: str) -> int:
        self._flush()
        option, place = self._groups.option(place)
        if name == "bibitem":
            key = self._groups.at(place)
            self._prefix = f"[{squash(clean(key[0]))}] " if key else ""
            return key[1] if key else place
        if self._lists and self._lists[-1][1]:
            self._lists[-1][0] += 1
            self._prefix = f"{self._lists[-1][0]}. "
        else:
            self._prefix = f"- {self._words.of(option)[0]}: " if option else "- "
        return place

    def _display(self, found: re.Match[str]) -> int:
        closing = "$$" if found["display"] == "$$" else "\\]"
        end = self._text.find(closing, found.end(), found.end() + 20_000)
        self._flush()
        if end < 0:
            return found.end()
        self._equation(self._text[found.end() : end])
        return end + 2

    def _equation(self, source: str) -> None:
        label = _LABEL.search(source) or _TAG.search(source)
        self._builder.add_equation(_LABEL.sub("", source), label=label[1] if label else "")

    def _table(self, start: int, stop: int, name: str) -> None:
        """Keep the rows of a table until its float ends, for the caption may follow them; add those of no float."""
        _, start = self._groups.option(start)
        for _ in range(_TABLE_ARGUMENTS.get(name, 1)):
            group = self._groups.at(start)
            start = group[1] if group else start
        grid = table_grid(self._text[start:stop], self._words, check=self._builder.deadline.check)
        if self._floats:
            self._floats[-1].tables.append(grid)
        else:
            self._add_table(grid, caption="", label="")

    def _add_table(self, grid: list[list[str]], *, caption: str, label: str) -> None:
        draft = make_table(grid, source="markup", caption=caption, label=label)
        if draft is None:
            self._builder.add("\n".join(" | ".join(row) for row in grid))
        else:
            self._builder.add_table(draft)

    def _picture(self, name: str, *, caption: str = "", label: str = "") -> None:
        r"""Add the picture of a name that may lack its suffix and stand in a folder of ``\graphicspath``."""
        builder = self._builder
        code = UnreadableFileError.code
        for folder in self._folders:
            for suffix in _SUFFIXES:
                builder.deadline.check("the next picture")
                try:
                    data = read_reference(folder + name + suffix, raw=builder.raw, limits=builder.limits)
                except UnreadableFileError:
                    continue
                except LoadError as error:
                    code = error.code
                    break
                add_picture_bytes(builder, data, where=f"picture {name[:80]!r}", caption=caption, label=label)
                return
        builder.leave_out(code)


def _environment_ends(text: str) -> dict[int, tuple[int, int]]:
    r"""Return, for each ``\begin``, where its ``\end`` begins and ends."""
    ends: dict[int, tuple[int, int]] = {}
    open_by_name: dict[str, list[int]] = {}
    for mark in _PAIR.finditer(text):
        stack = open_by_name.setdefault(mark[2], [])
        if mark[1] == "begin":
            stack.append(mark.start())
        elif stack:
            ends[stack.pop()] = (mark.start(), mark.end())
    return ends


class TexLoader:
    """Reads LaTeX.

    :param limits: What one file, with those that it includes, may cost.
    """

    media_types: frozenset[str] = frozenset({TEX})

    def __init__(self, limits: LoadLimits) -> None:
        self._limits = limits

    def load(self, raw: RawFile) -> Document:
        r"""Read the file and those below its root that it includes.

        :param raw: A LaTeX file.
        :returns: A document of one page; its metadata count the files that ``\input`` names and that were not read.
        :raises LoadError: If it is empty, passes a limit or takes too long.
        """
        require_text_size(raw, self._limits)
        builder = DocumentBuilder(raw, limits=self._limits)
        decoded = decode_text(raw.data)
        failed: list[str] = []
        try:
            text = include_files(
                strip_comments(clean(decoded.text.expandtabs(4))),
                read=lambda name: _read_tex(name, raw=raw, limits=self._limits),
                max_characters=self._limits.max_text_bytes,
                on_failure=lambda error: failed.append(error.code if error else "repeated or nested too deeply"),
            )
            text = expand_macros(text)
        except LimitExceededError as error:
            raise LimitExceededError(f"{raw.name}: {error}") from error
        except RecursionError as error:
            raise CorruptFileError(f"{raw.name}: its files or macros nest too deeply. Flatten it.") from error
        start = text.find(r"\begin{document}")
        end = text.find(r"\end{document}", max(start, 0))
        walker = _Walker(text, builder, folders=_folders(text))
        preamble = text[:start] if start >= 0 else ""
        stated = _stated(preamble)
        walker.walk(start + len(r"\begin{document}") if start >= 0 else 0, end if end >= 0 else len(text))
        stated |= walker.stated
        notes = {key: stated[key] for key in ("author", "date") if stated.get(key)} | encoding_notes(decoded)
        if failed:
            notes["files_left_out"] = ", ".join(f"{failed.count(code)} {code}" for code in sorted(set(failed)))
        return builder.build(title=stated.get("title", "") or walker.first_heading, metadata=notes)


def _stated(preamble: str) -> dict[str, str]:
    r"""Return the title, author and date that stand before ``\begin{document}``."""
    groups, words = Groups(preamble), TexWords()
    stated: dict[str, str] = {}
    for found in re.finditer(r"\\(title|author|date)(?![A-Za-z])", preamble):
        group = groups.at(groups.option(found.end())[1])
        if group is not None:
            stated.setdefault(found[1], words.of(_AND.sub(", ", group[0]))[0])
    return stated


def _folders(text: str) -> list[str]:
    found = _GRAPHICS_PATH.search(text)
    named = re.findall(r"\{([^{}]{0,200})\}", found[1]) if found else []
    return ["", *(folder if folder.endswith("/") else f"{folder}/" for folder in named if folder)]


def _read_tex(name: str, *, raw: RawFile, limits: LoadLimits) -> str:
    for candidate in (name, f"{name}.tex") if not name.endswith(".tex") else (name,):
        try:
            data = read_reference(candidate, raw=raw, limits=limits)
        except UnreadableFileError:
            continue
        if len(data) > limits.max_text_bytes:
            raise LimitExceededError(f"{name}: more than max_text_bytes = {limits.max_text_bytes}.")
        return clean(decode_text(data).text.expandtabs(4))
    raise UnreadableFileError(f"{raw.name}: there is no file {name[:100]!r} to include.")
