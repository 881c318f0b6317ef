"""Frequencies for a wanted decay, from kernels and from curves."""

from typing import Any

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.kernel import Gaussian, Laplace, Linear, RationalQuadratic
from trivium.kernel.spectral import Geometric, Quantiles
from trivium.sinusoid import decay, fit

X = torch.linspace(0, 60, 200, dtype=torch.float64)


def test_32_midpoint_quantiles_are_a_gaussian_kernel() -> None:
    found = fit(Gaussian(8.0), 32)
    assert found.error < 0.014
    assert found.weights.tolist() == [1 / 32] * 32
    wanted = Quantiles(Gaussian(8.0)).frequencies(32, "midpoint")
    assert torch.equal(found.frequencies.flip(0), wanted)
    assert float(found.distances[-1]) == 40.0
    x = torch.tensor([[0.0, 3.0]])
    assert torch.allclose(found.decay(x), decay(x, found.schedule()), atol=1e-14)
    assert fit(Gaussian(8.0), 8).error > 0.014  # the rule is not idle


def test_a_curve_is_met_more_closely_than_by_quantiles() -> None:
    quantiles = fit(Gaussian(8.0), 32)
    x = quantiles.distances[::8]
    moved = fit(Gaussian(8.0), 32, x)
    free = fit(Gaussian(8.0), 32, x, weights="free")
    assert moved.rms_error < 0.7 * quantiles.rms_error
    assert free.error < 1e-3
    assert bool((free.weights >= 0).all())
    assert float(free.weights.sum()) == pytest.approx(1, abs=1e-3)
    assert bool((moved.frequencies.diff() <= 0).all())


def test_planted_frequencies_are_found() -> None:
    theta, weights = torch.tensor([1.1, 0.3]).double(), torch.tensor([0.75, 0.25]).double()
    curve = (X[:, None] * theta).cos() @ weights
    found = fit(curve, 2, X, weights="free")
    assert torch.allclose(found.frequencies, theta, atol=1e-6)
    assert torch.allclose(found.weights, weights, atol=1e-6)
    equal = fit((X[:, None] * theta).cos().mean(1), 2, X)
    assert torch.allclose(equal.frequencies, theta, atol=1e-6)
    assert equal.error < 1e-9
    assert torch.equal(equal.schedule().frequencies(2), equal.frequencies)


@pytest.mark.parametrize("n", [16, 32])
def test_frequencies_beat_the_geometric_ones_on_their_own_curve(n: int) -> None:
    """The integral of a geometric schedule, by n frequencies: chosen against evenly spread."""
    x = torch.arange(0.0, 600.0)
    found = fit(Geometric().cosines, n, x)
    spread = decay(x, Geometric(), n, "midpoint") - decay(x)
    assert found.rms_error < float(spread.square().mean().sqrt())


def test_kernels_without_quantiles_go_by_their_curve() -> None:
    kernel = RationalQuadratic(5.0)
    found = fit(kernel, 32, X, weights="free")
    assert found.error < 5e-3
    assert torch.equal(found.target, kernel.gram(X, X[:1])[:, 0])


def test_more_frequencies_than_distances_are_not_moved() -> None:
    few = torch.tensor([0.0, 1.0, 2.0])
    found = fit(torch.exp(-few), 8, few)
    assert len(found.frequencies) == 8
    assert np.isfinite(found.error)


CASES: list[tuple[Any, type[Exception], str]] = [
    (lambda: fit(Gaussian(1.0), 0), ArgumentError, "fit: n_frequencies must be an integer"),
    (lambda: fit(Gaussian(1.0), 2, weights="some"), ArgumentError, "weights must be one of"),
    (lambda: fit(Gaussian(1.0), 2, weights="free"), ArgumentError, "distances must be given"),
    (lambda: fit(X, 2), ArgumentError, "fit: distances must be given"),
    (lambda: fit(Linear(), 2, X), ArgumentError, "target must be a stationary kernel, values or"),
    (lambda: fit(Gaussian(), 2), ArgumentError, "lengthscale must be a number here"),
    (lambda: fit(X, 2, X[:3]), ShapeError, "axis n is 3 in distances but 200 in target"),
    (lambda: fit(X[:1], 2, X[:1]), DataError, "distances must be two or more, not all zero"),
    (lambda: fit(-Laplace(3.0).of_differences(X.clone()), 2, X), DataError, "a positive part"),
    (lambda: fit(X * torch.nan, 2, X), DataError, "fit: target must be finite"),
    (lambda: fit(Gaussian(8.0), 8, X, "free").schedule(), ArgumentError, "weights must be equal"),
]


@pytest.mark.parametrize(("call", "error", "said"), CASES)
def test_bad_input_is_refused(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
