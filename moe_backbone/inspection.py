"""Say what a mixture-of-experts model is made of: experts, routers, layouts, parameters, bytes, dispatches.

Layer: ``moe_backbone``; imports torch, and transformers when the dispatches are listed.
Nothing is looked up by a model's name. Blocks are found by their shape (:mod:`moe_backbone.blocks`), what a router does
is found by running a small copy of it (:mod:`moe_backbone.router_probe`), and how gate and up lie in their fused matrix
by the gradient of the gate. A structure on the ``meta`` device is enough.

Shape suffixes: E experts, H model width, I inner width, K experts per token.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.blocks import MoEBlock, find_blocks
from moe_backbone.loading import OpenedModel, StoredTensor
from moe_backbone.router_probe import RouterReport, probe_router
from moe_backbone.sites import ForeignExperts, Site, find_foreign, follows_interface

__all__ = ["ExpertsLayout", "LayerReport", "ModelReport", "inspect_model", "inspect_opened"]

_DTYPE_CODES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float64", "F8_E4M3": "float8_e4m3",
                "F8_E5M2": "float8_e5m2", "I8": "int8", "U8": "uint8", "I32": "int32", "I64": "int64"}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertsLayout:
    """How a block's fused experts lie in memory.

    :param transposed: Whether matrices are ``(in, out)`` instead of ``(out, in)``.
    :param gated: Whether there is a gate beside the up projection.
    :param interleaved: Whether gate and up alternate row by row instead of gate standing above up.
    :param bias: Whether the projections have biases.
    :param post_norm: Whether each expert's output is normalised.
    """

    transposed: bool = False
    gated: bool = True
    interleaved: bool = False
    bias: bool = False
    post_norm: bool = False

    @property
    def odd(self) -> tuple[str, ...]:
        """What is unlike the usual."""
        odd = {"transposed": self.transposed, "no gate": not self.gated, "gate interleaved": self.interleaved,
               "bias": self.bias, "post-norm": self.post_norm}  # fmt: skip
        return tuple(name for name, there in odd.items() if there)

    @property
    def summary(self) -> str:
        """One line for people."""
        return ", ".join(self.odd) or "usual"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReport:
    """One block of experts.

    :param name: Name of the block in the model.
    :param n_experts: Routed experts E.
    :param width: Model width H.
    :param expert_width: Inner width I of one routed expert.
    :param shared_width: Inner width of what every token visits besides; 0 if there is nothing.
    :param shared_gate: Whether that is weighed by a gate of its own.
    :param router: What the router does.
    :param layout: How the experts lie in memory.
    :param n_routed: Parameters of all routed experts.
    :param n_shared: Parameters of the shared part.
    :param problem: Why a forward pass would fail, or what the tools cannot do here; empty if nothing.
    """

    name: str
    n_experts: int
    width: int
    expert_width: int
    shared_width: int
    shared_gate: bool
    router: RouterReport
    layout: ExpertsLayout
    n_routed: int
    n_shared: int
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReport:
    """A model.

    :param architecture: Class of the model.
    :param model_type: What its configuration calls it.
    :param n_layers: Decoder layers, with and without experts; 0 if unknown.
    :param layers: Its blocks of experts, in order.
    :param foreign: Experts outside the experts interface: name of the block and what was found.
    :param n_parameters: All parameters, tied ones once.
    :param n_active: Parameters that one token visits: all but the experts that it is not sent to.
    :param expert_share: Share of the routed experts in all parameters, in [0, 1].
    :param size_bytes: Bytes by dtype: of the files where there are any, else of the parameters.
    :param dispatches: By name of a dispatch (``experts_implementation``): empty if it can run the model, else why not.
    :param automatic: What the automatic choice takes at one token and at 512, with its reason.
    :param quantised: How the weights are quantised; empty if they are not.
    :param problems: What would make a forward pass fail or be wrong.
    """

    architecture: str
    model_type: str = ""
    n_layers: int = 0
    layers: tuple[LayerReport, ...] = ()
    foreign: tuple[tuple[str, str], ...] = ()
    n_parameters: int = 0
    n_active: int = 0
    expert_share: float = 0.0
    size_bytes: Mapping[str, int] = field(default_factory=dict)
    dispatches: Mapping[str, str] = field(default_factory=dict)
    automatic: Mapping[str, str] = field(default_factory=dict)
    quantised: str = ""
    problems: tuple[str, ...] = ()

    @property
    def has_experts(self) -> bool:
        """Whether there are experts of any kind."""
        return bool(self.layers or self.foreign)


def inspect_opened(opened: OpenedModel, *, stored: Sequence[StoredTensor] = ()) -> ModelReport:
    """Describe a model that :mod:`moe_backbone.loading` opened.

    :param opened: The model; a structure is enough.
    :param stored: What its files hold; empty if there are none.
    :returns: The report. Files that hold fewer numbers than the model has parameters are one of its problems.
    """
    return inspect_model(opened.model, config=opened.config, stored=stored, quantised=opened.quantised)


def inspect_model(
    model: nn.Module, *, config: Any = None, stored: Sequence[StoredTensor] = (), quantised: str = ""
) -> ModelReport:
    """Describe a model.

    :param model: Any module; a structure on the ``meta`` device is enough.
    :param config: Its configuration; ``None`` takes the model's own.
    :param stored: What its files hold.
    :param quantised: How its weights are quantised.
    :returns: The report; :attr:`ModelReport.has_experts` is false for a dense model.
    """
    config = config if config is not None else getattr(model, "config", None)
    blocks = find_blocks(model)
    layers = tuple(_describe(block) for block in blocks)
    foreign = find_foreign(model)
    foreign_layers = tuple(_describe_foreign(one, config) for one in foreign)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    routed = [(layer.n_routed, layer) for layer in (*layers, *foreign_layers)]
    n_routed = sum(count for count, _ in routed)
    idle = sum(count - count * _active_share(layer) for count, layer in routed)
    problems = [f"{layer.name}: {layer.problem}" for layer in layers if layer.problem]
    problems += _missing(model, stored) if stored and not quantised else []
    dispatches, automatic = _dispatches(blocks, layers) if blocks else ({}, {})
    return ModelReport(
        architecture=type(model).__name__,
        model_type=getattr(config, "model_type", ""),
        n_layers=_n_layers(config),
        layers=layers,
        foreign=tuple((one.name, one.found) for one in foreign),
        n_parameters=n_parameters,
        n_active=round(n_parameters - idle),
        expert_share=n_routed / n_parameters if n_parameters else 0.0,
        size_bytes=_sizes(model, stored),
        dispatches=dispatches,
        automatic=automatic,
        quantised=quantised or _packed(blocks),
        problems=tuple(problems),
    )


def _describe(block: MoEBlock) -> LayerReport:
    site = Site(
        name=block.name, block=block.block, router=block.router, experts=block.experts, n_experts=block.n_experts
    )
    router = probe_router(site, width=block.width)
    shared, shared_width, shared_gate = _shared(block.block, block.router, block.experts, width=block.width)
    return LayerReport(
        name=block.name,
        n_experts=block.n_experts,
        width=block.width,
        expert_width=block.expert_width,
        shared_width=shared_width,
        shared_gate=shared_gate,
        router=router,
        layout=_layout(block.experts, expert_width=block.expert_width),
        n_routed=_count(block.experts),
        n_shared=shared,
        problem=_problem(block, router),
    )


def _describe_foreign(one: ForeignExperts, config: Any) -> LayerReport:
    site = Site(name=one.name, block=one.block, router=one.router, experts=one.experts, n_experts=one.n_experts)
    width = getattr(config.get_text_config(), "hidden_size", 0) if hasattr(config, "get_text_config") else 0
    return LayerReport(
        name=one.name, n_experts=one.n_experts, width=width, expert_width=0, shared_width=0, shared_gate=False,
        router=probe_router(site, width=width), layout=ExpertsLayout(), n_routed=_count(one.experts), n_shared=0,
    )  # fmt: skip


def _active_share(layer: LayerReport) -> float:
    if not layer.n_experts or layer.router.top_k is None:
        return 1.0
    return min(layer.router.top_k / layer.n_experts, 1.0)


def _problem(block: MoEBlock, router: RouterReport) -> str:
    if block.n_experts < 1:
        return "it has no experts; a forward pass cannot choose one."
    if router.top_k is not None and router.top_k > block.n_experts:
        return (
            f"it asks for top_k={router.top_k} of {block.n_experts} experts; lower the experts per token in "
            "config.json."
        )
    if not follows_interface(block):
        return "its experts are not called with index and weights: routing cannot be watched or edited here."
    return ""


def _shared(block: nn.Module, router: nn.Module | None, experts: nn.Module, *, width: int) -> tuple[int, int, bool]:
    """Count the parameters of what stands beside router and experts, and find its inner width and its gate."""
    n_parameters, inner, gated = 0, 0, False
    for child in block.children():
        if child is router or child is experts:
            continue
        n_parameters += _count(child)
        linears = [one for one in child.modules() if isinstance(one, nn.Linear)]
        if len(linears) == 1 and linears[0] is child and child.out_features == 1:
            gated = True
        inner = max([inner, *(one.in_features for one in linears if one.out_features == width and one is not child)])
    return n_parameters, inner, gated


def _layout(experts: nn.Module, *, expert_width: int) -> ExpertsLayout:
    gated = isinstance(getattr(experts, "gate_up_proj", None), Tensor)
    bias = any(name.endswith("bias") and one.ndim == 2 for name, one in experts.named_parameters(recurse=False))
    return ExpertsLayout(
        transposed=bool(getattr(experts, "is_transposed", False)),
        gated=gated,
        interleaved=gated and _interleaved(experts, expert_width),
        bias=bool(getattr(experts, "has_bias", bias)),
        post_norm=bool(getattr(experts, "has_post_expert_norm", False)),
    )


def _interleaved(experts: Any, expert_width: int) -> bool:
    """Tell by the gradient which inputs the first inner state depends on: 0 and 1, or 0 and I."""
    apply = getattr(experts, "_apply_gate", None)
    if apply is None or expert_width < 2:
        return not getattr(experts, "is_concatenated", True)
    with torch.enable_grad(), torch.device("cpu"):
        probe = torch.full((1, 2 * expert_width), 0.5, requires_grad=True)
        out = apply(probe)
        (slope,) = torch.autograd.grad(out[0, 0], probe)
    return bool(slope[0, 1] != 0)


def _sizes(model: nn.Module, stored: Sequence[StoredTensor]) -> dict[str, int]:
    sizes: Counter[str] = Counter()
    if stored:
        for tensor in stored:
            sizes[_DTYPE_CODES.get(tensor.dtype, tensor.dtype)] += tensor.size_bytes
    else:
        for parameter in model.parameters():
            sizes[str(parameter.dtype).removeprefix("torch.")] += parameter.numel() * parameter.element_size()
    return dict(sizes.most_common())


def _missing(model: nn.Module, stored: Sequence[StoredTensor]) -> list[str]:
    """Compare how many numbers the files and the model hold: names differ, as fused experts are stored one by one."""
    held = sum(torch.Size(tensor.shape).numel() for tensor in stored)
    needed = sum(parameter.numel() for parameter in model.parameters())
    if held >= needed:
        return []
    return [f"the files hold {held:,} numbers and the model has {needed:,} parameters: the checkpoint is incomplete."]


def _packed(blocks: Sequence[MoEBlock]) -> str:
    kinds = {str(one.dtype) for block in blocks for one in block.experts.parameters() if not one.is_floating_point()}
    return f"experts are stored as {', '.join(sorted(kinds))}" if kinds else ""


def _dispatches(blocks: Sequence[MoEBlock], layers: Sequence[LayerReport]) -> tuple[dict[str, str], dict[str, str]]:
    from moe_backbone.runnable import automatic_choice, runnable_dispatches

    # A transposed matrix is read through a view; what else is odd, a dispatch must read itself.
    odd = sorted({part for layer in layers for part in layer.layout.odd if part != "transposed"})
    top_k = layers[0].router.top_k or 1
    return runnable_dispatches(blocks, odd=odd), automatic_choice(blocks, top_k=top_k, odd=odd)


def _n_layers(config: Any) -> int:
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return int(getattr(text, "num_hidden_layers", 0) or 0)


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
