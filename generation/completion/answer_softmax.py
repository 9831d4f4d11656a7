"""Cross entropy of many answers a question, with its gradients and without an autograd graph of ``(B, C)`` tensors.

Layer: ``generation``; imports torch.

Shape suffixes: B questions, M their answers, C candidates, W row width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from generation.completion.candidates import Candidates

__all__ = ["AnswerSoftmax"]


class AnswerSoftmax:
    """The weighted sum over answers of ``cross_entropy(question @ candidates.T, answer)``, which is the reference.

    All answers of a question share one row of scores. The large buffers are kept from batch to batch: on a CPU, asking
    the system for them anew costs more than the products.

    :param half: Whether the three products run in bfloat16; sums inside a product and the results stay float32.
    :param chunk_bytes: The most bytes of scores to hold at once; a batch that needs more is taken in parts, at least
        one question each.
    """

    def __init__(self, *, half: bool = False, chunk_bytes: int = 256 * 2**20) -> None:
        self.half, self.chunk_bytes = half, chunk_bytes
        self.kind = torch.bfloat16 if half else torch.float32
        self._buffers: dict[str, Tensor] = {}

    @torch.no_grad()
    def __call__(
        self,
        rows_CW: Tensor,
        queries_BW: Tensor,
        answers_M: Tensor,
        owners_M: Tensor,
        *,
        weight: float,
        candidates: Candidates | None = None,
    ) -> tuple[float, Tensor, Tensor]:
        """Compute the weighted loss of a batch and its gradients.

        :param rows_CW: Rows of the candidates, float32. *Shape:* ``(C, W)``.
        :param queries_BW: Query rows, float32. *Shape:* ``(B, W)``.
        :param answers_M: Places of the right candidates, none twice for one query. *Shape:* ``(M,)``.
        :param owners_M: The query of each answer, ascending. *Shape:* ``(M,)``.
        :param weight: What the sum of the answers' losses is multiplied with.
        :param candidates: Says which of them are drawn and what each of these stands for; ``None`` if they are all.
        :returns: The weighted loss in nats, the gradient for ``queries_BW`` (*shape* ``(B, W)``) and that for
            ``rows_CW`` (*shape* ``(C, W)``, a buffer that the next call overwrites).
        """
        cast_CW = rows_CW
        if self.half:
            cast_CW = self._buffer("rows", rows_CW.shape, self.kind, rows_CW.device)
            cast_CW.copy_(rows_CW)
        n_batch, n_candidates = len(queries_BW), len(rows_CW)
        n_rows = min(n_batch, max(1, self.chunk_bytes // (self.kind.itemsize * max(1, n_candidates))))
        scores_BC = self._buffer("scores", torch.Size((n_rows, n_candidates)), self.kind, rows_CW.device)
        gradient_CW = self._buffer("gradient", rows_CW.shape, torch.float32, rows_CW.device)
        gradient_BW = torch.empty_like(queries_BW)
        counts_B = torch.bincount(owners_M, minlength=n_batch)
        ends = [0, *counts_B.cumsum(0).tolist()]
        loss = 0.0
        for first in range(0, n_batch, n_rows):
            stop = min(first + n_rows, n_batch)
            part_BC, part_BW = scores_BC[: stop - first], queries_BW[first:stop]
            torch.mm(part_BW.to(self.kind), cast_CW.T, out=part_BC)
            if candidates is not None:
                part_BC[:, candidates.n_own :] += candidates.log_weight
            owners, answers = owners_M[ends[first] : ends[stop]] - first, answers_M[ends[first] : ends[stop]]
            loss += _to_gradient(part_BC, owners, answers, counts_B[first:stop])
            gradient_BW[first:stop] = part_BC @ cast_CW
            self._add_product(part_BC.T, (part_BW * weight).to(self.kind), gradient_CW, is_first=first == 0)
        return loss * weight, gradient_BW.mul_(weight), gradient_CW

    def _add_product(self, left_CB: Tensor, right_BW: Tensor, total_CW: Tensor, *, is_first: bool) -> None:
        if self.half:
            product_CW = self._buffer("product", total_CW.shape, self.kind, total_CW.device)
            torch.mm(left_CB, right_BW, out=product_CW)
            total_CW.copy_(product_CW) if is_first else total_CW.add_(product_CW)
        elif is_first:
            torch.mm(left_CB, right_BW, out=total_CW)
        else:
            total_CW.addmm_(left_CB, right_BW)

    def _buffer(self, name: str, shape: torch.Size, kind: torch.dtype, device: torch.device) -> Tensor:
        """Return a tensor of this shape over memory that is kept, and grown where it is too small."""
        kept = self._buffers.get(name)
        if kept is None or kept.numel() < shape.numel() or kept.device != device:
            kept = self._buffers[name] = torch.empty(shape.numel(), dtype=kind, device=device)
        return kept[: shape.numel()].view(shape)


def _to_gradient(scores_BC: Tensor, owners_M: Tensor, answers_M: Tensor, counts_B: Tensor) -> float:
    """Turn scores in place into the gradient of the summed cross entropy for them, and return that sum."""
    torch.softmax(scores_BC, dim=1, out=scores_BC)
    right_M = scores_BC[owners_M, answers_M].float()
    scores_BC.mul_(counts_B[:, None])
    scores_BC[owners_M, answers_M] = (right_M * counts_B[owners_M] - 1.0).to(scores_BC.dtype)
    return float(-right_M.clamp(min=1e-30).log().sum())
