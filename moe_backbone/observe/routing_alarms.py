"""Alarms that recorded routing raises.

Layer: ``moe_backbone``; imports torch only.

Shape suffixes: T tokens, E experts, K experts per token.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from moe_backbone.observe.alarms import Alarm, Severity
from moe_backbone.observe.stats import LabelRouting, LayerRouting, RoutingStats, relative_entropy

__all__ = ["Thresholds", "balance_of", "routing_alarms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When an alarm is raised. All are ours, chosen so that the reason beside each holds.

    :param collapsed: Balance (:func:`balance_of`) below which a layer has collapsed: an error.
    :param lopsided: Balance below which it is lopsided: a warning.
    :param visits: Tokens per expert, if all were equally loaded, below which nothing is said of loads: at 20, an
        expert that is chosen at random is missed with a chance below e^-20.
    :param dead_share: Share of dead experts in a layer from which it is an error.
    :param large_logit: Logit from which bfloat16 steps are 0.5 or more (2^6 is stored to ±0.25): a warning.
    :param huge_logit: Logit from which they are 2 or more: an error.
    :param undecided: Router entropy from which a router does not choose.
    :param together: Overlap (Jaccard) from which experts are always chosen together.
    :param skipped: Share of slots without an expert from which it is a warning.
    :param blind: Balance loss of a layer from which the pooled loss, if it is below half of it, is called blind.
    """

    collapsed: float = 0.25
    lopsided: float = 0.5
    visits: float = 20.0
    dead_share: float = 0.25
    large_logit: float = 64.0
    huge_logit: float = 256.0
    undecided: float = 0.999
    together: float = 0.95
    skipped: float = 0.5
    blind: float = 2.0


def balance_of(load: Sequence[float], top_k: float) -> float:
    """Return how evenly experts are used, from 0, the least that ``top_k`` different experts per token allow, to 1.

    :param load: Shares of the slots.
    :param top_k: Experts per token K.
    :returns: The entropy of the load, scaled from ``ln K`` to ``ln E``; 1 where K = E.
    """
    floor = math.log(max(top_k, 1.0)) / math.log(len(load)) if len(load) > 1 else 1.0
    return 1.0 if floor >= 1.0 else max(0.0, (relative_entropy(load) - floor) / (1.0 - floor))


def routing_alarms(
    stats: RoutingStats, *, copies: Collection[str] = (), thresholds: Thresholds | None = None
) -> list[Alarm]:
    """Look at how every layer routed.

    :param stats: What was recorded.
    :param copies: Layers whose groups of experts are copies by design: uneven use of them loses nothing, so it is a
        note.
    :param thresholds: When to raise; ``None`` takes the defaults.
    :returns: The alarms, each over all layers it concerns, with the worst as evidence.
    """
    limit = thresholds or Thresholds()
    enough = [layer for layer in stats.layers if layer.n_tokens * _top_k(layer) >= limit.visits * layer.n_experts]
    real = [layer for layer in enough if layer.name not in copies]
    copied = [layer for layer in enough if layer.name in copies]
    found = [
        *_uneven(real, limit),
        _copied_unevenly(copied, limit),
        _dead(real, limit),
        _not_finite(stats.layers),
        *_exploding(stats.layers, limit),
        _undecided(real, limit),
        _together(real, limit),
        _skipping(stats.layers, limit),
        _one_sided(real, limit),
        _blind_pool(stats, enough, limit),
        _too_few(stats, enough),
    ]
    return [alarm for alarm in found if alarm is not None]


def _uneven(layers: Sequence[LayerRouting], limit: Thresholds) -> list[Alarm | None]:
    balance = {layer.name: balance_of(layer.load, _top_k(layer)) for layer in layers}
    collapsed = [layer for layer in layers if balance[layer.name] < limit.collapsed]
    lopsided = [layer for layer in layers if limit.collapsed <= balance[layer.name] < limit.lopsided]
    return [
        _worst(
            collapsed, lambda layer: -balance[layer.name], code="collapsed_layer", severity=Severity.ERROR,
            say=lambda layer: f"{_busiest(layer.load)} (balance {balance[layer.name]:.2f} of 1)",
            advice=(
                "The other experts are dead weight for such text. If other text is routed the same, train on with a "
                "balance loss per layer or a bias update, or prune the layer."
            ),
            number=("balance", lambda layer: balance[layer.name]),
        ),
        _worst(
            lopsided, lambda layer: -balance[layer.name], code="lopsided_layer", severity=Severity.WARNING,
            say=lambda layer: f"{_busiest(layer.load)} (balance {balance[layer.name]:.2f} of 1)",
            advice="Look whether other text balances it; the busiest experts bound the speed of a parallel run.",
            number=("balance", lambda layer: balance[layer.name]),
        ),
    ]  # fmt: skip


def _copied_unevenly(layers: Sequence[LayerRouting], limit: Thresholds) -> Alarm | None:
    balance = {layer.name: balance_of(layer.load, _top_k(layer)) for layer in layers}
    return _worst(
        [layer for layer in layers if balance[layer.name] < limit.lopsided],
        lambda layer: -balance[layer.name],
        code="uneven_copies",
        severity=Severity.NOTE,
        say=lambda layer: f"{_busiest(layer.load)} (balance {balance[layer.name]:.2f} of 1)",
        advice="The groups are equal copies, so nothing is lost now; train on with a balance loss so that all learn.",
        number=("balance", lambda layer: balance[layer.name]),
    )


def _dead(layers: Sequence[LayerRouting], limit: Thresholds) -> Alarm | None:
    found = [layer for layer in layers if layer.dead]
    worst = max((len(layer.dead) / layer.n_experts for layer in found), default=0.0)
    return _worst(
        found,
        lambda layer: len(layer.dead) / layer.n_experts,
        code="dead_experts",
        severity=Severity.ERROR if worst >= limit.dead_share else Severity.WARNING,
        say=lambda layer: (
            f"{len(layer.dead)} of {layer.n_experts} experts got none of {layer.n_tokens:,} tokens "
            f"({', '.join(map(str, layer.dead[:8]))}{' …' if len(layer.dead) > 8 else ''})"
        ),
        advice="Try text of another kind and length. If they stay dead, prune them or revive them with a bias update.",
        number=("n_dead", lambda layer: len(layer.dead)),
    )


def _not_finite(layers: Sequence[LayerRouting]) -> Alarm | None:
    return _worst(
        [layer for layer in layers if layer.n_not_finite],
        lambda layer: layer.n_not_finite,
        code="not_finite_logits",
        severity=Severity.ERROR,
        say=lambda layer: f"{layer.n_not_finite:,} of {layer.n_tokens:,} tokens had a NaN or infinite router logit",
        advice="What comes out is noise. Look at the first such layer: its router, or the experts before it.",
        number=("n_tokens", lambda layer: layer.n_not_finite),
        first=True,
    )


def _exploding(layers: Sequence[LayerRouting], limit: Thresholds) -> list[Alarm | None]:
    huge = [layer for layer in layers if layer.largest_logit >= limit.huge_logit]
    large = [layer for layer in layers if limit.large_logit <= layer.largest_logit < limit.huge_logit]
    return [
        _worst(
            found, lambda layer: layer.largest_logit, code="exploding_router_logits", severity=severity,
            say=lambda layer: f"the largest logit is {layer.largest_logit:.0f}, where bfloat16 steps by "
            f"{2 ** (math.floor(math.log2(layer.largest_logit)) - 7):g}; root mean square z "
            f"{math.sqrt(layer.mean_square_z):.1f}",
            advice="Route in float32 (moe_backbone.adapters.route_in_float32), and train on with a z-loss.",
            number=("largest_logit", lambda layer: layer.largest_logit),
        )
        for found, severity in ((huge, Severity.ERROR), (large, Severity.WARNING))
    ]  # fmt: skip


def _undecided(layers: Sequence[LayerRouting], limit: Thresholds) -> Alarm | None:
    return _worst(
        [layer for layer in layers if layer.router_entropy >= limit.undecided],
        lambda layer: layer.router_entropy,
        code="undecided_router",
        severity=Severity.WARNING,
        say=lambda layer: (
            f"router entropy {layer.router_entropy:.4f} of 1, largest probability "
            f"{layer.confidence:.4f} where {1 / layer.n_experts:.4f} is chance"
        ),
        advice="The router does not tell its experts apart: it was not trained, or its rows are all but equal.",
        number=("router_entropy", lambda layer: layer.router_entropy),
    )


def _together(layers: Sequence[LayerRouting], limit: Thresholds) -> Alarm | None:
    cliques = {layer.name: _clique(layer, limit) for layer in layers}
    return _worst(
        [layer for layer in layers if cliques[layer.name]],
        lambda layer: len(cliques[layer.name]),
        code="coactivation_clique",
        severity=Severity.WARNING,
        say=lambda layer: (
            f"experts {', '.join(map(str, cliques[layer.name]))} are chosen together in at least "
            f"{100 * limit.together:.0f} % of the tokens that visit one of them"
        ),
        advice="They act as one wider expert: merge them, or train on with a smaller K.",
        number=("n_experts", lambda layer: len(cliques[layer.name])),
    )


def _clique(layer: LayerRouting, limit: Thresholds) -> list[int]:
    """Return the largest set found of experts that all go together, by growing it from each expert."""
    if _top_k(layer) >= layer.n_experts:
        return []
    best: list[int] = []
    used = [expert for expert in range(layer.n_experts) if layer.pairs[expert][expert] >= limit.visits]
    for start in used:
        clique = [start]
        for other in used:
            if other != start and all(layer.together(other, one) >= limit.together for one in clique):
                clique.append(other)
        best = max(best, sorted(clique), key=len)
    everywhere = all(layer.pairs[one][one] >= limit.together * layer.n_tokens for one in best)
    return best if len(best) > 1 and not everywhere else []  # experts of every token are a collapse, told apart


def _skipping(layers: Sequence[LayerRouting], limit: Thresholds) -> Alarm | None:
    return _worst(
        [layer for layer in layers if layer.skipped >= limit.skipped],
        lambda layer: layer.skipped,
        code="slots_without_expert",
        severity=Severity.WARNING,
        say=lambda layer: f"{100 * layer.skipped:.0f} % of the slots hold no expert",
        advice="Skipping or a mask is on: compare the quality without it, or loosen its threshold.",
        number=("skipped", lambda layer: layer.skipped),
    )


def _one_sided(layers: Sequence[LayerRouting], limit: Thresholds) -> Alarm | None:
    """Find labels whose tokens collapse where all tokens together do not."""
    found: dict[str, tuple[str, LabelRouting, float]] = {}
    for layer in layers:
        top_k = _top_k(layer)
        if balance_of(layer.load, top_k) < limit.lopsided:
            continue
        for label, one in layer.labels.items():
            balance = balance_of(one.load, top_k)
            least = found[layer.name][2] if layer.name in found else limit.collapsed
            if balance < least and sum(one.counts) >= limit.visits * layer.n_experts:
                found[layer.name] = (label, one, balance)
    return _worst(
        [layer for layer in layers if layer.name in found],
        lambda layer: -found[layer.name][2],
        code="one_sided_label",
        severity=Severity.WARNING,
        say=lambda layer: (
            f"of the {found[layer.name][1].n_tokens:,} tokens labelled {found[layer.name][0]!r}, "
            f"{_busiest(found[layer.name][1].load)} (balance {found[layer.name][2]:.2f} of 1), while all tokens "
            "together are balanced"
        ),
        advice=(
            "This kind of token has few experts of its own: look at its quality, and balance the loss within the label "
            "when training."
        ),
        number=("balance", lambda layer: found[layer.name][2]),
    )


def _blind_pool(stats: RoutingStats, layers: Sequence[LayerRouting], limit: Thresholds) -> Alarm | None:
    pooled = stats.pooled_balance_loss
    found = [layer for layer in layers if layer.balance_loss >= max(limit.blind, 2 * pooled)]
    return _worst(
        found,
        lambda layer: layer.balance_loss,
        code="pooled_balance_blind",
        severity=Severity.WARNING,
        say=lambda layer: (
            f"its own balance loss is {layer.balance_loss:.2f} (1 is uniform, {layer.n_experts} is "
            f"collapsed), while the loss that pools all layers, as transformers does, reads {pooled:.2f}"
        ),
        advice="The stock loss cannot see this. Train with the balance loss per layer (moe_backbone.losses).",
        number=("balance_loss", lambda layer: layer.balance_loss),
    )


def _too_few(stats: RoutingStats, enough: Sequence[LayerRouting]) -> Alarm | None:
    left = [layer for layer in stats.layers if layer not in enough]
    return _worst(
        left,
        lambda layer: layer.n_experts,
        code="too_few_tokens",
        severity=Severity.NOTE,
        say=lambda layer: f"{layer.n_tokens:,} tokens are too few to judge the load of {layer.n_experts} experts",
        advice="Give more text.",
        number=("n_tokens", lambda layer: layer.n_tokens),
    )


def _worst(
    layers: Sequence[LayerRouting],
    badness: Callable[[LayerRouting], float],
    *,
    code: str,
    severity: Severity,
    say: Callable[[LayerRouting], str],
    advice: str,
    number: tuple[str, Callable[[LayerRouting], float]],
    first: bool = False,
) -> Alarm | None:
    """Make one alarm of all layers it concerns, with the worst (or the first) as evidence."""
    if not layers:
        return None
    worst = layers[0] if first else max(layers, key=badness)
    more = f"; and {n} more {'layer' if n == 1 else 'layers'}" if (n := len(layers) - 1) else ""
    return Alarm(
        code=code,
        severity=severity,
        where=tuple(layer.name for layer in layers),
        evidence=f"{worst.name}: {say(worst)}{more}",
        advice=advice,
        numbers={number[0]: float(number[1](worst)), "n_layers": len(layers)},
    )


def _busiest(load: Sequence[float]) -> str:
    order = sorted(range(len(load)), key=lambda expert: -load[expert])[:2]
    return "; ".join(f"expert {expert} takes {100 * load[expert]:.0f} % of the slots" for expert in order)


def _top_k(layer: LayerRouting) -> float:
    """Return the experts per token that were really used, on average."""
    return (sum(layer.counts) + layer.n_skipped) / layer.n_tokens if layer.n_tokens else 0.0
