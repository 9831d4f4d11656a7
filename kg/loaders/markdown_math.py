r"""Two rules for markdown-it-py: ``$…$`` in a line and ``$$…$$``, ``\[…\]`` or an environment as a block.

Layer: ``kg``; markdown-it-py. Dollars follow the convention of Pandoc: an opening one is followed, a closing one is
preceded by something that is no space, and no digit follows it, so "$5 and $10" are prices.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline

__all__ = ["enable_math", "split_label"]

_MAX_INLINE = 1_000
_MAX_LINES = 200
_LABEL = re.compile(r"\\label\s*\{([^{}]{1,200})\}|\\tag\*?\s*\{([^{}]{1,80})\}")
_LABEL_MARK = re.compile(r"\\label\s*\{[^{}]{1,200}\}")
_TAIL = re.compile(r"\s*(?:\(([^()\s]{1,80})\)|\{#([^{}\s]{1,80})\})?\s*\Z")
_BEGIN = re.compile(r"\\begin\{((?:equation|align|alignat|gather|multline|eqnarray)\*?)\}")


def split_label(source: str) -> tuple[str, str]:
    r"""Return an equation's source without ``\label``, and its label; a ``\tag`` stays, for it is shown."""
    found = _LABEL.search(source)
    label = (found[1] or found[2] or "").strip() if found else ""
    return _LABEL_MARK.sub("", source).strip(), label


def enable_math(parser: MarkdownIt) -> MarkdownIt:
    """Add both rules to a parser and return it."""
    parser.inline.ruler.before("escape", "math_inline", _inline)
    parser.block.ruler.before("fence", "math_block", _block, {"alt": ["paragraph", "reference", "blockquote", "list"]})
    return parser


def _inline(state: StateInline, silent: bool) -> bool:
    source = state.src
    start = state.pos
    if source.startswith("\\(", start):
        end, opening = source.find("\\)", start + 2, start + _MAX_INLINE), 2
    elif source[start] == "$" and source[start + 1 : start + 2].strip(" \n\t$"):
        end, opening = _closing_dollar(source, start), 1
    else:
        return False
    content = " ".join(source[start + opening : end].split()) if end > 0 else ""
    if not content:
        return False
    if not silent:
        token = state.push("math_inline", "math", 0)
        token.content = content
    state.pos = end + opening
    return True


def _closing_dollar(source: str, start: int) -> int:
    if start and (source[start - 1].isalnum() or source[start - 1] == "$"):
        return -1
    end = source.find("$", start + 1, start + _MAX_INLINE)
    while end > 0 and source[end - 1] == "\\":
        end = source.find("$", end + 1, start + _MAX_INLINE)
    is_closing = end > 0 and not source[end - 1].isspace() and not source[end + 1 : end + 2].isdecimal()
    return end if is_closing else -1


def _block(state: StateBlock, start_line: int, end_line: int, silent: bool) -> bool:
    if state.is_code_block(start_line):
        return False
    first = state.src[state.bMarks[start_line] + state.tShift[start_line] : state.eMarks[start_line]]
    environment = _BEGIN.match(first)
    if environment:
        opening, closing = "", f"\\end{{{environment[1]}}}"
    elif first.startswith("$$"):
        opening = closing = "$$"
    elif first.startswith("\\["):
        opening, closing = "\\[", "\\]"
    else:
        return False
    found = _lines_to(state, first[len(opening) :], closing, start_line, end_line)
    if found is None:
        return False
    content, tail, next_line = found
    rest = _TAIL.match(tail)
    if rest is None or not content.strip():
        return False
    if not silent:
        token = state.push("math_block", "math", 0)
        token.content = content + (closing if environment else "")
        token.info = rest[1] or rest[2] or ""
        token.map = [start_line, next_line]
        state.line = next_line
    return True


def _lines_to(
    state: StateBlock, first: str, closing: str, start_line: int, end_line: int
) -> tuple[str, str, int] | None:
    """Return what stands before ``closing``, what stands behind it on its line, and the line after that."""
    lines = [first]
    line = start_line
    while closing not in lines[-1]:
        line += 1
        if line >= min(end_line, start_line + _MAX_LINES) or state.isEmpty(line):
            return None
        lines.append(state.src[state.bMarks[line] : state.eMarks[line]])
    before, _, tail = lines[-1].partition(closing)
    return "\n".join([*lines[:-1], before]), tail, line + 1
