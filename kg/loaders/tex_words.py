r"""The words of a stretch of LaTeX: accents, symbols and emphasis resolved, mathematics and references kept.

Layer: ``kg``; pylatexenc turns macros into characters. What must not be touched (mathematics, keys, addresses) stands
behind placeholders while it does. A stretch that is too long, nests too deeply or cannot be parsed is stripped by rule.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

from kg.loaders.equations import find_tex_math
from kg.loaders.text_tools import clean, squash

__all__ = ["TexWords"]

_MAX_PARSED = 12_000  # characters
_MAX_DEPTH = 30
_CITE = re.compile(r"~?\\(?:[A-Za-z]*cite[A-Za-z]*)\*?\s*(?:\[[^\]\n]{0,200}\]\s*){0,2}\{([^{}]{1,2000})\}")
_REFERENCE = re.compile(r"\\(?:ref|eqref|autoref|cref|Cref|pageref|nameref|vref)\*?\s*\{([^{}]{1,300})\}")
_LABEL = re.compile(r"\\(?:label|index|vspace|hspace|pagestyle|thispagestyle|setlength)\*?\s*\{[^{}]{0,300}\}")
_URL = re.compile(r"\\(?:url|path|nolinkurl)\s*\{([^{}]{1,2000})\}|\\href\s*\{([^{}]{1,2000})\}\s*(?=\{)")
_VERB = re.compile(r"\\verb\*?([^A-Za-z\s*])(.{0,300}?)\1|\\lstinline([^A-Za-z\s{\[])(.{0,300}?)\3")
_FOOTNOTE = re.compile(r"\\(?:footnote|thanks|endnote)\s*(?:\[\d+\])?\s*\{")
_KEPT = re.compile("\ue000(\\d{1,7})\ue001")
_COMMAND = re.compile(r"\\(?:[A-Za-z]+\*?|.)")
_PARSER_ERRORS = (ValueError, LookupError, AttributeError, TypeError, RecursionError, AssertionError)


class TexWords:
    """Turns LaTeX into text. Not for use by several threads."""

    @cached_property
    def _converter(self) -> Any:
        from pylatexenc.latex2text import LatexNodes2Text

        return LatexNodes2Text(math_mode="verbatim", keep_comments=False)

    def of(self, source: str) -> tuple[str, list[str]]:
        """Return the words of ``source`` on one line, and the sources of the mathematics in them.

        :param source: LaTeX without environments.
        :returns: The text, in which mathematics stands between dollars, and each of its sources in order.
        """
        kept: list[str] = []
        math: list[str] = []

        def keep(text: str) -> str:
            kept.append(text)
            return f"\ue000{len(kept) - 1}\ue001"

        source = source.replace("\ue000", "").replace("\ue001", "")
        source = _VERB.sub(lambda found: keep(found[2] or found[4] or ""), source)
        parts: list[str] = []
        place = 0
        for item in find_tex_math(source, dollars=True):
            text = squash(clean(item.source))
            math.append(text)
            parts += [source[place : item.start], keep(f"${text}$")]
            place = item.end
        source = "".join([*parts, source[place:]])
        source = _CITE.sub(
            lambda found: " " + keep(f"[{', '.join(key.strip() for key in found[1].split(','))}]"), source
        )
        source = _REFERENCE.sub(lambda found: keep(found[1].strip()), source)
        source = _URL.sub(lambda found: keep(found[1]) if found[1] else "", source)
        source = _FOOTNOTE.sub(" {", _LABEL.sub("", source))
        words = squash(clean(self._plain(source)))
        return squash(_KEPT.sub(lambda found: _at(kept, int(found[1])), words)), math

    def _plain(self, source: str) -> str:
        if "\\" not in source and not set(source) & set("{}~`'-&#^_"):
            return source
        if len(source) > _MAX_PARSED or _depth(source) > _MAX_DEPTH:
            return _stripped(source)
        from pylatexenc.latexwalker import LatexWalkerError

        try:
            return str(self._converter.latex_to_text(source, tolerant_parsing=True))
        except (*_PARSER_ERRORS, LatexWalkerError):
            return _stripped(source)


def _at(kept: list[str], number: int) -> str:
    return kept[number] if number < len(kept) else ""


def _depth(source: str) -> int:
    """Return how deep braces, brackets and environments nest at most."""
    depth = deepest = 0
    for mark in re.finditer(r"\\begin|\\end|[{}\[\]$]", source):
        depth += 1 if mark[0] in ("{", "[", "\\begin") else -1 if mark[0] in ("}", "]", "\\end") else 0
        deepest = max(deepest, depth)
    return deepest


def _stripped(source: str) -> str:
    return _COMMAND.sub(" ", source).replace("{", "").replace("}", "").replace("~", " ").replace("$", "")
