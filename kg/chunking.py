"""Cut a document and its captions into chunks: the units of retrieval and citation.

Layer: ``kg``; the standard library only. The encoder's tokens are counted through the ``kg.ports.Tokenizer`` port.

How. A document is cut into *segments* at page starts and headings, a caption at its lines; a segment into sentences
(``kg.sentences``); a sentence longer than a whole chunk into pieces, at white space where there is some. Chunks are
then packed greedily from these units:

- a chunk never crosses a page of a paged document, unless ``cross_pages`` is set; then ``page_first`` and ``page_last``
  say so;
- a heading opens a new chunk once the current one holds ``min_tokens``, so tiny sections share a chunk;
- the next chunk repeats up to ``overlap_tokens`` of whole sentences, but not across a page or section break;
- a last chunk shorter than ``min_tokens`` reaches back for more sentences instead of standing alone.

Every character that is not white space is in some chunk, and ``chunk.text`` is exactly the characters at
``chunk.span``.
Time is linear in the text: each unit is measured a bounded number of times.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from kg.errors import InputError
from kg.ids import chunk_id
from kg.ports import Tokenizer
from kg.sentences import sentence_spans
from kg.types import Asset, Caption, Chunk, Document, Heading, Modality, Span

__all__ = ["ChunkingConfig", "chunk_document"]


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
class _Unit:
    """A sentence, or a piece of one that is too long. ``barrier`` units open a page: no chunk runs into them."""

    start: int
    end: int
    n_tokens: int
    barrier: bool
    section: bool
    heading: bool


@dataclass(frozen=True, slots=True)
class _Cut:
    """A half-open range of units that make one chunk, and its measured tokens."""

    first: int
    stop: int
    n_tokens: int


def chunk_document(
    document: Document,
    captions: Sequence[Caption],
    tokenizer: Tokenizer,
    config: ChunkingConfig | None = None,
) -> tuple[Chunk, ...]:
    """Cut a document's text and its pictures' captions into chunks, in reading order.

    A caption's chunks stand behind the text chunk in which the picture's anchor lies.

    :param document: What a loader returned.
    :param captions: Captions of some of the document's assets.
    :param tokenizer: Counts tokens as the encoder will.
    :param config: Sizes; ``None`` takes the defaults.
    :returns: Chunks with ordinals 0, 1, …; empty where there is nothing but white space.
    :raises InputError: If a caption describes an asset that the document does not have.
    """
    config = config or ChunkingConfig()
    placed = [((chunk.span.start, 0, 0, 0), chunk) for chunk in _text_chunks(document, tokenizer, config)]
    assets = {asset.asset_id: asset for asset in document.assets}
    page_starts = {page.number: page.span.start for page in reversed(document.pages)}
    for caption in captions:
        asset = assets.get(caption.asset_id)
        if asset is None:
            raise InputError(f"chunk_document({document.name}): caption of unknown asset {caption.asset_id!r}.")
        anchor = max(asset.anchor, page_starts.get(asset.page, 0))
        for chunk in _caption_chunks(document, asset, caption, tokenizer, config):
            placed.append(((anchor, 1, asset.ordinal, chunk.span.start), chunk))
    placed.sort(key=lambda item: item[0])
    return tuple(_with_ordinal(chunk, ordinal) for ordinal, (_, chunk) in enumerate(placed))


def _with_ordinal(chunk: Chunk, ordinal: int) -> Chunk:
    return Chunk(
        chunk_id=chunk.chunk_id,
        document_id=chunk.document_id,
        ordinal=ordinal,
        text=chunk.text,
        span=chunk.span,
        page_first=chunk.page_first,
        page_last=chunk.page_last,
        modality=chunk.modality,
        n_tokens=chunk.n_tokens,
        heading=chunk.heading,
        asset_id=chunk.asset_id,
        box=chunk.box,
    )


def _text_chunks(document: Document, tokenizer: Tokenizer, config: ChunkingConfig) -> Iterator[Chunk]:
    barriers = {page.span.start for page in document.pages} if document.is_paged and not config.cross_pages else set()
    headings = {heading.span.start: heading.span.end for heading in document.headings if len(heading.span)}
    bounds = {0, len(document.text), *barriers, *headings, *headings.values()}
    units = _units(document.text, sorted(bounds), barriers, headings, tokenizer, config)
    paths = _HeadingPaths(document.headings)
    for cut in _pack(document.text, units, tokenizer, config):
        start, end = units[cut.first].start, units[cut.stop - 1].end
        yield Chunk(
            chunk_id=chunk_id(document.document_id, None, start, end),
            document_id=document.document_id,
            ordinal=0,
            text=document.text[start:end],
            span=Span(start=start, end=end),
            page_first=document.page_at(start),
            page_last=document.page_at(end - 1),
            modality=Modality.TEXT,
            n_tokens=cut.n_tokens,
            heading=paths.of_units(units[cut.first : cut.stop]),
        )


def _caption_chunks(
    document: Document, asset: Asset, caption: Caption, tokenizer: Tokenizer, config: ChunkingConfig
) -> Iterator[Chunk]:
    bounds = {0, len(caption.text)}
    for line in caption.lines:
        bounds.update((line.span.start, line.span.end))
    units = _units(caption.text, sorted(bounds), set(), {}, tokenizer, config)
    heading = _HeadingPaths(document.headings).at(asset.anchor)
    for cut in _pack(caption.text, units, tokenizer, config):
        start, end = units[cut.first].start, units[cut.stop - 1].end
        yield Chunk(
            chunk_id=chunk_id(document.document_id, asset.asset_id, start, end),
            document_id=document.document_id,
            ordinal=0,
            text=caption.text[start:end],
            span=Span(start=start, end=end),
            page_first=asset.page,
            page_last=asset.page,
            modality=asset.kind,
            n_tokens=cut.n_tokens,
            heading=heading,
            asset_id=asset.asset_id,
            box=asset.box,
        )


def _units(
    text: str,
    bounds: Sequence[int],
    barriers: set[int],
    headings: dict[int, int],
    tokenizer: Tokenizer,
    config: ChunkingConfig,
) -> list[_Unit]:
    """Cut ``text`` at ``bounds`` (sorted, from 0 to its length), then into sentences, then into pieces that fit."""
    tokens = tokenizer.token_spans(text)
    starts = [token.start for token in tokens]
    units: list[_Unit] = []
    pending_barrier = pending_section = False
    for low, high in zip(bounds, bounds[1:], strict=False):
        pending_barrier |= low in barriers
        pending_section |= low in headings
        is_heading = low in headings
        for sentence in sentence_spans(text[low:high]):
            for start, end, n_tokens in _pieces(
                text, low + sentence.start, low + sentence.end, starts, tokenizer, config
            ):
                units.append(_Unit(start, end, n_tokens, pending_barrier, pending_section, is_heading))
                pending_barrier = pending_section = False
    return units


def _pieces(
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


def _pack(text: str, units: Sequence[_Unit], tokenizer: Tokenizer, config: ChunkingConfig) -> Iterator[_Cut]:
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
        yield _Cut(first, stop, n_tokens)
        previous_stop_is_break = ends_run
        fresh = stop
        first = stop if ends_run else _overlap_start(units, first, stop, config)


def _grow(units: Sequence[_Unit], first: int, fresh: int, config: ChunkingConfig) -> int:
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
    units: Sequence[_Unit],
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


def _overlap_start(units: Sequence[_Unit], first: int, stop: int, config: ChunkingConfig) -> int:
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


class _HeadingPaths:
    """The path of headings in force at each character: ``"Manual > Safety"``."""

    def __init__(self, headings: Sequence[Heading]) -> None:
        self._starts: list[int] = []
        self._paths: list[tuple[str, ...]] = []
        stack: list[tuple[int, str]] = []
        for heading in sorted(headings, key=lambda h: h.span.start):
            while stack and stack[-1][0] >= heading.level:
                stack.pop()
            stack.append((heading.level, " ".join(heading.text.split())))
            self._starts.append(heading.span.start)
            self._paths.append(tuple(text for _, text in stack))

    def _path(self, offset: int) -> tuple[str, ...]:
        index = bisect_right(self._starts, offset) - 1
        return self._paths[index] if index >= 0 else ()

    def at(self, offset: int) -> str:
        return " > ".join(self._path(offset))

    def of_units(self, units: Sequence[_Unit]) -> str:
        """Return the longest path that all units share; headings count only where a chunk is headings alone."""
        body = [unit for unit in units if not unit.heading] or units[-1:]
        common = self._path(body[0].start)
        for unit in body[1:]:
            path = self._path(unit.start)
            n_shared = 0
            while n_shared < min(len(common), len(path)) and common[n_shared] == path[n_shared]:
                n_shared += 1
            common = common[:n_shared]
        return " > ".join(common)
