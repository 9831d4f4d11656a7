import pytest
import torch

from generation.completion import row_adagrad
from generation.completion.row_adagrad import RowAdagrad


def _reference(table, gradients):
    parameter = table.clone().requires_grad_()
    optimiser = torch.optim.Adagrad([parameter], lr=0.3)
    for gradient in gradients:
        parameter.grad = gradient
        optimiser.step()
    return parameter.detach(), optimiser.state[parameter]["sum"]


@pytest.mark.parametrize("cached_values", [2**20, 8])
def test_steps_over_all_rows_are_those_of_torch(monkeypatch, cached_values):
    monkeypatch.setattr(row_adagrad, "_CACHED_VALUES", cached_values)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(5, 4, generator=generator)
    gradients = [torch.randn(5, 4, generator=generator) for _ in range(3)]
    expected, sums = _reference(table, gradients)

    optimiser = RowAdagrad(table, learning_rate=0.3)
    for gradient in gradients:
        optimiser.step(gradient)

    torch.testing.assert_close(table, expected)
    torch.testing.assert_close(optimiser.sums_NW, sums)


@pytest.mark.parametrize("cached_values", [2**20, 8])
def test_steps_over_some_rows_are_those_of_torch_with_zeros_elsewhere(monkeypatch, cached_values):
    monkeypatch.setattr(row_adagrad, "_CACHED_VALUES", cached_values)
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(6, 4, generator=generator)
    rows = [torch.tensor([5, 0, 2]), torch.tensor([2, 4, 5])]
    parts = [torch.randn(3, 4, generator=generator) for _ in rows]
    whole = [torch.zeros(6, 4).index_copy_(0, row, part) for row, part in zip(rows, parts, strict=True)]
    expected, sums = _reference(table, whole)

    optimiser = RowAdagrad(table, learning_rate=0.3)
    for row, part in zip(rows, parts, strict=True):
        optimiser.step(part, row)

    torch.testing.assert_close(table, expected)
    torch.testing.assert_close(optimiser.sums_NW, sums)


def test_the_first_step_is_the_learning_rate_against_the_sign_of_the_gradient():
    table = torch.zeros(2, 2)

    RowAdagrad(table, learning_rate=0.3).step(torch.tensor([[5.0, -0.01]]), torch.tensor([1]))

    torch.testing.assert_close(table, torch.tensor([[0.0, 0.0], [-0.3, 0.3]]))
