"""What a verb's clause is made of: its subjects, its prepositional phrases, and how certain it is.

Layer: ``kg``; the standard library only. The labels are those of spaCy's English models.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kg.extraction.words import Word
from kg.wordlists import word_set

__all__ = [
    "CERTAIN", "POSSIBLE", "REPORTED", "Statement", "by_name", "certainty", "conjuncts", "is_negated", "is_other",
    "is_passive", "names_behind", "owners", "prepositions", "relative_of", "subjects",
]  # fmt: skip

CERTAIN = 1.0
REPORTED = 0.6
"""The factor of what someone says, asks for, or announces for the future."""
POSSIBLE = 0.4
"""The factor of what may be, or is believed or hoped."""

_FACTORS = dict.fromkeys(("may", "might", "could", "would", "should"), POSSIBLE)
_FACTORS |= dict.fromkeys(("will", "'ll", "wo"), REPORTED)
_BELIEVING = word_set(
    "think believe hope suspect assume guess predict expect fear allege claim imagine suppose estimate"
)
_SAYING = word_set(
    "say report state announce declare tell ask order urge argue add warn explain note write request promise suggest "
    "propose recommend insist maintain advise invite instruct require want"
)
_UNREAL = word_set("doubt deny pretend wish wonder dream refuse fail decline forget")
_CONDITIONS = frozenset({"if", "whether", "unless"})
_NEGATORS = frozenset({"hardly", "neither", "never", "nowhere", "scarcely"})
_SUBJECTS = ("nsubj", "nsubjpass")
_RELATIVES = frozenset({"who", "whom", "which", "that", "whose"})


class Statement(NamedTuple):
    """Head word, relation, tail word, and the score of the pattern times the certainty of the clause."""

    head: Word
    name: str
    tail: Word
    score: float


def conjuncts(word: Word) -> Iterator[Word]:
    """Yield ``word`` and the nouns joined to it by "and"; of "Oslo – The company has", only what follows the dash."""
    joined = [child for child in word.children if child.dep == "conj"]
    dash = any(child.dep == "punct" and child.lower in "–—" for child in word.children)
    if joined and dash and not any(child.dep == "cc" for child in word.children):
        yield from conjuncts(joined[0])
        return
    yield word
    if any(child.dep == "cc" and child.lower in ("or", "nor", "but") for child in word.children):
        return
    for child in word.children:
        if child.dep == "conj" and child.pos in ("NOUN", "PROPN", "PRON", "NUM", "X", "ADJ"):
            yield from conjuncts(child)


def certainty(verb: Word) -> float | None:
    """Return the factor by which a clause is less than certain; ``None`` for what is not stated at all.

    :param verb: The verb of the clause.
    :returns: :data:`CERTAIN`, :data:`REPORTED`, :data:`POSSIBLE`, or ``None`` under a condition, a denial or a wish.
    """
    factor, word = CERTAIN, verb
    while True:
        own = _own_certainty(word)
        if own is None:
            return None
        factor = min(factor, own)
        governor = word.head
        if governor is word or word.dep not in ("conj", "ccomp", "xcomp"):
            return factor if word.dep != "advcl" or not _is_conditional(word) else None
        outer = _governed(word, governor)
        if outer is None:
            return None
        factor = min(factor, outer)
        word = governor


def _own_certainty(word: Word) -> float | None:
    if _is_conditional(word):
        return None
    return min((_FACTORS.get(c.lower, CERTAIN) for c in word.children if c.dep == "aux"), default=CERTAIN)


def _is_conditional(word: Word) -> bool:
    return any(child.dep in ("mark", "advmod") and child.lower in _CONDITIONS for child in word.children)


def _governed(word: Word, governor: Word) -> float | None:
    """Return how certain a verb's clause is by the verb that it hangs on."""
    lemma = governor.lemma.lower()
    if word.dep == "conj":
        return CERTAIN
    if lemma in _UNREAL:
        return None
    if word.dep == "ccomp" and is_negated(governor):
        return None
    passive = word.dep == "xcomp" and is_passive(governor)
    if word.dep == "xcomp" and not passive and not any(c.dep == "dobj" for c in governor.children):
        return CERTAIN  # "wants to become": the wanting is what is stated
    if lemma in _BELIEVING:
        return POSSIBLE
    return REPORTED if lemma in _SAYING or passive else CERTAIN


def subjects(verb: Word) -> list[Word]:
    """Return what a verb is said of, through relative clauses, joined verbs and infinitives."""
    own = [child for child in verb.children if child.dep in _SUBJECTS]
    if own:
        return [s for subject in own for s in _antecedents(subject, verb)]
    if any(child.dep == "expl" for child in verb.children):  # "There are parks."
        return []
    if verb.dep in ("acl", "relcl") and verb.head.is_nominal:
        return _bearers(verb.head) if verb.tag in ("VBN", "VBG", "VBD") else []
    if verb.dep == "xcomp" and verb.head.is_verbal:
        governed = [child for child in verb.head.children if child.dep == "dobj"]
        if governed:  # "They use smoke to calm bees" does not say that the smoke or they do calm them.
            return governed if verb.head.lemma.lower() in _SAYING else []
    inherits = verb.dep in ("conj", "xcomp") or (verb.dep == "advcl" and _shares_voice(verb))
    return subjects(verb.head) if inherits and verb.head.is_verbal else []


def _shares_voice(clause: Word) -> bool:
    """Tell whether "released in 2010, it …" or "leaving home, he …" speaks of the subject of what it hangs on."""
    return clause.tag == "VBN" or (clause.tag == "VBG" and not is_passive(clause.head))


def _antecedents(subject: Word, verb: Word) -> list[Word]:
    """Return the nouns that "who", "which" or "that" stands for, or the subject and what "and" joins to it."""
    while verb.dep == "conj" and verb.head.is_verbal:
        verb = verb.head
    if subject.tag in ("WDT", "WP", "WP$") and not subject.ent:
        return _bearers(verb.head) if verb.dep in ("relcl", "acl") else []
    addressed = next((c for c in subject.children if c.dep == "appos" and is_other(subject, c)), None)
    if addressed is not None:  # "Hello Priya, the lawyers have …"
        return list(conjuncts(addressed))
    return list(conjuncts(subject))


def is_other(name: Word, apposition: Word) -> bool:
    """Tell whether an apposition cannot be one: "Priya, the lawyers" are two things."""
    return name.tag == "NNP" and apposition.tag == "NNS" and name.ent != "ORG"


def relative_of(word: Word) -> Word | None:
    """Return the noun that a relative pronoun stands for: of "the dog whose name", the dog; ``None`` for others."""
    if word.lower not in _RELATIVES or word.tag not in ("WDT", "WP", "WP$"):
        return None
    clause: Word = word
    for _ in range(6):
        if clause.dep in ("relcl", "acl") and clause.head.is_nominal:
            return clause.head
        if clause.head is clause:
            return None
        clause = clause.head
    return None


def _bearers(noun: Word) -> list[Word]:
    """Return whom a clause behind ``noun`` is about: of "X is a game made by Y" and "X, a game made by Y", it is X."""
    if noun.dep == "attr" and noun.pos != "PROPN" and noun.head.lemma == "be" and not is_negated(noun.head, noun):
        found = subjects(noun.head)
        return found or [noun]
    if noun.dep == "appos" and noun.pos == "NOUN" and noun.head.is_nominal:
        return [noun.head]
    return [joined for joined in conjuncts(noun) if joined is noun or noun.pos == "PROPN"]


def is_passive(verb: Word) -> bool:
    """Tell whether a verb is in the passive, by its own wording or that of the verb it is joined to."""
    if any(child.dep in ("nsubjpass", "auxpass") for child in verb.children):
        return True
    if verb.tag != "VBN" or any(child.dep == "aux" for child in verb.children):
        return False
    if verb.dep == "conj":
        return is_passive(verb.head)
    return verb.dep in ("acl", "relcl", "advcl", "amod")


def is_negated(*words: Word) -> bool:
    """Tell whether one of these words has a "not", "no", "never" or "no longer", itself or by what governs it."""
    for word in words:
        for child in word.children:
            if child.dep == "neg" or child.lower in _NEGATORS:
                return True
            if child.dep == "det" and child.lower in ("no", "neither"):
                return True
            if child.dep == "advmod" and child.lower == "longer" and any(c.lower == "no" for c in child.children):
                return True
        if word.dep == "xcomp" and is_negated(word.head):
            return True
    return False


_COMPLEX = {
    ("in", noun): f"in {noun} of" for noun in ("favour", "favor", "front", "charge", "memory", "honour", "search")
}


def prepositions(word: Word) -> Iterator[tuple[str, Word]]:
    """Yield ``(preposition, object)`` of the phrases that hang on ``word``; "in favour of X" is one preposition."""
    for child in word.children:
        if child.dep not in ("prep", "dative", "agent") or child.pos not in ("ADP", "SCONJ"):
            continue
        if child.lower == "according":
            continue
        for grandchild in child.children:
            if grandchild.dep == "pobj":
                inner = _COMPLEX.get((child.lower, grandchild.lower))
                if inner is not None:
                    yield from ((inner, noun) for name, noun in prepositions(grandchild) if name == "of")
                    continue
                yield from ((child.lower, noun) for noun in conjuncts(grandchild))
            elif grandchild.dep == "prep":  # "out of the house"
                yield from (
                    (f"{child.lower} {grandchild.lower}", inner_word)
                    for inner_word in grandchild.children
                    if inner_word.dep == "pobj"
                )
            elif grandchild.dep == "conj" and grandchild.pos == "ADP":  # "from Ashby and to Wendle"
                yield from ((grandchild.lower, c) for c in grandchild.children if c.dep == "pobj")


def owners(noun: Word) -> Iterator[Word]:
    """Yield whose ``noun`` it is: "Anna's", "their", "Anna and Karl's"."""
    for child in noun.children:
        if child.dep == "poss":
            yield from conjuncts(child)


_PARTS = frozenset(
    {"half", "most", "some", "many", "all", "several", "majority", "rest", "number", "group", "one", "each"}
)


def by_name(noun: Word) -> Word:
    """Return the name of what a common noun stands for, where the text gives it: "their singer, Joan Park"."""
    if noun.lower in _PARTS or noun.text == "%":
        whole = next((tail for preposition, tail in prepositions(noun) if preposition == "of"), None)
        return noun if whole is None else whole
    if noun.pos != "NOUN":
        return noun
    return next(names_behind(noun), noun)


def names_behind(noun: Word) -> Iterator[Word]:
    """Yield the names in apposition to a noun: of "his daughter, the novelist Clara Farrow", Clara Farrow."""
    for child in noun.children:
        if child.dep == "appos":
            if child.pos == "PROPN":
                yield child
            elif child.pos == "NOUN":
                yield from names_behind(child)
