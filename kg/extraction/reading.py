"""Read one document: what its chunks name, what refers to what, what they state, and what each value is.

Layer: ``kg``; the standard library only. The parse comes from ``kg.extraction.spacy_rules``.

The steps: candidates of every chunk; their labels, corrected by the whole document; references, in reading order;
statements; rows of tables. A pronoun or a bare number is a mention only where a statement needs it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from kg.extraction.chat import FIRST_PERSON, Turn, find_turns, find_writer
from kg.extraction.clauses import Statement, relative_of
from kg.extraction.coreference import Coreference, Links
from kg.extraction.dates import Tense, parse_day
from kg.extraction.mentions import Candidate, find_candidates, is_relative
from kg.extraction.nominals import NAME_LABELS
from kg.extraction.parentheses import alias_gaps, is_acronym, life_dates
from kg.extraction.relations import statements
from kg.extraction.tables import Cell, is_row, read_rows
from kg.extraction.typing_rules import corrected, labels_by_name
from kg.extraction.values import VALUE_LABELS, value_of
from kg.extraction.words import Parsed, Word
from kg.ids import mention_id, triple_id
from kg.types import Chunk, Document, Extraction, Mention, Modality, Span, Triple

__all__ = ["DocumentReader", "is_table_chunk"]

_REFERENCE_FACTORS = {"pronoun": 0.95, "description": 0.9}
"""How far a statement is doubted because one of its sides was resolved: the error of coreference, a convention."""
_NAME_SCORE, _PLACE_SCORE, _CELL_SCORE = 0.95, 0.9, 0.95
_DATE_KEYS = ("date", "published", "created", "sent")
_FULL_DAY = re.compile(r"\d{1,2}\D")
_MAX_TITLE_WORDS = 8


def is_table_chunk(chunk: Chunk) -> bool:
    """Tell whether a chunk is read as rows of cells, for which no parse is needed."""
    return chunk.modality is Modality.TABLE and any(is_row(line) for line in chunk.text.split("\n"))


@dataclass(slots=True, eq=False)
class _Part:
    """One parsed chunk on its way: ``first`` is the number of its first candidate in the document."""

    chunk: Chunk
    parsed: Parsed
    first: int
    is_picture: bool
    turns: list[Turn]
    candidates: list[Candidate]
    owner: dict[int, int]
    speaker_at: list[int | None]
    links: Links = field(default_factory=lambda: Links({}, {}))


class DocumentReader:
    """Turns the parsed chunks of one document into its extraction.

    :param document: Gives the title and the date; its text is not read again.
    :param extractor: The name that statements carry.
    :param max_table_rows: The most rows of tables whose cells become mentions, >= 0; the rest is left to search.
    """

    def __init__(self, document: Document, *, extractor: str, max_table_rows: int) -> None:
        self._titles = _title_names(document.title)
        self._extractor = extractor
        self._rows_left = max_table_rows
        self._day = next((d for key in _DATE_KEYS if (d := parse_day(document.metadata.get(key, "")))), None)
        self._mentions: dict[object, Mention] = {}
        self._parts: list[_Part] = []
        self._numbers: list[tuple[_Part, int]] = []

    def read(self, chunks: Sequence[Chunk], parsed: Sequence[Parsed | None]) -> Extraction:
        """Read the chunks in their order.

        :param chunks: The chunks.
        :param parsed: The parse of each; ``None`` for those that :func:`is_table_chunk` tells.
        :returns: Mentions by chunk and place, statements by chunk and sentence.
        """
        parts = {
            chunk.chunk_id: self._part(chunk, text)
            for chunk, text in zip(chunks, parsed, strict=True)
            if text is not None
        }
        self._parts = list(parts.values())
        self._correct_labels()
        coreference = Coreference()
        for part in self._parts:
            for name, other in _defined_terms(part):
                coreference.define(part.first + name, part.parsed.text_of(other.start, other.end))
            part.links = coreference.read(part.parsed, part.candidates, first=part.first, speaker_at=part.speaker_at)
        mentions: list[Mention] = []
        triples: list[Triple] = []
        labels = labels_by_name((p.parsed, p.candidates) for p in self._parts)
        for chunk in chunks:
            if chunk.chunk_id in parts:
                found, stated = self._read_part(parts[chunk.chunk_id])
            else:
                found, stated = self._read_table(chunk, labels)
            mentions.extend(sorted(found, key=lambda mention: mention.span.start))
            triples.extend(stated)
        return Extraction(mentions=tuple(mentions), triples=tuple(triples))

    def _part(self, chunk: Chunk, parsed: Parsed) -> _Part:
        is_picture = chunk.modality not in (Modality.TEXT, Modality.PAGE)
        turns = [] if is_picture else find_turns(parsed)
        writer = None if turns or is_picture else find_writer(parsed)
        speakers = [turn.speaker for turn in turns] + ([writer] if writer is not None else [])
        candidates = find_candidates(parsed, speakers=speakers, titles=self._titles, is_picture=is_picture)
        candidates = [c for c in candidates if not self._is_lost(parsed, turns, c)]
        for candidate in candidates:
            if candidate.label in VALUE_LABELS or candidate.label in NAME_LABELS:
                for word in parsed.words[candidate.start : candidate.end]:
                    word.ent = candidate.label
        owner = {i: n for n, candidate in enumerate(candidates) for i in range(candidate.start, candidate.end)}
        speaker_at: list[int | None] = [None] * len(parsed.words)
        for turn in turns:
            speaker_at[turn.start : turn.end] = [owner.get(turn.speaker[0])] * (turn.end - turn.start)
        if writer is not None:
            speaker_at = [owner.get(writer[0])] * len(parsed.words)
        part = _Part(chunk, parsed, len(self._numbers), is_picture, turns, candidates, owner, speaker_at)
        self._numbers += [(part, number) for number in range(len(candidates))]
        return part

    def _correct_labels(self) -> None:
        texts = [(part.parsed, part.candidates) for part in self._parts]
        for part, candidates in zip(self._parts, corrected(texts), strict=True):
            part.candidates = candidates
            for number, term in _defined_terms(part):
                place = part.candidates.index(term)
                part.candidates[place] = replace(term, label=part.candidates[number].label)

    def _read_part(self, part: _Part) -> tuple[list[Mention], list[Triple]]:
        found: dict[object, Mention] = {}
        triples = list(self._triples(part, found))
        for number, candidate in enumerate(part.candidates):
            if not candidate.is_weak:
                mention = self._mention(part, number)
                found[mention.mention_id] = mention
        return list(found.values()), triples

    def _mention(self, part: _Part, number: int) -> Mention:
        known = self._mentions.get((part.first, number))
        if known is not None:
            return known
        candidate = part.candidates[number]
        antecedent = part.links.descriptions.get(number)
        mention = self._make(
            part, candidate.start, candidate.end, candidate.label, candidate.source, antecedent,
            value=self._value(part.parsed, part.turns, candidate),
        )  # fmt: skip
        self._mentions[part.first, number] = mention
        return mention

    def _make(
        self, part: _Part, start: int, end: int, label: str, source: str, antecedent: int | None, *, value: str = ""
    ) -> Mention:
        words = part.parsed.words
        first = part.chunk.span.start + words[start].start
        last = part.chunk.span.start + words[end - 1].end
        refers_to = ""
        if antecedent is not None:
            target = self._mention(*self._numbers[antecedent])
            label, refers_to = target.label, target.mention_id
            source = source if source == "pronoun" else "description"
        return Mention(
            mention_id=mention_id(part.chunk.chunk_id, first, last, label),
            chunk_id=part.chunk.chunk_id,
            text=part.chunk.text[words[start].start : words[end - 1].end],
            span=Span(start=first, end=last),
            label=label,
            source=source,
            value=value,
            refers_to=refers_to,
        )

    def _is_lost(self, parsed: Parsed, turns: Sequence[Turn], candidate: Candidate) -> bool:
        """Tell whether a date is "yesterday" in a text of no known day: every such text has one, and no two agree."""
        if candidate.label not in ("DATE", "TIME"):
            return False
        text = parsed.text_of(candidate.start, candidate.end)
        return is_relative(text) and not self._value(parsed, turns, candidate)

    def _value(self, parsed: Parsed, turns: Sequence[Turn], candidate: Candidate) -> str:
        if candidate.label not in VALUE_LABELS:
            return ""
        day = self._day
        for turn in turns:
            if turn.start > candidate.start:
                break
            day = parse_day(turn.stamp) or day
        text = parsed.text_of(candidate.start, candidate.end)
        return value_of(text, candidate.label, reference=day, tense=_tense(parsed.words[candidate.end - 1]))

    def _mention_of(self, part: _Part, word: Word) -> Mention | None:
        word = relative_of(word) or word
        number = part.owner.get(word.i)
        if number is None and word.lower in FIRST_PERSON:
            number = part.speaker_at[word.i]
        if number is not None:
            return self._mention(part, number)
        antecedent = part.links.pronouns.get(word.i)
        if antecedent is None:
            return None
        known = self._mentions.get((part.first, "pronoun", word.i))
        if known is None:
            known = self._make(part, word.i, word.i + 1, "", "pronoun", antecedent)
            self._mentions[part.first, "pronoun", word.i] = known
        return known

    def _triples(self, part: _Part, used: dict[object, Mention]) -> Iterator[Triple]:
        """Yield the statements of each sentence whose two sides are mentions, each once."""
        seen: set[str] = set()
        extra = _around_names(part)
        for sentence in part.parsed.sentences:
            readable = sentence.is_prose or (sentence.has_verb and not part.is_picture)
            stated = list(statements(part.parsed.words[sentence.start : sentence.end])) if readable else []
            stated += [s for s in extra if sentence.start <= s.head.i < sentence.end]
            if not stated:
                continue
            span = _span(part, sentence.start, sentence.end)
            for statement in stated:
                head, tail = self._mention_of(part, statement.head), self._mention_of(part, statement.tail)
                if head is None or tail is None or _same(head, tail):
                    continue
                triple = self._triple(part.chunk, head, statement.name, tail, span=span, score=statement.score)
                if triple.triple_id not in seen:
                    seen.add(triple.triple_id)
                    used[head.mention_id], used[tail.mention_id] = head, tail
                    yield triple

    def _triple(self, chunk: Chunk, head: Mention, name: str, tail: Mention, *, span: Span, score: float) -> Triple:
        factor = min(_REFERENCE_FACTORS.get(mention.source, 1.0) for mention in (head, tail))
        return Triple(
            triple_id=triple_id(chunk.chunk_id, head.mention_id, name, tail.mention_id, span.start, span.end),
            chunk_id=chunk.chunk_id,
            head_mention_id=head.mention_id,
            name=name,
            tail_mention_id=tail.mention_id,
            span=span,
            extractor=self._extractor,
            score=round(score * factor, 4),
        )

    def _read_table(self, chunk: Chunk, labels: dict[str, str]) -> tuple[list[Mention], list[Triple]]:
        mentions: dict[str, Mention] = {}
        triples: list[Triple] = []
        offset = chunk.span.start
        for line in chunk.text.split("\n"):
            row = read_rows(line, labels) if self._rows_left > 0 and is_row(line) else None
            if row is not None:
                self._rows_left -= 1
                subject = _cell_mention(chunk, row[0], offset)
                mentions[subject.mention_id] = subject
                start = offset + len(line) - len(line.lstrip())
                span = Span(start=start, end=start + len(line.strip()))
                for cell in row[1]:
                    mention = _cell_mention(chunk, cell, offset)
                    if _same(subject, mention):
                        continue
                    mentions[mention.mention_id] = mention
                    triples.append(self._triple(chunk, subject, cell.column, mention, span=span, score=_CELL_SCORE))
            offset += len(line) + 1
        return list(mentions.values()), triples


def _cell_mention(chunk: Chunk, cell: Cell, offset: int) -> Mention:
    start, end = offset + cell.start, offset + cell.end
    return Mention(
        mention_id=mention_id(chunk.chunk_id, start, end, cell.label),
        chunk_id=chunk.chunk_id,
        text=cell.text,
        span=Span(start=start, end=end),
        label=cell.label,
        source="cell",
        value=cell.value,
    )


def _title_names(title: str) -> list[str]:
    """Return the names a title may be mentioned by: itself, and without ``(film)`` behind it."""
    names = [title.strip(), re.sub(r"\s*\([^)]*\)\s*\Z", "", title).strip()]
    return [
        name
        for name in dict.fromkeys(names)
        if len(name) >= 3 and name[0].isupper() and sum(c.isalpha() for c in name) >= 3
        if len(name.split()) <= _MAX_TITLE_WORDS
    ]


def _same(head: Mention, tail: Mention) -> bool:
    if head.text.casefold() == tail.text.casefold():
        return True
    return (head.refers_to or head.mention_id) == (tail.refers_to or tail.mention_id)


def _span(part: _Part, start: int, end: int) -> Span:
    words = part.parsed.words
    while end - 1 > start and words[end - 1].is_space:
        end -= 1
    while start < end - 1 and words[start].is_space:
        start += 1
    return Span(start=part.chunk.span.start + words[start].start, end=part.chunk.span.start + words[end - 1].end)


def _tense(word: Word) -> Tense:
    for _ in range(8):
        if word.is_verbal or word.head is word:
            break
        word = word.head
    helpers = {child.lower for child in word.children if child.dep in ("aux", "auxpass")}
    if helpers & {"will", "'ll", "shall"}:
        return Tense.FUTURE
    if word.tag == "VBD" or helpers & {"was", "were", "had", "did", "has", "have"}:
        return Tense.PAST
    return Tense.UNKNOWN


def _defined_terms(part: _Part) -> Iterator[tuple[int, Candidate]]:
    """Yield the candidate that ``("the Tenant")`` stands behind, and the one it defines."""
    for number, (name, other) in enumerate(zip(part.candidates, part.candidates[1:], strict=False)):
        gap = _gap(part, name, other)
        if alias_gaps(gap) and "(" in gap and re.search(r"[\"“'‘]", gap):
            yield number, other


def _gap(part: _Part, name: Candidate, other: Candidate) -> str:
    words = part.parsed.words
    return part.parsed.text[words[name.end - 1].end : words[other.start].start]


def _around_names(part: _Part) -> list[Statement]:
    """Read what stands in parentheses or between commas behind a name."""
    parsed, words = part.parsed, part.parsed.words
    found: list[Statement] = []
    for name, other in zip(part.candidates, part.candidates[1:], strict=False):
        head, tail = words[name.end - 1], words[other.end - 1]
        gap = _gap(part, name, other)
        behind = parsed.text[tail.end : tail.end + 2].lstrip("\"”'’")
        if alias_gaps(gap) and behind.startswith(")") and name.label not in VALUE_LABELS:
            short, long = parsed.text_of(other.start, other.end), parsed.text_of(name.start, name.end)
            if is_acronym(short, long) or re.search(r"[a-z\"“'‘]", gap) or short.isupper():
                found.append(Statement(head, "alias", tail, _NAME_SCORE))
        is_place = gap == ", " and name.label in ("GPE", "LOC", "FAC") and other.label == "GPE"
        if is_place and "conj" not in (head.dep, tail.dep):
            found.append(Statement(head, "located in", tail, _PLACE_SCORE))
    return found + _lives(part)


def _lives(part: _Part) -> list[Statement]:
    """Read the years behind a name, "(1815–1852)"."""
    parsed, words = part.parsed, part.parsed.words
    found: list[Statement] = []
    ends = {words[c.end - 1].end: words[c.end - 1] for c in part.candidates if c.label not in VALUE_LABELS}
    for end, born, died in life_dates(parsed.text):
        name_word = ends.get(end)
        for place, verb in ((born, "born"), (died, "die")):
            at = parsed.words_at(*place) if place is not None and name_word is not None else None
            if at is not None and name_word is not None:
                day = _FULL_DAY.match(parsed.text_of(*at)) or "," in parsed.text_of(*at)
                found.append(Statement(name_word, f"{verb} {'on' if day else 'in'}", words[at[1] - 1], _NAME_SCORE))
    return found
