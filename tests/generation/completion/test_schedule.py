import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.completion.schedule import WARM_UP_SHARE, rate_share


def test_the_rate_warms_up_for_one_epoch_peaks_and_falls_in_a_straight_line():
    assert [rate_share(epoch, 6) for epoch in range(1, 7)] == pytest.approx([WARM_UP_SHARE, 1.0, 0.8, 0.6, 0.4, 0.2])


def test_a_training_that_goes_on_has_neither_warm_up_nor_peak():
    assert [rate_share(epoch, 4, falls_from=0.4) for epoch in range(1, 5)] == pytest.approx([0.4, 0.3, 0.2, 0.1])


@given(st.integers(1, 500), st.none() | st.floats(0.01, 1.0))
def test_every_epoch_learns_and_none_more_than_the_peak(n_epochs, falls_from):
    shares = [rate_share(epoch, n_epochs, falls_from=falls_from) for epoch in range(1, n_epochs + 1)]

    assert all(0.0 < share <= 1.0 for share in shares)
    assert shares[1:] == sorted(shares[1:], reverse=True)
