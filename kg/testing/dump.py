"""The whole content of a record as text that two equal records share, byte for byte.

Layer: ``kg``; reads through :class:`kg.ports.RecordStore` alone, so it works for every store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from kg.ids import sha256_hex
from kg.ports import Contribution, Decision, RecordStore

__all__ = ["canonical_dump"]


def canonical_dump(store: RecordStore, *, encoders: Sequence[str] = ()) -> str:
    """Write down everything that a record holds, in an order that does not depend on how it came to hold it.

    Left out are the change counter, the times of adding, and which decisions were undone and when: they tell of the way
    and not of the content.

    :param store: The record.
    :param encoders: Fingerprints of encoders whose vectors are dumped too.
    :returns: JSON, one fact a line; bytes are given by their SHA-256.
    """
    facts: list[tuple[str, Any]] = []
    for info in sorted(store.documents(), key=lambda info: info.document_id):
        listed = {key: value for key, value in asdict(info).items() if key != "added_at"}
        document = store.document(info.document_id)
        facts += [("info", listed), ("document", document)]
        facts += [("caption", store.caption(asset.asset_id)) for asset in document.assets]
        facts += [("table", table) for table in store.tables(document_id=info.document_id)]
        facts += [("found", store.find(source=info.source) is not None)]
    for chunk in store.iter_chunks():
        facts += [("chunk", chunk)]
        facts += [("mention", mention) for mention in store.mentions(chunk.chunk_id)]
        facts += [("triple", triple) for triple in store.triples(chunk.chunk_id)]
    facts += [("entity", entity) for entity in store.entities()]
    facts += [("relation", relation) for relation in store.relations()]
    facts += [("mention_row", row) for row in store.mention_rows()]
    facts += [("triple_row", row) for row in store.triple_rows()]
    facts += [("sense", sense) for sense in store.senses()]
    facts += [("link", link) for link in store.links()]
    for entity in store.entities():
        facts += [("contribution", [entity.entity_id, *_shared(one)]) for one in store.contributions(entity.entity_id)]
    decided = [_said(one) for one in store.decisions() if one.is_active]
    facts += [("decision", one) for one in sorted(decided, key=str)]
    facts += [("contradiction", one) for one in store.contradictions()]
    for encoder in encoders:
        vectors = store.vectors(encoder=encoder, chunk_ids=store.chunk_ids())
        facts += [("vector", [encoder, chunk_id, vector.tobytes()]) for chunk_id, vector in sorted(vectors.items())]
    facts += [("statistics", store.statistics())]
    return "\n".join(
        json.dumps([kind, fact], default=_plain, sort_keys=True, ensure_ascii=False) for kind, fact in facts
    )


def _shared(contribution: Contribution) -> list[Any]:
    uses = [[*use, count] for use, count in sorted(contribution.uses.items())]
    return [contribution.document_id, uses, contribution.n_mentions, contribution.statements]


def _said(decision: Decision) -> dict[str, Any]:
    told = ("decision_id", "at", "by", "note")
    return {key: value for key, value in asdict(decision).items() if key not in told}


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return sha256_hex(value)
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    raise TypeError(f"canonical_dump: cannot write {type(value).__name__}.")
