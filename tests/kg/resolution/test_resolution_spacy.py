"""The labelled documents as the real extractor reads them."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs
import pytest

from kg.extraction.spacy_rules import SpacyExtractor
from kg.resolution.matcher import GraphEntityMatcher
from kg.resolution.reference import resolve_all
from tests.benchmarks.resolution_quality import by_key, gold_of, pairwise
from tests.kg.resolution.labelled import HALVES, as_found, labelled_deltas

MODEL = Path(os.environ.get("MMKG_CACHE") or platformdirs.user_cache_dir("mmkgrag")) / "models" / "spacy-en"

pytestmark = [
    pytest.mark.models,
    pytest.mark.skipif(not MODEL.is_dir(), reason=f"no spaCy model in {MODEL}; `mmkg models pull` fetches it"),
]


@pytest.fixture(scope="module")
def extractor() -> SpacyExtractor:
    return SpacyExtractor(MODEL)


@pytest.mark.parametrize("half", sorted(HALVES))
def test_really_found_mentions_are_resolved_better_than_by_their_keys(half: str, extractor: SpacyExtractor):
    documents = [as_found(document, extractor) for document in labelled_deltas(half)]
    gold = gold_of(documents)
    n_labelled = sum(len(document.gold) for document in labelled_deltas(half))

    precision, recall, f1 = pairwise(
        resolve_all([document.delta for document in documents], GraphEntityMatcher()), gold
    )
    plain_precision, plain_recall, plain_f1 = pairwise(by_key(documents), gold)

    assert len(gold) >= 0.8 * n_labelled
    assert precision > plain_precision
    assert recall > plain_recall
    assert f1 > plain_f1 + 0.1
