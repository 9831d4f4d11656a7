"""Tell the requests that ask nothing of any document: greetings, thanks, arithmetic, and what the service itself is.

Layer: ``retrieval``; the standard library only. Rules for English, and the commonest greetings of some other languages.
They are narrow on purpose: a question that is searched in vain costs little, one that is not searched is lost.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

__all__ = ["SmallTalk", "small_talk"]

_END = r"[\s,.!?…)(:;-]*"
_GREETING = re.compile(
    r"(?:hi|hello|hey|hiya|howdy|greetings|good (?:morning|afternoon|evening|day)|hallo|guten (?:tag|morgen|abend)|"
    r"bonjour|salut|hola|buenos días|ciao|你好|您好|こんにちは|안녕하세요)"
    rf"(?:\s+(?:there|all|everyone|everybody|team|again|you|mmkg|bot|assistant))?{_END}"
    rf"(?:how are you(?: doing)?(?: today)?|how is it going|how's it going|what's up)?{_END}",
    re.I,
)
_THANKS = re.compile(
    r"(?:ok(?:ay)?|great|perfect|cool|nice|very good|good)?[\s,.!]*"
    r"(?:many thanks|thanks(?: a lot| so much| very much)?|thank you(?: so much| very much)?|thx|cheers|"
    rf"danke(?: schön)?|merci(?: beaucoup)?|gracias|谢谢)"
    rf"(?:\s+(?:for (?:your|the) (?:help|answer|time)|again|everyone|all))?{_END}",
    re.I,
)
_PARTING = re.compile(rf"(?:good ?bye|bye(?: bye)?|see you(?: later| soon)?|good night|farewell){_END}", re.I)
_ABOUT = re.compile(
    r"(?:(?:hi|hello|hey)[\s,.!]+)?(?:"
    r"(?:who|what) (?:are|r) you|what(?: is|'s) your (?:name|purpose|job)|what can you do(?: for me)?|"
    r"how do you work|how can you help(?: me)?|what do you do|are you (?:a |an )?(?:bot|robot|human|person|ai|machine|"
    r"language model|real(?: person)?)|who (?:made|built|created|wrote) you|(?:can|could) you help(?: me)?|help(?: me)?"
    rf"){_END}",
    re.I,
)
_CALCULATE = re.compile(r"(?:what(?: is|'s|s)|how much is|calculate|compute|evaluate|work out)\s+", re.I)
_EXPRESSION = re.compile(r"[\d\s.+*/×÷x^()-]{3,80}")
_SPACED_OPERATOR = re.compile(r"\d\)?\s+[-+*/×÷x^]\s+\(?-?\d|\d\)?\s*[+*×÷^]\s*\(?\d")
_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_LARGEST = 1e15
"""Beyond it a float no longer holds whole numbers, and a power may never end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallTalk:
    """Why no document is needed, and what to say instead."""

    reason: str
    reply: str


def small_talk(text: str) -> SmallTalk | None:
    """Tell whether a request asks nothing of any document.

    :param text: The request.
    :returns: The reason with a reply, or ``None`` for whatever could be about a document.
    """
    said = " ".join(text.split())
    if _GREETING.fullmatch(said):
        return SmallTalk(reason="a greeting", reply="Hello. Ask me something about the documents of this workspace.")
    if _THANKS.fullmatch(said):
        return SmallTalk(reason="thanks", reply="You are welcome.")
    if _PARTING.fullmatch(said):
        return SmallTalk(reason="a farewell", reply="Goodbye.")
    if _ABOUT.fullmatch(said):
        return SmallTalk(
            reason="a question about the service",
            reply="I answer questions from the documents of this workspace and cite where each answer stands. "
            "Ask about what they say, or put documents in with `mmkg ingest PATH`.",
        )
    result = _calculated(said)
    return None if result is None else SmallTalk(reason="arithmetic", reply=result)


def _calculated(said: str) -> str | None:
    """Return ``expression = value``; ``None`` for what is no arithmetic, or could be a date or the name of a thing."""
    asked = _CALCULATE.match(said)
    body = said[asked.end() :] if asked else said
    body = body.rstrip(" ?=.!")
    if not _EXPRESSION.fullmatch(body) or not _SPACED_OPERATOR.search(body):
        return None
    plain = body.replace("×", "*").replace("x", "*").replace("÷", "/").replace("^", "**")
    try:
        value = _value(ast.parse(plain, mode="eval").body)
    except (SyntaxError, ValueError, ZeroDivisionError, OverflowError, RecursionError):
        return None
    shown = str(int(value)) if value == int(value) else f"{value:.10g}"
    return f"{' '.join(body.split())} = {shown}"


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_value(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        value = _OPERATORS[type(node.op)](_value(node.left), _value(node.right))
        if isinstance(value, complex) or abs(value) > _LARGEST:
            raise ValueError("too large to be worked out in a word")
        return value
    raise ValueError("not plain arithmetic")
