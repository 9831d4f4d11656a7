"""Exact match and token F1 of a short answer, with the normalisation of SQuAD.

Layer: ``generation``; the standard library only. Source: Rajpurkar et al. 2016, arXiv:1606.05250, section 6.1 and its
evaluation script: lower case, punctuation and the articles a, an, the dropped, white space collapsed; against several
reference answers the best one counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

from kg.errors import InputError

__all__ = ["exact_match", "f1_score", "normalise_answer"]

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_CLOSED = frozenset({"yes", "no", "noanswer"})


def normalise_answer(text: str) -> str:
    """Return ``text`` in lower case without punctuation, articles and spare white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """Return 1 if the normalised prediction equals a normalised reference, else 0.

    :param prediction: The answer given; an empty one matches nothing.
    :param references: The accepted answers, at least one.
    :returns: 1.0 or 0.0, higher is better.
    :raises InputError: If there is no reference.
    """
    _need(references)
    given = normalise_answer(prediction)
    return float(bool(given) and any(given == normalise_answer(reference) for reference in references))


def f1_score(prediction: str, references: Sequence[str]) -> float:
    """Return the best token F1 of the prediction against a reference.

    As in HotpotQA's script (Yang et al. 2018), "yes" and "no" earn nothing by partial overlap.

    :param prediction: The answer given; an empty one scores 0.
    :param references: The accepted answers, at least one.
    :returns: F1 in ``[0, 1]``, higher is better.
    :raises InputError: If there is no reference.
    """
    _need(references)
    return max(_f1(normalise_answer(prediction), normalise_answer(reference)) for reference in references)


def _f1(given: str, wanted: str) -> float:
    if given != wanted and (given in _CLOSED or wanted in _CLOSED):
        return 0.0
    given_tokens, wanted_tokens = given.split(), wanted.split()
    shared = sum((Counter(given_tokens) & Counter(wanted_tokens)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(given_tokens), shared / len(wanted_tokens)
    return 2 * precision * recall / (precision + recall)


def _need(references: Sequence[str]) -> None:
    if not references:
        raise InputError("references is empty: an answer can only be scored against at least one accepted answer.")
