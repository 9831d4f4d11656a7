"""Few-bit storage: exact packing, errors within half a step, compensation, and real bytes."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moe_backbone.smaller.packing import BITS, group_size, pack, packed_bytes, quantise, unpack
from moe_backbone.smaller.surgery import ShrinkError


@given(bits=st.sampled_from(BITS), n=st.integers(1, 70), seed=st.integers(0, 99))
def test_codes_come_back_from_their_bytes(bits, n, seed):
    codes = torch.randint(2**bits, (2, n), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    packed = pack(codes, bits)

    assert torch.equal(unpack(packed, bits, n), codes)
    assert packed.shape == (2, -(-n * bits // 8))


def test_bytes_by_hand():
    assert pack(torch.tensor([[1, 2, 3, 0, 3]], dtype=torch.uint8), 2).tolist() == [[0b00111001, 0b00000011]]
    assert pack(torch.tensor([[15, 1]], dtype=torch.uint8), 4).tolist() == [[0x1F]]
    assert pack(torch.tensor([[7, 0, 5]], dtype=torch.uint8), 3).tolist() == [[0b01000111, 0b00000001]]


@pytest.mark.parametrize("bits", BITS)
def test_rounding_is_within_half_a_step_but_for_clipped_weights(bits):
    weight = torch.randn(8, 128, generator=torch.Generator().manual_seed(0))
    packed = quantise(weight, bits)
    step = packed.scale.float().repeat_interleave(64, dim=1)
    least = packed.least.float().repeat_interleave(64, dim=1)
    inside = (weight >= least) & (weight <= least + (2**bits - 1) * step)

    assert float(inside.float().mean()) > 0.8
    assert bool(((packed.values(128) - weight).abs() <= 0.501 * step)[inside].all())


def test_weights_on_the_grid_are_kept_exactly():
    codes = torch.randint(16, (4, 64), generator=torch.Generator().manual_seed(0)).float()
    codes[:, 0], codes[:, 1] = 0, 15
    weight = codes * 0.25 - 2

    assert torch.equal(quantise(weight, 4).values(64), weight)


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_compensation_halves_the_error_of_the_output_at_least(bits):
    """On inputs that lie near 16 of 128 directions, where errors can hide; GPTQ's case."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 128, generator=generator)
    x = torch.randn(400, 16, generator=generator) @ torch.randn(16, 128, generator=generator)
    x = x + 0.1 * torch.randn(400, 128, generator=generator)

    def error(packed):
        return float(((packed.values(128) - weight) @ x.T).pow(2).sum())

    assert error(quantise(weight, bits, inputs_NC=x)) < 0.5 * error(quantise(weight, bits))


def test_compensation_does_not_fit_the_noise_of_few_inputs():
    """40 inputs for 128 columns: in 88 directions errors seem to cost nothing. Judged on fresh inputs."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(32, 128, generator=generator)
    x, fresh = torch.randn(2, 40, 128, generator=generator)
    fresh = torch.cat([fresh, torch.randn(400, 128, generator=generator)])

    def error(packed):
        return float(((packed.values(128) - weight) @ fresh.T).pow(2).sum())

    nearest = error(quantise(weight, 4))
    as_if_many = quantise(weight, 4, inputs_NC=x.repeat(320, 1))  # the same moments, damped as the paper does
    assert error(as_if_many) > 2 * nearest
    assert error(quantise(weight, 4, inputs_NC=x)) < 1.1 * nearest


def test_sizes_are_those_of_the_stored_tensors():
    packed = quantise(torch.randn(6, 48), 3)
    stored = sum(part.numel() * part.element_size() for part in (packed.codes, packed.scale, packed.least))

    assert group_size(48) == 48
    assert group_size(576) == 64
    assert group_size(100) == 50
    assert stored == packed_bytes(6, 48, 3) == 6 * (18 + 4)


def test_constant_and_zero_weights_survive():
    for value in (0.0, 0.5):
        assert torch.allclose(quantise(torch.full((2, 64), value), 2).values(64), torch.full((2, 64), value), atol=1e-6)


def test_strange_bits_and_weights_are_refused():
    with pytest.raises(ShrinkError, match="2, 3, 4, 8 bits, not in 5"):
        quantise(torch.ones(2, 8), 5)
    with pytest.raises(ShrinkError, match="NaN or infinity"):
        quantise(torch.full((2, 8), float("inf")), 4)
