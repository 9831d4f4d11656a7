"""Self-contrast decoding: prefer what the usual routing says over what a weaker routing of the same model says.

Layer: ``moe_backbone``; imports torch and transformers.
Source: Unchosen Experts Can Contribute Too, arXiv:2405.14507, equations 5-7 (``z = (1 + β) z_strong - β z_weak`` over
the tokens whose strong probability is at least α times the largest; weak is *rank-k* routing, which sends each token to
its expert of rank k alone). The paper's values are β = 0.5, α = 0.1, rank 2.

Shape suffixes: B sequences, S tokens, V vocabulary, T tokens, H model width, E experts, K experts per token.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, LogitsProcessor

from moe_backbone.blocks import MoEBlock, edit_routing, find_blocks

__all__ = ["SelfContrast", "contrast_scores", "rank_routing"]


@contextmanager
def rank_routing(model: nn.Module, rank: int) -> Iterator[None]:
    """Send each token to its expert of rank ``rank`` alone, for the calls of this thread inside the ``with`` block.

    The weight of that expert is the sum that its token's weights had, so the scale of the layer stays.

    :param model: A model with blocks whose routers return their logits. It is not changed.
    :param rank: 1 is the expert that the router prefers; it may be beyond the K that are usually chosen.
    :yields: Nothing.
    :raises ValueError: If a block has fewer experts, or no router.
    """
    blocks = find_blocks(model)
    small = [block.name for block in blocks if block.n_experts < rank or block.router is None]
    if rank < 1 or small:
        raise ValueError(f"rank {rank} needs routers with as many experts; blocks that lack them: {small[:3]}.")
    thread = threading.get_ident()
    logits: dict[int, Tensor] = {}

    def watch(block: MoEBlock) -> Any:
        def record(router: nn.Module, args: Any, output: Any) -> None:
            if threading.get_ident() == thread:
                found = [t for t in output if isinstance(t, Tensor) and t.is_floating_point()]
                logits[block.layer] = next(t for t in found if t.shape[-1] == block.n_experts)

        return record

    def edit(block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor) -> tuple[Tensor, Tensor]:
        order_TE = logits.pop(block.layer).reshape(-1, block.n_experts).argsort(dim=-1, descending=True, stable=True)
        return order_TE[:, rank - 1 : rank].to(index_TK.dtype), weights_TK.sum(dim=-1, keepdim=True)

    handles = [block.router.register_forward_hook(watch(block)) for block in blocks if block.router is not None]
    try:
        with edit_routing(model, edit):
            yield
    finally:
        for handle in handles:
            handle.remove()


def contrast_scores(strong_BV: Tensor, weak_BV: Tensor, *, strength: float, plausible: float) -> Tensor:
    """Return ``(1 + β) z_strong - β z_weak`` over the plausible tokens.

    :param strong_BV: Scores under the usual routing. *Shape:* ``(B, V)``.
    :param weak_BV: Scores under the weaker one. *Shape:* ``(B, V)``.
    :param strength: β, >= 0.
    :param plausible: α in [0, 1]: tokens with a strong probability below this share of the largest are ruled out; 0
        rules out none.
    :returns: Scores, ``-inf`` where a token is ruled out. *Shape:* ``(B, V)``.
    """
    contrasted_BV = (1 + strength) * strong_BV - strength * weak_BV
    if plausible == 0:
        return contrasted_BV
    floor_B1 = strong_BV.max(dim=-1, keepdim=True).values + math.log(plausible)
    return contrasted_BV.masked_fill(strong_BV < floor_B1, -torch.inf)


class SelfContrast(LogitsProcessor):
    """Contrast the scores of each step with those of a weaker routing, which keeps a key-value cache of its own.

    One object serves one call of ``generate`` at a time (greedy or sampling, not beams) and doubles its cost. Give the
    ``attention_mask`` of a padded prompt.

    .. code-block:: python

        contrast = SelfContrast(model, strength=0.5)
        model.generate(**inputs, logits_processor=[contrast])

    :param model: A mixture of experts; it is not changed.
    :param strength: β, >= 0; 0 is plain decoding, to the bit and at its cost.
    :param rank: The rank that the weak routing sends each token to.
    :param plausible: α in (0, 1]: tokens with a strong probability below this share of the largest are ruled out.
    :param attention_mask: Of the prompt, 0 for padding. *Shape:* ``(B, S)``. ``None``: nothing is padding.
    :raises ValueError: If a number is out of its range, or the model has no experts.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        strength: float = 0.5,
        rank: int = 2,
        plausible: float = 0.1,
        attention_mask: Tensor | None = None,
    ) -> None:
        if not (math.isfinite(strength) and strength >= 0) or not 0 < plausible <= 1:
            raise ValueError(f"need strength >= 0 and 0 < plausible <= 1, got {strength} and {plausible}.")
        if not find_blocks(model):
            raise ValueError(f"{type(model).__name__} has no mixture-of-experts block to contrast.")
        self.model: Any = model
        self.strength, self.rank, self.plausible = strength, rank, plausible
        self._prompt_mask = attention_mask
        self._cache: Any = None
        self._seen: Tensor | None = None

    @torch.no_grad()
    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Return the contrasted scores of the next token.

        :param input_ids: The tokens so far. *Shape:* ``(B, S)``.
        :param scores: The plain scores. *Shape:* ``(B, V)``.
        :returns: Scores, ``-inf`` where a token is not plausible. *Shape:* ``(B, V)``.
        """
        if self.strength == 0:
            return scores
        weak_BV = self._weak_scores(input_ids).to(scores)
        return contrast_scores(scores, weak_BV, strength=self.strength, plausible=self.plausible)

    def _weak_scores(self, input_ids: Tensor) -> Tensor:
        """Run under the weak routing what the cache has not seen, and return the last scores. *Shape:* ``(B, V)``."""
        if self._seen is None or not self._goes_on(input_ids):
            self._cache, self._seen = DynamicCache(config=self.model.config), input_ids[:, :0]
        n_seen = self._seen.shape[1]
        mask = self._mask(input_ids)
        positions = (mask.cumsum(dim=-1) - 1).clamp(min=0)[:, n_seen:]
        with rank_routing(self.model, self.rank):
            output = self.model(
                input_ids=input_ids[:, n_seen:],
                attention_mask=mask,
                position_ids=positions,
                past_key_values=self._cache,
                use_cache=True,
                logits_to_keep=1,
            )
        self._seen = input_ids
        last: Tensor = output.logits[:, -1]
        return last

    def _goes_on(self, input_ids: Tensor) -> bool:
        """Tell whether these tokens are those of the step before and one more; else a new call has begun."""
        seen = self._seen
        return (
            seen is not None
            and seen.shape[0] == input_ids.shape[0]
            and seen.shape[1] + 1 == input_ids.shape[1]
            and bool(torch.equal(seen, input_ids[:, :-1]))
        )

    def _mask(self, input_ids: Tensor) -> Tensor:
        if self._prompt_mask is None:
            return torch.ones_like(input_ids)
        prompt = self._prompt_mask.to(input_ids.device)
        if prompt.shape[0] != input_ids.shape[0] or prompt.shape[1] > input_ids.shape[1]:
            raise ValueError(
                f"attention_mask has shape {tuple(prompt.shape)}, the tokens have {tuple(input_ids.shape)}: it must be "
                "the prompt's."
            )
        more = input_ids.new_ones(input_ids.shape[0], input_ids.shape[1] - prompt.shape[1])
        return torch.cat((prompt.to(input_ids.dtype), more), dim=-1)
