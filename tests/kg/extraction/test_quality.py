"""The extractor reads the development passages at least as well as it was measured to."""

from __future__ import annotations

import pytest

from tests.kg.extraction.evaluation import evaluate
from tests.kg.extraction.golden import PASSAGES

pytestmark = pytest.mark.models

MEASURED = {
    "strict": (0.92, 0.90),
    "relaxed": (0.93, 0.91),
    "entities": (0.93, 0.96),
    "types": (0.95, 0.95),
    "values": (0.98, 0.98),
    "coreference": (0.95, 0.81),
}
"""Precision and recall on the development passages, one to two points below what was measured (see
``tests/benchmarks/extraction_quality.py``)."""


@pytest.fixture(scope="module")
def tally(extractor):
    return evaluate(extractor, [passage for passage in PASSAGES if not passage.is_held_out])


@pytest.mark.parametrize("measure", MEASURED)
def test_quality_on_development_passages_does_not_fall(tally, measure):
    score = getattr(tally, measure)

    precision, recall = MEASURED[measure]
    assert score.precision >= precision, "\n".join(tally.errors)
    assert score.recall >= recall, "\n".join(tally.errors)


def test_there_are_enough_passages_of_many_kinds_and_a_fifth_is_held_out():
    assert len(PASSAGES) >= 76
    assert len({passage.genre for passage in PASSAGES}) >= 6
    assert sum(passage.is_held_out for passage in PASSAGES) >= len(PASSAGES) // 5


def test_labels_of_the_passages_stand_in_their_texts():
    for passage in PASSAGES:
        words = " ".join(passage.text.split()).lower()
        assert [name for name in (*passage.entities, *passage.values) if name.lower() not in words] == [], passage.title
