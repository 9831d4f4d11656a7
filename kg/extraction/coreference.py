"""Find what "she", "its" and "the company" stand for, inside one document and across its chunks.

Layer: ``kg``; the standard library only.
Source: the salience factors of Lappin & Leass 1994 (Computational Linguistics 20(4), 535-561), cut down to those that a
dependency parse gives: recency, grammatical role, parallel role, repetition.

Precision goes before recall: where two things fit about equally well, nothing is linked. Gender is known from titles
("Mrs", "King"), from nouns ("widow", "uncle") and from pronouns that were linked before, never from lists of names.

Not linked: "it" without reference ("it is raining", "it seems that"), "they" for people named one by one, "we", "you".
"Who" and "which" need no link, since the parse leads to their noun; nor does "I", which is the speaker of the line.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from kg.extraction.clauses import is_other
from kg.extraction.labels import KIND_LABELS, is_person_noun, label_of_kind, name_key
from kg.extraction.mentions import CONCEPT, MISC, Candidate
from kg.extraction.values import VALUE_LABELS
from kg.extraction.words import Parsed, Word
from kg.resolution import entity_key
from kg.wordlists import word_set

__all__ = ["PRONOUNS", "Coreference", "Links", "kinds_of"]

_MALE = frozenset({"he", "him", "his", "himself"})
_FEMALE = frozenset({"she", "her", "hers", "herself"})
_NEUTER = frozenset({"it", "its", "itself"})
_PLURAL = frozenset({"they", "them", "their", "theirs", "themselves"})
PRONOUNS = _MALE | _FEMALE | _NEUTER | _PLURAL
"""The pronouns that are resolved here."""

_MALE_NOUNS = word_set(
    "mr sir lord king prince count duke baron emperor pope father brother uncle nephew son husband widower man boy "
    "monk chairman grandfather actor waiter landlord"
)
_FEMALE_NOUNS = word_set(
    "mrs ms miss lady queen princess countess duchess baroness empress mother sister aunt niece daughter wife widow "
    "woman girl nun chairwoman grandmother actress waitress"
)
_ANIMALS = word_set(
    "dog cat horse cow bird pup puppy kitten lion tiger bear wolf fox pony donkey parrot rabbit hamster"
)
_BY_TYPE = word_set(
    "company firm corporation organisation organization agency institute manufacturer publisher airline startup "
    "retailer city town village country film movie book novel song album painting play series award prize drug vaccine "
    "man woman author patient artist band treaty"
)
"""Nouns that may stand for the only thing near that is of their type, though nothing says it is one."""
_GROUP_LABELS = frozenset({"ORG", "NORP"})
_WEATHER = word_set("rain snow seem appear happen turn matter take")
_WINDOW = 3  # sentences back
_DESCRIPTION_WINDOW = 12
_MARGIN = 0.4
_MAX_NEAR = 60


@dataclass(slots=True, eq=False)
class _Thing:
    """What one or more mentions name; ``mention`` is the number of its first, in the whole document."""

    mention: int
    label: str
    is_name: bool
    is_plural: bool
    is_person: bool
    head: str
    n_words: int
    gender: str = ""
    kinds: set[str] = field(default_factory=set)
    sentence: int = 0
    role: int = 0
    is_joined: bool = False
    count: int = 0
    verb: Word | None = None


@dataclass(frozen=True, slots=True)
class Links:
    """What stands for what in one chunk: for words that are pronouns and for candidates, the number of a mention."""

    pronouns: dict[int, int]
    descriptions: dict[int, int]


class Coreference:
    """Reads the chunks of one document in order and keeps in mind what was spoken of."""

    def __init__(self) -> None:
        self._things: dict[str, _Thing] = {}
        self._people: dict[str, set[str]] = defaultdict(set)
        self._by_noun: dict[str, dict[int, _Thing]] = defaultdict(dict)
        self._near: deque[_Thing] = deque(maxlen=_MAX_NEAR)
        self._sentence = 0
        self._terms: dict[str, int] = {}

    def define(self, mention: int, term: str) -> None:
        """Let ``term`` stand for a mention from where it is defined: ``Maria Santos ("the Tenant")``."""
        self._terms[name_key(term)] = mention

    def read(
        self, parsed: Parsed, candidates: Sequence[Candidate], *, first: int, speaker_at: Sequence[int | None]
    ) -> Links:
        """Link the pronouns and descriptions of one chunk.

        :param parsed: The chunk.
        :param candidates: What it names, by position, with corrected labels.
        :param first: The number of its first candidate among the mentions of the document.
        :param speaker_at: For each word the candidate that is the speaker of its line, if it is chat.
        :returns: The links; each leads to a mention with a smaller number, or to one of the same sentence before it.
        """
        links = Links({}, {})
        starts = {candidate.start: number for number, candidate in enumerate(candidates)}
        for sentence in parsed.sentences:
            self._sentence += 1
            for word in parsed.of(sentence):
                number = starts.get(word.i)
                if number is not None:
                    self._meet(parsed, candidates[number], number, first, links)
                elif sentence.is_prose and word.lower in PRONOUNS and word.pos in ("PRON", "DET"):
                    own = speaker_at[word.i]
                    thing = self._antecedent(word, not_mention=None if own is None else first + own)
                    if thing is not None:
                        links.pronouns[word.i] = thing.mention
        return links

    def _meet(self, parsed: Parsed, candidate: Candidate, number: int, first: int, links: Links) -> None:
        root = parsed.words[candidate.end - 1]
        defined = self._terms.get(name_key(parsed.text_of(candidate.start, candidate.end)), number + first)
        if defined < number + first - 1:  # The next mention but one, at least: the definition itself is no reference.
            links.descriptions[number] = defined
            return
        if candidate.label in VALUE_LABELS and not (candidate.label == "QUANTITY" and root.pos == "NOUN"):
            return
        if candidate.label == CONCEPT and root.dep in ("attr", "compound", "oprd"):
            return
        if candidate.label == CONCEPT and self._describes_a_name(root):
            return
        thing = self._described(parsed, candidate, root) if candidate.label == CONCEPT else None
        if thing is not None:
            links.descriptions[number] = thing.mention
        else:
            thing = self._thing(parsed, candidate, root, first + number)
        _learn_gender(thing, parsed, candidate)
        thing.kinds.update(kinds_of(root))
        for kind in thing.kinds:
            self._by_noun[kind][thing.mention] = thing
        self._note(thing, root)

    @staticmethod
    def _describes_a_name(root: Word) -> bool:
        """Tell whether "the painter" belongs to "the painter Nils Berg", or "a town" to "Marsk, a town"."""
        if root.dep == "appos" and not is_other(root.head, root):
            return True
        return any(child.dep == "appos" and child.pos == "PROPN" for child in root.children)

    def _note(self, thing: _Thing, root: Word) -> None:
        role = _role(root)
        thing.role = max(role, thing.role) if thing.sentence == self._sentence else role
        thing.sentence = self._sentence
        thing.is_joined = root.dep == "conj" or any(child.dep == "conj" for child in root.children)
        thing.verb = root.head
        thing.count += 1
        if thing not in self._near:
            self._near.append(thing)

    def _thing(self, parsed: Parsed, candidate: Candidate, root: Word, mention: int) -> _Thing:
        text = parsed.text_of(candidate.start, candidate.end)
        key = entity_key(text, candidate.label)
        if candidate.label == "PERSON":
            known = self._people.get(key)
            if " " not in key and known is not None and len(known) == 1:
                key = next(iter(known))
            elif " " in key:
                for word in (key.split(" ")[0], key.split(" ")[-1]):
                    self._people[word].add(key)
        thing = self._things.get(key)
        if thing is None:
            is_name = candidate.label != CONCEPT and candidate.label != "QUANTITY"
            head = root.lemma.lower()
            thing = self._things[key] = _Thing(
                mention=mention,
                label=candidate.label,
                is_name=is_name,
                is_plural=root.tag in ("NNS", "NNPS"),
                is_person=candidate.label == "PERSON" or (not is_name and is_person_noun(head)),
                head=head,
                n_words=len(text.split()),
            )
            if is_name and candidate.label != "PERSON":
                words = [word for word in name_key(text).split() if word.isalpha()]
                for noun in {words[0], words[-1], *KIND_LABELS.keys() & set(words)} if len(words) > 1 else set():
                    self._by_noun[noun][mention] = thing
        return thing

    def _described(self, parsed: Parsed, candidate: Candidate, root: Word) -> _Thing | None:
        """Return what "the bridge" stands for."""
        if not any(child.dep == "det" and child.lower in ("the", "this", "that") for child in root.children):
            return None
        text = parsed.text_of(candidate.start, candidate.end).lower()
        if entity_key(text, CONCEPT) in self._things:
            return None
        noun = root.lemma.lower()
        if candidate.end - candidate.start > 1:
            return None
        if any(child.dep in ("prep", "relcl", "acl", "poss") for child in root.children):
            return None  # "the city of Linden" says itself which one
        strong = [t for t in self._by_noun[noun].values() if self._sentence - t.sentence <= _DESCRIPTION_WINDOW]
        if strong:
            return _latest(strong)
        near = [t for t in self._near if self._sentence - t.sentence <= _WINDOW]
        same_head = [t for t in near if not t.is_name and t.head == noun and t.n_words > 1]
        if same_head:
            return same_head[0] if len(same_head) == 1 else None
        if noun not in _BY_TYPE:
            return None
        label = label_of_kind(noun)
        fitting = [t for t in near if _is_of_type(t, label)]
        return fitting[0] if len(fitting) == 1 else None if label == "PERSON" else _latest(fitting)

    def _antecedent(self, pronoun: Word, *, not_mention: int | None) -> _Thing | None:
        if pronoun.lower in _NEUTER and _is_idle_it(pronoun):
            return None
        clause = _clause_of(pronoun)
        scored = sorted(
            (
                (self._salience(thing, pronoun, clause), -order, thing)
                for order, thing in enumerate(self._near)
                if self._sentence - thing.sentence <= _WINDOW
                and thing.mention != not_mention
                and _agrees(thing, pronoun.lower)
                and not _is_bound(thing, pronoun, clause, self._sentence)
            ),
            key=lambda row: row[:2],
            reverse=True,
        )
        if not scored or (len(scored) > 1 and scored[0][0] - scored[1][0] < _MARGIN):
            return None
        best = scored[0][2]
        if pronoun.lower in _PLURAL and best.is_joined and not best.is_plural:
            return None
        if not best.gender and pronoun.lower in _MALE | _FEMALE and best.is_person:
            best.gender = "m" if pronoun.lower in _MALE else "f"
        self._note(best, pronoun)
        return best

    def _salience(self, thing: _Thing, pronoun: Word, clause: Word) -> float:
        distance = self._sentence - thing.sentence
        score = -0.9 * distance + 0.5 * thing.role + 0.1 * min(thing.count, 4) + (0.3 if thing.is_name else 0.0)
        if _role(pronoun) == thing.role == 2:
            score += 0.4
        if pronoun.dep == "poss" and distance == 0 and thing.role == 2 and thing.verb is clause:
            score += 0.8
        if _role(pronoun) == thing.role == 1:
            score += 0.5
        if pronoun.lower in _PLURAL:
            score += 0.5 if thing.is_plural else -0.2
        wanted = "m" if pronoun.lower in _MALE else "f" if pronoun.lower in _FEMALE else ""
        if wanted and not thing.is_person:
            score -= 0.4
        return score + (0.9 if wanted and thing.gender == wanted else 0.0)


def _role(word: Word) -> int:
    if word.dep in ("nsubj", "nsubjpass"):
        return 2
    if word.dep == "conj" and word.head.is_nominal:
        return _role(word.head)
    if word.dep in ("dobj", "dative", "agent"):
        return 1
    return 1 if word.dep in ("appos", "ROOT") else 0


def _learn_gender(thing: _Thing, parsed: Parsed, candidate: Candidate) -> None:
    if thing.gender or not thing.is_person:
        return
    root = parsed.words[candidate.end - 1]
    near = {parsed.words[candidate.start - 1].lower.rstrip(".")} if candidate.start else set()
    near |= {child.lemma.lower() for child in root.children if child.dep in ("compound", "appos")}
    near |= {root.lemma.lower()} | ({root.head.lemma.lower()} if root.dep == "appos" else set())
    if near & _MALE_NOUNS:
        thing.gender = "m"
    elif near & _FEMALE_NOUNS:
        thing.gender = "f"


def kinds_of(root: Word) -> Iterable[str]:
    """Yield the nouns that the sentence says a name is, by its last word: "X is a town", "X, a town", "the town X"."""
    for child in root.children:
        if child.pos == "NOUN" and child.dep in ("appos", "compound"):
            yield child.lemma.lower()
    if root.dep == "appos" and root.head.pos == "NOUN":
        yield root.head.lemma.lower()
    if root.dep == "nsubj" and root.head.lemma == "be":
        for child in root.head.children:
            if child.dep == "attr" and child.pos == "NOUN":
                yield child.lemma.lower()
                yield from (c.lemma.lower() for c in child.children if c.dep == "conj")


def _latest(things: Sequence[_Thing]) -> _Thing | None:
    """Return the thing that was spoken of last, unless another was in the same sentence."""
    if not things:
        return None
    ranked = sorted(things, key=lambda thing: (thing.sentence, thing.role), reverse=True)
    if len(ranked) == 1:
        return ranked[0]
    tied = ranked[0].sentence == ranked[1].sentence and ranked[0].role == ranked[1].role
    return None if tied else ranked[0]


def _is_of_type(thing: _Thing, label: str) -> bool:
    if label == "PERSON":
        return thing.is_person and not thing.is_plural
    return thing.is_name and thing.label == label


def _agrees(thing: _Thing, pronoun: str) -> bool:
    if pronoun in _PLURAL:
        return thing.is_plural or (thing.is_name and thing.label in _GROUP_LABELS)
    if thing.is_plural and not (thing.is_name and thing.label in ("ORG", "GPE", "WORK_OF_ART", "PRODUCT")):
        return False
    if pronoun in _NEUTER:
        return not thing.is_person and thing.label != "NORP"
    wanted = "m" if pronoun in _MALE else "f"
    may_be = thing.is_person or thing.head in _ANIMALS or (thing.is_name and thing.label == MISC)
    return may_be and thing.gender in ("", wanted)


def _clause_of(word: Word) -> Word:
    governor = word.head
    for _ in range(8):
        if governor.is_verbal or governor.head is governor:
            break
        governor = governor.head
    return governor


def _is_bound(thing: _Thing, pronoun: Word, clause: Word, sentence: int) -> bool:
    """Tell whether a thing is another argument of the pronoun's verb: in "Ada saw her", "her" is not Ada."""
    if thing.sentence != sentence or pronoun.dep == "poss" or pronoun.lower.endswith(("self", "selves")):
        return False
    return thing.verb is clause and thing.role > 0


def _is_idle_it(pronoun: Word) -> bool:
    """Tell whether "it" stands for nothing: "it is clear that", "it is raining", "it is late"."""
    if pronoun.dep == "expl":
        return True
    if pronoun.dep not in ("nsubj", "nsubjpass"):
        return False
    verb = pronoun.head
    if verb.lemma in _WEATHER or (pronoun.dep == "nsubjpass" and verb.child("xcomp", "ccomp") is not None):
        return True  # "It was agreed to meet"
    if verb.lemma == "be" and any(c.dep in ("ccomp", "csubj") for c in verb.children):
        return True
    clauses = ("xcomp", "ccomp", "advcl")
    complement = verb.child("acomp")
    return complement is not None and any(c.dep in clauses for c in (*complement.children, *verb.children))
