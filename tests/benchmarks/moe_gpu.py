"""Experts on a GPU: ours beside every backend of transformers and a dense network of equal active parameters.

    python -m tests.benchmarks.moe_gpu [--tokens 1 8 64 …] [--shapes olmoe qwen3 mixtral] [--tune] [--exact] [--sorting]

bfloat16, random weights, a router that spreads tokens evenly at random. Times are medians on the device with the L2
cache flushed before each (``triton.testing.do_bench``); ``graph`` is the time of one replay from a CUDA graph, where
no launch is waited for. TFLOP/s count ``6·T·K·H·I``; GB/s count the weights of the experts that are busy, once, and
the tokens in and out. The roofline is measured first: a copy, and a product of 8192 × 8192 matrices; its share is the
larger of the two floors over the time. ``best stock`` is the fastest of eager, grouped_mm and batched_mm (batched_mm to
64 tokens, eager from 64: beyond, each is far behind or out of memory). ``--exact`` compares with float64 first.
``--tune`` prints the best tiles for each number of tokens instead, ``--sorting`` few slots sorted and unsorted.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import MixtralConfig
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS
from transformers.models.mixtral.modeling_mixtral import MixtralExperts

from moe_backbone.dispatch.grouped import looped_experts
from moe_backbone.dispatch.triton_experts import run_tiles, triton_experts
from moe_backbone.dispatch.triton_tiles import Tile, choose_tiles, goes_unsorted
from tests.benchmarks.machine import describe_machine


@dataclass(frozen=True)
class Shape:
    """The layer of a published model."""

    name: str
    width: int
    inner: int
    n_experts: int
    top_k: int


SHAPES = {
    "olmoe": Shape("OLMoE", 2048, 1024, 64, 8),
    "qwen3": Shape("Qwen3-30B-A3B", 2048, 768, 128, 8),
    "mixtral": Shape("Mixtral-8x7B", 4096, 14336, 8, 2),
}
TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 8192, 32768)


class Case:
    """One layer's stock experts module with its inputs."""

    def __init__(self, shape: Shape, n_tokens: int, experts: nn.Module, *, seed: int = 0) -> None:
        generator = torch.Generator("cuda").manual_seed(seed)
        self.shape, self.experts = shape, experts
        self.hidden = torch.randn(n_tokens, shape.width, device="cuda", generator=generator).bfloat16()
        scores = torch.rand(n_tokens, shape.n_experts, device="cuda", generator=generator)
        values, self.index = scores.topk(shape.top_k, dim=1)
        self.weights = values.softmax(dim=1)
        self.n_busy = len(self.index.unique())

    def stock(self, name: str) -> Callable[[], Tensor]:
        """Return a call of one backend of transformers."""
        if name == "eager":
            forward = type(self.experts).forward
            forward = getattr(forward, "__wrapped__", forward)
        else:
            forward = ALL_EXPERTS_FUNCTIONS[name]
        return lambda: forward(self.experts, self.hidden, self.index, self.weights)

    def ours(self, tiles: tuple[Tile, Tile] | None = None) -> Callable[[], Tensor]:
        """Return a call of our kernels."""
        gate_up, down, act = self.experts.gate_up_proj, self.experts.down_proj, functional.silu
        if tiles is None:
            return lambda: triton_experts(self.hidden, gate_up, down, self.index, self.weights, act)
        return lambda: run_tiles(self.hidden, gate_up, down, self.index, self.weights, act, tiles=tiles)

    def ours_sorted(self, *, is_sorted: bool) -> Callable[[], Tensor]:
        """Return a call of our kernels with the slots sorted by expert, or each a block of its own."""
        weights = (self.experts.gate_up_proj, self.experts.down_proj)
        return lambda: run_tiles(
            self.hidden, *weights, self.index, self.weights, functional.silu, direct=not is_sorted
        )  # fmt: skip

    def dense(self) -> Callable[[], Tensor]:
        """Return a call of a dense gated network with the parameters that one token uses."""
        inner = self.shape.inner * self.shape.top_k
        gate_up = torch.randn(2 * inner, self.shape.width, device="cuda").bfloat16() * 0.02
        down = torch.randn(self.shape.width, inner, device="cuda").bfloat16() * 0.02

        def run() -> Tensor:
            gate, up = functional.linear(self.hidden, gate_up).chunk(2, dim=-1)
            return functional.linear(functional.silu(gate) * up, down)

        return run

    def work(self) -> tuple[float, float]:
        """Return the floating-point operations, and the fewest bytes that must move."""
        s, n_tokens = self.shape, len(self.hidden)
        weights = self.n_busy * 3 * s.width * s.inner * 2
        return 6.0 * n_tokens * s.top_k * s.width * s.inner, weights + 4.0 * n_tokens * s.width


def made_experts(shape: Shape) -> nn.Module:
    """Return a stock module of fused experts with random weights."""
    config = MixtralConfig(
        hidden_size=shape.width, intermediate_size=shape.inner, num_local_experts=shape.n_experts,
        num_experts_per_tok=shape.top_k,
    )  # fmt: skip
    with torch.device("meta"):
        experts = MixtralExperts(config)
    experts = experts.to(torch.bfloat16).to_empty(device="cuda")
    experts.config = config
    for weight in (experts.gate_up_proj, experts.down_proj):
        nn.init.normal_(weight, std=0.02)
    return experts.requires_grad_(False)


def microseconds(call: Callable[[], object], *, rep: int = 40) -> float:
    """Return the median time of a call on the device, the cache flushed before each."""
    from triton.testing import do_bench

    return float(do_bench(call, warmup=10, rep=rep, return_mode="median")) * 1e3


def graph_microseconds(call: Callable[[], object]) -> float | None:
    """Return the time of a replay from a CUDA graph; ``None`` where the call cannot be captured."""
    try:
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            call()
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                call()
    except (RuntimeError, torch.AcceleratorError):
        torch.cuda.synchronize()
        return None
    return microseconds(graph.replay)


def roofline() -> tuple[float, float]:
    """Return measured GB/s of a copy (read and written) and TFLOP/s of a bfloat16 product."""
    source = torch.empty(1 << 30, dtype=torch.int8, device="cuda")
    target = torch.empty_like(source)
    copied = 2 * source.numel() / microseconds(lambda: target.copy_(source)) / 1e3
    a = torch.randn(8192, 8192, device="cuda").bfloat16()
    b = torch.randn(8192, 8192, device="cuda").bfloat16()
    return copied, 2 * 8192**3 / microseconds(lambda: a @ b) / 1e6


def exactness() -> None:
    """Print the relative error against float64, forward and backward, over odd cases."""
    print("relative error against float64 (largest of output; of gradients of tokens, gate_up, down, weights)")
    cases = {"plain": (40, 4, 16), "T=1": (1, 4, 16), "one expert": (300, 2, 8), "empty experts": (3, 2, 64),
             "no expert": (40, 4, 16), "wide": (1500, 4, 16)}  # fmt: skip
    for dtype, width, inner in ((torch.float32, 72, 40), (torch.float32, 128, 96), (torch.bfloat16, 128, 96)):
        for name, (n_tokens, top_k, n_experts) in cases.items():
            torch.manual_seed(0)
            x = torch.randn(n_tokens, width, device="cuda", dtype=dtype)
            gate_up = (torch.randn(n_experts, 2 * inner, width, device="cuda") * 0.1).to(dtype)
            down = (torch.randn(n_experts, width, inner, device="cuda") * 0.1).to(dtype)
            index = torch.rand(n_tokens, n_experts, device="cuda").topk(top_k, dim=1).indices
            if name == "one expert":
                index = torch.full_like(index, 3)
            if name == "no expert":
                index[::2, 1:] = n_experts
                index[5] = n_experts
            weights = torch.rand(n_tokens, top_k, device="cuda")
            outs, grads = [], []
            for run, precise in ((triton_experts, False), (looped_experts, True)):
                inputs = [(t.double() if precise else t.clone()).requires_grad_() for t in (x, gate_up, down, weights)]
                out = run(*inputs[:3], index, inputs[3], functional.silu)
                torch.manual_seed(1)
                out.backward(torch.randn(out.shape, dtype=torch.float64).to(out.device, out.dtype))
                outs.append(out.detach().double().cpu())
                grads.append([t.grad.double().cpu() for t in inputs])

            def relative(a: Tensor, b: Tensor) -> float:
                return float((a - b).norm() / b.norm().clamp_min(1e-30))

            errors = [relative(a, b) for a, b in zip(*grads, strict=True)]
            print(f"  {str(dtype)[6:]:9s} {width}x{inner} {name:14s} {relative(*outs):.1e}   "
                  + " ".join(f"{error:.1e}" for error in errors), flush=True)  # fmt: skip


def table(shapes: list[Shape], tokens: list[int]) -> None:
    """Print the comparison."""
    copied, peak = roofline()
    print(f"measured roofline: {copied:.0f} GB/s (copy), {peak:.0f} TFLOP/s (8192³ bfloat16)")
    print(f"{'layer':14s} {'T':>6s} | {'eager':>8s} {'grouped':>8s} {'batched':>8s} {'dense':>8s} {'ours':>8s} µs | "
          f"{'x best stock':>12s} | {'graph: grouped':>14s} {'ours':>8s} {'x':>5s} | {'TFLOP/s':>7s} {'GB/s':>6s} "
          f"{'roof':>5s}")  # fmt: skip
    for shape in shapes:
        experts = made_experts(shape)
        for n_tokens in tokens:
            case = Case(shape, n_tokens, experts)
            times: dict[str, float | None] = dict.fromkeys(("eager", "grouped_mm", "batched_mm"))
            times["grouped_mm"] = microseconds(case.stock("grouped_mm"))
            if n_tokens <= 64 and n_tokens * shape.top_k * shape.width * shape.inner * 6 < 25e9:
                times["batched_mm"] = microseconds(case.stock("batched_mm"))
            if n_tokens >= 64:
                times["eager"] = microseconds(case.stock("eager"), rep=20)
            ours, dense = microseconds(case.ours()), microseconds(case.dense())
            best = min(value for value in times.values() if value)
            graphs = [graph_microseconds(case.stock("grouped_mm")), graph_microseconds(case.ours())]
            ratio = f"{graphs[0] / graphs[1]:5.2f}" if all(graphs) else "    -"
            flops, moved = case.work()
            floor = max(flops / peak / 1e6, moved / copied / 1e3)
            shown = " ".join(f"{value:8.0f}" if value else f"{'-':>8s}" for value in (*times.values(), dense, ours))
            graph = " ".join(f"{value:8.0f}" if value else f"{'-':>8s}" for value in graphs)
            fastest = min(value for value in (ours, graphs[1]) if value)
            rates = f"{flops / ours / 1e6:7.0f} {moved / fastest / 1e3:6.0f} {floor / fastest:5.2f}"
            line = (
                f"{shape.name:14s} {n_tokens:6d} | {shown}    | {best / ours:12.2f} |       {graph} {ratio} | {rates}"
            )
            print(line, flush=True)
        del experts, case
        torch.cuda.empty_cache()


def sorting(shapes: list[Shape]) -> None:
    """Print few slots sorted (four launches) and unsorted (three): launched from Python, and replayed from a graph."""
    print(f"{'layer':14s} {'T':>3s} {'busy':>5s} | {'sorted':>7s} {'unsorted':>8s} {'x':>5s} | "
          f"{'graph: sorted':>13s} {'unsorted':>8s} {'x':>5s} µs | chosen")  # fmt: skip
    for shape in shapes:
        experts = made_experts(shape)
        for n_tokens in (1, 2, 3, 4, 6, 8):
            case = Case(shape, n_tokens, experts)
            calls = [case.ours_sorted(is_sorted=is_sorted) for is_sorted in (True, False)]
            plain = [microseconds(call) for call in calls]
            graphs = [graph_microseconds(call) or float("nan") for call in calls]
            direct = goes_unsorted(n_tokens=n_tokens, top_k=shape.top_k, n_experts=shape.n_experts)
            print(f"{shape.name:14s} {n_tokens:3d} {case.n_busy:5d} | {plain[0]:7.0f} {plain[1]:8.0f} "
                  f"{plain[0] / plain[1]:5.2f} | {graphs[0]:13.0f} {graphs[1]:8.0f} {graphs[0] / graphs[1]:5.2f}    | "
                  f"{'unsorted' if direct else 'sorted'}", flush=True)  # fmt: skip
        del experts, case
        torch.cuda.empty_cache()


def candidates(rows: float) -> list[Tile]:
    """Return tiles worth trying for so many rows per expert."""
    if rows <= 10:
        found = [
            Tile(rows=16, columns=columns, depth=depth, warps=warps, stages=stages)
            for columns, depth, (warps, stages) in itertools.product((32, 64, 128), (64, 128), ((4, 4), (8, 3)))
        ]
    else:
        heights = (32, 64) if rows <= 24 else (64, 128)
        found = [
            Tile(rows=height, columns=columns, depth=depth, warps=warps, stages=stages, group=8)
            for height, columns, depth, (warps, stages) in itertools.product(
                heights, (64, 128, 256), (64, 128), ((4, 3), (4, 4), (8, 3), (8, 4))
            )
        ]
    return [tile for tile in found if tile.rows * tile.columns <= 128 * 256]


def tune(shapes: list[Shape], tokens: list[int], *, seconds: float) -> None:
    """Print the best tiles of both products for each number of tokens: one after the other, the other held."""
    from triton.runtime.errors import OutOfResources

    deadline = time.monotonic() + seconds
    for shape in shapes:
        experts = made_experts(shape)
        for n_tokens in tokens:
            case = Case(shape, n_tokens, experts)
            n_slots = n_tokens * shape.top_k
            stock = microseconds(case.stock("grouped_mm"), rep=20)
            both = list(choose_tiles(n_slots=n_slots, n_experts=shape.n_experts, dtype=torch.bfloat16))
            start = microseconds(case.ours((both[0], both[1])), rep=20)
            for turn, label in ((0, "gate_up"), (1, "down")):
                tried = []
                for tile in candidates(n_slots / min(shape.n_experts, n_slots)):
                    if time.monotonic() > deadline:
                        print("(time is up)")
                        return
                    if turn and tile.rows != both[0].rows:
                        continue
                    other = replace(both[1 - turn], rows=tile.rows)
                    pair = (tile, other) if turn == 0 else (other, tile)
                    try:
                        tried.append((microseconds(partial(run_pair, case, pair), rep=12), tile))
                    except OutOfResources:  # a tile too large for the card's shared memory
                        continue
                if not tried:
                    continue
                tried.sort(key=lambda item: item[0])
                both[turn] = tried[0][1]
                both[1 - turn] = replace(both[1 - turn], rows=both[turn].rows)
                text = "; ".join(
                    f"{us:.0f}: {t.rows}x{t.columns}x{t.depth} w{t.warps} s{t.stages} g{t.group}" for us, t in tried[:4]
                )
                print(
                    f"{shape.name:14s} {n_tokens:6d} {label:8s} stock {stock:.0f} start {start:.0f} | {text}",
                    flush=True,
                )
        del experts, case
        torch.cuda.empty_cache()


def run_pair(case: Case, pair: tuple[Tile, Tile]) -> Tensor:
    """Run our kernels with these tiles."""
    return case.ours(pair)()


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="*", default=list(TOKENS))
    parser.add_argument("--shapes", nargs="*", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--sorting", action="store_true", help="few slots sorted and unsorted, instead of the table")
    parser.add_argument("--seconds", type=float, default=600.0, help="when --tune stops")
    options = parser.parse_args()
    print(f"{torch.cuda.get_device_name()}; {describe_machine('torch', 'triton', 'transformers')}")
    shapes = [SHAPES[name] for name in options.shapes]
    with torch.inference_mode(mode=not options.exact):
        if options.exact:
            exactness()
        if options.tune:
            tune(shapes, options.tokens, seconds=options.seconds)
        elif options.sorting:
            sorting(shapes)
        elif options.tokens:
            with torch.no_grad():
                table(shapes, options.tokens)


if __name__ == "__main__":
    main()
