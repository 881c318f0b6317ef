"""Sinusoids in series: planted ones are found, noise yields none at the stated rate."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.sinusoid import fit_series
from trivium.sinusoid.periodogram import Periodogram


def irregular(n: int, span: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, span, n)


def power_by_regression(t: np.ndarray, y: np.ndarray, frequencies: np.ndarray) -> np.ndarray:
    found = []
    for w in frequencies:
        columns = np.stack((np.ones_like(t), np.cos(w * t), np.sin(w * t)), 1)
        left = y - columns @ np.linalg.lstsq(columns, y, rcond=1e-9)[0]
        found.append(1 - left.var(0).sum() / y.var(0).sum())
    return np.array(found)


@pytest.mark.parametrize(
    "times", [irregular(90, 60.0), np.arange(60.0), np.repeat(np.arange(30), 3)]
)
def test_the_periodogram_is_the_regressions(times: np.ndarray) -> None:
    y = np.random.default_rng(1).normal(size=(len(times), 2, 3))
    y -= y.mean(0)
    grid = Periodogram(times, np.pi)
    found = grid.power(y)
    assert found.shape == (len(grid.frequencies), 2)
    assert grid.frequencies[0] == pytest.approx(2 * np.pi / np.ptp(times))
    for i in range(2):
        gap = np.abs(found[:, i] - power_by_regression(times, y[:, i], grid.frequencies))
        edge = np.isclose(grid.frequencies, np.pi, rtol=0.02)  # cosine and sine nearly coincide
        assert gap[~edge].max() < 2e-4
    wrong = power_by_regression(times, y[:, 0], 1.05 * grid.frequencies)
    assert np.abs(found[:, 0] - wrong).max() > 0.01


@pytest.mark.parametrize("regular", [True, False])
def test_planted_periods_are_found(regular: bool) -> None:
    t = np.arange(500.0) if regular else irregular(500, 500.0)
    rng = np.random.default_rng(2)
    y = np.cos(2 * np.pi * t / 7 + 1) + 0.7 * np.sin(2 * np.pi * t / 30.4) + 0.01 * t
    y += 0.4 * np.cos(2 * np.pi * t / 2.9) + 0.6 * rng.normal(size=len(t))
    found = fit_series(torch.from_numpy(t), y, 6)
    assert found.periods.tolist() == pytest.approx([7, 30.4, 2.9], rel=0.01)
    assert found.p_values == (0.005,) * 3
    assert found.next_p_value is not None
    assert found.next_p_value > 0.01
    left = torch.from_numpy(y) - found.predict(t)[:, 0]
    assert float(left.std()) == pytest.approx(0.6, rel=0.1)
    trend = np.polynomial.Polynomial.fit(t, y, 1)(t)
    assert found.explained == pytest.approx(1 - float(left.var()) / (y - trend).var(), abs=0.01)
    assert float(found.coefficients[1, 0]) == pytest.approx(0.01, abs=0.002)
    assert found.features(t[:5]).shape == (5, 6)
    assert torch.equal(found.features(t[3:4])[0], found.features(t)[3])


def test_frequencies_move_off_the_grid() -> None:
    """Without noise they are exact, though the grid's step is 1/400."""
    t = irregular(300, 100.0)
    y = np.cos(1.2345678 * t) + 0.5 * np.sin(0.4321 * t)
    found = fit_series(t, y, 2, trend="constant")
    assert found.frequencies.tolist() == pytest.approx([1.2345678, 0.4321], abs=1e-7)
    assert found.explained == pytest.approx(1, abs=1e-12)
    assert found.next_p_value is None
    assert len(found.coefficients) == 5


def test_the_order_of_rows_and_the_unit_of_time_make_no_difference() -> None:
    t = irregular(200, 100.0)
    y = np.cos(t) + np.random.default_rng(3).normal(size=200)
    one = fit_series(t, y, 1)
    turned = fit_series(t[::-1].copy() / 86400 + 1e5, y[::-1].copy(), 1)
    assert float(turned.frequencies[0]) == pytest.approx(
        86400 * float(one.frequencies[0]), rel=1e-5
    )
    again = fit_series(t, y, 1)
    assert torch.equal(one.frequencies, again.frequencies)


def test_classes_share_frequencies() -> None:
    t = irregular(600, 365.0)
    chance = 0.4 + 0.3 * np.cos(2 * np.pi * t / 7)
    labels = np.random.default_rng(4).random(600) < chance
    columns = np.stack((labels, ~labels), 1).astype(float)
    found = fit_series(t, columns, 3)
    assert found.periods.tolist() == pytest.approx([7], rel=0.01)
    assert found.predict(t).shape == (600, 2)
    assert torch.allclose(found.predict(t).sum(1), torch.ones(600).double(), atol=1e-9)
    assert torch.equal(found.frequencies, fit_series(t, columns[:, :1], 3).frequencies)


@pytest.mark.parametrize("heavy", [False, True])
def test_noise_yields_none_at_the_stated_rate(heavy: bool) -> None:
    """A rate of 0.05 over 400 series; the test fails by chance once in 2,000."""
    runs, rate = 400, 0.05
    hits = 0
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        y = rng.standard_t(2, size=40) if heavy else rng.normal(size=40)
        options = {"false_alarm": rate, "n_permutations": 19, "random_state": seed}
        hits += len(fit_series(rng.uniform(0, 40, 40), y, 1, **options).p_values)
    assert binom.ppf(2.5e-4, runs, rate) <= hits <= binom.ppf(1 - 2.5e-4, runs, rate)


def test_a_fast_period_needs_a_higher_limit() -> None:
    t = irregular(200, 400.0)
    y = np.cos(2 * np.pi * t / 0.9)
    assert len(fit_series(t, y, 1).periods) == 0
    found = fit_series(t, y, 1, max_frequency=8.0)
    assert found.periods.tolist() == pytest.approx([0.9], rel=1e-3)


CASES: list[tuple[Any, type[Exception], str]] = [
    (lambda: fit_series(np.arange(9), np.ones(9)), DataError, "values must vary; got a constant"),
    (lambda: fit_series(np.arange(7), np.arange(7)), DataError, "8 distinct ones; got 7"),
    (lambda: fit_series(np.arange(9), np.arange(8)), ShapeError, "axis n is 9 in times but 8"),
    (lambda: fit_series(np.arange(9), np.zeros((9, 2, 2))), ShapeError, "values must have the"),
    (lambda: fit_series([np.nan] * 9, np.arange(9)), DataError, "times must be finite"),
    (lambda: fit_series(["2020-01-01"], [1]), ArgumentError, "times must be numbers; got list"),
    (lambda: fit_series(np.arange(9), np.arange(9) * 1j), ArgumentError, "values must be real"),
    (lambda: go(n_frequencies=0), ArgumentError, "n_frequencies must be an integer, positive"),
    (lambda: go(false_alarm=0), ArgumentError, r"false_alarm must be a number, in \(0, 1\)"),
    (lambda: go(false_alarm=1e-3), ArgumentError, "n_permutations must be at least .* 999;"),
    (lambda: go(n_permutations=0), ArgumentError, "n_permutations must be an integer, positive"),
    (lambda: go(max_frequency=-1.0), ArgumentError, "max_frequency must be a number, positive"),
    (lambda: go(trend="cubic"), ArgumentError, "trend must be one of 'linear', 'constant'"),
    (lambda: go().features([np.inf]), DataError, "FittedSeries.features: times must be finite"),
    (lambda: go().predict("now"), ArgumentError, "times must be numbers; got str"),
]  # fmt: skip


def go(**options: Any) -> Any:
    return fit_series(np.arange(30), np.sin(np.arange(30)), **options)


@pytest.mark.parametrize(("call", "error", "said"), CASES)
def test_bad_input_is_refused(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
