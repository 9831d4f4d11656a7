"""Compare what an extractor finds in the hand-labelled passages with what stands there.

A name is right if any name that resolution gives the found entity is the gold one, so "Nolan" is right for
"Christopher Nolan" where the resolver says so. Names are compared by ``kg.resolution.entity_key``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields

from kg.ids import chunk_id, sha256_hex
from kg.ports import Extractor
from kg.resolution import NameResolver, entity_key
from kg.types import Chunk, Document, Extraction, Mention, Modality, Page, Span, Table
from tests.kg.extraction.golden import Passage

__all__ = ["HEDGED_BELOW", "Score", "Tally", "evaluate", "one_chunk"]

HEDGED_BELOW = 0.7
"""A statement whose score is lower counts as one the text does not vouch for."""
_SAME_TYPE = {"FAC": "LOC", "GPE": "LOC", "LAW": "WORK_OF_ART", "QUANTITY": "CARDINAL", "TIME": "DATE"}

_WITHOUT_MENTION = {"i", "my", "you", "your", "who", "which", "that", "whose"}
"""Words that lead to their noun by the parse or to the speaker of the line; the triples judge them."""


@dataclass(slots=True)
class Score:
    """Counts of what was found, wanted and both."""

    right_found: int = 0
    n_found: int = 0
    right_wanted: int = 0
    n_wanted: int = 0

    def add(self, *, found: Iterable[bool], wanted: Iterable[bool]) -> None:
        """Count which of the found are right, and which of the wanted were found."""
        found, wanted = list(found), list(wanted)
        self.right_found += sum(found)
        self.n_found += len(found)
        self.right_wanted += sum(wanted)
        self.n_wanted += len(wanted)

    @property
    def precision(self) -> float:
        """The share of the found that is right."""
        return self.right_found / self.n_found if self.n_found else 0.0

    @property
    def recall(self) -> float:
        """The share of the wanted that was found."""
        return self.right_wanted / self.n_wanted if self.n_wanted else 0.0

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        return 2 * self.precision * self.recall / (self.precision + self.recall) if self.right_found else 0.0

    def as_dict(self) -> dict[str, float | int]:
        """Return the three figures and their counts."""
        return {
            "precision": round(self.precision, 4), "recall": round(self.recall, 4), "f1": round(self.f1, 4),
            "n_found": self.n_found, "n_wanted": self.n_wanted,
        }  # fmt: skip


@dataclass(slots=True)
class Tally:
    """All scores over a set of passages; ``errors`` are lines to read while rules are written."""

    strict: Score = field(default_factory=Score)
    """Head, relation and tail are equal."""
    relaxed: Score = field(default_factory=Score)
    """The pair of head and tail, in either order, stands in some relation."""
    co_mention: Score = field(default_factory=Score)
    """The trivial baseline for pairs: every two entities of a sentence."""
    hedging: Score = field(default_factory=Score)
    """Of the right triples, those rightly held for certain or uncertain."""
    entities: Score = field(default_factory=Score)
    types: Score = field(default_factory=Score)
    """Of the entities found, those of the right type."""
    coarse_types: Score = field(default_factory=Score)
    """The same with places, works and numbers taken as one type each."""
    values: Score = field(default_factory=Score)
    coreference: Score = field(default_factory=Score)
    errors: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, dict[str, float | int]]:
        """Return every score by name."""
        scores = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name != "errors")
        return {name: score.as_dict() for name, score in scores}


def one_chunk(
    title: str, text: str, *, date: str = "", modality: Modality = Modality.TEXT, n: int = 0
) -> tuple[Document, Chunk]:
    """Make a document of one chunk; of a table, its text is the table's."""
    span = Span(start=0, end=len(text))
    is_table = modality is Modality.TABLE
    name = f"d_{n}_{title}"
    table = Table(
        table_id=f"b_{n}", document_id=name, ordinal=0, rows=((text,),), n_header_rows=0, text=text, row_spans=(span,),
        source="markup", span=span,
    )  # fmt: skip
    document = Document(
        document_id=name, source=title or "x", name=title or "x", media_type="text/plain",
        sha256=sha256_hex(text.encode()), n_bytes=len(text), title=title, text=text, is_paged=False,
        pages=(Page(number=1, span=span),), metadata={"date": date} if date else {},
        tables=(table,) if is_table else (),
    )  # fmt: skip
    chunk = Chunk(
        chunk_id=chunk_id(name, table.table_id if is_table else None, 0, len(text)), document_id=name, ordinal=0,
        text=text, span=span, page_first=1, page_last=1, modality=modality, n_tokens=1,
        table_id=table.table_id if is_table else None,
    )  # fmt: skip
    return document, chunk


def evaluate(extractor: Extractor, passages: Sequence[Passage]) -> Tally:
    """Read each passage as a document of one chunk and count."""
    tally = Tally()
    for n, passage in enumerate(passages):
        modality = Modality.TABLE if passage.is_table else Modality.TEXT
        # A table read off a page has the page's title; a passage's own title may be no name at all.
        document, chunk = one_chunk(passage.title, passage.text, date=passage.date, modality=modality, n=n)
        found = extractor.extract([chunk], document=document)
        _Comparison(passage, found, tally).run()
    return tally


def _key(name: str) -> str:
    return entity_key(name, "CONCEPT")


class _Comparison:
    def __init__(self, passage: Passage, found: Extraction, tally: Tally) -> None:
        self.passage, self.tally = passage, tally
        self.found = NameResolver().resolve(found)
        self.mentions = {mention.mention_id: mention for mention in self.found.mentions}
        self.names: dict[str, set[str]] = defaultdict(set)
        for mention in self.found.mentions:
            if not mention.refers_to:
                self.names[mention.entity_id].add(_key(mention.text))

    def run(self) -> None:
        self._triples()
        self._entities()
        self._values()
        self._coreference()

    def _note(self, kind: str, text: str) -> None:
        self.tally.errors.append(f"{self.passage.title:28.28} {kind:8} {text}")

    def _label(self, entity: str) -> str:
        return min(self.names[entity], key=lambda name: (-len(name), name), default="?")

    def _triples(self) -> None:
        gold = {(_key(h), name, _key(t)): hedged for (h, name, t), hedged in self.passage.triples.items()}
        got: dict[tuple[str, str, str], float] = {}
        for triple in self.found.triples:
            head, tail = self.mentions[triple.head_mention_id], self.mentions[triple.tail_mention_id]
            key = (head.entity_id, triple.name, tail.entity_id)
            got[key] = max(triple.score, got.get(key, 0.0))

        def same(one: tuple[str, str, str], wanted: tuple[str, str, str]) -> bool:
            return one[1] == wanted[1] and wanted[0] in self.names[one[0]] and wanted[2] in self.names[one[2]]

        pairs = {frozenset((head, tail)) for head, _, tail in got}
        wanted_pairs = {frozenset((head, tail)) for head, _, tail in gold}
        right = {one: [w for w in gold if same(one, w)] for one in got}
        matched = {w for wanted in right.values() for w in wanted}
        self.tally.strict.add(found=[bool(w) for w in right.values()], wanted=[w in matched for w in gold])
        self._pairs(self.tally.relaxed, pairs, wanted_pairs)
        self._pairs(self.tally.co_mention, self._together(), wanted_pairs)
        agree = [(got[one] < HEDGED_BELOW) == gold[wanted[0]] for one, wanted in right.items() if wanted]
        self.tally.hedging.add(found=agree, wanted=agree)
        for one, wanted in right.items():
            if not wanted:
                self._note("extra", f"{self._label(one[0])} | {one[1]} | {self._label(one[2])}  ({got[one]:.2f})")
            elif (got[one] < HEDGED_BELOW) != gold[wanted[0]]:
                self._note("hedge", " | ".join(wanted[0]))
        for one in gold:
            if one not in matched:
                self._note("missed", " | ".join(one))

    def _pairs(self, score: Score, pairs: set[frozenset[str]], wanted: set[frozenset[str]]) -> None:
        def fits(pair: frozenset[str], gold: frozenset[str]) -> bool:
            (a, b), (x, y) = sorted(pair) * (2 // len(pair)), sorted(gold) * (2 // len(gold))
            names_a, names_b = self.names[a], self.names[b]
            return (x in names_a and y in names_b) or (y in names_a and x in names_b)

        score.add(
            found=[any(fits(pair, gold) for gold in wanted) for pair in pairs],
            wanted=[any(fits(pair, gold) for pair in pairs) for gold in wanted],
        )

    def _together(self) -> set[frozenset[str]]:
        by_sentence: dict[int, set[str]] = defaultdict(set)
        stops = [match.end() for match in re.finditer(r"[.!?]\s|\n(?=\S+: )", self.passage.text)]
        for mention in self.found.mentions:
            by_sentence[sum(stop <= mention.span.start for stop in stops)].add(mention.entity_id)
        return {frozenset((a, b)) for group in by_sentence.values() for a in group for b in group if a < b}

    def _entities(self) -> None:
        wanted = {_key(name): label for name, label in self.passage.entities.items()}
        labels: dict[str, set[str]] = defaultdict(set)
        for mention in self.found.mentions:
            if not mention.refers_to:
                labels[_key(mention.text)].add(mention.label)
        self.tally.entities.add(found=[key in wanted for key in labels], wanted=[key in labels for key in wanted])
        both = [(wanted[key], labels[key], key) for key in wanted if key in labels]
        exact = [found == {label} for label, found, _ in both]
        coarse = [{_SAME_TYPE.get(x, x) for x in found} == {_SAME_TYPE.get(label, label)} for label, found, _ in both]
        self.tally.types.add(found=exact, wanted=exact)
        self.tally.coarse_types.add(found=coarse, wanted=coarse)
        for label, found, key in both:
            if found != {label}:
                self._note("type", f"{key}: {'/'.join(sorted(found))}, not {label}")
        for key in wanted:
            if key not in labels:
                self._note("unnamed", key)

    def _values(self) -> None:
        wanted = {" ".join(name.split()): value for name, value in self.passage.values.items()}
        got: dict[str, str] = {}
        for mention in self.found.mentions:
            text = " ".join(mention.text.split())
            name = next((w for w in wanted if w in (text, f"the {text}", f"about {text}")), None)
            if name is not None:
                got[name] = mention.value
        self.tally.values.add(
            found=[value == wanted[name] for name, value in got.items() if value],
            wanted=[got.get(name) == value for name, value in wanted.items()],
        )
        for name, value in wanted.items():
            if got.get(name) != value:
                self._note("value", f"{name}: {got.get(name)!r}, not {value!r}")

    def _coreference(self) -> None:
        text = self.passage.text
        wanted: dict[int, str] = {}
        for words, name in self.passage.refs.items():
            if words.lower() in _WITHOUT_MENTION:
                continue
            pattern = r"\s+".join(re.escape(word) for word in words.split())
            match = re.search(rf"(?<!\w){pattern}(?!\w)", text)
            if match is not None and _key(words) != _key(name):  # "the budget" needs no link to "the budget"
                # A description may be found without its article.
                start = match.end() - len(words.split(" ", 1)[1]) if words[:4].lower() == "the " else match.start()
                wanted[start] = _key(name)
        got = {m.span.start: m for m in self.found.mentions if m.refers_to}
        for start, mention in got.items():
            if mention.text[:4].lower() == "the ":
                got = {**{s: m for s, m in got.items() if s != start}, start + 4: mention}
        known = {start: self._stands_for(mention) for start, mention in got.items()}
        judged = {start: names for start, names in known.items() if start in wanted}
        self.tally.coreference.add(
            found=[wanted[start] in names for start, names in judged.items()],
            wanted=[name in known.get(start, set()) for start, name in wanted.items()],
        )
        for start, name in wanted.items():
            names = known.get(start)
            if names is None or name not in names:
                self._note("ref", f"{text[start : start + 12]!r}: {sorted(names) if names else None}, not {name}")

    def _stands_for(self, mention: Mention) -> set[str]:
        return self.names[mention.entity_id]
