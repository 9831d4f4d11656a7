"""Read statements off a dependency parse: who does what, what is what, whose what.

Layer: ``kg``; the standard library only.

Names of relations are made of the words of the text, in lower case: the verb's lemma where its subject acts, its
participle where its subject is acted on, with the particle and the preposition. So one fact has one name:

==========================  ======================================  ======================================= =====
pattern                     written                                 relation                                score
==========================  ======================================  ======================================= =====
subject verb object         Ada founded the school                  (Ada, found, school)                    0.9
passive with an agent       the school was founded by Ada           (Ada, found, school)                    0.9
verb preposition object     Ada lives in Bergen                     (Ada, live in, Bergen)                  0.85
passive with a preposition  it was founded in 1841                  (school, founded in, 1841)              0.85
bare date or amount         Ada left yesterday; it weighs 3 kg      (Ada, leave on, yesterday),             0.85
                                                                    (it, weigh, 3 kg)
dative                      Ito gave Daniel a violin                (Ito, give to, Daniel)                  0.85
infinitive                  Daniel wants to become a musician       (Daniel, want to become, musician)      0.85
copula                      Insulin is a hormone                    (insulin, is a, hormone)                0.95
                            Oslo is the capital of Norway           (Oslo, is, capital),                    0.95
                                                                    (Oslo, capital of, Norway)
measure                     the bridge is 420 metres long           (bridge, long, 420 metres)              0.9
                            the county has a population of 54,000   (county, population, 54,000)            0.9
to have                     the WHO has its seat in Geneva          (WHO, has, seat), (seat, in, Geneva)    0.85
office                      Reiter was elected mayor of Linz        (Reiter, elected, mayor),               0.9
                                                                    (Reiter, mayor of, Linz)
other name                  also known as X; called X               (Y, alias, X)                           0.9
==========================  ======================================  ======================================= =====

What nouns say (apposition, possession, "director of X") stands in ``kg.extraction.nominals``, names in parentheses in
``kg.extraction.parentheses``, rows of tables in ``kg.extraction.tables``.

Conjunctions are distributed over subjects, verbs and objects. What is denied, asked, wished or conditional is not
stated. What is reported or announced has its score times 0.6, what is only possible or believed times 0.4.
"""

from __future__ import annotations

from collections.abc import Iterator

from kg.extraction.clauses import (
    Statement,
    by_name,
    certainty,
    conjuncts,
    is_negated,
    is_passive,
    owners,
    prepositions,
    subjects,
)
from kg.extraction.nominals import (
    LOOSE_PREPOSITIONS,
    MEASURES,
    attributes_of,
    is_a,
    is_amount,
    noun_statements,
    takes_phrases,
)
from kg.extraction.words import Word

__all__ = ["Statement", "statements"]

_COPULAS = frozenset({"be", "become", "remain"})
_NAMING = frozenset({"call", "know", "name", "nickname", "dub", "abbreviate", "title", "rename", "refer"})
_PHRASES = frozenset({("take", "place"), ("take", "part")})
_RAISING = frozenset({"expect", "schedule", "plan", "say", "believe", "report", "think", "suppose", "set", "intend"})
_OBJECT, _PREPOSITION, _COPULA, _MEASURE = 0.9, 0.85, 0.95, 0.9
_DAYS = frozenset(
    {"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "today", "yesterday", "tomorrow"}
)


def statements(sentence: list[Word]) -> Iterator[Statement]:
    """Yield what a sentence states; words may be pronouns, for the caller to resolve.

    :param sentence: The words of one sentence.
    :yields: Statements; heads and tails are the last words of what they name.
    """
    last = next((w for w in reversed(sentence) if not w.is_space and w.text not in "\"'”’)"), None)
    if last is None or last.text.endswith("?"):
        return
    for word in sentence:
        if word.is_verbal:
            factor = certainty(word)
            if factor is not None:
                for statement in _of_verb(word):
                    yield statement._replace(score=round(statement.score * factor, 4))
        elif word.is_nominal:
            yield from noun_statements(word)


def _predicate(verb: Word, *, passive: bool) -> str:
    word = verb.lower if passive else verb.lemma.lower()
    word = "has" if word == "have" else word
    particles = [child.lower for child in verb.children if child.dep == "prt"]
    name = " ".join([word, *particles])
    governor = verb.head
    if verb.dep == "xcomp" and governor.pos == "VERB" and any(c.lower == "to" for c in verb.children):
        if is_passive(governor) and governor.lemma.lower() in _RAISING:
            return name
        if any(c.dep == "dobj" for c in governor.children):
            return name
        return f"{_predicate(governor, passive=is_passive(governor))} to {name}"
    return name


def _of_verb(verb: Word) -> Iterator[Statement]:
    if is_negated(verb):
        return
    found = [subject for subject in subjects(verb) if not is_negated(subject)]
    if not found:
        return
    passive = is_passive(verb)
    if verb.lemma.lower() in _NAMING and (passive or verb.tag == "VBN" or verb.dep == "acl"):
        naming = list(_of_naming(verb, found))
        if naming:
            yield from naming
            return
    for subject in found:
        yield from _of_subject(verb, subject, passive=passive)


def _of_subject(verb: Word, subject: Word, *, passive: bool) -> Iterator[Statement]:
    predicate = _predicate(verb, passive=passive)
    is_copula = verb.lemma in _COPULAS and not passive
    for name, tail, negatable, score in _complements(verb, predicate, passive=passive, is_copula=is_copula):
        if is_negated(negatable):
            continue
        if name == "":
            agent_of = Statement(by_name(tail), _predicate(verb, passive=False), by_name(subject), score)
            yield agent_of
        elif name == "<is":
            yield Statement(tail, "is", subject, score)
            for preposition, owner in (*prepositions(subject), *(("of", owner) for owner in owners(subject))):
                yield Statement(tail, f"{subject.lemma.lower()} {preposition}", owner, score)
        elif name.startswith("="):
            # The relation is named by the subject: "the population of X is 54,000", "its name is Bruno".
            yield from (Statement(owner, name[1:], tail, score) for owner in _owners_of(subject))
        else:
            yield Statement(by_name(subject), name, by_name(tail), score)


def _owners_of(subject: Word) -> Iterator[Word]:
    yield from owners(subject)
    yield from (tail for preposition, tail in prepositions(subject) if preposition == "of")


_Complement = tuple[str, Word, Word, float]


def _complements(verb: Word, predicate: str, *, passive: bool, is_copula: bool) -> Iterator[_Complement]:
    """Yield ``(relation, object, word whose "no" negates, score)``; an empty relation marks the agent of a passive."""
    phrase = next((c for c in verb.children if c.dep == "dobj" and (verb.lemma.lower(), c.lower) in _PHRASES), None)
    predicate = f"{predicate} {phrase.lower}" if phrase is not None else predicate
    for child in verb.children:
        if child.dep == "dobj" and child is not phrase:
            yield from _of_object(verb, child, predicate)
        elif child.dep == "dative" and child.pos in ("NOUN", "PROPN", "PRON"):
            yield from ((f"{predicate} to", noun, child, _PREPOSITION) for noun in conjuncts(child))
        elif child.dep == "attr" and is_copula:
            yield from _of_attribute(verb, child, predicate)
        elif child.dep == "acomp" and is_copula:
            yield from _of_adjective(child)
        elif child.dep == "oprd" and passive:
            yield predicate, child, child, _OBJECT
            yield from ((f"{child.lemma.lower()} {p}", tail, child, _OBJECT) for p, tail in prepositions(child))
        elif child.dep == "npadvmod":
            yield from _of_adverbial(child, predicate, is_copula=is_copula)
    held = verb.child("dobj")
    if held is not None and takes_phrases(held):
        yield from (
            (f"{predicate} {preposition}", noun, noun, _PREPOSITION)
            for preposition, noun in prepositions(held)
            if preposition in LOOSE_PREPOSITIONS and noun.pos == "PROPN"
        )
    yield from _of_prepositions(verb, predicate, passive=passive, is_copula=is_copula)


def _of_prepositions(verb: Word, predicate: str, *, passive: bool, is_copula: bool) -> Iterator[_Complement]:
    if verb.lemma.lower() == "have" and not passive:
        held = verb.child("dobj")
        if held is not None:
            return  # "has its seat in Geneva": see _of_object
    for preposition, noun in prepositions(verb):
        if passive and preposition == "by" and noun.ent not in ("DATE", "TIME"):
            yield "", noun, noun, _OBJECT
            continue
        state = verb.child("acomp") if is_copula else None
        name = "is" if is_copula and verb.lemma == "be" else predicate
        name = state.lower if state is not None else name
        yield f"{name} {preposition}", noun, noun, _PREPOSITION
        if preposition == "as":
            office = ((f"{noun.lemma.lower()} {p}", tail) for p, tail in prepositions(noun))
            yield from ((name, tail, noun, _PREPOSITION) for name, tail in office if noun.pos == "NOUN")


def _of_object(verb: Word, child: Word, predicate: str) -> Iterator[_Complement]:
    lemma = verb.lemma.lower()
    for noun in conjuncts(child):
        measured = list(attributes_of(noun)) if noun.lemma.lower() in MEASURES else []
        yield from ((name, amount, child, _MEASURE) for name, amount in measured)
        if not (measured and lemma == "have"):
            score = _OBJECT if lemma != "have" else _PREPOSITION
            yield predicate, noun, child, score


def _of_adverbial(child: Word, predicate: str, *, is_copula: bool) -> Iterator[_Complement]:
    """Read "left yesterday" and "rose 12 percent", where no preposition stands."""
    if is_copula:
        return
    if child.ent == "DATE" or child.lower in _DAYS:
        is_day = any(w.lower in _DAYS or (w.text.isdigit() and len(w.text) <= 2) for w in (child, *child.children))
        yield f"{predicate} {'on' if is_day else 'in'}", child, child, _PREPOSITION
    elif child.ent in ("MONEY", "QUANTITY", "PERCENT"):
        yield predicate, child, child, _PREPOSITION


def _of_adjective(adjective: Word) -> Iterator[_Complement]:
    """Read "is 420 metres long"."""
    for child in adjective.children:
        if child.dep == "npadvmod" and is_amount(child):
            yield adjective.lemma.lower(), child, adjective, _MEASURE
    if adjective.tag == "VBN" or adjective.lower in ("closed", "open", "located", "responsible", "famous", "known"):
        for preposition, noun in prepositions(adjective):
            yield f"{adjective.lower} {preposition}", noun, adjective, _PREPOSITION


def _of_attribute(verb: Word, attribute: Word, predicate: str) -> Iterator[_Complement]:
    for noun in conjuncts(attribute):
        subject = verb.child("nsubj")
        if verb.lemma == "be" and subject is not None and _is_attribute_of(subject, noun):
            yield f"={subject.lemma.lower()}", noun, attribute, _MEASURE
            continue
        if verb.lemma == "be" and subject is not None and subject.pos == "NOUN" and noun.pos == "PROPN":
            yield "<is", noun, attribute, _COPULA  # "her successor is Daniel": Daniel is the successor
            continue
        yield (is_a(noun) if verb.lemma == "be" else predicate), noun, attribute, _COPULA
        if noun.pos == "PROPN" and noun.ent:
            continue
        yield from (
            (f"{noun.lemma.lower()} {preposition}", tail, attribute, _COPULA)
            for preposition, tail in prepositions(noun)
            if not is_amount(tail)
        )
        yield from ((f"{noun.lemma.lower()} of", owner, attribute, _COPULA) for owner in owners(noun))


def _is_attribute_of(subject: Word, noun: Word) -> bool:
    """Tell whether "the population of X is 54,000" or "its name is Bruno" is said: the subject names the relation."""
    if subject.pos != "NOUN" or not any(True for _ in _owners_of(subject)):
        return False
    return is_amount(noun) or subject.lemma.lower() == "name"


def _of_naming(verb: Word, found: list[Word]) -> Iterator[Statement]:
    """Read "also known as X", "called X", "a widow named Beatrix"."""
    names = [child for child in verb.children if child.dep == "oprd"]
    names += [noun for preposition, noun in prepositions(verb) if preposition in ("as", "to as")]
    for subject in found:
        for name in names:
            one_of_a_kind = any(c.dep == "det" and c.lower in ("a", "an") for c in subject.children)
            if one_of_a_kind and name.pos == "PROPN" and subject.dep != "nsubjpass":
                yield Statement(name, "is a", subject, _OBJECT)
            elif name.is_nominal or name.pos == "ADJ":
                yield Statement(by_name(subject), "alias", name, _OBJECT)
