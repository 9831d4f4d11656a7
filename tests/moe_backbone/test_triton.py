"""The Triton kernels against float64, in Triton's interpreter where there is no GPU; compiled for cards not here."""

import os
import subprocess
import sys

import pytest
import torch
from torch.nn import functional

pytest.importorskip("triton", reason="triton is packaged for Linux on x86-64 only")

from transformers.activations import ACT2FN

from moe_backbone.dispatch import triton_experts, triton_kernels  # noqa: F401  (the kernels, so that they run here)
from moe_backbone.dispatch.choice import choose_dispatch
from moe_backbone.dispatch.reference import reference_experts
from moe_backbone.dispatch.triton_experts import known_activation, run_tiles, triton_supports
from moe_backbone.dispatch.triton_experts import triton_experts as run
from moe_backbone.dispatch.triton_tiles import Tile, choose_tiles, fitted, goes_unsorted

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def made(n_tokens, top_k, n_experts, width, inner, *, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n_tokens, width, generator=generator)
    gate_up = torch.randn(n_experts, 2 * inner, width, generator=generator) * 0.3
    down = torch.randn(n_experts, width, inner, generator=generator) * 0.3
    index = torch.rand(n_tokens, n_experts, generator=generator).topk(top_k).indices
    weights = torch.rand(n_tokens, top_k, generator=generator)
    return [
        x.to(DEVICE, dtype),
        gate_up.to(DEVICE, dtype),
        down.to(DEVICE, dtype),
        index.to(DEVICE),
        weights.to(DEVICE),
    ]


def exact(x, gate_up, down, index, weights, activation):
    return reference_experts(x.double(), gate_up.double(), down.double(), index, weights.double(), activation)


def relative(a, b):
    return float((a.double() - b).norm() / b.norm().clamp_min(1e-30))


CASES = {
    "one token": (1, 2, 4, 32, 48), "few tokens": (5, 2, 4, 40, 24), "odd widths": (17, 3, 6, 33, 19),
    "one expert": (7, 1, 1, 16, 16), "many blocks an expert": (70, 2, 3, 48, 33),
    "more experts than slots": (2, 2, 40, 16, 24),
}  # fmt: skip


@pytest.mark.parametrize("few", [4096, 0], ids=["sorted by one program", "sorted by three"])
@pytest.mark.parametrize("case", CASES)
def test_the_kernels_equal_float64(case, few, monkeypatch):
    monkeypatch.setattr(triton_experts, "FEW_SLOTS", few)
    operands = made(*CASES[case])

    out = run(*operands, functional.silu)

    assert triton_supports(*operands[:3])
    assert relative(out, exact(*operands, functional.silu)) < 1e-5


class Launches:
    """Stands before the kernels and notes the name of each launch, in order."""

    def __init__(self, monkeypatch):
        self.names = []
        for name in triton_kernels.__all__:
            monkeypatch.setattr(triton_kernels, name, self.noting(name, getattr(triton_kernels, name)))

    def noting(self, name, kernel):
        outer = self

        class Noting:
            def __getitem__(self, grid):
                outer.names.append(name)
                return kernel[grid]

        return Noting()


PRODUCTS = ["gate_up_and_activate", "down_and_weigh", "combine_slots"]


@pytest.mark.parametrize(
    ("n_tokens", "before"), [(1, []), (2, []), (3, ["sort_few_slots"])], ids=["one token", "two tokens", "three"]
)
def test_two_tokens_of_many_experts_are_not_sorted_and_take_three_launches(n_tokens, before, monkeypatch):
    operands = made(n_tokens, 8, 64, 32, 16)  # OLMoE's experts, narrower
    launches = Launches(monkeypatch)

    out = run_tiles(*operands, functional.silu)

    assert launches.names == [*before, *PRODUCTS]
    assert relative(out, exact(*operands, functional.silu)) < 1e-5


@pytest.mark.parametrize("case", CASES)
def test_unsorted_slots_give_what_sorted_ones_give_bit_for_bit(case, monkeypatch):
    operands = made(*CASES[case])
    operands[3][0, 0] = -1
    operands[3][-1, -1] = operands[1].shape[0]  # no expert, as transformers writes it
    tiles = (Tile(rows=16, columns=16, depth=16, warps=4, stages=2),) * 2
    launches = Launches(monkeypatch)

    outs = [run_tiles(*operands, functional.silu, tiles=tiles, direct=direct) for direct in (True, False)]

    assert launches.names == [*PRODUCTS, "sort_few_slots", *PRODUCTS]
    assert torch.equal(*outs)
    assert relative(outs[0], exact(*operands, functional.silu)) < 1e-5


def test_slots_go_unsorted_where_few_experts_would_be_read_twice():
    def unsorted(n_tokens, top_k, n_experts):
        return goes_unsorted(n_tokens=n_tokens, top_k=top_k, n_experts=n_experts)

    assert unsorted(1, 8, 8)  # a token chooses no expert twice
    assert unsorted(2, 8, 64)  # 16 slots, 64 (1 - (7/8)^2) = 15 experts: 16 is at most 1.08 times 15
    assert unsorted(2, 8, 128)
    assert not unsorted(2, 2, 8)  # 4 slots, 8 (1 - (3/4)^2) = 3.5 experts
    assert unsorted(3, 4, 64)  # 12 slots, 64 (1 - (15/16)^3) = 11.27 experts: 1.065
    assert not unsorted(4, 8, 64)  # 32 slots


@pytest.mark.parametrize("few", [4096, 0], ids=["sorted by one program", "sorted by three"])
def test_slots_without_expert_add_nothing_and_are_not_read(few, monkeypatch):
    monkeypatch.setattr(triton_experts, "FEW_SLOTS", few)
    operands = made(12, 2, 4, 32, 24)
    operands[3][::3, 0] = 4  # the sentinel of transformers
    operands[3][5] = -1
    operands[3][7] = 1000

    out = run(*operands, functional.silu)

    assert relative(out, exact(*operands, functional.silu)) < 1e-5
    assert torch.equal(out[[5, 7]], torch.zeros_like(out[[5, 7]]))


def test_a_long_index_is_sorted_by_many_programs(monkeypatch):
    operands = made(300, 4, 8, 16, 16)  # 1,200 slots: two programs of 1,024
    monkeypatch.setattr(triton_experts, "FEW_SLOTS", 0)
    tiles = (Tile(rows=64, columns=16, depth=16, warps=4, stages=2),) * 2
    expected = exact(*operands[:3], operands[3], operands[4], functional.silu)

    out = run_tiles(*operands, functional.silu, tiles=tiles)

    assert relative(out, expected) < 1e-5


def test_the_order_that_atomics_leave_open_changes_no_bit():
    operands = made(40, 2, 3, 32, 24)
    turned = [operands[0].flip(0), *operands[1:3], operands[3].flip(0), operands[4].flip(0)]

    assert torch.equal(run(*operands, functional.silu), run(*turned, functional.silu).flip(0))


@pytest.mark.parametrize("name", ["silu", "gelu", "relu"])
def test_each_activation_is_known_by_its_values(name):
    operands = made(6, 2, 3, 32, 24)
    activation = ACT2FN[name].to(DEVICE)

    assert known_activation(activation) == name
    assert relative(run(*operands, activation), exact(*operands, activation)) < 1e-5


def test_an_unknown_activation_float64_and_strided_weights_are_run_by_other_means():
    operands = made(6, 2, 3, 32, 24)
    assert known_activation(torch.tanh) is None
    assert relative(run(*operands, torch.tanh), exact(*operands, torch.tanh)) < 1e-5

    precise = [operand.double() if operand.is_floating_point() else operand for operand in operands]
    assert not triton_supports(*precise[:3])
    torch.testing.assert_close(run(*precise, functional.silu), exact(*operands, functional.silu))

    strided = operands[1].transpose(1, 2).contiguous().transpose(1, 2)
    assert not triton_supports(operands[0], strided, operands[2])
    assert relative(run(operands[0], strided, *operands[2:], functional.silu), exact(*operands, functional.silu)) < 1e-5


def test_half_precision_sums_in_float32():
    operands = made(9, 2, 4, 64, 48, dtype=torch.float16)

    out = run(*operands, functional.silu)

    assert out.dtype == torch.float16
    assert relative(out, exact(*operands, functional.silu)) < 2e-3  # float16 has 11 bits, and three roundings


def test_gradients_are_those_of_the_experts():
    operands = made(9, 2, 4, 32, 24)
    operands[3][2, 1] = 4
    grads = []
    for function, dtype in ((run, torch.float32), (reference_experts, torch.float64)):
        leaves = [operand.detach().to(dtype).requires_grad_() for operand in (*operands[:3], operands[4])]
        function(*leaves[:3], operands[3], leaves[3], functional.silu).square().sum().backward()
        grads.append([leaf.grad for leaf in leaves])

    for found, expected in zip(*grads, strict=True):
        assert relative(found, expected) < 1e-5


def test_only_the_asked_gradients_are_made():
    operands = made(4, 2, 3, 32, 24)
    operands[0].requires_grad_()

    run(*operands, functional.silu).sum().backward()

    assert operands[0].grad is not None
    assert operands[1].grad is None


def test_no_tokens_give_no_rows():
    operands = made(1, 2, 3, 32, 24)

    out = run(operands[0][:0], *operands[1:3], operands[3][:0], operands[4][:0], functional.silu)

    assert out.shape == (0, 32)


def test_the_automatic_choice_leaves_cpu_tensors_to_others():
    operands = made(4, 2, 3, 32, 24)
    choice = choose_dispatch(*(operand.cpu() for operand in operands[:3]), top_k=2)

    assert choice.name != "triton"


def test_tiles_grow_with_the_rows_of_an_expert_and_agree_in_height():
    heights = []
    for n_tokens in (1, 64, 256, 512, 4096):
        wide, tall = choose_tiles(n_slots=8 * n_tokens, n_experts=64, dtype=torch.bfloat16)
        assert wide.rows == tall.rows
        heights.append(wide.rows)

    assert heights == [16, 16, 64, 128, 128]  # 1, 8, 32, 64 and 512 rows an expert


def test_a_tile_is_fitted_to_a_smaller_card():
    tile = Tile(rows=128, columns=128, depth=64, warps=8, stages=4)  # 64 · (128 + 2 · 128) · 2 = 49,152 bytes a stage

    assert fitted(tile, n_weights=2, itemsize=2, limit_bytes=4 * 49_152) == tile
    assert fitted(tile, n_weights=2, itemsize=2, limit_bytes=166_912).stages == 3
    small = fitted(tile, n_weights=2, itemsize=2, limit_bytes=65_536)
    assert (small.stages, small.depth) == (2, 32)


def test_every_kernel_compiles_for_ampere_and_hopper():
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}

    done = subprocess.run(
        [sys.executable, "-m", "tests.moe_backbone.triton_compiled"], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert any(line.startswith("gate_up_and_activate 90 bf16") and line.endswith("wgmma") for line in lines)
    assert any(line.startswith("gate_up_and_activate 80 bf16") and line.endswith(" mma") for line in lines)
