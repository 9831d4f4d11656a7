"""Which dispatches can run a model's experts, and which one the automatic choice takes.

Layer: ``moe_backbone``; imports torch and transformers.
The questions are put to the dispatches themselves, with stand-ins of the experts' shape and dtype on this machine's
device; so a structure without weights is enough.

Shape suffixes: T tokens, E experts, G rows of the first product, H model width, I inner width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.adapters import can_dispatch, implementation_name
from moe_backbone.blocks import MoEBlock
from moe_backbone.dispatch.choice import choose_dispatch
from moe_backbone.dispatch.registry import dispatch_names, get_spec
from moe_backbone.dispatch.spec import ExpertLayout
from moe_backbone.sites import follows_interface

__all__ = ["automatic_choice", "runnable_dispatches"]

_ROW_ALIGNMENT_BYTES = 16  # of torch.nn.functional.grouped_mm on a CPU
_TOKENS = (1, 512)  # a decode step and a prefill


def runnable_dispatches(blocks: Sequence[MoEBlock], *, odd: Sequence[str]) -> dict[str, str]:
    """Ask every dispatch, ours and transformers' own, whether it can run these blocks on this machine.

    :param blocks: At least one block.
    :param odd: What their layouts have that an unusual dispatch must read (``bias`` …); empty for the usual layout.
    :returns: By ``experts_implementation``: empty if it can, else why not. Sorted by name.
    """
    found = {"eager": "", "batched_mm": "", "grouped_mm": _alignment(blocks)}
    if not all(follows_interface(block) for block in blocks):
        everywhere = "these experts are not called with index and weights"
    elif not all(can_dispatch(block.experts) for block in blocks):
        everywhere = "these experts hold no plain floating-point weights"
    else:
        everywhere = ""
    for name in dispatch_names():
        spec = get_spec(name)
        why = everywhere
        if not why and not spec.available():
            why = "not available on this machine"
        if not why and odd and not spec.reads_layouts:
            why = f"does not read {', '.join(odd)}"
        if not why and not all(spec.supports(*_stand_ins(block, 1)) for block in blocks):
            why = f"does not take this device, dtype or alignment ({_device()}, {_dtype(blocks[0])})"
        found[implementation_name(name)] = why
    return dict(sorted(found.items()))


def automatic_choice(blocks: Sequence[MoEBlock], *, top_k: int, odd: Sequence[str]) -> dict[str, str]:
    """Ask what the automatic choice would take for the first block, at one token and at many.

    :param blocks: At least one block.
    :param top_k: Experts per token.
    :param odd: As for :func:`runnable_dispatches`.
    :returns: By situation: the dispatch and its reason.
    """
    found = {}
    for n_tokens in _TOKENS:
        situation = f"{n_tokens} token{'s' if n_tokens > 1 else ''} on {_device()}, {_dtype(blocks[0])}"
        try:
            with torch.no_grad():
                choice = choose_dispatch(
                    *_stand_ins(blocks[0], n_tokens), top_k=top_k, layout=ExpertLayout() if odd else None
                )
            found[situation] = f"{implementation_name(choice.name)}: {choice.reason}"
        except ValueError as error:
            found[situation] = f"none: {error}"
    return found


def _stand_ins(block: MoEBlock, n_tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return token states and weights of a block's shape and dtype, all experts sharing one's memory."""
    experts: Any = block.experts
    gated = isinstance(getattr(experts, "gate_up_proj", None), Tensor)
    dtype, device = experts.down_proj.dtype, _device()
    rows = block.expert_width * (2 if gated else 1)
    first = torch.empty((1, rows, block.width), dtype=dtype, device=device)
    second = torch.empty((1, block.width, block.expert_width), dtype=dtype, device=device)
    hidden_TH = torch.empty((n_tokens, block.width), dtype=dtype, device=device)
    return hidden_TH, first.expand(block.n_experts, -1, -1), second.expand(block.n_experts, -1, -1)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _dtype(block: MoEBlock) -> str:
    down: nn.Parameter = block.experts.get_parameter("down_proj")
    return str(down.dtype).removeprefix("torch.")


def _alignment(blocks: Sequence[MoEBlock]) -> str:
    """Say whether torch's grouped product refuses the rows of these experts on a CPU."""
    for block in blocks:
        for name, one in block.experts.named_parameters():
            row = one.shape[-1] * one.element_size()
            if one.ndim == 3 and row % _ROW_ALIGNMENT_BYTES:
                return f"on a CPU: rows of {name} are {row} bytes, no multiple of {_ROW_ALIGNMENT_BYTES}"
    return ""
