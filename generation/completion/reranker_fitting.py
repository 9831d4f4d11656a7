"""Fit the reranker to validation questions: list-wise cross entropy over the best candidates.

Layer: ``generation``; imports torch. A list's other known answers are left out of the loss, and all entities beyond the
list count together, so that corrections keep the list where it belongs among the rest. Questions whose answer the list
does not hold teach nothing.

Shape suffixes: Q questions, B questions at a time, N entities, C candidates, M members.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from generation.completion.reranker import Reranker
from generation.completion.schedule import rate_share
from generation.completion.shortlist import Shortlist
from generation.completion.tensor_rows import TensorRows

__all__ = ["FEWEST_QUESTIONS", "HIDDEN", "MEMBERS", "RankedLists", "fit_reranker", "ranked_lists"]

FEWEST_QUESTIONS = 1_000
"""Fewer say too little of some thousand weights."""
MEMBERS, HIDDEN = 2, 32
_STEPS, _PASSES, _SMALLEST, _LARGEST = 1_024, 32, 32, 256
_RATE, _DECAY, _PULL = 3e-3, 0.1, 1e-3
_CLEAREST = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedLists(TensorRows):
    """The lists of questions, which places are other known answers, where the answer is, and what the rest weighs.

    ``answer_Q`` is -1 where the list does not hold the answer; ``rest_Q`` is the logarithm of the summed exponentials
    of the scores of all entities beyond the list that are not known as answers.
    """

    lists: Shortlist
    is_other_QC: Tensor  # noqa: N815 (shape suffix)
    answer_Q: Tensor  # noqa: N815 (shape suffix)
    rest_Q: Tensor  # noqa: N815 (shape suffix)


def ranked_lists(lists: Shortlist, scores_BN: Tensor, answers_B: Tensor, known: tuple[Tensor, Tensor]) -> RankedLists:
    """Say of lists what the loss needs.

    :param lists: The best candidates of the questions.
    :param scores_BN: All scores. *Shape:* ``(B, N)``.
    :param answers_B: The answer of each question.
    :param known: Rows and answers that are known, as :meth:`generation.completion.known.KnownEnds.of` returns them.
    :returns: The lists with it.
    """
    is_known_BN = torch.zeros(scores_BN.shape, dtype=torch.bool)
    is_known_BN[known] = True
    is_answer_BC = (lists.places_BC == answers_B[:, None]) & lists.is_open_BC
    rest_BN = scores_BN.masked_fill(is_known_BN, -math.inf).scatter_(1, lists.places_BC, -math.inf)
    return RankedLists(
        lists=lists,
        is_other_QC=(is_known_BN.gather(1, lists.places_BC) & ~is_answer_BC) | ~lists.is_open_BC,
        answer_Q=torch.where(is_answer_BC.any(dim=1), is_answer_BC.int().argmax(dim=1), -1),
        rest_Q=rest_BN.logsumexp(dim=1),
    )


def fit_reranker(asked: RankedLists, *, seed: int) -> Reranker | None:
    """Fit the networks.

    1,024 steps of AdamW at a rate that falls from 0.003 in a straight line, over 32 to 256 questions each: so many that
    each question is seen 32 times, where that is possible.

    :param asked: The lists of the validation questions.
    :param seed: Seed of the weights and of the order.
    :returns: The networks; ``None`` if they came to hold a number that is not finite, or no list holds its answer.
    """
    rows = torch.nonzero(asked.answer_Q >= 0).ravel()
    if not len(rows):
        return None
    generator = torch.Generator().manual_seed(seed)
    lists = asked.lists
    sample = lists.part(rows[torch.randperm(len(rows), generator=generator)[:_CLEAREST]])
    found_TF = sample.features()[sample.is_open_BC]
    start = Reranker.fresh(
        found_TF.mean(dim=0),
        found_TF.std(dim=0) + 1e-3,
        n_members=MEMBERS,
        n_hidden=HIDDEN,
        generator=generator,
    )
    learnt = [name for name in Reranker.tables() if name not in ("mean_F", "spread_F")]
    for name in learnt:
        getattr(start, name).requires_grad_()
    optimiser = torch.optim.AdamW([getattr(start, name) for name in learnt], lr=_RATE, weight_decay=_DECAY)
    n_batch = min(_LARGEST, max(_SMALLEST, _PASSES * len(rows) // _STEPS))
    order = torch.empty(0, dtype=torch.int64)
    for step in range(_STEPS):
        while len(order) < n_batch:
            order = torch.cat([order, rows[torch.randperm(len(rows), generator=generator)]])
        batch, order = order[:n_batch], order[n_batch:]
        optimiser.param_groups[0]["lr"] = _RATE * rate_share(step + 1, _STEPS, falls_from=1.0)
        optimiser.zero_grad()
        _loss(start, asked.part(batch)).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    for name in learnt:
        getattr(start, name).requires_grad_(requires_grad=False)
    is_sound = all(bool(torch.isfinite(getattr(start, name)).all()) for name in learnt)
    return start if is_sound else None


def _loss(reranker: Reranker, asked: RankedLists) -> Tensor:
    lists = asked.lists
    added_MBC = reranker.corrections(lists.features())
    scores_MBC = (lists.scores_BC + added_MBC).masked_fill(asked.is_other_QC, -math.inf)
    rest_MB1 = asked.rest_Q[:, None].expand(len(scores_MBC), -1, -1)
    total_MB = torch.cat([scores_MBC, rest_MB1], dim=2).logsumexp(dim=2)
    right_MB = scores_MBC.gather(2, asked.answer_Q[:, None].expand(len(scores_MBC), -1, -1))[..., 0]
    pull = (added_MBC.square() * lists.is_open_BC).mean()
    return (total_MB - right_MB).mean(dim=1).sum() + _PULL * len(added_MBC) * pull
