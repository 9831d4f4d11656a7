import pytest
import torch
from torch.nn import functional

from generation.completion.dropout import dropout


def test_as_many_numbers_go_as_asked_and_the_rest_keep_their_mean():
    torch.manual_seed(0)
    values = torch.ones(400, 251)

    kept = dropout(values, 0.3)

    share = 77 / 256  # what .3 rounds to
    assert (kept == 0).float().mean().item() == pytest.approx(share, abs=0.006)  # four standard errors
    torch.testing.assert_close(kept[kept != 0], torch.full((int((kept != 0).sum()),), 1 / (1 - share)))
    assert kept.mean().item() == pytest.approx(functional.dropout(values, 0.3).mean().item(), abs=0.012)


def test_neighbouring_numbers_and_all_sides_of_a_coin_are_drawn_alike():
    torch.manual_seed(0)
    gone = dropout(torch.ones(20_000, 8), 0.5) == 0

    assert gone.float().mean(dim=0).tolist() == pytest.approx([0.5] * 8, abs=0.015)
    both = (gone[:, :-1] & gone[:, 1:]).float().mean(dim=0)
    assert both.tolist() == pytest.approx([0.25] * 7, abs=0.015)


def test_the_same_seed_drops_the_same_numbers_and_the_next_call_others():
    torch.manual_seed(3)
    one, two = dropout(torch.ones(50, 3), 0.5), dropout(torch.ones(50, 3), 0.5)
    torch.manual_seed(3)

    assert torch.equal(dropout(torch.ones(50, 3), 0.5), one)
    assert not torch.equal(one, two)


def test_gradients_go_through_the_kept_numbers_alone():
    torch.manual_seed(0)
    values = torch.randn(7, 5, requires_grad=True)

    kept = dropout(values, 0.25)
    kept.sum().backward()

    torch.testing.assert_close(values.grad, torch.where(kept == 0, 0.0, 1 / 0.75))


def test_nothing_is_dropped_at_zero_and_the_kind_of_number_stays():
    values = torch.randn(3, 3, dtype=torch.bfloat16)

    assert dropout(values, 0.0) is values
    assert dropout(values, 0.5).dtype is torch.bfloat16
