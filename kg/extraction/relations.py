"""Read statements off a dependency parse: who does what, what is what, whose what.

Layer: ``kg``; the standard library only. It reads spaCy's tokens (labels of its English models) and never
imports spaCy.

Patterns, each with the predicate it gives
- subject verb object: the verb's lemma, ``direct``; with a particle, ``take over``
- subject verb preposition object: ``live in``
- passive with an agent, turned around: ``X was written by Y`` gives ``(Y, write, X)``
- passive with a preposition: ``born in``, ``located in``
- copula: ``X is a Y`` gives ``is a``; ``X is the capital of Y`` gives ``capital of`` too
- apposition and title: ``X, a Y``; ``the Y of Z, X``; ``film director X``
- possession: ``X's Y`` gives ``has``; ``X's brother Y`` gives ``(Y, brother of, X)``
- noun preposition name: ``director of X`` gives ``of``

Conjunctions are distributed over subjects, verbs and objects. A negated statement has ``not`` before its predicate.
What is only possible, asked, wished, supposed or conditional is not stated at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from kg.wordlists import word_set

if TYPE_CHECKING:
    from spacy.tokens import Token
else:
    Token = Any

__all__ = ["Statement", "statements"]

Statement = tuple[Token, str, Token]
"""Head token, predicate, tail token."""

_UNCERTAIN_MODALS = frozenset({"may", "might", "could", "would", "should"})
_UNCERTAIN_VERBS = word_set(
    "think believe hope doubt deny claim suspect imagine pretend wish suppose assume allege guess wonder ask dream "
    "predict expect fear"
)
_CONDITIONS = frozenset({"if", "whether", "unless"})
_SUBJECTS = ("nsubj", "nsubjpass")
_COPULAS = frozenset({"be", "become", "remain"})
_NOUN_PREPOSITIONS = frozenset({"of", "in", "at", "from", "for", "by"})
_KIN_OF = "of"


def statements(sentence: Any) -> Iterator[Statement]:
    """Yield what ``sentence`` (a parsed spaCy ``Span``) states; tokens may be pronouns, for the caller to resolve.

    :param sentence: One sentence.
    :yields: ``(head, predicate, tail)``.
    """
    text = sentence.text.rstrip("\"'”’) \n")
    if text.endswith("?"):
        return
    for token in sentence:
        if token.pos_ in ("VERB", "AUX") and not _is_uncertain(token):
            yield from _of_verb(token)
        elif token.pos_ in ("NOUN", "PROPN"):
            yield from _of_noun(token)


def conjuncts(token: Token) -> Iterator[Token]:
    """Yield ``token`` and the nouns joined to it by "and"."""
    yield token
    if any(child.dep_ == "cc" and child.lower_ in ("or", "nor", "but") for child in token.children):
        return
    for child in token.children:
        if child.dep_ == "conj" and child.pos_ in ("NOUN", "PROPN", "PRON", "NUM", "X", "ADJ"):
            yield from conjuncts(child)


def _is_uncertain(verb: Token) -> bool:
    token = verb
    while True:
        for child in token.children:
            if child.dep_ == "aux" and child.lower_ in _UNCERTAIN_MODALS:
                return True
            if child.dep_ in ("mark", "advmod") and child.lower_ in _CONDITIONS:
                return True
        governor = token.head
        if governor.i == token.i or token.dep_ not in ("conj", "ccomp", "xcomp", "advcl", "relcl", "acl"):
            return False
        if token.dep_ == "ccomp" and governor.lemma_.lower() in _UNCERTAIN_VERBS:
            return True
        # Only what a clause hangs on by its own wording colours it: a condition does not cover the main clause.
        if token.dep_ not in ("conj", "xcomp", "ccomp"):
            return False
        token = governor


def _subjects(verb: Token) -> list[Token]:
    own = [child for child in verb.children if child.dep_ in _SUBJECTS]
    if own:
        return [s for subject in own for s in _antecedents(subject, verb)]
    if any(child.dep_ == "expl" for child in verb.children):  # "There are parks."
        return []
    if verb.dep_ in ("acl", "relcl") and verb.head.pos_ in ("NOUN", "PROPN"):
        return _bearers(verb.head) if verb.tag_ in ("VBN", "VBG", "VBD") else []
    for_a_purpose = verb.dep_ == "xcomp" and any(child.dep_ == "dobj" for child in verb.head.children)
    inherits = verb.dep_ in ("conj", "xcomp") or (verb.dep_ == "advcl" and _shares_voice(verb))
    inherits = inherits and not for_a_purpose  # "They use smoke to calm bees" does not say that they do calm them.
    if inherits and verb.head.pos_ in ("VERB", "AUX"):
        return _subjects(verb.head)
    return []


def _shares_voice(clause: Token) -> bool:
    """Tell whether "released in 2010, it …" or "leaving home, he …" speaks of the subject of what it hangs on."""
    return clause.tag_ == "VBN" or (clause.tag_ == "VBG" and not _is_passive(clause.head))


def _antecedents(subject: Token, verb: Token) -> list[Token]:
    """Return the nouns that "who", "which" or "that" stands for, or the subject and what "and" joins to it."""
    while verb.dep_ == "conj" and verb.head.pos_ in ("VERB", "AUX"):
        verb = verb.head
    if subject.tag_ in ("WDT", "WP", "WP$") and not subject.ent_type_:
        return _bearers(verb.head) if verb.dep_ == "relcl" else []
    return list(conjuncts(subject))


def _bearers(noun: Token) -> list[Token]:
    """Return whom a clause behind ``noun`` is about: of "X is a game made by Y" and "X, a game made by Y", it is X."""
    if noun.dep_ == "attr" and noun.head.lemma_ == "be" and not _is_negated(noun.head, noun):
        subjects = [subject for subject in _subjects(noun.head) if subject.pos_ != "PRON"]
        return subjects or [noun]
    if noun.dep_ == "appos" and noun.pos_ == "NOUN" and noun.head.pos_ == "PROPN":
        return [noun.head]
    return [noun]


def _is_passive(verb: Token) -> bool:
    if any(child.dep_ in ("nsubjpass", "auxpass") for child in verb.children):
        return True
    if verb.tag_ != "VBN" or any(child.dep_ == "aux" for child in verb.children):
        return False
    if verb.dep_ == "conj":
        return _is_passive(verb.head)
    return verb.dep_ in ("acl", "relcl", "advcl")


def _predicate(verb: Token, *, passive: bool) -> str:
    word = verb.lower_ if passive else verb.lemma_.lower()
    particles = [child.lower_ for child in verb.children if child.dep_ == "prt"]
    name = " ".join([word, *particles])
    if verb.dep_ == "xcomp" and verb.head.pos_ == "VERB" and any(c.lower_ == "to" for c in verb.children):
        return f"{_predicate(verb.head, passive=_is_passive(verb.head))} to {name}"
    return name


def _is_negated(*tokens: Token) -> bool:
    for token in tokens:
        for child in token.children:
            if child.dep_ == "neg" or (child.dep_ == "det" and child.lower_ in ("no", "neither")):
                return True
        if token.dep_ == "xcomp" and _is_negated(token.head):
            return True
    return False


def _named(predicate: str, *negatable: Token) -> str:
    return f"not {predicate}" if _is_negated(*negatable) else predicate


def _prepositions(token: Token) -> Iterator[tuple[str, Token]]:
    """Yield ``(preposition, object)`` of the phrases that hang on ``token``."""
    for child in token.children:
        if child.dep_ in ("prep", "dative", "agent") and child.pos_ in ("ADP", "SCONJ"):
            for grandchild in child.children:
                if grandchild.dep_ == "pobj":
                    for noun in conjuncts(grandchild):
                        yield child.lower_, noun
                elif grandchild.dep_ == "prep":  # "out of the house"
                    for inner in grandchild.children:
                        if inner.dep_ == "pobj":
                            yield f"{child.lower_} {grandchild.lower_}", inner


def _of_verb(verb: Token) -> Iterator[Statement]:
    subjects = _subjects(verb)
    if not subjects:
        return
    passive = _is_passive(verb)
    predicate = _predicate(verb, passive=passive)
    is_copula = verb.lemma_ in _COPULAS and not passive
    for subject in subjects:
        for name, tail, negatable in _complements(verb, predicate, passive=passive, is_copula=is_copula):
            agent = name == ""
            if agent:
                yield _by_name(tail), _named(_predicate(verb, passive=False), verb, subject), _by_name(subject)
            else:
                yield _by_name(subject), _named(name, verb, subject, negatable), _by_name(tail)


def _by_name(noun: Token) -> Token:
    """Return the name of what a common noun stands for, where the text gives it: "their singer, Joan Park"."""
    if noun.pos_ != "NOUN":
        return noun
    return next((child for child in noun.children if child.dep_ == "appos" and child.pos_ == "PROPN"), noun)


def _complements(verb: Token, predicate: str, *, passive: bool, is_copula: bool) -> Iterator[tuple[str, Token, Token]]:
    """Yield ``(predicate, object, token whose "no" negates)``; an empty predicate marks the agent of a passive."""
    for child in verb.children:
        if child.dep_ == "dobj":
            for noun in conjuncts(child):
                yield predicate, noun, child
        elif child.dep_ == "dative" and child.pos_ in ("NOUN", "PROPN", "PRON"):
            yield f"{predicate} to", child, child
        elif child.dep_ == "attr" and is_copula:
            yield from _of_attribute(verb, child, predicate)
        elif child.dep_ == "oprd" and passive:
            yield predicate, child, child
    for preposition, noun in _prepositions(verb):
        if passive and preposition == "by" and noun.ent_type_ not in ("DATE", "TIME"):
            yield "", noun, noun
        else:
            verb_name = "is" if is_copula and verb.lemma_ == "be" else predicate
            yield f"{verb_name} {preposition}", noun, noun


def _of_attribute(verb: Token, attribute: Token, predicate: str) -> Iterator[tuple[str, Token, Token]]:
    for noun in conjuncts(attribute):
        yield (_is_a(noun) if verb.lemma_ == "be" else predicate), noun, attribute
        if verb.lemma_ == "be":
            for preposition, tail in _prepositions(noun):
                yield f"{noun.lemma_.lower()} {preposition}", tail, attribute
            for owner in _owners(noun):
                yield f"{noun.lemma_.lower()} {_KIN_OF}", owner, attribute


def _is_a(noun: Token) -> str:
    """Return ``is a`` where ``noun`` stands for a kind, ``is`` where it stands for one thing."""
    definite = any(c.dep_ == "det" and c.lower_ in ("the", "this", "that") for c in noun.children)
    return "is" if definite or noun.pos_ == "PROPN" or list(_owners(noun)) else "is a"


def _owners(noun: Token) -> Iterator[Token]:
    for child in noun.children:
        if child.dep_ == "poss":
            yield from conjuncts(child)


def _of_noun(noun: Token) -> Iterator[Statement]:
    appositions = [child for child in noun.children if child.dep_ == "appos"]
    if noun.pos_ == "PROPN":
        for apposition in appositions:
            yield from _of_apposition(noun, apposition)
        yield from _of_title(noun)
    else:
        yield from _of_common_noun(noun, [child for child in appositions if child.pos_ == "PROPN"])


def _of_title(name: Token) -> Iterator[Statement]:
    """Read "film director X" and "Anna's brother X"."""
    for child in name.children:
        if child.dep_ == "compound" and child.pos_ == "NOUN" and name.ent_type_ == "PERSON":
            yield name, "is a", child
            yield from ((name, f"{child.lemma_.lower()} {_KIN_OF}", owner) for owner in _owners(name))


def _of_common_noun(noun: Token, names: Sequence[Token]) -> Iterator[Statement]:
    for name in names:
        yield name, _is_a(noun), noun
    holders = list(names) or ([] if noun.dep_ in ("attr", "appos") else None)
    for owner in _owners(noun):
        if holders is None:
            yield owner, "has", noun
        else:
            yield from ((name, f"{noun.lemma_.lower()} {_KIN_OF}", owner) for name in holders)
    for preposition, tail in _prepositions(noun):
        if holders is not None:
            yield from ((name, f"{noun.lemma_.lower()} {preposition}", tail) for name in holders)
        elif preposition in _NOUN_PREPOSITIONS and tail.pos_ == "PROPN" and noun.ent_type_ not in ("DATE", "TIME"):
            yield noun, preposition, tail


def _of_apposition(name: Token, apposition: Token) -> Iterator[Statement]:
    if apposition.pos_ == "PROPN":
        if name.ent_type_ == apposition.ent_type_ == "GPE":
            yield name, "in", apposition
        return
    for noun in conjuncts(apposition):
        if noun.pos_ != "NOUN":
            continue
        yield name, _is_a(noun), noun
        for preposition, tail in _prepositions(noun):
            yield name, f"{noun.lemma_.lower()} {preposition}", tail
        for owner in _owners(noun):
            yield name, f"{noun.lemma_.lower()} {_KIN_OF}", owner
