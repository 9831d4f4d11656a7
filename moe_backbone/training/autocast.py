"""Let fused experts take part in autocast, which knows linear layers but no grouped products.

Layer: ``moe_backbone``; imports torch only.
Under autocast a stock ``grouped_mm`` multiplies in the dtype of its weights: float32, at a fraction of the speed. Here
the experts see their weights in the dtype of autocast while they run; parameters and gradients stay as they are.
"""

from __future__ import annotations

from functools import partial
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.blocks import find_blocks

__all__ = ["ExpertsInAutocast"]


class ExpertsInAutocast:
    """Run the experts of ``model`` in the dtype of autocast inside a ``with`` block, where autocast is on.

    :param model: Any model; one thread may run it at a time.
    """

    def __init__(self, model: nn.Module) -> None:
        self._experts = [block.experts for block in find_blocks(model)]

    def __enter__(self) -> ExpertsInAutocast:
        for experts in self._experts:
            called: Any = experts
            called.forward = partial(_run, experts, experts.forward)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for experts in self._experts:
            experts.__dict__.pop("forward", None)


def _run(experts: nn.Module, forward: Any, hidden_TH: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    device = hidden_TH.device.type
    if not torch.is_autocast_enabled(device):
        plain: Tensor = forward(hidden_TH, *args, **kwargs)
        return plain
    dtype = torch.get_autocast_dtype(device)
    swapped: list[tuple[nn.Module, str, Any]] = []
    try:
        for module in experts.modules():
            for name, parameter in module._parameters.items():
                if parameter is not None and parameter.dtype == torch.float32:
                    swapped.append((module, name, parameter))
                    module._parameters[name] = parameter.to(dtype)  # type: ignore[assignment]
        out: Tensor = forward(hidden_TH.to(dtype), *args, **kwargs)
        return out.to(hidden_TH.dtype)
    finally:
        for module, name, parameter in swapped:
            module._parameters[name] = parameter
