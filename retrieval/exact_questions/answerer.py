"""Answer database-like questions exactly from the record, or say why one cannot be.

Layer: ``retrieval``; imports ``kg``. First the tables, then the graph. A table that was read off a picture is left out:
a row that was not recognised cannot be told from one that is not there.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

from kg.ports import RecordStore
from retrieval.exact_questions.columns import ReadyTable, ready
from retrieval.exact_questions.graph_plan import answer_from_graph
from retrieval.exact_questions.recognise import recognise
from retrieval.exact_questions.table_answer import answer_from_table
from retrieval.exact_questions.table_plan import TablePlan, plan_table
from retrieval.exact_questions.types import AskedExactly, ExactAnswer, ExactOutcome, UnclearQuestionError

__all__ = ["ExactQuestions"]


class ExactQuestions:
    """Exact answers over one record; safe to share between threads.

    :param store: The record.
    """

    def __init__(self, store: RecordStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._tables: tuple[int, tuple[ReadyTable, ...]] | None = None

    def ask(self, text: str, *, document_ids: Collection[str] | None = None) -> ExactOutcome:
        """Answer a question if it is database-like and can be planned in one way only.

        :param text: The question.
        :param document_ids: Only what these documents say; ``None`` allows all.
        :returns: The answer, or the reason why there is none; both are empty for a question of another kind.
        """
        try:
            asked = recognise(text)
            if asked is None:
                return ExactOutcome()
            return ExactOutcome(answer=self._answer(asked, document_ids))
        except UnclearQuestionError as error:
            return ExactOutcome(reason=f"not answered exactly: {error}")

    def _answer(self, asked: AskedExactly, document_ids: Collection[str] | None) -> ExactAnswer:
        plans: list[TablePlan] = []
        objections: list[str] = []
        for table in self._ready():
            if document_ids is not None and table.document.document_id not in document_ids:
                continue
            try:
                plan = plan_table(asked, table)
            except UnclearQuestionError as error:
                objections.append(str(error))
                continue
            plans += [] if plan is None else [plan]
        different = {plan.table.table.rows: plan for plan in reversed(plans)}
        if len(different) > 1:
            titles = " and ".join(plan.table.title for plan in reversed(different.values()))
            raise UnclearQuestionError(f"it fits {titles}")
        if plans:
            return answer_from_table(plans[0], plans[0].run(), self._store)
        try:
            return answer_from_graph(asked, self._store, None if document_ids is None else sorted(document_ids))
        except UnclearQuestionError as error:
            raise UnclearQuestionError("; ".join((*objections[:1], str(error)))) from None

    def _ready(self) -> tuple[ReadyTable, ...]:
        version = self._store.version()
        with self._lock:
            if self._tables is None or self._tables[0] != version:
                documents = {info.document_id: info for info in self._store.documents()}
                made = (
                    ready(table, documents[table.document_id])
                    for table in self._store.tables()
                    if table.asset_id is None and table.document_id in documents
                )
                self._tables = (version, tuple(one for one in made if one is not None))
            return self._tables[1]
