"""Answer a database-like question from the statements of the graph, or say why that cannot be done exactly.

Layer: ``retrieval``; imports ``kg``.

- "How many companies did Ann Lee found?", "List all people who work at Northwind.": one name, one relation, a noun.
- "Which company was founded first?", "Which city has the largest population?": one relation whose tails are values.
- "How many people are mentioned?": all things of a kind. "Which documents mention Northwind?": documents by a name.

Only strong statements count (:class:`kg.types.EvidenceLevel`); what is stated weakly is left out, and said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kg.ports import RecordStore, TripleRow
from kg.types import Entity, EvidenceLevel, Relation, Span
from kg.wordlists import word_set
from retrieval.exact_questions.graph_view import IS_A, GraphView
from retrieval.exact_questions.table_answer import listed
from retrieval.exact_questions.table_plan import OWN_MEASURES
from retrieval.exact_questions.types import AskedExactly, ExactAnswer, ExactKind, ExactRow, UnclearQuestionError
from retrieval.exact_questions.values import DATE, Value, value_of_text
from retrieval.exact_questions.words import FRAME, content_of, stem

__all__ = ["answer_from_graph"]

_AUXILIARIES = word_set("did do does has have had is are was were")
_PREPOSITIONS = word_set("of in at from for by on to near with as into under over after before")
_DOCUMENTS = frozenset(map(stem, ("document", "file")))
_SAYING = frozenset(map(stem, ("mention", "name", "refer", "discuss")))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Link:
    """A thing, the strong statements that make it part of the answer, and its value where one is compared."""

    entity: Entity
    rows: tuple[TripleRow, ...]
    value: Value | None = None
    written: str = ""


def answer_from_graph(asked: AskedExactly, store: RecordStore, document_ids: Sequence[str] | None) -> ExactAnswer:
    """Answer from the graph.

    :param asked: The question.
    :param store: The record.
    :param document_ids: Only what these documents say; ``None`` allows all.
    :returns: The answer; each of its rows names the sentence that states it.
    :raises UnclearQuestionError: If there is no plan, or more than one.
    """
    if asked.kind in (ExactKind.SUM, ExactKind.AVERAGE):
        raise UnclearQuestionError("no table speaks of what it asks for")
    if not asked.noun:
        raise UnclearQuestionError("it does not say what kind of thing is asked for")
    return _GraphPlan(asked, store, document_ids).answer()


class _GraphPlan:
    """One question over one view of the graph."""

    def __init__(self, asked: AskedExactly, store: RecordStore, document_ids: Sequence[str] | None) -> None:
        self._asked = asked
        self._store = store
        self._documents = document_ids
        self._view = GraphView.of(store, document_ids)
        self._n_weak = 0

    def answer(self) -> ExactAnswer:
        named = self._view.named(self._asked)
        if len(named) > 1:
            raise UnclearQuestionError("it names several things: " + ", ".join(entity.name for _, entity in named))
        if self._asked.kind in (ExactKind.MAX, ExactKind.MIN):
            if named:
                raise UnclearQuestionError(f"what {named[0][1].name!r} has to do with it is not certain")
            return self._extreme()
        if not named:
            return self._all_of_kind()
        (places, entity) = named[0]
        if self._asked.stems[self._asked.noun[0]] in _DOCUMENTS:
            return self._documents_that_mention(places, entity)
        return self._related(places, entity)

    # ------------------------------------------------------------------ one name, one relation

    def _related(self, places: range, anchor: Entity) -> ExactAnswer:
        words, noun = self._asked.words, self._asked.noun
        for size in range(len(noun), 0, -1):
            kind = [words[place] for place in noun[:size]]
            predicate = self._left(set(noun[:size]) | set(places))
            if not predicate:
                continue
            is_head, before = self._direction(places)
            found = [one for one in self._view.relations if self._matches(one, anchor, predicate, is_head, before)]
            if found:
                return self._things(kind, found, anchor, is_head=is_head)
        raise UnclearQuestionError(f"the graph has no relation of {anchor.name!r} that says what it asks for")

    def _left(self, used: set[int]) -> frozenset[str]:
        asked = self._asked
        return frozenset(
            asked.stems[place]
            for place in range(len(asked.words))
            if place not in used and asked.words[place].lower() not in FRAME
        )

    def _direction(self, places: range) -> tuple[bool, str]:
        """Tell whether the name is what acts, and the preposition before it."""
        before = [word.lower() for word in self._asked.words[: places.start]]
        while before and before[-1] in ("the", "a", "an"):
            before.pop()
        last = before[-1] if before else ""
        if last in _AUXILIARIES or last == "by":
            return True, ""
        return False, last if last in _PREPOSITIONS else ""

    def _matches(self, one: Relation, anchor: Entity, predicate: frozenset[str], is_head: bool, before: str) -> bool:
        if one.name in IS_A or (one.head_id if is_head else one.tail_id) != anchor.entity_id:
            return False
        last = one.name.split()[-1]
        preposition = last if last in _PREPOSITIONS else ""
        fits = preposition in ("", *map(str.lower, self._asked.words)) if is_head else preposition == before
        return fits and content_of(one.name) == predicate

    def _things(self, kind: list[str], relations: Sequence[Relation], anchor: Entity, *, is_head: bool) -> ExactAnswer:
        ends: dict[str, list[TripleRow]] = {}
        for one in relations:
            rows = self._strong(one)
            if rows:
                ends.setdefault(one.tail_id if is_head else one.head_id, []).extend(rows)
        links = [
            _Link(entity=self._view.entities[end], rows=tuple(rows))
            for end, rows in ends.items()
            if self._is_kind(self._view.entities[end], kind)
        ]
        if not links:
            raise UnclearQuestionError(f"the graph states no {' '.join(kind)} of {anchor.name!r} firmly")
        names = " or ".join(f"“{name}”" for name in sorted({one.name for one in relations}))
        return self._said(links, " ".join(kind), f"the graph, relation {names} of {anchor.name}")

    def _is_kind(self, entity: Entity, kind: Sequence[str]) -> bool:
        found = self._view.is_kind(entity, kind)
        if found is None:
            raise UnclearQuestionError(f"the graph does not tell whether {entity.name!r} is one of {' '.join(kind)!r}")
        return found

    def _strong(self, one: Relation) -> list[TripleRow]:
        rows = self._store.triple_rows(relation=(one.head_id, one.name, one.tail_id), document_ids=self._documents)
        strong = [row for row in rows if EvidenceLevel.of(row.score) is EvidenceLevel.STRONG]
        self._n_weak += not strong
        return strong

    # ------------------------------------------------------------------ extremes

    def _extreme(self) -> ExactAnswer:
        asked = self._asked
        kind = [asked.words[place] for place in asked.noun]
        measure = self._left(set(asked.noun))
        own = frozenset() if measure else OWN_MEASURES.get(asked.superlative, frozenset())
        if not measure and not own:
            raise UnclearQuestionError(f"{asked.superlative!r} does not say what is measured")
        links: dict[str, list[_Link]] = {}
        names: set[str] = set()
        for one in self._view.relations:
            stems = content_of(one.name)
            if one.name in IS_A or not (stems == measure if measure else stems <= own):
                continue
            read = [link for row in self._strong(one) if (link := self._valued(one, row)) is not None]
            if read and self._is_kind(read[0].entity, kind):
                links.setdefault(one.head_id, []).extend(read)
                names.add(one.name)
        best = _best([_agreed(said) for said in links.values()], asked.kind)
        listed_names = " or ".join(f"“{name}”" for name in sorted(names))
        source = f"the graph, relation {listed_names} of {len(links)} {' '.join(kind)}"
        return self._said(best, " ".join(kind), source)

    def _valued(self, one: Relation, row: TripleRow) -> _Link | None:
        triple = next((t for t in self._store.triples(row.chunk_id) if t.triple_id == row.triple_id), None)
        mentions = {m.mention_id: m for m in self._store.mentions(row.chunk_id)}
        tail = mentions.get(triple.tail_mention_id) if triple is not None else None
        value = value_of_text(tail.label, tail.value) if tail is not None and tail.value else None
        if value is None or tail is None:
            return None
        return _Link(entity=self._view.entities[one.head_id], rows=(row,), value=value, written=tail.text)

    # ------------------------------------------------------------------ things of a kind, documents

    def _all_of_kind(self) -> ExactAnswer:
        asked = self._asked
        kind = [asked.words[place] for place in asked.noun]
        left = self._left(set(asked.noun)) - _SAYING
        if left:
            raise UnclearQuestionError("the graph has no relation that says what it asks for without a name")
        found = {
            one.entity_id: one
            for one in self._view.entities.values()
            if one.type not in ("CONCEPT", "MISC") and self._is_kind(one, kind)
        }
        if not found:
            raise UnclearQuestionError(f"the graph knows no {' '.join(kind)}")
        first: dict[str, ExactRow] = {}
        documents = self._document_of()
        for row in self._store.mention_rows(document_ids=self._documents):
            if row.entity_id in found and row.entity_id not in first and not row.is_reference:
                first[row.entity_id] = ExactRow(
                    label=found[row.entity_id].name,
                    document_id=documents.get(row.chunk_id, ""),
                    chunk_id=row.chunk_id,
                    span=Span(start=row.start, end=row.end),
                )
        rows = sorted(first.values(), key=lambda row: row.label)
        return self._answer_of(rows, [row.label for row in rows], " ".join(kind), "the graph")

    def _documents_that_mention(self, places: range, anchor: Entity) -> ExactAnswer:
        left = self._left({*self._asked.noun, *places}) - _SAYING
        if left:
            raise UnclearQuestionError(f"that a document mentions {anchor.name!r} is not all that it asks for")
        names = {info.document_id: info.name for info in self._store.documents()}
        documents = self._document_of()
        first: dict[str, ExactRow] = {}
        for row in self._store.mention_rows(document_ids=self._documents):
            document = documents.get(row.chunk_id, "")
            if row.entity_id == anchor.entity_id and not row.is_reference and document in names:
                first.setdefault(
                    document,
                    ExactRow(
                        label=names[document],
                        document_id=document,
                        chunk_id=row.chunk_id,
                        span=Span(start=row.start, end=row.end),
                    ),
                )
        rows = sorted(first.values(), key=lambda row: (row.label, row.document_id))
        return self._answer_of(rows, [row.label for row in rows], "documents", f"the graph, mentions of {anchor.name}")

    def _document_of(self) -> dict[str, str]:
        return {chunk.chunk_id: chunk.document_id for chunk in self._store.iter_chunks()}

    # ------------------------------------------------------------------ saying it

    def _said(self, links: Sequence[_Link], noun: str, source: str) -> ExactAnswer:
        rows = []
        for link in sorted(links, key=lambda one: (one.entity.name, one.entity.entity_id)):
            row = min(link.rows, key=lambda one: (-one.score, one.triple_id))
            (chunk,) = self._store.chunks([row.chunk_id])
            span = next(t.span for t in self._store.triples(row.chunk_id) if t.triple_id == row.triple_id)
            rows.append(
                ExactRow(
                    label=link.entity.name,
                    value=link.written,
                    document_id=chunk.document_id,
                    chunk_id=chunk.chunk_id,
                    span=span,
                )
            )
        return self._answer_of(rows, [row.label for row in rows], noun, source)

    def _answer_of(self, rows: Sequence[ExactRow], labels: Sequence[str], noun: str, source: str) -> ExactAnswer:
        kind, values = self._asked.kind, tuple(dict.fromkeys(row.value for row in rows if row.value))
        if kind in (ExactKind.MAX, ExactKind.MIN):
            text = f"{listed(labels)} ({', '.join(values)}) {'is' if len(labels) == 1 else 'are'} the "
            text += f"{self._asked.superlative} of those that the documents state."
        else:
            stated = "is" if len(labels) == 1 else "are"
            text = f"{len(labels)} {noun} {stated} stated: {listed(labels)}."
        notes = (f"{self._n_weak} relation(s) are stated too weakly and are left out.",) if self._n_weak else ()
        short = str(len(labels)) if kind is ExactKind.COUNT else listed(labels)
        return ExactAnswer(kind=kind, short=short, text=text, source=source, rows=tuple(rows), notes=notes)


def _agreed(said: Sequence[_Link]) -> _Link:
    """Return what several statements say of one thing: the most precise value that all of them hold."""
    values = [link for link in said if link.value is not None]
    for link in values:
        if all(other.value is not None and link.value and other.value.holds(link.value) for other in values):
            return link
    raise UnclearQuestionError(f"the documents state different values for {said[0].entity.name!r}")


def _best(links: Sequence[_Link], kind: ExactKind) -> list[_Link]:
    """Return the links with the greatest or least value, all that share it."""
    valued = [(link, link.value) for link in links if link.value is not None]
    if len(valued) < 2:
        raise UnclearQuestionError("the graph states fewer than two values to compare")
    if len({value.unit for _, value in valued}) > 1:
        raise UnclearQuestionError("the values that the graph states have different units")
    sign = 1 if kind is ExactKind.MAX else -1
    best = max((value for _, value in valued), key=lambda value: (sign * value.low, sign * value.high))
    for _, value in valued:
        low, high = (value, best) if kind is ExactKind.MAX else (best, value)
        if value != best and not low.is_less(high):
            what = "dates of different precision" if best.unit == DATE else "values"
            raise UnclearQuestionError(f"{what} decide, so their order is open")
    return [link for link, value in valued if value == best]
