"""Database-like questions ("how many …", "which is the largest …", "list all …"), answered exactly from the record.

Layer: ``retrieval``. ``question → recognise → plan (a table, or the graph) → run → rows with their places``.
"""

from retrieval.exact_questions.answerer import ExactQuestions
from retrieval.exact_questions.types import ExactAnswer, ExactKind, ExactOutcome, ExactRow

__all__ = ["ExactAnswer", "ExactKind", "ExactOutcome", "ExactQuestions", "ExactRow"]
