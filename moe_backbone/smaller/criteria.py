"""Score experts: which ones would be missed least.

Layer: ``moe_backbone``; imports torch only.

- ``frequency``: share of the slots that went to the expert.
- ``gate_mass``: share of the gate weight.
- ``output_mass``: share of the sum of weight times norm of output: how much the expert adds to the block in all.
- ``reap``: mean over the expert's tokens of weight times norm of its output, REAP, arXiv:2510.13999, equation 9.
- ``leave_one_out``: squared error of the block's output on the sampled tokens when the expert alone is gone and its
  tokens are routed anew, over the block's squared output; in the spirit of arXiv:2402.14800, one expert at a time.
- ``random``: a seeded draw, the baseline that every other criterion has to beat.

``gate_mass`` is the default: on tiny models trained for 60, 90, 150 and 300 steps, at 0.75 and 0.5 of the experts, it
always beat the draw (1.6 to 110 times less divergence); ``reap`` lost to the draw in four of the eight cases, where few
experts carry most tokens (``tests/benchmarks/moe_smaller.py --steps``).

Shape suffixes: T tokens, H model width, E experts, K experts per token, M labels, N sampled tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from moe_backbone.blocks import MoEBlock
from moe_backbone.smaller.calibration import Calibration, LayerCalibration
from moe_backbone.smaller.masking import route_among, routed_output
from moe_backbone.smaller.surgery import ShrinkError, experts_per_token

__all__ = ["CRITERIA", "choose_experts", "leave_one_out_errors", "score_experts"]

CRITERIA = ("frequency", "gate_mass", "leave_one_out", "output_mass", "random", "reap")


def score_experts(
    blocks: tuple[MoEBlock, ...],
    calibration: Calibration,
    criterion: str,
    *,
    label_weights: Mapping[str, float] | None = None,
    seed: int = 0,
) -> list[Tensor]:
    """Score every expert of every layer; a higher score is missed more.

    :param blocks: The model's blocks.
    :param calibration: Made with the same model.
    :param criterion: One of :data:`CRITERIA`.
    :param label_weights: How much a label counts, by name; those left out count 0. Each label is first divided by its
        number of tokens, so a label with few tokens weighs as much as one with many. ``None`` counts every token alike.
    :param seed: Seed of ``random``.
    :returns: Scores per layer, each layer's summing to 1 so that layers compare. *Shape:* ``(E,)`` each, float64.
    :raises ShrinkError: If the criterion or a label is unknown, or the calibration has other layers.
    """
    if criterion not in CRITERIA:
        raise ShrinkError(f"there is no criterion {criterion!r}; choose one of {', '.join(CRITERIA)}.")
    if [layer.name for layer in calibration.layers] != [block.name for block in blocks]:
        raise ShrinkError("the calibration was made with a model of other layers. Calibrate this model.")
    weight_M = _label_weights(calibration, label_weights)
    generator = torch.Generator().manual_seed(seed)
    scores = []
    for block, layer in zip(blocks, calibration.layers, strict=True):
        if criterion == "random":
            score_E = torch.rand(block.n_experts, generator=generator, dtype=torch.float64)
        elif criterion == "leave_one_out":
            score_E = leave_one_out_errors(block, layer, weight_M=weight_M)
        else:
            score_E = _from_sums(layer, criterion, weight_M)
        scores.append(score_E / score_E.sum().clamp_min(1e-300))
    return scores


def _label_weights(calibration: Calibration, label_weights: Mapping[str, float] | None) -> Tensor:
    if label_weights is None:
        return torch.ones(len(calibration.labels), dtype=torch.float64)
    unknown = sorted(set(label_weights) - set(calibration.labels))
    if unknown:
        raise ShrinkError(f"the calibration has no label {', '.join(unknown)}; it has {', '.join(calibration.labels)}.")
    pairs = zip(calibration.labels, calibration.tokens, strict=True)
    return torch.tensor([label_weights.get(name, 0.0) / max(n, 1) for name, n in pairs], dtype=torch.float64)


def _from_sums(layer: LayerCalibration, criterion: str, weight_M: Tensor) -> Tensor:
    count_E = weight_M @ layer.counts
    if criterion == "frequency":
        return count_E
    if criterion == "gate_mass":
        return weight_M @ layer.gates
    if criterion == "output_mass":
        return weight_M @ layer.reaps
    return torch.where(count_E > 0, (weight_M @ layer.reaps) / count_E.clamp_min(1e-300), 0.0)


def leave_one_out_errors(block: MoEBlock, layer: LayerCalibration, *, weight_M: Tensor | None = None) -> Tensor:
    """Return the relative squared error of ``block`` on the sampled tokens without each one of its experts.

    Only tokens that had chosen the expert can change, so all E errors cost about K times one pass of the block.

    :param block: Which block.
    :param layer: Its calibration, with sampled tokens.
    :param weight_M: Weight of each label; ``None`` for 1. *Shape:* ``(M,)``.
    :returns: Errors >= 0; 0 where the expert was never chosen. *Shape:* ``(E,)``, float64.
    :raises ShrinkError: If nothing was sampled, or every expert is needed.
    """
    if not len(layer.label):
        raise ShrinkError(f"{layer.name}: the calibration kept no states; set n_sampled above 0.")
    if experts_per_token(block) >= block.n_experts:
        return torch.ones(block.n_experts, dtype=torch.float64)  # no expert can go
    weight_N = torch.ones(len(layer.label), dtype=torch.float64)
    if weight_M is not None:
        weight_N = weight_M[layer.label]
    parameter = next(block.experts.parameters())
    hidden_NH = layer.hidden.to(device=parameter.device, dtype=parameter.dtype)
    index_NK = layer.index.to(parameter.device)
    full_NH = routed_output(block, hidden_NH, index_NK, layer.weights.to(parameter.device))
    energy = float((weight_N * full_NH.double().pow(2).sum(1).cpu()).sum()) or 1.0
    errors = torch.zeros(block.n_experts, dtype=torch.float64)
    for expert in range(block.n_experts):
        hit = (index_NK == expert).any(1)
        if not bool(hit.any()):
            continue
        route = route_among(block, [other for other in range(block.n_experts) if other != expert])
        without_NH = routed_output(block, hidden_NH[hit], *route(hidden_NH[hit]))
        change_N = (without_NH - full_NH[hit]).double().pow(2).sum(1).cpu()
        errors[expert] = (weight_N[hit.cpu()] * change_N).sum() / energy
    return errors


def choose_experts(
    scores: list[Tensor], *, share: float, floors: list[int], per_layer: bool = False
) -> list[tuple[int, ...]]:
    """Choose which experts to keep, the highest scores of all layers together, but a floor in each.

    :param scores: Scores per layer (:func:`score_experts`).
    :param share: Share of all experts to keep, in (0, 1].
    :param floors: The fewest experts to keep in each layer: as many as a token visits.
    :param per_layer: Keep the same share of each layer instead.
    :returns: Ids to keep, rising, for each layer. Ties keep the lower id of the earlier layer.
    :raises ShrinkError: If the share is out of range, or leaves fewer experts than the floors need.
    """
    if not 0 < share <= 1:
        raise ShrinkError(f"the share of experts to keep must be in (0, 1], got {share}.")
    total = sum(score_E.numel() for score_E in scores)
    wanted = max(1, round(share * total))
    if wanted < sum(floors):
        raise ShrinkError(
            f"keeping {share:g} of {total} experts leaves {wanted}, and the layers need {sum(floors)} (as many as a "
            f"token visits). Ask for {sum(floors) / total:.3f} or more."
        )
    ranked = [torch.sort(score_E, descending=True, stable=True).indices.tolist() for score_E in scores]
    if per_layer:
        counts = [max(floor, round(share * len(order))) for order, floor in zip(ranked, floors, strict=True)]
        return [tuple(sorted(order[:count])) for order, count in zip(ranked, counts, strict=True)]
    kept = [set(order[:floor]) for order, floor in zip(ranked, floors, strict=True)]
    rest = [
        (-float(scores[layer][expert]), layer, expert)
        for layer, order in enumerate(ranked)
        for expert in order[floors[layer] :]
    ]
    for _, layer, expert in sorted(rest)[: wanted - sum(floors)]:
        kept[layer].add(expert)
    return [tuple(sorted(ids)) for ids in kept]
