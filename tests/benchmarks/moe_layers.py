"""What the routers' check of their logits costs, and low-rank experts of active experts against deltas of all.

Usage: ``python -m tests.benchmarks.moe_layers [--runs N]``

On the CPU, float32, experts of the Granite-3.0-1B-A400M shape (E32 k8 H1024 I512), adapters of rank 8. Each figure is
the minimum of N runs (default 7) and its ratio to the baseline beside it, both from interleaved runs; ratios are safer
than times. The baseline of the adapters is the frozen experts without any, under the dispatch ``auto``;
``deltas of all`` adds ``scale · B_e A_e`` of every expert to the fused weights in each call, as wrapping fused
parameters does. Extra memory is counted from shapes.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch

from moe_backbone.config import MoEConfig
from moe_backbone.dispatch.choice import auto_experts
from moe_backbone.experts import Experts
from moe_backbone.layer import MoELayer
from moe_backbone.lora.fused import LoRAFusedExperts
from moe_backbone.lora.low_rank import LoRAConfig
from moe_backbone.routers.base import refuse_bad_logits
from tests.benchmarks.machine import describe_machine

SHAPE = MoEConfig(width=1024, expert_width=512, n_experts=32, top_k=8)
RANK = 8


def best_ms(calls: dict[str, Callable[[], object]], *, runs: int) -> dict[str, float]:
    """Time the calls in turns and keep the best of each."""
    best = dict.fromkeys(calls, float("inf"))
    for run in range(runs + 1):  # the first turn warms up
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            if run:
                best[name] = min(best[name], time.perf_counter() - start)
    return {name: 1e3 * seconds for name, seconds in best.items()}


@torch.no_grad()
def check_of_logits(runs: int) -> None:
    print("\n    T   layer (top_k) ms   check of its logits ms   share")
    layer = MoELayer(SHAPE, dispatch="auto")
    for n_tokens in (1, 16, 256):
        x = torch.randn(n_tokens, SHAPE.width)
        logits = layer.gate(x).logits
        calls = {"layer": partial(layer, x), "check": partial(refuse_bad_logits, logits, name="layer")}
        times = best_ms(calls, runs=runs)
        share = times["check"] / times["layer"]
        print(f"{n_tokens:5d}   {times['layer']:16.2f}   {times['check']:22.3f}   {share:5.1%}")


def materialised(experts: Experts, wrapper: LoRAFusedExperts, x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Add the delta of every expert to the fused weights, then run the experts."""
    weights = []
    for which, weight in (("gate_up", experts.gate_up_proj), ("down", experts.down_proj)):
        pair = wrapper.sets["default"][which]
        weights.append(weight + pair.scale * torch.bmm(pair.b, pair.a))
    return auto_experts(x, *weights, index, torch.full(index.shape, 1 / SHAPE.top_k), experts.act_fn)


def step(way: Callable[[], torch.Tensor], target: torch.Tensor, *, backward: bool) -> None:
    with torch.set_grad_enabled(backward):
        loss = (way() * target).sum()
        if backward:
            loss.backward()


def adapters(runs: int, *, backward: bool) -> None:
    print(f"\nadapters, {'forward and backward' if backward else 'forward'}")
    print("    T   no adapter ms   active only ms (ratio)   deltas of all ms (ratio)")
    experts = Experts(SHAPE, dispatch="auto")
    wrapper = LoRAFusedExperts(experts, LoRAConfig(rank=RANK))
    for parameter in wrapper.sets.parameters():
        parameter.data.normal_(std=0.02)
    for n_tokens in (1, 16, 256):
        x = torch.randn(n_tokens, SHAPE.width, requires_grad=backward)
        target = torch.randn(n_tokens, SHAPE.width)
        index = torch.rand(n_tokens, SHAPE.n_experts).topk(SHAPE.top_k).indices
        even = torch.full(index.shape, 1 / SHAPE.top_k)
        torch.testing.assert_close(
            wrapper(x, index, even), materialised(experts, wrapper, x, index), rtol=1e-4, atol=1e-5
        )

        ways = {
            "none": partial(experts, x, index, even),
            "active": partial(wrapper, x, index, even),
            "all": partial(materialised, experts, wrapper, x, index),
        }
        calls = {name: partial(step, way, target, backward=backward) for name, way in ways.items()}
        times = best_ms(calls, runs=runs)
        active, everything = times["active"] / times["none"], times["all"] / times["none"]
        print(
            f"{n_tokens:5d}   {times['none']:13.2f}   {times['active']:14.2f} ({active:5.2f})   "
            f"{times['all']:16.2f} ({everything:5.2f})"
        )
    delta = sum(weight.numel() for weight in (experts.gate_up_proj, experts.down_proj)) * 4
    low = sum(parameter.numel() for parameter in wrapper.sets.parameters()) * 4
    print(f"memory: adapters {low / 1e6:.1f} MB; deltas of all, per layer and call, another {delta / 1e6:.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    torch.manual_seed(0)
    print(describe_machine("torch"), f"runs {runs}", sep="; ")
    check_of_logits(runs)
    adapters(runs, backward=False)
    adapters(runs, backward=True)


if __name__ == "__main__":
    main()
