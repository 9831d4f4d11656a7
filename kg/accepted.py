"""The note that asserts an accepted prediction: one sentence with one statement, as a document of its own.

Layer: ``kg``; the standard library only. A person who accepts a prediction is a source like any other: what they assert
is searched, cited, merged and deleted with the means that documents have, and its source says what it came from.
"""

from __future__ import annotations

from kg import ids
from kg.errors import InputError
from kg.ports import RecordStore, StoredPrediction
from kg.types import Chunk, Document, Extraction, GraphDelta, Mention, Modality, Origin, Page, Span, Triple

__all__ = ["MEDIA_TYPE", "SOURCE_PREFIX", "accepted_delta", "link_sentence"]

SOURCE_PREFIX = "prediction:"
"""Before the prediction's id in the source of such a note."""
MEDIA_TYPE = "text/x-mmkg-accepted-prediction"
_EXTRACTOR = "accepted prediction"


def link_sentence(head: str, relation: str, tail: str) -> str:
    """Say a link as a sentence: its words in order, white space collapsed, underscores read as spaces."""
    return f"{' '.join(head.split())} {' '.join(relation.replace('_', ' ').split())} {' '.join(tail.split())}."


def accepted_delta(store: RecordStore, prediction: StoredPrediction, *, by: str, at: str) -> GraphDelta:
    """Make the document that asserts a prediction.

    :param store: The record, which knows the names of its ends.
    :param prediction: The prediction.
    :param by: Who accepts it.
    :param at: When, ISO 8601.
    :returns: The document's change; its mentions bear the ends' names.
    :raises InputError: If an end or the relation is gone.
    """
    one = prediction
    if not (one.head_id and one.tail_id and one.relation):
        raise InputError(f"{one.prediction_id} cannot be accepted: {one.stale}.")
    head, tail = store.entities([one.head_id, one.tail_id]) if one.head_id != one.tail_id else (None, None)
    if head is None or tail is None:
        raise InputError(f"{one.prediction_id} cannot be accepted: a merge has made both its ends one thing.")
    names = " ".join(head.name.split()), " ".join(tail.name.split())
    text = link_sentence(names[0], one.relation, names[1])
    source = f"{SOURCE_PREFIX}{one.prediction_id}"
    data = text.encode()
    document = Document(
        document_id=ids.document_id(source, ids.sha256_hex(data)),
        source=source,
        name=f"accepted prediction {one.prediction_id}",
        media_type=MEDIA_TYPE,
        sha256=ids.sha256_hex(data),
        n_bytes=len(data),
        title="Accepted prediction",
        text=text,
        pages=(Page(number=1, span=Span(start=0, end=len(text))),),
        is_paged=False,
        metadata={
            "prediction": one.prediction_id,
            "accepted_by": by,
            "accepted_at": at,
            "model": one.model,
            "likelihood": f"{one.likelihood:.4f}",
        },
    )
    span = Span(start=0, end=len(text))
    chunk = Chunk(
        chunk_id=ids.chunk_id(document.document_id, None, 0, len(text)),
        document_id=document.document_id,
        ordinal=0,
        text=text,
        span=span,
        page_first=1,
        page_last=1,
        modality=Modality.TEXT,
        n_tokens=len(text.split()),
    )
    senses = (store.senses(entity_id=head.entity_id), store.senses(entity_id=tail.entity_id))
    places = (Span(start=0, end=len(names[0])), Span(start=len(text) - 1 - len(names[1]), end=len(text) - 1))
    mentions = []
    for entity, place, own in zip((head, tail), places, senses, strict=True):
        named = [sense for sense in own if entity.name in sense.names] or own
        best = min(named, key=lambda sense: (-sense.n_documents, sense.sense_id))
        mentions.append(
            Mention(
                mention_id=ids.mention_id(chunk.chunk_id, place.start, place.end, entity.type),
                chunk_id=chunk.chunk_id,
                text=text[place.start : place.end],
                span=place,
                label=entity.type,
                source=_EXTRACTOR,
                entity_id=best.name_id,
            )
        )
    triple = Triple(
        triple_id=ids.triple_id(
            chunk.chunk_id, mentions[0].entity_id, one.relation, mentions[1].entity_id, 0, len(text)
        ),
        chunk_id=chunk.chunk_id,
        head_mention_id=mentions[0].mention_id,
        name=one.relation,
        tail_mention_id=mentions[1].mention_id,
        span=span,
        extractor=_EXTRACTOR,
        origin=Origin.ASSERTED,
    )
    return GraphDelta(
        document=document,
        captions=(),
        chunks=(chunk,),
        extraction=Extraction(mentions=tuple(mentions), triples=(triple,)),
    )
