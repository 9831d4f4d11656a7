"""Which kinds of evidence answer each question of an evaluation folder.

Layer: ``api.evaluation``. The kinds of a question's gold are those of the chunks that its gold units were cut into.
Where the set says which kind of evidence it means (``sources``), they are narrowed to that, unless the gold units have
no chunk of it: a chart of a page without a text layer came in as part of the page.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from api.evaluation.dataset import EvaluationFolder, EvaluationQuestion
from kg.ports import RecordStore
from kg.types import Modality

__all__ = ["gold_modalities", "unit_modalities"]

_MEANT: Mapping[str, frozenset[Modality]] = {
    "text": frozenset({Modality.TEXT}),
    "chart": frozenset({Modality.CHART, Modality.IMAGE}),
    "figure": frozenset({Modality.IMAGE, Modality.CHART}),
    "table": frozenset({Modality.TABLE}),
}
"""What the words of a set's ``sources`` mean, by a word in them; MMLongBench-Doc's are Pure-text, Generalized-text,
Chart, Figure and Table."""


def unit_modalities(folder: EvaluationFolder, store: RecordStore) -> dict[str, frozenset[Modality]]:
    """Return the kinds of chunk that each unit of the corpus was cut into.

    :param folder: Knows which unit a chunk belongs to.
    :param store: The record of the ingested corpus.
    :returns: The kinds by unit.
    """
    names = {info.document_id: info.name for info in store.documents()}
    kinds: dict[str, set[Modality]] = defaultdict(set)
    for chunk in store.iter_chunks():
        for unit in folder.units_of_chunk(chunk, name=names[chunk.document_id]):
            kinds[unit].add(chunk.modality)
    return {unit: frozenset(found) for unit, found in kinds.items()}


def gold_modalities(question: EvaluationQuestion, kinds_of: Mapping[str, frozenset[Modality]]) -> frozenset[Modality]:
    """Return the kinds of evidence that answer a question.

    :param question: With gold units.
    :param kinds_of: What :func:`unit_modalities` returned.
    :returns: At least one kind, or none where no gold unit has a chunk.
    """
    there = frozenset[Modality]().union(*(kinds_of.get(unit, frozenset()) for unit in question.gold))
    meant = frozenset[Modality]().union(
        *(kinds for word, kinds in _MEANT.items() for source in question.sources if word in source.casefold())
    )
    return there & meant or there
