"""Complete a question that leans on the conversation so far, by rules: pronouns, ellipsis, "the company".

Layer: ``retrieval``; imports ``kg``. ``question + earlier turns → Rewritten``. What the rules cannot tell they leave
as it is; a question that stands alone is not changed.

- *Pronouns and nouns that point back* ("she", "its", "there", "that year", "the bridge") are replaced by the latest
  name of a fitting kind. Kinds are those of the graph's entities where it knows the name, else what the words tell.
- *Ellipsis* ("and in 2021?", "what about Rome?", "why?") is put into the frame of the question before it: the new time
  takes the place of the old one, the new name that of the old one of its kind.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kg.extraction.dates import MONTHS
from kg.wordlists import word_set
from retrieval.understanding.names import names_in

__all__ = ["Rewritten", "complete_question", "said_by_user"]

TypeOf = Callable[[str], str]
"""Returns the type of the entity of a name (``PERSON``, ``ORG``, …), empty where it is not known."""
_MAX_TURNS = 12
"""Turns that are looked back: what was said long before is rarely meant."""
_MAX_TURN = 4000
_MAX_QUESTION = 2000
"""Characters of a question that is completed; a longer one stands alone."""
_OTHER_SIDE = re.compile(r"^\s*(?:assistant|answer|bot|ai|system)\s*:\s*", re.I)
_USER = re.compile(r"^\s*(?:user|question|human|me)\s*:\s*", re.I)
_POINTERS = {
    "person": "he she him her his hers himself herself",
    "thing": "it its itself this that",
    "many": "they them their theirs themselves these those",
    "place": "there",
}
_POSSESSIVE = word_set("his her hers its their theirs")
_PERSON_NOUNS = word_set(
    "man woman person author writer director actor actress singer founder mayor president chairman chair politician "
    "scientist player manager owner boss engineer artist musician researcher keeper captain minister doctor teacher"
)
_NOUN_KINDS: dict[str, str] = {
    **dict.fromkeys(_PERSON_NOUNS, "person"),
    **dict.fromkeys(("company", "firm", "organisation", "organization", "club", "team", "agency", "council"), "org"),
    **dict.fromkeys(("city", "town", "country", "place", "village", "region", "state", "island"), "place"),
    **dict.fromkeys(("year", "month", "day", "date", "time"), "time"),
}
_KIND_OF_TYPE = {
    "PERSON": "person", "ORG": "org", "GPE": "place", "LOC": "place", "FAC": "thing", "DATE": "time", "NORP": "many",
    "PRODUCT": "thing", "WORK_OF_ART": "thing", "EVENT": "thing", "LAW": "thing",
}  # fmt: skip
_ORG_ENDS = word_set(
    "inc ltd gmbh corp corporation company co ag plc llc university institute college council bank group society club "
    "association party ministry committee board agency press union museum school trust foundation"
)
_YEAR = (
    rf"(?:(?:{MONTHS})\.?\s+(?:\d{{1,2}},?\s+)?)?(?:1[5-9]|20)\d\d(?:s)?|(?:last|this|next) (?:year|month|week)|"
    r"Q[1-4] \d{4}"
)
_TIME = re.compile(rf"\b(?:(?P<word>in|on|during|since|until|before|after|by|of|for)\s+)?(?P<time>{_YEAR})\b", re.I)
_ABOUT = re.compile(r"^(?:(?:and|or|but|so|ok|okay)[ ,]+)?(?:what|how)\s+about\s+(?P<rest>.+)$", re.I | re.S)
_JOINED = re.compile(r"^(?:and|or|but|also|so)\b[ ,]+(?P<rest>.+)$", re.I | re.S)
_BARE = re.compile(
    r"^(?:and |but )?(?:why|when|where|who|how|how much|how many|how long|since when|by whom|with whom|where exactly|"
    r"for how long|what for|which ones?|why not|in what year|in which year)$",
    re.I,
)
_VERBS = word_set(
    "is are was were be been do does did has have had can could will would should may might must shall became become"
)
_ASKS = word_set("who what when where which whose whom why how list name show tell give describe compare count find")
_PREPOSITION = re.compile(
    r"^(?P<word>in|on|at|by|for|from|to|with|of|since|before|after|during|until|under|near|about)\s+(?P<what>.+)$", re.I
)
_EXPLETIVE = re.compile(
    r"\bit (?:is|was|takes?|took|rains?|snows?)\b.*\b(?:to|that|whether)\b|\b(?:is|was|does|did|will) it (?:true|"
    r"possible|likely|necessary|known|take|rain|snow)\b|\bit comes? to\b",
    re.I,
)
_NOUN = r"[a-z][a-z-]+"
_BACK = re.compile(
    rf"\b(?P<word>(?i:the|this|that))\s+(?P<noun>{_NOUN})\b(?P<own>['’]s)?(?!\s+(?:of|that|who|which|whose|where|named|called|"
    r"for|in|with|on|at|by|from|and|or)\b|\s+[A-Z\"“])"
)
_PLURAL = re.compile(
    r"\b(?!(?:does|was|is|has|his|its|this|times|always|perhaps)\b)[a-z]{2,}[a-rt-z]s\b|\b(?:people|members|others)\b"
)
"""A plural noun: what "they" means may stand in the question itself."""
_NOUN_AND = re.compile(r"\b(?:the|a|an)\s+(?:[\w-]+\s+){1,6}and\s+$", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A question as it is to be understood, and what was put for what; nothing for one that stands alone."""

    text: str
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Named:
    """A name that was said before: its kind, and how long ago (0 is the latest turn)."""

    name: str
    kind: str
    age: int


def said_by_user(turn: str) -> bool:
    """Tell whether a turn is the user's: those of the other side begin with ``assistant:``."""
    return _OTHER_SIDE.match(turn) is None


def complete_question(question: str, history: Sequence[str], *, type_of: TypeOf = lambda _: "") -> Rewritten:
    """Complete a question by the turns before it.

    :param question: The question.
    :param history: Earlier turns, oldest first; those of the other side begin with ``assistant:``.
    :param type_of: Types of entities.
    :returns: The question as it is to be understood.
    """
    flat = " ".join(question.split())
    turns = [turn[:_MAX_TURN] for turn in history if turn.strip()][-_MAX_TURNS:]
    if not turns or not flat or len(flat) > _MAX_QUESTION:
        return Rewritten(text=question)
    asked, said = _previous(turns, type_of)
    if not asked and not said:
        return Rewritten(text=question)
    completed = _from_frame(flat, asked, said, type_of) if re.search(r"\w", asked) else None
    if completed is not None and completed != flat:
        return Rewritten(text=completed, changes=(f"{flat!r} continues {asked!r}",))
    return _resolved(flat, said, type_of) or Rewritten(text=question)


def _previous(turns: Sequence[str], type_of: TypeOf) -> tuple[str, list[_Named]]:
    """Return the user's last question, completed by what was before it, and all names, the latest turn's first."""
    asked = ""
    spoken: list[str] = []
    for turn in turns:
        if said_by_user(turn):
            text = " ".join(_USER.sub("", turn).split())
            names = _names_of(spoken, type_of)
            before = asked
            completed = _from_frame(text, before, names, type_of) if re.search(r"\w", before) else None
            resolved = _resolved(text, names, type_of) if completed is None else None
            asked = completed or (resolved.text if resolved else text)
            spoken.append(asked)
        else:
            spoken.append(" ".join(_OTHER_SIDE.sub("", turn).split()))
    return asked, _names_of(spoken, type_of)


def _names_of(spoken: Sequence[str], type_of: TypeOf) -> list[_Named]:
    found: dict[str, _Named] = {}
    for age, text in enumerate(reversed(spoken)):
        for name, _, _ in names_in(text):
            found.setdefault(name, _Named(name, _kind(name, type_of), age))
        for match in _TIME.finditer(text):
            found.setdefault(match["time"], _Named(match["time"], "time", age))
    return list(found.values())


def _kind(name: str, type_of: TypeOf) -> str:
    """Return the kind of a name: by the graph, else by its last word; empty where nothing tells."""
    known = _KIND_OF_TYPE.get(type_of(name), "")
    if known:
        return known
    last = name.split()[-1].lower().strip(".")
    return "time" if _TIME.fullmatch(name) else "org" if last in _ORG_ENDS else ""


# ---------------------------------------------------------------------- ellipsis


def _from_frame(text: str, asked: str, said: Sequence[_Named], type_of: TypeOf) -> str | None:
    """Put what an elliptic question adds into the question before it; ``None`` for a whole question."""
    bare = text.rstrip(" ?!.")
    about = _ABOUT.match(bare)
    joined = _JOINED.match(bare)
    rest = about["rest"] if about else joined["rest"] if joined else bare
    if _BARE.match(bare):
        word = re.sub(r"^(?:and|but)\s+", "", bare, flags=re.I)
        return f"{asked.rstrip(' ?!.')}: {word.lower()}?"
    words = [word.strip(",").lower() for word in rest.split()]
    is_whole = bool(_VERBS.intersection(words)) or (bool(words) and words[0] in _ASKS)
    if (
        not words
        or len(words) > 12
        or (is_whole and not about)
        or (not about and not joined and not _is_fragment(rest))
    ):
        return None
    resolved = _resolved(rest, said, type_of)
    return _filled(resolved.text if resolved else rest, asked, type_of)


def _is_fragment(rest: str) -> bool:
    """Tell whether words without a verb are all new: a time or name with or without a preposition."""
    match = _PREPOSITION.match(rest)
    what = match["what"] if match else rest
    names = names_in(f"- {what}")
    return bool(_TIME.fullmatch(rest) or _TIME.fullmatch(what)) or (
        len(names) == 1 and len(names[0][0]) >= len(re.sub(r"^(?:the|a|an)\s+", "", what, flags=re.I)) - 1
    )


def _filled(rest: str, asked: str, type_of: TypeOf) -> str:
    """Put a time, a name or a noun in the place of the one of its kind."""
    frame = asked.rstrip(" ?!.")
    time = _TIME.fullmatch(rest)
    if time is not None:
        written = rest if time["word"] else f"in {rest}"
        old = _TIME.search(frame)
        return f"{frame[: old.start()]}{written}{frame[old.end() :]}?" if old else f"{frame} {written}?"
    match = _PREPOSITION.match(rest)
    what = match["what"] if match else rest
    names = names_in(f"- {what}")
    if names:
        return _named_anew(names[0][0] if len(names) == 1 else what, match["word"] if match else "", frame, type_of)
    noun = re.match(r"^(?:the|its|their|his|her)?\s*(?P<noun>[a-z][a-z -]+)$", what)
    place = re.search(r"\b(?:the|a|an)\s+(?P<noun>[a-z-]+(?: [a-z-]+)?)(?=\s+(?:of|in|at|for)\s)", frame)
    if noun and place and not match:
        return f"{frame[: place.start('noun')]}{noun['noun'].strip()}{frame[place.end('noun') :]}?"
    return f"{frame} {rest}?"


def _named_anew(name: str, preposition: str, frame: str, type_of: TypeOf) -> str:
    """Put a name in the place of that of its kind; with a preposition, of the one behind the same preposition."""
    old = names_in(frame)
    if preposition:
        behind = [one for one in old if re.search(rf"\b{preposition}\s+(?:the\s+)?$", frame[: one[1]], re.I)]
        if not behind:
            return f"{frame} {preposition} {name}?"
        old = behind
    if not old:
        return f"{frame} {preposition} {name}?".replace("  ", " ")
    kind = _kind(name, type_of)
    same = [one for one in old if kind and _kind(one[0], type_of) == kind]
    if not same:
        same = [one for one in old if not kind or not _kind(one[0], type_of)] or old
    _, start, end = same[-1]
    return f"{frame[:start]}{name}{frame[end:]}?"


# ---------------------------------------------------------------------- pointing back


def _resolved(text: str, said: Sequence[_Named], type_of: TypeOf) -> Rewritten | None:
    """Replace what points back by what it points to; ``None`` where nothing does, or nothing fits."""
    own = names_in(text)
    changes: list[str] = []
    pieces: list[str] = []
    place = 0
    expletive = _EXPLETIVE.search(text)
    for start, end, kind, is_own in _pointers(text, said):
        inside = [one for one in own if one[1] < start and _agrees(_kind(one[0], type_of), kind)]
        if start < place or inside or (expletive and text[start:end].lower() == "it"):
            continue
        found = _antecedent(kind, said, text[start:end])
        if not found:
            continue
        put = f"{found}'s" if is_own else found
        changes.append(f"{text[start:end]} → {found}")
        pieces += [text[place:start], put]
        place = end
    if not changes:
        return None
    return Rewritten(text="".join([*pieces, text[place:]]), changes=tuple(changes))


def _pointers(text: str, said: Sequence[_Named]) -> list[tuple[int, int, str, bool]]:
    """Find the words that may point back: their characters, the kind of thing, and whether they are possessive."""
    found = []
    for kind, words in _POINTERS.items():
        for match in re.finditer(rf"\b(?:{words.replace(' ', '|')})\b", text, re.I):
            word, before, behind = match.group().lower(), text[: match.start()], text[match.end() :]
            follows = re.match(r"\s+([a-z][\w-]*)", behind)
            if _points_inside(word, kind, before, behind):
                continue
            is_own = word in _POSSESSIVE and (word != "her" or follows is not None)
            is_own = is_own and not (word == "her" and follows and follows[1] in ("in", "at", "on", "to", "for", "and"))
            found.append((match.start(), match.end(), kind, is_own))
    for match in _BACK.finditer(text):
        noun = match["noun"].lower()
        kind = _NOUN_KINDS.get(noun, "")
        if not kind and any(one.name.lower().split()[-1] == noun and one.name.lower() != noun for one in said):
            kind = f"noun:{noun}"
        if kind and not (match["word"].lower() == "the" and kind == "time"):
            found.append((match.start(), match.end(), kind, bool(match["own"])))
    return sorted(found)


def _points_inside(word: str, kind: str, before: str, behind: str) -> bool:
    """Tell whether a word that may point back does not: it opens a clause, or its meaning stands in the question."""
    if word in ("this", "that", "these", "those"):
        return re.match(r"\s+\w", behind) is not None  # "that year" is read as a noun; "that stands" opens a clause
    if word == "there":
        is_dummy = re.match(r"\s+(?:is|are|was|were|be|been|has|have)\b", behind)
        asks_so = re.search(r"\b(?:is|are|was|were)\s+$", before, re.I) and re.match(r"\s+[a-z]", behind)
        return bool(is_dummy or asks_so)
    if kind == "many" and _PLURAL.search(before):
        return True
    return word in _POSSESSIVE and _NOUN_AND.search(before) is not None  # "the garden and its benefits"


def _agrees(kind: str, wanted: str) -> bool:
    """Tell whether a name of a kind may be meant by a pointer; a name of no known kind may be anything."""
    if wanted.startswith("noun:"):
        return False
    if wanted == "thing":
        return kind not in ("person", "time", "many")
    if wanted == "many":
        return kind != "time"
    if wanted == "person":
        return kind in ("person", "")
    if wanted == "place":
        return kind in ("place", "")
    return kind == wanted or (kind == "" and wanted == "org")


def _antecedent(kind: str, said: Sequence[_Named], word: str) -> str:
    """Return the latest name that fits, those of a known kind before others in the same turn."""
    if kind.startswith("noun:"):
        return next((one.name for one in said if one.name.lower().split()[-1] == kind[5:]), "")
    fits = [one for one in said if _agrees(one.kind, kind)]
    if kind == "place" and not any(one.kind == "place" for one in fits):
        fits = [one for one in said if one.kind not in ("person", "time")]
    if not fits:
        return ""
    if kind == "thing" and word.lower() != "that":  # what the user asked about rather than what the answer brought up
        asked = [one for one in fits if one.age <= 2]
        fits = asked or fits
    known = [one for one in fits if one.kind]
    latest = min(one.age for one in (known or fits))
    best = [one for one in (known or fits) if one.age == latest]
    if kind == "many":
        people = [one.name for one in best if one.kind == "person"]
        if len(people) > 1:
            return " and ".join(people[:3])
    return best[0].name
