"""What a call of the Triton experts costs before the device is reached: launches, and the Python between them.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.moe_launches [--tokens 1 2 4 8] [--rounds 9]

No GPU is needed: every kernel is replaced by an object that counts its launches and does nothing, so Triton's own
launcher (some microseconds a launch) and the device are not in the times. Operands are those of OLMoE's choice (64
experts, 8 a token), narrower. Times are the best of ``--rounds`` rounds of 2,000 calls, sorted and unsorted in turns;
``chosen`` is what the dispatch does by itself, with its checks.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

from moe_backbone.dispatch import triton_experts, triton_kernels
from moe_backbone.dispatch.triton_tiles import goes_unsorted
from tests.benchmarks.machine import describe_machine

CALLS = 2000
N_EXPERTS, TOP_K, WIDTH, INNER = 64, 8, 64, 32


class Nothing:
    """Stands for a kernel: counts launches."""

    launches = 0

    def __getitem__(self, grid: Any) -> Nothing:
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        Nothing.launches += 1


def microseconds(call: Callable[[], object]) -> float:
    """Return the mean time of a call over one round."""
    start = time.perf_counter()
    for _ in range(CALLS):
        call()
    return (time.perf_counter() - start) / CALLS * 1e6


def main() -> None:
    """Print a row for each number of tokens."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="*", default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    for name in triton_kernels.__all__:
        setattr(triton_kernels, name, Nothing())
    triton_experts._runs_on = lambda device, dtype: True  # asked of a CPU here
    print(describe_machine("torch", "triton"))
    print(f"{'T':>3s} | {'sorted':>16s} | {'unsorted':>16s} | chosen")
    for n_tokens in options.tokens:
        index = torch.rand(n_tokens, N_EXPERTS).topk(TOP_K).indices
        operands = (
            torch.randn(n_tokens, WIDTH), torch.randn(N_EXPERTS, 2 * INNER, WIDTH),
            torch.randn(N_EXPERTS, WIDTH, INNER), index, torch.rand(n_tokens, TOP_K), functional.silu,
        )  # fmt: skip

        def run(direct: bool | None, operands: Any = operands) -> object:
            if direct is None:
                return triton_experts.triton_experts(*operands)
            return triton_experts.run_tiles(*operands, direct=direct)

        ways: dict[str, Callable[[], object]] = {
            "sorted": lambda: run(False), "unsorted": lambda: run(True), "chosen": lambda: run(None)
        }  # fmt: skip
        best, launches = dict.fromkeys(ways, float("inf")), {}
        with torch.inference_mode():
            for name, call in ways.items():
                Nothing.launches = 0
                call()
                launches[name] = Nothing.launches
            for _ in range(options.rounds):
                for name, call in ways.items():
                    best[name] = min(best[name], microseconds(call))
        cells = [f"{launches[name]} launches {best[name]:4.0f} µs" for name in ways]
        which = "unsorted" if goes_unsorted(n_tokens=n_tokens, top_k=TOP_K, n_experts=N_EXPERTS) else "sorted"
        print(f"{n_tokens:3d} | {' | '.join(cells)} ({which})", flush=True)


if __name__ == "__main__":
    main()
