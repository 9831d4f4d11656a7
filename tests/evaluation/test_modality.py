"""The kinds of evidence that answer a question are those of its gold, narrowed to what the set means."""

from __future__ import annotations

import pytest

from api.evaluation.dataset import EvaluationFolder, EvaluationQuestion
from api.evaluation.modality import gold_modalities, unit_modalities
from kg.stores.record import open_record
from kg.testing import make_delta
from kg.types import Modality

TEXT, CHART, TABLE, PAGE, IMAGE = (Modality(name) for name in ("text", "chart", "table", "page", "image"))
KINDS = {
    "a#1": frozenset({TEXT, CHART}),
    "a#2": frozenset({TEXT}),
    "a#3": frozenset({PAGE}),
    "a#4": frozenset({TEXT, TABLE, IMAGE}),
}


def question(*gold: str, sources: tuple[str, ...] = ()) -> EvaluationQuestion:
    return EvaluationQuestion(question_id="q", text="?", gold=frozenset(gold), answers=(), sources=sources)


@pytest.mark.parametrize(
    ("gold", "sources", "expected"),
    [
        (("a#1",), (), {TEXT, CHART}),
        (("a#1",), ("Chart",), {CHART}),
        (("a#1",), ("Pure-text (Plain-text)",), {TEXT}),
        (("a#1", "a#2"), ("Chart", "Pure-text (Plain-text)"), {TEXT, CHART}),
        (("a#2",), ("Chart",), {TEXT}),  # no chunk of what is meant: what there is counts
        (("a#3",), ("Table",), {PAGE}),
        (("a#4",), ("Figure", "Table"), {IMAGE, TABLE}),
        (("a#9",), ("Chart",), set()),
    ],
)
def test_gold_kinds(gold, sources, expected):
    assert gold_modalities(question(*gold, sources=sources), KINDS) == expected


def test_units_have_the_kinds_of_the_chunks_that_were_cut_from_them(tmp_path):
    store = open_record(tmp_path / "record.db")
    store.apply(make_delta("Alpha.\n\n[picture: Chart of beta]\n\fGamma.", name="a.txt"))
    folder = EvaluationFolder(folder=tmp_path, layout="pages", questions=())

    kinds = unit_modalities(folder, store)
    store.close()

    assert kinds["a.txt#2"] == {TEXT}
    assert TEXT in kinds["a.txt#1"]
    assert len(kinds["a.txt#1"]) == 2
