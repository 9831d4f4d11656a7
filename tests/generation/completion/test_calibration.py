import numpy as np
import pytest

from generation.completion.calibration import fit_calibration


def test_the_fitted_chance_is_near_the_share_that_was_right():
    rng = np.random.default_rng(0)
    chances = rng.uniform(0.02, 0.98, 20_000)
    right = rng.uniform(size=len(chances)) < chances
    logits = np.log(chances / (1 - chances))
    shares = 1 / (1 + np.exp(-(2.0 * logits + 1.0)))  # overconfident, and too high

    calibration = fit_calibration(shares, right)

    assert calibration.slope == pytest.approx(0.5, abs=0.03)
    assert calibration.offset == pytest.approx(-0.5, abs=0.05)
    for low in (0.1, 0.4, 0.7):
        inside = (calibration(shares) >= low) & (calibration(shares) < low + 0.1)
        assert right[inside].mean() == pytest.approx(low + 0.05, abs=0.04)


def test_a_higher_share_is_never_less_likely_even_where_validation_says_the_opposite():
    shares = np.linspace(0.01, 0.99, 200)

    calibration = fit_calibration(shares, shares < 0.5)

    assert calibration.slope == 0.0
    np.testing.assert_allclose(calibration(shares), 0.5, atol=0.01)


def test_too_few_candidates_are_not_calibrated_on():
    assert fit_calibration(np.full(49, 0.5), np.arange(49) % 2 == 0) is None
    assert fit_calibration(np.full(200, 0.5), np.arange(200) < 4) is None


def test_shares_of_nothing_and_of_all_stay_finite():
    calibration = fit_calibration(np.linspace(0, 1, 200), np.linspace(0, 1, 200) > 0.6)

    assert np.isfinite(calibration(np.array([0.0, 1.0]))).all()


def test_shares_that_are_nearly_all_or_nothing_are_fitted_too():
    rng = np.random.default_rng(1)
    shares = np.where(np.arange(1_600) < 160, 1 - 1e-9, 1e-11)
    right = np.where(np.arange(1_600) < 160, rng.uniform(size=1_600) < 0.9, rng.uniform(size=1_600) < 0.02)

    calibration = fit_calibration(shares, right)

    high, low = calibration(np.array([1 - 1e-9, 1e-11]))
    assert high == pytest.approx(right[:160].mean(), abs=0.02)
    assert low == pytest.approx(right[160:].mean(), abs=0.02)
