r"""Equations as source: LaTeX as it stands in text, MathML and Office mark-up written as LaTeX.

Layer: ``kg``; the standard library only (elements are handed in by whoever parsed them). The conversion keeps structure
(fractions, roots, scripts, fences, rows), not looks. It walks without recursion past ``MAX_DEPTH``: what is nested
deeper is kept as its bare words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from kg.loaders.text_tools import clean, squash

__all__ = ["MAX_DEPTH", "TexMath", "find_tex_math", "latex_of_mathml", "latex_of_omml"]

MAX_DEPTH = 40
_MAX_INLINE = 1_000  # characters; a longer run between two dollars is prose with prices in it
_MAX_DISPLAY = 20_000
_Parts = Callable[[Any, int], str]
_ENVIRONMENT = r"\{(?:equation|align|alignat|flalign|gather|multline|eqnarray|displaymath|math)\*?\}"
_TOKEN = re.compile(
    rf"\n[ \t]*\n|\$\$|\$|\\begin{_ENVIRONMENT}|\\end{_ENVIRONMENT}|\\.", re.DOTALL
)  # "\\." takes an escaped character whole, so that "\\$" opens nothing; "\\[" and "\\(" are among these
_CLOSERS = {"$$": "$$", "\\[": "\\]", "\\(": "\\)", "$": "$"}
_INLINE = frozenset({"$", "\\("})
_LABEL = re.compile(r"\\label\s*\{([^{}]{1,200})\}")
_TAG = re.compile(r"\\tag\*?\s*\{([^{}]{1,80})\}")
_FUNCTIONS = frozenset(
    {
        "sin",
        "cos",
        "tan",
        "log",
        "ln",
        "exp",
        "lim",
        "max",
        "min",
        "sup",
        "inf",
        "det",
        "dim",
        "arg",
        "gcd",
        "sinh",
        "cosh",
    }
)
_LETTERS = (
    "alpha beta gamma delta epsilon zeta eta theta kappa lambda mu nu xi pi rho sigma tau phi chi psi omega "
    "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_GREEK = "αβγδεζηθκλμνξπρστφχψωΓΔΘΛΞΠΣΦΨΩ"
_SYMBOLS = {letter: f"\\{name}" for letter, name in zip(_GREEK, _LETTERS.split(), strict=True)} | {
    "∑": r"\sum",
    "∏": r"\prod",
    "∫": r"\int",
    "∂": r"\partial",
    "∞": r"\infty",
    "√": r"\sqrt",
    "≤": r"\le",
    "≥": r"\ge",
    "≠": r"\ne",
    "≈": r"\approx",
    "±": r"\pm",
    "×": r"\times",
    "·": r"\cdot",
    "→": r"\to",
    "∈": r"\in",
    "∇": r"\nabla",
}


class TexMath:
    """One equation found in text: its place, its bare source, its label, and whether it stands by itself."""

    __slots__ = ("end", "is_display", "label", "source", "start")

    def __init__(self, *, start: int, end: int, source: str, label: str, is_display: bool) -> None:
        self.start = start
        self.end = end
        self.source = source
        self.label = label
        self.is_display = is_display


def find_tex_math(text: str, *, dollars: bool) -> list[TexMath]:
    r"""Find LaTeX mathematics in text: ``$$…$$``, ``\[…\]``, equation environments, ``\(…\)`` and ``$…$``.

    :param text: Any text.
    :param dollars: Whether single dollars count; where nothing says that a text has mathematics, they are prices.
    :returns: Equations in order, none inside another. Labels (``\label``, ``\tag``) are taken out of the source.
    """
    found: list[TexMath] = []
    opened: re.Match[str] | None = None
    for token in _TOKEN.finditer(text):
        if opened is not None and _closes(text, opened, token):
            found.append(_between(text, opened, token))
            opened = None
        elif _opens(text, token, dollars=dollars) and not _is_inside(opened, token):
            opened = token
        elif token[0][0] == "\n":  # TeX allows no empty line in mathematics, so what is open was none
            opened = None
    return [item for item in found if item.source]


def _opens(text: str, token: re.Match[str], *, dollars: bool) -> bool:
    mark = token[0]
    if mark == "$":
        before, after = text[token.start() - 1 : token.start()], text[token.end() : token.end() + 1]
        return dollars and not before.isalnum() and bool(after.strip())
    return mark in _CLOSERS or mark.startswith("\\begin")


def _closes(text: str, opened: re.Match[str], token: re.Match[str]) -> bool:
    mark = opened[0]
    if token[0] != _CLOSERS.get(mark, mark.replace("begin", "end", 1)):
        return False
    length = token.start() - opened.end()
    if mark != "$":
        return 0 < length <= (_MAX_INLINE if mark in _INLINE else _MAX_DISPLAY)
    after = text[token.end() : token.end() + 1]
    return 0 < length <= _MAX_INLINE and not text[token.start() - 1].isspace() and not after.isdecimal()


def _is_inside(opened: re.Match[str] | None, token: re.Match[str]) -> bool:
    """Return whether what ``token`` would open may stand inside what is open: words with dollars in a display."""
    return opened is not None and opened[0] not in _INLINE and token[0] in _INLINE


def _between(text: str, opened: re.Match[str], token: re.Match[str]) -> TexMath:
    is_environment = opened[0].startswith("\\begin")
    body = text[opened.start() : token.end()] if is_environment else text[opened.end() : token.start()]
    label = _LABEL.search(body) or _TAG.search(body)
    return TexMath(
        start=opened.start(),
        end=token.end(),
        source=_LABEL.sub("", body).strip(),
        label=label[1].strip() if label else "",
        is_display=opened[0] not in _INLINE,
    )


def _tidy(source: str) -> str:
    return squash(clean(source))


def _symbol(text: str) -> str:
    return "".join(_SYMBOLS.get(character, character) for character in text)


def _join(parts: Iterator[str] | list[str]) -> str:
    """Put parts beside each other; a command is kept apart from a letter that follows it."""
    joined = ""
    for part in parts:
        is_open = re.search(r"\\[A-Za-z]+\Z", joined[-24:]) is not None
        joined += (" " if is_open and part[:1].isalnum() else "") + part
    return joined


# ---------------------------------------------------------------------------------------------------------- MathML


def _name(element: Any) -> str:
    """Return the local name of an lxml element or a Beautiful Soup tag, in lower case; empty for what is neither."""
    name = getattr(element, "tag", None) if not hasattr(element, "name") else element.name
    return str(name).rpartition("}")[2].rpartition(":")[2].lower() if isinstance(name, str) else ""


def _mathml_children(element: Any) -> list[Any]:
    return [child for child in element.children if getattr(child, "name", None)]


def latex_of_mathml(math: Any) -> str:
    """Return a ``<math>`` element as LaTeX: its own annotation where it has one, else converted.

    :param math: A Beautiful Soup tag.
    :returns: The source; empty where there is none.
    """
    for annotation in math.find_all(["annotation", "m:annotation"], limit=20):
        if "tex" in str(annotation.get("encoding") or "").lower():
            return _strip_delimiters(clean(annotation.get_text()))
    stated = str(math.get("alttext") or "")
    if stated.strip():
        return _strip_delimiters(clean(stated))
    return _tidy(_mathml(math, 0))


def _strip_delimiters(source: str) -> str:
    source = source.strip()
    for opening, closing in (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$")):
        if len(source) > len(opening) + len(closing) and source.startswith(opening) and source.endswith(closing):
            return source[len(opening) : -len(closing)].strip()
    return source.removeprefix("\\displaystyle").strip()


def _mathml(element: Any, depth: int) -> str:
    name = _name(element)
    if name in ("annotation", "annotation-xml"):
        return ""
    if depth > MAX_DEPTH:
        return str(element.get_text(" "))
    children = _mathml_children(element)
    if not children:
        return _mathml_leaf(name, squash(clean(element.get_text())))
    parts = [_mathml(child, depth + 1) for child in children]
    return _MATHML.get(name, _join)(parts)


def _mathml_leaf(name: str, text: str) -> str:
    if name == "mtext" and text:
        return rf"\text{{{text}}}"
    if name == "mi" and len(text) > 1:
        return rf"\{text}" if text in _FUNCTIONS else rf"\mathrm{{{text}}}" if text.isalpha() else _symbol(text)
    return _symbol(text)


def _script(mark: str) -> Callable[[list[str]], str]:
    return lambda parts: f"{_base(parts[0])}{mark}{{{_join(parts[1:])}}}"


def _both(parts: list[str]) -> str:
    low, high = (*parts[1:], "", "")[:2]
    return f"{_base(parts[0])}_{{{low}}}^{{{high}}}"


def _base(source: str) -> str:
    return source if len(source) <= 1 or re.fullmatch(r"\\[A-Za-z]+(?:\{[^{}]*\})?", source) else f"{{{source}}}"


def _fraction(parts: list[str]) -> str:
    top, bottom = (*parts, "", "")[:2]
    return rf"\frac{{{top}}}{{{bottom}}}"


_MATHML: dict[str, Callable[[list[str]], str]] = {
    "mfrac": _fraction,
    "msqrt": lambda parts: rf"\sqrt{{{_join(parts)}}}",
    "mroot": lambda parts: rf"\sqrt[{parts[-1]}]{{{parts[0]}}}",
    "msup": _script("^"),
    "mover": _script("^"),
    "msub": _script("_"),
    "munder": _script("_"),
    "msubsup": _both,
    "munderover": _both,
    "mtable": lambda parts: r"\begin{matrix} " + r" \\ ".join(parts) + r" \end{matrix}",
    "mtr": " & ".join,
    "mlabeledtr": " & ".join,
    "mfenced": lambda parts: f"({', '.join(parts)})",
}


# ------------------------------------------------------------------------------------------------------------ OMML


def latex_of_omml(math: Any) -> str:
    """Return an Office ``m:oMath`` or ``m:oMathPara`` element as LaTeX.

    :param math: An lxml element.
    :returns: The source; empty where there is none.
    """
    return _tidy(_omml(math, 0))


def _omml(element: Any, depth: int) -> str:
    name = _name(element)
    if name == "t":
        return _symbol(element.text or "")
    if name.endswith("pr") and name not in ("sup",):  # properties of what they stand in
        return ""
    if depth > MAX_DEPTH:
        return " ".join(element.itertext())
    build = _OMML.get(name)
    if build is not None:
        return build(element, depth)
    return _join([_omml(child, depth + 1) for child in element])


def _part(element: Any, name: str, depth: int) -> str:
    return _join([_omml(child, depth + 1) for child in element if _name(child) == name])


def _property(element: Any, name: str, default: str) -> str:
    """Return the value of a property such as ``chr``; it may be stated to be empty."""
    for child in element:
        if not _name(child).endswith("pr"):
            continue
        for setting in child:
            if _name(setting) == name:
                return next((value for key, value in setting.attrib.items() if key.endswith("val")), "")
    return default


def _omml_scripts(element: Any, depth: int) -> str:
    base, low, high = (_part(element, name, depth) for name in ("e", "sub", "sup"))
    return _base(base) + (f"_{{{low}}}" if low else "") + (f"^{{{high}}}" if high else "")


def _omml_nary(element: Any, depth: int) -> str:
    sign = _symbol(_property(element, "chr", "∫"))
    low, high, body = (_part(element, name, depth) for name in ("sub", "sup", "e"))
    return sign + (f"_{{{low}}}" if low else "") + (f"^{{{high}}}" if high else "") + f" {body}"


def _omml_fenced(element: Any, depth: int) -> str:
    opening, closing = _property(element, "begchr", "("), _property(element, "endchr", ")")
    inside = ", ".join(_omml(child, depth + 1) for child in element if _name(child) == "e")
    return f"{opening}{inside}{closing}"


def _omml_root(element: Any, depth: int) -> str:
    degree = _part(element, "deg", depth)
    return rf"\sqrt{f'[{degree}]' if degree else ''}{{{_part(element, 'e', depth)}}}"


def _omml_rows(element: Any, depth: int) -> str:
    rows = [
        " & ".join(_omml(cell, depth + 2) for cell in row if _name(cell) == "e")
        for row in element
        if _name(row) == "mr"
    ]
    return r"\begin{matrix} " + r" \\ ".join(rows) + r" \end{matrix}"


def _omml_function(element: Any, depth: int) -> str:
    name = _part(element, "fname", depth)
    return f"{chr(92) + name if name in _FUNCTIONS else name} {_part(element, 'e', depth)}"


_OMML: dict[str, _Parts] = {
    "f": lambda e, d: rf"\frac{{{_part(e, 'num', d)}}}{{{_part(e, 'den', d)}}}",
    "ssup": _omml_scripts,
    "ssub": _omml_scripts,
    "ssubsup": _omml_scripts,
    "nary": _omml_nary,
    "d": _omml_fenced,
    "rad": _omml_root,
    "m": _omml_rows,
    "func": _omml_function,
    "eqarr": lambda e, d: r" \\ ".join(_omml(child, d + 1) for child in e if _name(child) == "e"),
    "limlow": lambda e, d: f"{_part(e, 'e', d)}_{{{_part(e, 'lim', d)}}}",
    "limupp": lambda e, d: f"{_part(e, 'e', d)}^{{{_part(e, 'lim', d)}}}",
    "bar": lambda e, d: rf"\overline{{{_part(e, 'e', d)}}}",
    "acc": lambda e, d: rf"\hat{{{_part(e, 'e', d)}}}",
}
