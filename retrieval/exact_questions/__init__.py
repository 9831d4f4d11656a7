"""Database-like questions ("how many …", "which is the largest …", "list all …"), answered exactly from the record.

Layer: ``retrieval``. ``question → recognise → plan (a table, or the graph) → run → rows with their places``.
:class:`retrieval.exact_questions.answerer.ExactQuestions` does all of it; nothing is imported here, because every
command loads the types of its answers and few ask such a question.
"""
