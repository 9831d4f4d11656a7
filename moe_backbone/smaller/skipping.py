"""Skip experts that a token can do without, by thresholds that text and evidence have each their own.

Layer: ``moe_backbone``; imports torch only.
Source: MoDES, arXiv:2511.15690. A slot's importance is the importance of its layer times the weight the router gave it
(globally modulated local gating); slots below the threshold of the token's kind lose their expert (dual-modality
thresholding); the pair of thresholds is found by :func:`~moe_backbone.smaller.frontier.frontier_search`. A layer's
importance is the KL divergence of the next token when all its routed experts are skipped.

Shape suffixes: T tokens, H model width, E experts, K experts per token, B rows, S tokens per row, V words.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, edit_routing
from moe_backbone.smaller.calibration import Calibration
from moe_backbone.smaller.data import LabelledTokens
from moe_backbone.smaller.frontier import Found, frontier_search
from moe_backbone.smaller.quality import kl_divergence, next_tokens
from moe_backbone.smaller.sentinels import drop_slots, no_expert_allowed, understands_no_expert
from moe_backbone.smaller.surgery import ShrinkError, require_blocks

__all__ = [
    "SkipPolicy",
    "Skipping",
    "find_policy",
    "layer_importance",
    "skipping",
    "skipping_at_random",
    "threshold_candidates",
]

_EVIDENCE = "evidence"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkipPolicy:
    """Which slots lose their expert.

    :param layer_importance: Importance of each layer, >= 0, the largest 1.
    :param text_threshold: A text token's slot is skipped if layer importance times weight is below this.
    :param evidence_threshold: The same for tokens of any other label (images, graph evidence).
    :param text_label: The label that is text.
    """

    layer_importance: tuple[float, ...]
    text_threshold: float
    evidence_threshold: float
    text_label: str = "text"

    def to_mapping(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @classmethod
    def from_mapping(cls, values: dict[str, Any]) -> SkipPolicy:
        """Read what :meth:`to_mapping` wrote."""
        return cls(**{**values, "layer_importance": tuple(values["layer_importance"])})


class Skipping:
    """A running policy: it knows the labels of the tokens to come, and counts what it skipped.

    :param policy: What to skip.
    :param understood: For each layer, whether "no expert" is understood.
    """

    def __init__(self, policy: SkipPolicy, *, understood: Sequence[bool]) -> None:
        self.policy = policy
        self.n_slots = 0
        self.n_skipped = 0
        self._understood = tuple(understood)
        self._is_text_T: Tensor | None = None

    def set_labels(self, tokens: LabelledTokens | None) -> None:
        """Say what the tokens of the next calls stand for; padding counts as text.

        :param tokens: Their labels; a call with another number of tokens (a decoding step) is text. ``None``: all text.
        """
        if tokens is None:
            self._is_text_T = None
            return
        text = [place for place, name in enumerate(tokens.labels) if name == self.policy.text_label]
        flat = tokens.label.reshape(-1)
        self._is_text_T = torch.isin(flat, torch.tensor([-1, *text]))

    def __call__(
        self, block: MoEBlock, hidden_TH: Tensor, index_TK: Tensor, weights_TK: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take the experts of unimportant slots away (an edit of :func:`~moe_backbone.blocks.edit_routing`)."""
        text, evidence = self.policy.text_threshold, self.policy.evidence_threshold
        threshold_T = weights_TK.new_full((len(weights_TK), 1), text)
        if self._is_text_T is not None and self._is_text_T.numel() == len(weights_TK):
            is_text_T = self._is_text_T.to(weights_TK.device)[:, None]
            threshold_T = torch.where(is_text_T, threshold_T, threshold_T.new_full((1,), evidence))
        skipped_TK = self.policy.layer_importance[block.layer] * weights_TK < threshold_T
        self.n_slots += skipped_TK.numel()
        self.n_skipped += int(skipped_TK.sum())
        return drop_slots(block, index_TK, weights_TK, skipped_TK, understood=self._understood[block.layer])

    @property
    def share(self) -> float:
        """Share of the slots that was skipped so far."""
        return self.n_skipped / self.n_slots if self.n_slots else 0.0


@contextmanager
def skipping(model: nn.Module, policy: SkipPolicy) -> Iterator[Skipping]:
    """Apply a policy to every call that this thread makes of ``model`` inside the block.

    :param model: The model that the policy was found for, or one of as many blocks.
    :param policy: What to skip.
    :yields: The running policy; tell it the labels of the tokens.
    :raises ShrinkError: If the policy has another number of layers.
    """
    blocks = require_blocks(model)
    if len(policy.layer_importance) != len(blocks):
        raise ShrinkError(f"the policy knows {len(policy.layer_importance)} layers and the model has {len(blocks)}.")
    with no_expert_allowed(model):
        understood = [
            understands_no_expert(block.experts, n_experts=block.n_experts, width=block.width) for block in blocks
        ]
        running = Skipping(policy, understood=understood)
        with edit_routing(model, running):
            yield running


@contextmanager
def skipping_at_random(model: nn.Module, share: float, *, seed: int) -> Iterator[None]:
    """Skip a share of all slots by lot: the baseline that a policy has to beat.

    :param model: Any model with blocks.
    :param share: Chance of a slot to be skipped, in [0, 1].
    :param seed: Seed of the draws.
    :yields: Nothing.
    """
    blocks = require_blocks(model)
    generator = torch.Generator().manual_seed(seed)
    with no_expert_allowed(model):
        understood = [
            understands_no_expert(block.experts, n_experts=block.n_experts, width=block.width) for block in blocks
        ]

        def draw(block: MoEBlock, _: Tensor, index_TK: Tensor, weights_TK: Tensor) -> tuple[Tensor, Tensor]:
            lost_TK = (torch.rand(index_TK.shape, generator=generator) < share).to(index_TK.device)
            return drop_slots(block, index_TK, weights_TK, lost_TK, understood=understood[block.layer])

        with edit_routing(model, draw):
            yield


@torch.no_grad()
def layer_importance(model: Any, tokens: LabelledTokens) -> tuple[float, ...]:
    """Measure how much the next token's distribution changes when one layer's routed experts are all skipped.

    :param model: Any model that :func:`~moe_backbone.smaller.surgery.require_blocks` accepts.
    :param tokens: One batch; the model is run once for each layer, and once more.
    :returns: Mean KL divergence in nats, over the largest; all 1 if nothing changes anything.
    """
    blocks = require_blocks(model)
    plain_NV = next_tokens(model, tokens)
    found = []
    for layer in range(len(blocks)):
        alone = tuple(0.0 if other == layer else 1.0 for other in range(len(blocks)))
        policy = SkipPolicy(layer_importance=alone, text_threshold=1e-30, evidence_threshold=1e-30)
        with skipping(model, policy):
            found.append(kl_divergence(plain_NV, next_tokens(model, tokens)))
    largest = max(found)
    return tuple(kl / largest for kl in found) if largest > 0 else tuple(1.0 for _ in found)


def threshold_candidates(
    calibration: Calibration, importance: Sequence[float], *, text_label: str = "text", steps: int = 8
) -> tuple[list[float], list[float]]:
    """Return thresholds that skip 0, 1/steps, … of the slots of text, and of evidence.

    :param calibration: Whose sampled routing gives the distribution of importances.
    :param importance: Of each layer.
    :param text_label: The label that is text.
    :param steps: Candidates of each kind, at least 2.
    :returns: Rising thresholds for text and for evidence; one candidate, 0, for a kind without tokens.
    """
    place = calibration.labels.index(text_label) if text_label in calibration.labels else -1
    kinds: list[list[float]] = []
    for want_text in (True, False):
        scores = torch.cat(
            [
                (alpha * layer.weights[(layer.label == place) == want_text]).reshape(-1)
                for alpha, layer in zip(importance, calibration.layers, strict=True)
            ]
        )
        values = sorted(set(scores.tolist()))
        if not values:
            kinds.append([0.0])
            continue
        ordered = torch.sort(scores).values
        wanted = [float(ordered[min(len(ordered) - 1, step * len(ordered) // steps)]) for step in range(steps)]
        # Midway to the next lower value: a slot of exactly this importance falls on one side in every run.
        kinds.append([0.0, *(_below(values, value) for value in wanted[1:])])
    return kinds[0], kinds[1]


def _below(values: list[float], value: float) -> float:
    place = values.index(value)
    return value if place == 0 else (values[place - 1] + value) / 2


@torch.no_grad()
def find_policy(
    model: Any,
    calibration: Calibration,
    tokens: LabelledTokens,
    *,
    run: float,
    importance: Sequence[float],
    text_label: str = "text",
    steps: int = 8,
) -> tuple[SkipPolicy, Found]:
    """Find the thresholds that run at most a share of the expert slots at the least loss.

    :param model: The model.
    :param calibration: Of the same model.
    :param tokens: One batch to judge on; not the held-out text.
    :param run: The most slots to run, over all slots; in (0, 1].
    :param importance: Of each layer (:func:`layer_importance`).
    :param text_label: The label that is text.
    :param steps: Candidates of each threshold.
    :returns: The policy, and how it was found. The loss is the mean KL divergence from the model that skips nothing.
    :raises ShrinkError: If the share is out of range, or no pair of candidates skips enough.
    """
    if not 0 < run <= 1:
        raise ShrinkError(f"the share of slots to run must be in (0, 1], got {run}.")
    text, evidence = threshold_candidates(calibration, importance, text_label=text_label, steps=steps)
    plain_NV = next_tokens(model, tokens)

    def policy(first: int, second: int) -> SkipPolicy:
        return SkipPolicy(
            layer_importance=tuple(importance),
            text_threshold=text[first],
            evidence_threshold=evidence[second],
            text_label=text_label,
        )

    def evaluate(first: int, second: int) -> tuple[float, float]:
        with skipping(model, policy(first, second)) as running:
            running.set_labels(tokens)
            loss = kl_divergence(plain_NV, next_tokens(model, tokens))
        return running.share, loss

    found = frontier_search(len(text), len(evidence), evaluate, target=1 - run - 1e-9)
    if found is None:
        raise ShrinkError(f"no pair of {len(text)} x {len(evidence)} thresholds runs only {run:g} of the slots.")
    return policy(found.first, found.second), found
