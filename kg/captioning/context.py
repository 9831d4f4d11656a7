"""Gather what a document says of a picture: the request that a captioner gets.

Layer: ``kg``; the standard library only.

A request holds, up to a budget and in this order: the sentences that refer to the picture by its label
(:attr:`kg.types.Asset.mentioned_at`), then the sentences around its place, nearest first, never from another page of a
paged document than its own. They are given in the order in which the document has them.

Known names come from the title, the headings above the picture and the words that were gathered: runs of capitalised
words, the frequent ones first. Extraction runs after captioning, because it reads the captions too, so its names are
not known yet; a second pass would cost each document its extraction twice.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator

from kg.ports import CaptionRequest, Tokenizer
from kg.sentences import sentence_spans
from kg.types import Asset, Document, Span
from kg.wordlists import word_set

__all__ = ["CONTEXT_TOKENS", "MAX_NAMES", "caption_request"]

CONTEXT_TOKENS = 256
"""How much of the document a captioner sees by default: about as much as stands on half a page."""
MAX_NAMES = 24
_CHARACTERS_PER_TOKEN = 4
"""Used where no tokenizer counts: English has about four characters a token."""
_WORD = re.compile(r"[^\W\d_][\w'’-]*")
_JOINS = word_set("of de von van der la du del and & y et und")
"""Words that may stand inside a name."""
_NOT_A_NAME = word_set(
    "the a an this that these those it he she they we in on at by for from to with as and or but if when where while "
    "after before during since although because however moreover there here what which who how why each every some "
    "all many most its their our his her no not figure fig table chart section page chapter appendix"
)


def caption_request(
    asset: Asset, document: Document, *, tokenizer: Tokenizer | None = None, budget_tokens: int = CONTEXT_TOKENS
) -> CaptionRequest:
    """Make the request for one picture of a document.

    :param asset: The picture.
    :param document: The document that it belongs to.
    :param tokenizer: Counts tokens; ``None`` takes four characters for one.
    :param budget_tokens: The most tokens of context; 0 takes none.
    :returns: The request, without a draft.
    """
    context = _context(asset, document, tokenizer=tokenizer, budget_tokens=budget_tokens)
    headings = [heading.text for heading in document.headings if heading.span.start <= asset.anchor][-3:]
    sources = (document.title, *headings, asset.caption, asset.alt_text, context)
    return CaptionRequest(
        asset=asset, document_title=document.title, known_entities=_names(sources), context=context
    )  # fmt: skip


def _context(asset: Asset, document: Document, *, tokenizer: Tokenizer | None, budget_tokens: int) -> str:
    left = budget_tokens
    taken: list[Span] = []
    for span in (*asset.mentioned_at, *_nearest(asset, document, budget_tokens * _CHARACTERS_PER_TOKEN)):
        if any(span.start < other.end and other.start < span.end for other in taken):
            continue
        cost = _n_tokens(document.text[span.start : span.end], tokenizer)
        if cost > left:
            break
        taken.append(span)
        left -= cost
    if not taken:  # no sentence fits, or the text is not where the picture is: what the loader found beside it
        return _cut(asset.surrounding_text, budget_tokens, tokenizer)
    return "\n".join(" ".join(document.text[span.start : span.end].split()) for span in sorted(taken, key=_start))


def _start(span: Span) -> int:
    return span.start


def _n_tokens(text: str, tokenizer: Tokenizer | None) -> int:
    return -(-len(text) // _CHARACTERS_PER_TOKEN) if tokenizer is None else len(tokenizer.token_spans(text))


def _cut(text: str, budget_tokens: int, tokenizer: Tokenizer | None) -> str:
    flat = " ".join(text.split())
    if tokenizer is None:
        return flat[: budget_tokens * _CHARACTERS_PER_TOKEN].rstrip()
    spans = tokenizer.token_spans(flat)[:budget_tokens]
    return flat[: spans[-1].end] if spans else ""


def _nearest(asset: Asset, document: Document, reach: int) -> Iterable[Span]:
    """Return the sentences around the picture, the nearest first."""
    low, high = _page_bounds(asset, document)
    start, stop = max(low, asset.anchor - reach), min(high, asset.anchor + reach)
    spans = [Span(start=start + s.start, end=start + s.end) for s in sentence_spans(document.text[start:stop])]
    # The first and the last may be pieces of sentences, cut by the reach.
    whole = spans[1 if start > low else 0 : len(spans) - 1 if stop < high else len(spans)]
    return sorted(whole, key=lambda span: max(span.start - asset.anchor, asset.anchor - span.end, 0))


def _page_bounds(asset: Asset, document: Document) -> tuple[int, int]:
    if not document.is_paged:
        return 0, len(document.text)
    index = bisect_right([page.number for page in document.pages], asset.page) - 1
    span = document.pages[max(0, index)].span
    return span.start, span.end


def _names(texts: Iterable[str]) -> tuple[str, ...]:
    """Return runs of capitalised words, the most frequent first, then in the order of the texts."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(" ".join(run) for run in _capitalised_runs(text))
    return tuple(name for name, _ in counts.most_common(MAX_NAMES) if len(name) > 2)


def _capitalised_runs(text: str) -> Iterator[list[str]]:
    run: list[str] = []
    end = 0
    for found in _WORD.finditer(text):
        word = found[0]
        opens = word[0].isupper() and (bool(run) or word.casefold() not in _NOT_A_NAME)
        if run and text[end : found.start()] == " " and (opens or word in _JOINS):
            run.append(word)
        else:
            yield from _closed(run)
            run = [word] if word[0].isupper() and word.casefold() not in _NOT_A_NAME else []
        end = found.end()
    yield from _closed(run)


def _closed(run: list[str]) -> Iterator[list[str]]:
    while run and not run[-1][0].isupper():
        run.pop()
    if run:
        yield run
