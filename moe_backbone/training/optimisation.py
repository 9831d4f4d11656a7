"""AdamW with parameter groups, and its schedule: linear warm-up, then a cosine.

Layer: ``moe_backbone``; imports torch only.
Source: decoupled weight decay, arXiv:1711.05101; warm-up and cosine as in Llama, arXiv:2302.13971, section 2.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from moe_backbone.training.config import StageConfig, TrainingConfig, TrainingError
from moe_backbone.training.freezing import parameter_groups

__all__ = ["load_optimiser", "make_optimiser", "optimiser_tensors", "rate_share", "set_rate"]

_STATE = ("exp_avg", "exp_avg_sq", "step")


def rate_share(step: int, *, n_steps: int, warmup_steps: int, final_share: float) -> float:
    """Return the share of the peak learning rate at a step of a stage.

    :param step: The step in the stage, from 0.
    :param n_steps: Steps of the stage.
    :param warmup_steps: Steps of warm-up; the first has ``1 / warmup_steps`` of the peak.
    :param final_share: What the cosine ends at, on the stage's last step.
    :returns: The share, in (0, 1].
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, n_steps - 1 - warmup_steps)
    return final_share + (1 - final_share) * (1 + math.cos(math.pi * min(1.0, progress))) / 2


def make_optimiser(
    model: nn.Module, names: Sequence[str], *, config: TrainingConfig, stage: StageConfig
) -> torch.optim.AdamW:
    """Make the optimiser of a stage: routers apart, and no decay for them and for vectors.

    :param model: The model.
    :param names: The trained parameters.
    :param config: Of the run.
    :param stage: Of the stage.
    :returns: The optimiser; each group knows its ``names`` and its ``peak`` learning rate.
    :raises TrainingError: If a trained parameter is of half precision, which loses small updates.
    """
    parameters = dict(model.named_parameters())
    half = [name for name in names if parameters[name].dtype in (torch.bfloat16, torch.float16)]
    if half:
        raise TrainingError(
            f"{len(half)} trained parameters are of half precision, first {half[0]}: small updates would be lost. Load "
            "the model in float32; precision=bfloat16 then computes in bfloat16."
        )
    routers = parameter_groups(model)["@routers"]
    groups: dict[tuple[str, float, float], list[str]] = {}
    for name in names:
        if name in routers:
            key = ("routers", stage.learning_rate * stage.router_rate, 0.0)
        elif parameters[name].ndim <= 1:
            key = ("vectors", stage.learning_rate, 0.0)
        else:
            key = ("matrices", stage.learning_rate, config.weight_decay)
        groups.setdefault(key, []).append(name)
    return torch.optim.AdamW(
        [
            {"params": [parameters[name] for name in members], "names": members, "peak": peak, "lr": peak,
             "weight_decay": decay}
            for (_, peak, decay), members in groups.items()
        ],
        lr=stage.learning_rate,
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
    )  # fmt: skip


def set_rate(optimiser: torch.optim.Optimizer, share: float) -> None:
    """Set every group's learning rate to ``share`` of its peak."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * share


def optimiser_tensors(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the state of the optimiser by parameter: ``NAME/exp_avg`` and so on. Empty before its first step."""
    found: dict[str, Tensor] = {}
    for group in optimiser.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for key, value in optimiser.state.get(parameter, {}).items():
                found[f"{name}/{key}"] = value
    return found


def load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what :func:`optimiser_tensors` returned.

    :param optimiser: One made for the same parameters.
    :param tensors: Its state.
    :raises TrainingError: If the state is of other parameters.
    """
    names = {name for group in optimiser.param_groups for name in group["names"]}
    strange = {key.rpartition("/")[0] for key in tensors} - names
    if strange:
        raise TrainingError(f"the checkpoint holds the optimiser of other parameters, first {min(strange)}.")
    for group in optimiser.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            state = {key: tensors[f"{name}/{key}"] for key in _STATE if f"{name}/{key}" in tensors}
            if state:
                optimiser.state[parameter] = {
                    key: value if key == "step" else value.to(parameter.device) for key, value in state.items()
                }
