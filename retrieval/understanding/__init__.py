"""What comes before and around a search: filters, times, the conversation so far, questions with several parts.

Layer: ``retrieval``. Rules by default; a language model where one is asked for, through
:class:`retrieval.understanding.ports.QuestionModel`.
"""
