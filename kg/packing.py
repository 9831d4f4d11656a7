"""Pack sentences, or the rows of a table, into chunks within the limits of tokens and characters.

Layer: ``kg``; the standard library only. :mod:`kg.chunking` says what is cut; this module says where.
Time is linear in the text: each unit is measured a bounded number of times.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kg.errors import InputError
from kg.ports import Tokenizer
from kg.sentences import sentence_spans
from kg.types import Span

__all__ = ["ChunkingConfig", "Cut", "Unit", "pack_units", "pieces_of", "row_units", "units_of"]

_CELL_END = "; "


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkingConfig:
    """How large chunks are.

    :param max_tokens: The most tokens of one chunk, without special tokens, >= 8. 200 leaves room below the 256
        at which all-MiniLM-L6-v2 truncates, so that a heading can be put before the text when it is encoded.
    :param overlap_tokens: The most tokens of whole sentences repeated at the start of the next chunk.
    :param min_tokens: A chunk this long may be closed by a heading; a shorter last chunk reaches back.
    :param max_characters: The most characters of one chunk. Word-piece tokenizers count a very long "word" as one
        unknown token, so tokens alone do not bound a chunk's size.
    :param cross_pages: Whether a chunk of a paged document may run over a page break.
    :raises InputError: If the numbers contradict each other.
    """

    max_tokens: int = 200
    overlap_tokens: int = 32
    min_tokens: int = 24
    max_characters: int = 2000
    cross_pages: bool = False

    def __post_init__(self) -> None:
        if self.max_tokens < 8 or self.max_characters < 64:
            raise InputError(
                f"ChunkingConfig: need max_tokens >= 8 and max_characters >= 64, got {self.max_tokens} and "
                f"{self.max_characters}."
            )
        for name, value in (("overlap_tokens", self.overlap_tokens), ("min_tokens", self.min_tokens)):
            if not 0 <= value <= self.max_tokens // 2:
                raise InputError(f"ChunkingConfig: {name} must lie in 0..max_tokens // 2, got {value}.")


@dataclass(frozen=True, slots=True)
class Unit:
    """A sentence, a row, or a piece of one that is too long.

    No chunk runs into a ``barrier`` unit: one that opens a page or follows a table.
    """

    start: int
    end: int
    n_tokens: int
    barrier: bool
    section: bool
    heading: bool


@dataclass(frozen=True, slots=True)
class Cut:
    """A half-open range of units that make one chunk, and its measured tokens."""

    first: int
    stop: int
    n_tokens: int


def units_of(
    text: str,
    bounds: Sequence[int],
    barriers: set[int],
    headings: dict[int, int],
    tokenizer: Tokenizer,
    config: ChunkingConfig,
    *,
    skipped: Sequence[Span] = (),
) -> list[Unit]:
    """Cut ``text`` at ``bounds`` (sorted, from 0 to its length), then into sentences, then into pieces that fit.

    Nothing is taken from the spans ``skipped`` (in order, their ends among the bounds), and no chunk runs over one.
    """
    starts = _token_starts(text, tokenizer, skipped)
    ends = {span.start: span.end for span in skipped}
    skipped_to = 0
    units: list[Unit] = []
    pending_barrier = pending_section = False
    for low, high in zip(bounds, bounds[1:], strict=False):
        skipped_to = max(skipped_to, ends.get(low, 0))
        if low < skipped_to:
            pending_barrier = True
            continue
        pending_barrier |= low in barriers
        pending_section |= low in headings
        is_heading = low in headings
        for sentence in sentence_spans(text[low:high]):
            for start, end, n_tokens in pieces_of(
                text, low + sentence.start, low + sentence.end, starts, tokenizer, config
            ):
                units.append(Unit(start, end, n_tokens, pending_barrier, pending_section, is_heading))
                pending_barrier = pending_section = False
    return units


def _token_starts(text: str, tokenizer: Tokenizer, skipped: Sequence[Span]) -> list[int]:
    """Return where the tokens of ``text`` begin, without looking at what is skipped."""
    starts: list[int] = []
    position = 0
    for span in (*skipped, Span(start=len(text), end=len(text))):
        if position < span.start:
            starts += [position + token.start for token in tokenizer.token_spans(text[position : span.start])]
        position = max(position, span.end)
    return starts


def row_units(text: str, rows: Sequence[Span], tokenizer: Tokenizer, config: ChunkingConfig) -> list[Unit]:
    """Make one unit of each row of a table's words, and of what stands above them; a row too long is cut at its cells.

    :param text: The table's words.
    :param rows: The place of each row, in order.
    :param tokenizer: Counts tokens as the encoder will.
    :param config: The limits.
    :returns: Units in order, none longer than the limits.
    """
    above = rows[0].start if rows else len(text)
    units: list[Unit] = []
    for row in ([Span(start=0, end=above)] if text[:above].strip() else []) + list(rows):
        words = text[row.start : row.end]
        n_tokens = len(tokenizer.token_spans(words))
        if n_tokens <= config.max_tokens and len(words) <= config.max_characters:
            trimmed = len(words.rstrip())
            if trimmed:
                units.append(Unit(row.start, row.start + trimmed, n_tokens, False, False, False))
            continue
        is_first = True
        for start, end in _cells(words):
            cell = words[start:end]
            token_starts = [token.start for token in tokenizer.token_spans(cell)]
            for a, b, n_piece in pieces_of(cell, 0, len(cell), token_starts, tokenizer, config):
                units.append(Unit(row.start + start + a, row.start + start + b, n_piece, False, is_first, False))
                is_first = False
    return units


def _cells(words: str) -> Iterator[tuple[int, int]]:
    """Yield the stretches of a row between ``; ``, each with the mark behind it."""
    start = 0
    while start < len(words):
        stop = words.find(_CELL_END, start)
        stop = len(words) if stop < 0 else stop + 1
        if words[start:stop].strip():
            yield start + (len(words[start:stop]) - len(words[start:stop].lstrip())), stop
        start = stop


def pieces_of(
    text: str, start: int, end: int, token_starts: Sequence[int], tokenizer: Tokenizer, config: ChunkingConfig
) -> Iterator[tuple[int, int, int]]:
    """Yield ``(start, end, n_tokens)`` of pieces within the limits; one piece for an ordinary sentence."""
    while start < end:
        first = bisect_left(token_starts, start)
        limit = first + config.max_tokens
        stop = end if limit >= len(token_starts) else min(end, token_starts[limit])
        stop = min(stop, start + config.max_characters)
        if stop < end:
            stop = _before_space(text, start, stop)
        n_tokens = len(tokenizer.token_spans(text[start:stop]))
        while n_tokens > config.max_tokens and stop - start > 1:
            # A piece of a word can cost more tokens than it did inside the word.
            stop = _before_space(text, start, start + (stop - start) // 2)
            n_tokens = len(tokenizer.token_spans(text[start:stop]))
        piece_end = stop
        while text[piece_end - 1].isspace():
            piece_end -= 1
        yield start, piece_end, n_tokens
        start = stop
        while start < end and text[start].isspace():
            start += 1


def _before_space(text: str, start: int, stop: int) -> int:
    """Return the last place in the second half of ``text[start:stop]`` where a word ends, or ``stop``."""
    stop = max(stop, start + 1)
    if text[stop : stop + 1].isspace():
        return stop
    for position in range(stop - 1, start + (stop - start) // 2, -1):
        if text[position].isspace():
            return position
    return stop


def pack_units(text: str, units: Sequence[Unit], tokenizer: Tokenizer, config: ChunkingConfig) -> Iterator[Cut]:
    """Yield the chunks that hold ``units`` in order, each within the limits."""

    def measure(first: int, stop: int) -> int:
        return len(tokenizer.token_spans(text[units[first].start : units[stop - 1].end]))

    first = fresh = 0  # ``fresh`` is the first unit that no earlier chunk holds.
    previous_stop_is_break = True
    while fresh < len(units):
        stop = _grow(units, first, fresh, config)
        n_tokens = measure(first, stop)
        while n_tokens > config.max_tokens:
            # Tokens of a whole can exceed the sum of its sentences' tokens: give up overlap first, then sentences.
            if first < fresh:
                first += 1
            else:
                stop -= 1
            n_tokens = measure(first, stop)
        ends_run = stop == len(units) or units[stop].barrier or units[stop].section
        if ends_run and n_tokens < config.min_tokens and not previous_stop_is_break:
            first, n_tokens = _reach_back(units, first, stop, n_tokens, measure, config)
        yield Cut(first, stop, n_tokens)
        previous_stop_is_break = ends_run
        fresh = stop
        first = stop if ends_run else _overlap_start(units, first, stop, config)


def _grow(units: Sequence[Unit], first: int, fresh: int, config: ChunkingConfig) -> int:
    """Return where a chunk that begins at unit ``first`` stops: at least one unit behind ``fresh``."""
    stop = fresh + 1
    n_tokens = sum(unit.n_tokens for unit in units[first:stop])
    while stop < len(units):
        unit = units[stop]
        too_long = n_tokens + unit.n_tokens > config.max_tokens or unit.end - units[first].start > config.max_characters
        if too_long or unit.barrier or (unit.section and n_tokens >= config.min_tokens):
            break
        n_tokens += unit.n_tokens
        stop += 1
    while stop - 1 > fresh and units[stop - 1].heading and stop < len(units) and not units[stop].barrier:
        stop -= 1  # A heading goes with what it stands over.
    return stop


def _reach_back(
    units: Sequence[Unit],
    first: int,
    stop: int,
    n_tokens: int,
    measure: Callable[[int, int], int],
    config: ChunkingConfig,
) -> tuple[int, int]:
    while n_tokens < config.min_tokens and first > 0 and not (units[first].barrier or units[first].section):
        longer = measure(first - 1, stop)
        if longer > config.max_tokens or units[stop - 1].end - units[first - 1].start > config.max_characters:
            break
        first, n_tokens = first - 1, longer
    return first, n_tokens


def _overlap_start(units: Sequence[Unit], first: int, stop: int, config: ChunkingConfig) -> int:
    """Return the first of the last units of ``units[first:stop]`` that fit into the overlap."""
    budget, start = config.overlap_tokens, stop
    room = config.max_tokens - units[stop].n_tokens
    room_characters = units[stop].end - config.max_characters
    while start - 1 > first:
        unit = units[start - 1]
        if unit.n_tokens > min(budget, room) or unit.start < room_characters or units[start].section:
            break
        budget -= unit.n_tokens
        room -= unit.n_tokens
        start -= 1
    return start
