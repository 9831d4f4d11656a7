"""Clean what a vision model wrote, until only statements about the picture are left.

Layer: ``kg``; the standard library only. Pure functions.

Models think aloud, refuse, greet, repeat their instructions, loop, and are cut off in the middle of a sentence. None of
that is knowledge, and none of it may reach the graph. The order of the steps is the order of :func:`clean_model_text`:

1. chat marks and reasoning blocks go (``<think>…</think>``, closed or not; channels named analysis);
2. after a mark such as ``Final answer:`` only what follows counts, where thinking stood before it;
3. the rest is cut into sentences (:func:`kg.sentences.sentence_spans`), and each is kept or dropped, with the reason;
4. a text that opens with a refusal is dropped whole, as is one that is mostly reasoning;
5. a text that was cut off loses its last sentence unless that is complete.

Phrases are known in English, German, French, Spanish, Chinese and Japanese; in other languages everything that depends
on marks, repetition and length works, and nothing is dropped for its words. Phrases are looked for where a sentence
begins, so a sign that reads "I'm sorry" is reported as any other.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from kg.captioning.phrases import CHATTER, REASONING, REFUSAL
from kg.sentences import sentence_spans

__all__ = ["CleanText", "clean_model_text"]

_MAX_CHARACTERS = 20_000
"""No description is longer; what is has lost its way."""
_MAX_WORD = 80
_ECHO_WORDS = 5
"""A sentence of at least this many words that stands in the prompt as well was copied, not seen."""

_NAMES = r"think|thinking|thought|thoughts|reasoning|reflection|analysis|scratchpad|inner_monologue|seed:think"
_BLOCK = re.compile(
    rf"<(?P<tag>{_NAMES})>.*?</(?P=tag)>|\[THINK\].*?\[/THINK\]|◁think▷.*?◁/think▷", re.DOTALL | re.IGNORECASE
)
_CLOSING = re.compile(rf"</(?:{_NAMES})>|\[/THINK\]|◁/think▷", re.IGNORECASE)
_OPENING = re.compile(rf"<(?:{_NAMES})>|\[THINK\]|◁think▷", re.IGNORECASE)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final\s*<\|message\|>", re.IGNORECASE)
_CHANNEL = re.compile(r"<\|channel\|>")
_MARK = re.compile(r"<\|[^|<>\n]{1,40}\|>|</?(?:s|pad|unk|bos|eos|image|img|end_of_utterance|loc_\d+|fake_token[^>]*)>")
_ROLE = re.compile(r"(?:^|\n)[ \t]*assistant\s*:\s*", re.IGNORECASE)
_BETTER = r"(?:(?:final|revised|improved|refined|updated|better|image) )?"
_ANSWER = re.compile(
    rf"(?:^|\n)[ \t#*]*(?:{_BETTER}(?:description|caption|answer)|bildbeschreibung|beschreibung|"
    r"descripción|最终答案|描述|説明)[*\s]*[:：][*\s]*",
    re.IGNORECASE,
)
_BOXED = re.compile(r"<\|begin_of_box\|>|<\|end_of_box\|>|</?(?:answer|caption|description)>", re.IGNORECASE)
_BULLET = re.compile(
    r"^[ \t]*(?:#{1,6}|```[a-z]*|[*•–-]|\d{1,2}[.)](?=[ \t]+[^\W\d_]))(?:[ \t]+|$)|(?<=[:：])[ \t]*$", re.MULTILINE
)
"""Where a new paragraph begins, whatever a wrapped line would look like."""
_EMPHASIS = re.compile(r"\*\*|__|`")

_APOSTROPHE = str.maketrans("’‘", "''")
_END = re.compile(r"[.!?…。！？]+[\"'”’»)\]」』）]*\s*$")
_WORDS = re.compile(r"\w+")
_CHARACTER_LOOP = re.compile(r"([^\s\d].{3,39}?)\1{4,}", re.DOTALL)
_SPEAKER_LABEL = re.compile(rf"^{_BETTER}(?:caption|description|answer|output|response)\s*[:：]\s*", re.IGNORECASE)
_LABEL_ALONE = re.compile(r"(?:\w+\W+){0,4}\w+\W*[:：]$")
_JSON_KEYS = ("description", "caption", "answer", "text", "summary")


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanText:
    """What is left of a model's text.

    ``sentences`` are statements, whole and in order; ``dropped`` what went, as pairs of reason and text. Where nothing
    is left, ``reason`` says why: ``empty``, ``reasoning``, ``refusal``, ``echo``, ``repetition``, ``truncation``,
    ``chatter`` or ``no_words``. ``is_truncated`` tells that the text was cut off or ran into a loop.
    """

    sentences: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    is_truncated: bool = False


def clean_model_text(text: str, *, is_truncated: bool = False, prompt: str = "") -> CleanText:
    """Clean what a model wrote of a picture.

    :param text: The model's text, as it came.
    :param is_truncated: Whether it stopped because it had no tokens left.
    :param prompt: What it was asked with, the document's words included; sentences copied from it are dropped.
    :returns: The statements that are left, and what was dropped.
    """
    visible, thought = _without_reasoning(unicodedata.normalize("NFC", text[:_MAX_CHARACTERS]))
    is_truncated = is_truncated or len(text) > _MAX_CHARACTERS
    visible = _without_prompt(visible, prompt)
    dropped = [("reasoning", thought)] if thought else []
    sentences = _sentences(visible)
    if not sentences:
        return CleanText(dropped=tuple(dropped), reason=_first_reason(dropped, "empty"), is_truncated=is_truncated)
    if is_truncated and not _END.search(sentences[-1]):
        dropped.append(("truncation", sentences.pop()))
    judged = _judged(sentences, prompt=_key(prompt))
    kept = [sentence for reason, sentence in judged if not reason]
    dropped += [(reason, sentence) for reason, sentence in judged if reason]
    whole = _reason_to_drop_all(judged)
    if whole:
        dropped += [(whole, sentence) for sentence in kept]
        kept = []
    looped = sum(reason == "repetition" for reason, _ in judged) > 1
    return CleanText(
        sentences=tuple(kept),
        dropped=tuple(dropped),
        reason="" if kept else whole or _first_reason(dropped, "empty"),
        is_truncated=is_truncated or looped,
    )


def _without_reasoning(text: str) -> tuple[str, str]:
    """Return what is meant for the reader, and what was not."""
    final = list(_FINAL_CHANNEL.finditer(text))
    if final:
        return _tidy(text[final[-1].end() :]), text[: final[-1].start()].strip()
    if _CHANNEL.search(text):
        return "", text.strip()
    thought: list[str] = []

    def take(found: re.Match[str]) -> str:
        thought.append(found[0])
        return "\n"

    text = _BLOCK.sub(take, text)
    closings = list(_CLOSING.finditer(text))
    if closings:  # templates may open the block themselves
        thought.append(text[: closings[-1].start()])
        text = text[closings[-1].end() :]
    opening = _OPENING.search(text)
    if opening:
        thought.append(text[opening.start() :])
        text = text[: opening.start()]
    text = _tidy(text)
    answers = list(_ANSWER.finditer(text))
    if answers and _is_reasoning(text[: answers[0].start()]):
        thought.append(text[: answers[-1].start()])
        text = text[answers[-1].end() :]
    return text, " ".join(part.strip() for part in thought if part.strip())


def _is_reasoning(text: str) -> bool:
    return any(REASONING.match(sentence.translate(_APOSTROPHE)) for sentence in _sentences(text))


def _out_of_json(text: str) -> str:
    """Return the description in a reply that is a JSON object, as some servers are set up to write."""
    bare = re.sub(r"^```(?:json)?\s*|\s*```$", "", text.strip())
    if not bare.startswith("{"):
        return text
    try:
        value = json.loads(bare)
    except ValueError:
        return text
    found = [value[key] for key in _JSON_KEYS if isinstance(value.get(key), str)]
    return "\n\n".join(found)


def _tidy(text: str) -> str:
    text = _out_of_json(_MARK.sub(" ", _BOXED.sub(" ", text)))
    text = "".join(char if char in "\n\t" or unicodedata.category(char)[0] != "C" else " " for char in text)
    roles = list(_ROLE.finditer(text))
    if roles:  # the whole chat was decoded: the last turn is the reply
        text = text[roles[-1].end() :]
    return _EMPHASIS.sub("", _BULLET.sub("\n\n", text)).strip()


def _without_prompt(text: str, prompt: str) -> str:
    """Cut off a prompt that stands before the reply, as decoders that return everything leave it."""
    asked = " ".join(prompt.split())
    flat = " ".join(text.split())
    if asked and flat.casefold().startswith(asked.casefold()):
        return flat[len(asked) :]
    return text


def _sentences(text: str) -> list[str]:
    found = (" ".join(text[span.start : span.end].split()) for span in sentence_spans(text))
    return [sentence for sentence in (_SPEAKER_LABEL.sub("", one) for one in found) if sentence]


def _key(sentence: str) -> str:
    return " ".join(_WORDS.findall(sentence.casefold()))


def _is_echo(key: str, prompt: str) -> bool:
    """Tell whether a sentence stands in the prompt word for word; short ones may well be said of a picture too."""
    is_long = len(key.split()) >= _ECHO_WORDS or (len(key) >= 2 * _ECHO_WORDS and not _is_spaced(key))
    return is_long and f" {key} " in f" {prompt} "


def _judged(sentences: Sequence[str], *, prompt: str) -> list[tuple[str, str]]:
    seen: set[str] = set()
    judged: list[tuple[str, str]] = []
    for sentence in sentences:
        key = _key(sentence)
        reason = _reason_to_drop(sentence)
        if not reason and key in seen:
            reason = "repetition"
        elif not reason and _is_echo(key, prompt):
            reason = "echo"
        seen.add(key)
        judged.append((reason, sentence))
    return judged


def _reason_to_drop(sentence: str) -> str:
    plain = sentence.translate(_APOSTROPHE).lstrip("\"'“«(*-–— ")
    for reason, pattern in (("refusal", REFUSAL), ("reasoning", REASONING), ("chatter", CHATTER)):
        if pattern.match(plain):
            return reason
    if _LABEL_ALONE.fullmatch(plain):
        return "chatter"
    if _is_loop(sentence):
        return "repetition"
    return "" if _has_words(sentence) else "no_words"


def _has_words(sentence: str) -> bool:
    letters = sum(char.isalpha() for char in sentence)
    broken = sentence.count("\N{REPLACEMENT CHARACTER}")
    longest = max((len(word) for word in sentence.split()), default=0)
    return letters >= 2 and broken * 10 <= len(sentence) and not (_is_spaced(sentence) and longest > _MAX_WORD)


def _is_spaced(text: str) -> bool:
    """Tell whether the script puts spaces between words, as far as its letters having a case says so."""
    return not any(unicodedata.category(char) == "Lo" for char in text)


def _is_loop(sentence: str) -> bool:
    """Tell whether a run of one to eight words stands there four times in a row, or of characters five times."""
    words = _WORDS.findall(sentence.casefold())
    for size in range(1, min(8, len(words) // 4) + 1):
        run = 0
        for place in range(size, len(words)):
            run = run + 1 if words[place] == words[place - size] else 0
            if run >= 3 * size and not all(word.isdigit() for word in words[place - size : place]):
                return True
    return _CHARACTER_LOOP.search(sentence[:2000]) is not None


def _reason_to_drop_all(judged: Sequence[tuple[str, str]]) -> str:
    spoken = [reason for reason, _ in judged if reason != "chatter"]
    if spoken and spoken[0] == "refusal":
        return "refusal"
    n_reasoning = sum(reason == "reasoning" for reason in spoken)
    return "reasoning" if n_reasoning and 2 * n_reasoning >= len(spoken) else ""


def _first_reason(dropped: Sequence[tuple[str, str]], otherwise: str) -> str:
    return dropped[0][0] if dropped else otherwise
