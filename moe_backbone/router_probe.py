"""Find out what a router does by running a small copy of it: which function, renormalised or not, groups, biases.

Layer: ``moe_backbone``; imports torch only.
The copy has random float32 weights, so a structure on the ``meta`` device is enough. Nothing is read off the class.

Shape suffixes: T tokens, H model width, E experts, K experts per token.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from moe_backbone.sites import Site, self_router

__all__ = ["RouterReport", "probe_router", "split_choice", "split_outputs"]

_N_TOKENS = 64
_TOLERANCE = 1e-3
_GROUPS, _KEPT_GROUPS = ("num_group", "n_group"), ("topk_group", "num_limited_groups")
_COUNTS = ("top_k", "num_experts_per_tok", "moe_topk")


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterReport:
    """What a router does.

    :param kind: ``softmax``, ``sigmoid``, or ``unknown``.
    :param top_k: Experts per token K; ``None`` if it could not be found.
    :param renormalised: Whether a token's weights always have one sum; with a softmax that is the softmax over the kept
        logits. ``None`` if unknown.
    :param variable: Whether some tokens take fewer than ``top_k`` experts.
    :param scale: What the weights are multiplied by at the end.
    :param groups: Groups that experts are chosen from; 1 is no grouping.
    :param kept_groups: Groups of which a token's experts may come.
    :param selection_bias: Whether a bias moves the choice but not the weights.
    :param logit_bias: Whether the logits have a bias.
    :param in_float32: Whether the logits are computed in float32 when the weights are bfloat16; ``None`` if unknown.
    :param note: Why something is unknown.
    """

    kind: str = "unknown"
    top_k: int | None = None
    renormalised: bool | None = None
    variable: bool = False
    scale: float = 1.0
    groups: int = 1
    kept_groups: int = 1
    selection_bias: bool = False
    logit_bias: bool = False
    in_float32: bool | None = None
    note: str = ""

    @property
    def summary(self) -> str:
        """One line for people."""
        if self.kind == "unknown":
            return f"unknown ({self.note})" if self.note else "unknown"
        order = {True: ", renormalised over the kept", False: " over all, as they are"}.get(bool(self.renormalised), "")
        parts = [f"{self.kind}{order}"]
        parts += [f"× {self.scale:g}"] if abs(self.scale - 1) > _TOLERANCE else []
        parts += [f"from {self.kept_groups} of {self.groups} groups"] if self.groups > 1 else []
        parts += ["fewer for some tokens"] if self.variable else []
        parts += ["selection bias"] if self.selection_bias else []
        parts += ["logit bias"] if self.logit_bias else []
        return ", ".join(parts)


def probe_router(site: Site, *, width: int, seed: int = 0) -> RouterReport:
    """Run a copy of a site's router on random states and read off what it does.

    :param site: Where the router stands. It is not changed.
    :param width: Model width H.
    :param seed: Seed of the random weights and states.
    :returns: The report; of a router that cannot be run, what its attributes say, and why.
    """
    declared = _attribute(site, _COUNTS)
    if site.router is None:
        return RouterReport(top_k=declared, note="the block has no gate or router")
    if site.n_experts < 1:
        return RouterReport(top_k=declared, note="there are no experts to choose from")
    generator = torch.Generator().manual_seed(seed)
    try:
        router: Any = _random_copy(site.router, generator)
        x_TH = torch.randn(_N_TOKENS, width, generator=generator)
        run = _runner(site)
        with torch.no_grad():
            logits_TE, weights_TK, index_TK = run(router, x_TH)
            report = _read(site, logits_TE, weights_TK, index_TK)
            if report.top_k == 1 and site.n_experts > 1 and hasattr(router, "top_k"):
                router.top_k = 2  # with one expert a renormalised weight is 1 whatever the function
                report = replace(_read(site, *run(router, x_TH)), top_k=1)
                router.top_k = 1
            report = _find_biases(report, router, run, x_TH, n_experts=site.n_experts)
            return replace(report, in_float32=_routes_in_float32(router, run, x_TH))
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, NotImplementedError) as error:
        first_line = str(error).strip().split("\n")[0]
        return RouterReport(top_k=declared, note=f"{type(site.router).__name__} could not be run: {first_line}")


def split_outputs(output: Any, *, n_experts: int) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Tell what a router returned apart: logits, weights and index, in whatever order a release returns them.

    :param output: A tensor or a sequence of tensors.
    :param n_experts: Routed experts E; a router with null experts has more logits than that.
    :returns: Logits ``(T, E)``, weights ``(T, K)`` and index ``(T, K)``; ``None`` for what is not there. Where K = E,
        of two floating tensors the one that holds a negative number, or else the first, is taken for the logits.
    """
    items = [output] if isinstance(output, Tensor) else list(output) if isinstance(output, tuple | list) else []
    tensors = [item for item in items if isinstance(item, Tensor) and item.ndim >= 2]
    index = next((item for item in tensors if not item.is_floating_point()), None)
    floating = [item for item in tensors if item.is_floating_point()]
    wide = [item for item in floating if item.shape[-1] >= n_experts]
    if len(wide) > 1:
        wide.sort(key=lambda item: (-item.shape[-1], not bool((item < 0).any())))
    logits = wide[0] if wide else None
    weights = next((item for item in floating if item is not logits), None)
    return logits, weights, index


def split_choice(output: Any) -> tuple[Tensor | None, Tensor | None]:
    """Tell weights and index apart in what a choice from logits returned, in whatever order."""
    tensors = [item for item in output if isinstance(item, Tensor)]
    weights = next((item for item in tensors if item.is_floating_point()), None)
    return weights, next((item for item in tensors if not item.is_floating_point()), None)


def _runner(site: Site) -> Callable[[nn.Module, Tensor], tuple[Tensor, Tensor, Tensor]]:
    def run(router: nn.Module, x_TH: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, weights, index = split_outputs(router(x_TH), n_experts=site.n_experts)
        choose = self_router(site.block, site.experts)
        if index is None and logits is not None and choose is not None:
            weights, index = split_choice(choose(logits))
        if logits is None or weights is None or index is None:
            raise ValueError("its output holds no logits, weights and index")
        return logits, weights, index

    return run


def _random_copy(router: nn.Module, generator: torch.Generator) -> nn.Module:
    made = copy.deepcopy(router)
    for module in made.modules():
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            hooks.clear()
    if any(one.is_meta for one in (*made.parameters(), *made.buffers())):
        made = made.to_empty(device="cpu")
    made = made.cpu().float().eval()
    with torch.no_grad():
        for parameter in made.parameters():
            fan = parameter.shape[-1] if parameter.ndim > 1 else 1.0
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (fan**-0.5))
        for buffer in made.buffers():
            buffer.zero_()
    return made


def _read(site: Site, logits_TE: Tensor, weights_TK: Tensor, index_TK: Tensor) -> RouterReport:
    chosen_TK = (index_TK >= 0) & (index_TK < site.n_experts)
    logits_TE, weights_TK = logits_TE.float(), weights_TK.float() * chosen_TK
    some_T = chosen_TK.any(dim=-1)
    sums_T = weights_TK.sum(dim=-1)[some_T]
    one_sum = bool((sums_T - sums_T.mean()).abs().max() <= _TOLERANCE * sums_T.mean().abs())
    known = RouterReport(top_k=index_TK.shape[-1], renormalised=one_sum, variable=not bool(chosen_TK.all()))
    safe_TK = torch.where(chosen_TK, index_TK, 0)
    for kind, scores_TE in (("softmax", logits_TE.softmax(dim=-1)), ("sigmoid", logits_TE.sigmoid())):
        ratio_TK = (weights_TK / scores_TE.gather(-1, safe_TK))[some_T]
        mean_T1 = ratio_TK.sum(dim=-1, keepdim=True) / chosen_TK[some_T].sum(dim=-1, keepdim=True)
        close_TK = (ratio_TK - mean_T1).abs() <= _TOLERANCE * mean_T1.abs()
        if bool((close_TK | ~chosen_TK[some_T]).all()):
            known = replace(known, kind=kind, scale=round(float(sums_T.mean() if one_sum else mean_T1.mean()), 4))
            break
    else:
        known = replace(known, note="its weights are neither a softmax nor a sigmoid of its logits")
    groups, kept = _attribute(site, _GROUPS) or 1, _attribute(site, _KEPT_GROUPS) or 1
    plain = logits_TE.topk(index_TK.shape[-1], dim=-1).indices.sort(dim=-1).values
    if groups > 1 and not torch.equal(plain, index_TK.sort(dim=-1).values):
        known = replace(known, groups=groups, kept_groups=kept)
    return known


def _find_biases(
    report: RouterReport, router: nn.Module, run: Callable[..., Any], x_TH: Tensor, *, n_experts: int
) -> RouterReport:
    before_logits, _, before_index = run(router, x_TH)
    for tensor in (*router.parameters(), *router.buffers()):
        if tuple(tensor.shape) != (n_experts,):
            continue
        kept = tensor.clone()
        tensor.copy_(torch.linspace(0.0, 50.0, n_experts))
        logits, _, index = run(router, x_TH)
        tensor.copy_(kept)
        if not torch.equal(logits, before_logits):
            report = replace(report, logit_bias=True)
        elif not torch.equal(index, before_index):
            report = replace(report, selection_bias=True)
    return report


def _routes_in_float32(router: nn.Module, run: Callable[..., Any], x_TH: Tensor) -> bool | None:
    try:
        logits_TE, _, _ = run(router.bfloat16(), x_TH.bfloat16())
    except RuntimeError:  # a router that mixes precisions by hand
        return None
    return not torch.equal(logits_TE.bfloat16().float(), logits_TE.float())


def _attribute(site: Site, names: tuple[str, ...]) -> int | None:
    for owner in (site.router, site.block, getattr(site.block, "config", None), getattr(site.experts, "config", None)):
        for name in names:
            value = getattr(owner, name, None)
            if isinstance(value, int) and not isinstance(value, bool):
                return value
    return None
