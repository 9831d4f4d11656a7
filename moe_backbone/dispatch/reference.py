"""The naive dispatch: one token, one expert at a time. The oracle of every faster one.

Layer: ``moe_backbone``; imports torch only.
Works in every floating dtype (float64 for gradient checks) and in every number of tokens, zero included.

Shape suffixes: T tokens, H model width, E experts, I inner width, G = 2 I (gate above up), K experts per token.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from moe_backbone.dispatch.slots import finish_rows, inner_state
from moe_backbone.dispatch.spec import ExpertLayout

__all__ = ["reference_experts"]


def reference_experts(
    hidden_TH: Tensor,
    gate_up_EGH: Tensor,
    down_EHI: Tensor,
    index_TK: Tensor,
    weights_TK: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    layout: ExpertLayout | None = None,
) -> Tensor:
    """Run each token through each of its experts in two plain loops.

    :param hidden_TH: Token states. *Shape:* ``(T, H)``.
    :param gate_up_EGH: Fused gate and up projections. *Shape:* ``(E, 2 I, H)``.
    :param down_EHI: Down projections. *Shape:* ``(E, H, I)``.
    :param index_TK: Expert ids; one outside ``0 … E-1`` is no expert. *Shape:* ``(T, K)``.
    :param weights_TK: Weight of each chosen expert. *Shape:* ``(T, K)``.
    :param activation: Non-linearity of the gate.
    :param layout: What the experts have beyond two matrices.
    :returns: ``y_t = Σ_k w_tk · down(act(gate(x_t)) ⊙ up(x_t))``, in the dtype of ``hidden_TH``. *Shape:* ``(T, H)``.
    """
    n_experts = gate_up_EGH.shape[0]
    # Adding 0 · x keeps a token without experts, and a batch without tokens, inside the graph of gradients.
    rows = [0 * hidden_TH]
    for token, experts in enumerate(index_TK.tolist()):
        for slot, expert in enumerate(experts):
            if not 0 <= expert < n_experts:
                continue
            gate_up_G = gate_up_EGH[expert] @ hidden_TH[token]
            if layout is not None and layout.gate_up_bias is not None:
                gate_up_G = gate_up_G + layout.gate_up_bias[expert]
            y_H = down_EHI[expert] @ inner_state(gate_up_G[None], activation, layout)[0]
            if layout is not None and layout.down_bias is not None:
                y_H = y_H + layout.down_bias[expert]
            y_H = finish_rows(y_H[None], layout)[0]
            out_TH = hidden_TH.new_zeros(hidden_TH.shape, dtype=weights_TK.dtype)
            rows.append(out_TH.index_put((index_TK.new_tensor([token]),), (weights_TK[token, slot] * y_H)[None]))
    return sum(rows[1:], start=rows[0]).to(hidden_TH.dtype)
