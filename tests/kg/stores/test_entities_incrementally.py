"""The record, fed document by document, ends where the reference resolver ends that sees all at once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kg.resolution.matcher import GraphEntityMatcher
from kg.resolution.reference import resolve_all
from kg.stores.record import open_record
from tests.kg.resolution.labelled import HALVES, labelled_deltas

MATCHER = GraphEntityMatcher()


@pytest.mark.parametrize("half", sorted(HALVES))
def test_record_resolves_the_labelled_documents_as_the_reference_does_whatever_their_order(half: str, tmp_path: Path):
    deltas = [labelled.delta for labelled in labelled_deltas(half)]
    random.Random(7).shuffle(deltas)
    store = open_record(tmp_path / "record.db", matcher=MATCHER)
    for delta in deltas:
        store.apply(delta)
    for delta in deltas[::3]:
        store.remove(delta.document.document_id)
    remaining = [delta for i, delta in enumerate(deltas) if i % 3]

    chunks = [chunk.chunk_id for delta in remaining for chunk in delta.chunks]
    found = {mention.mention_id: mention.entity_id for chunk in chunks for mention in store.mentions(chunk)}
    store.close()

    assert found == resolve_all(remaining, MATCHER)
