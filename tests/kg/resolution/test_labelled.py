"""The labelled documents are what they are said to be."""

from __future__ import annotations

import pytest

from tests.benchmarks.resolution_quality import b_cubed, n_homonyms, pairwise
from tests.kg.resolution.labelled import HALVES, as_found, labelled_deltas


def test_halves_share_no_family_and_have_the_size_they_need():
    documents = {half: labelled_deltas(half) for half in HALVES}
    families = [{document.family for document in found} for found in documents.values()]
    everything = [document for found in documents.values() for document in found]

    assert families[0].isdisjoint(families[1])
    assert len(everything) >= 40
    assert sum(len(document.gold) for document in everything) >= 150
    assert all(n_homonyms(found) >= 10 for found in documents.values())


@pytest.mark.parametrize("half", sorted(HALVES))
def test_every_mention_stands_at_its_place(half: str):
    for document in labelled_deltas(half):
        chunks = {chunk.chunk_id: chunk for chunk in document.delta.chunks}
        for mention in document.delta.extraction.mentions:
            chunk = chunks[mention.chunk_id]
            start = mention.span.start - chunk.span.start
            assert chunk.text[start : start + len(mention.text)] == mention.text


def test_pairs_and_b_cubed_are_as_worked_by_hand():
    gold = {"a": "x", "b": "x", "c": "x", "d": "y"}
    found = {"a": "1", "b": "1", "c": "2", "d": "2"}

    # Found pairs: ab (right), cd (wrong). Pairs in gold: ab, ac, bc.
    assert pairwise(found, gold) == pytest.approx((1 / 2, 1 / 3, 2 / 5))
    # Precision of a, b: 1; of c, d: 1/2. Recall of a, b: 2/3; of c: 1/3; of d: 1.
    assert b_cubed(found, gold)[:2] == pytest.approx((3 / 4, 2 / 3))


def test_found_mention_is_scored_as_the_labelled_one_it_covers():
    class Whole:
        """Finds again what was labelled."""

        name = "whole"

        def extract(self, chunks, *, document):
            return labelled.delta.extraction

    labelled = labelled_deltas("development")[0]

    assert as_found(labelled, Whole()).gold == labelled.gold
