"""The far tail against closed forms, and its moments against every permutation."""

from itertools import permutations

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from trivium.dependence.tail import (
    Spectrum,
    chi2_mixture_tail,
    gamma_tail,
    hsic_tails,
    permutation_moments,
)


def exact_tail(value, doubled):
    """P(sum of w_j (z² + z'²) >= v) for distinct weights: a sum of exponentials."""
    total = 0.0
    for j, w in enumerate(doubled):
        others = np.delete(doubled, j)
        total += np.prod(w / (w - others)) * np.exp(-value / (2 * w))
    return total


@pytest.mark.parametrize("value", [0.3, 2.0, 7.85, 20.0, 60.0, 300.0])
def test_saddlepoint_follows_the_exact_tail(value):
    doubled = np.array([1.7, 1.0, 0.45, 0.3, 0.12])
    weights = torch.from_numpy(np.repeat(doubled, 2))
    exact = exact_tail(value, doubled)
    found = float(chi2_mixture_tail(torch.tensor(value, dtype=torch.float64), weights))
    assert found == pytest.approx(exact, rel=0.05)


def test_the_gamma_does_not():
    """The check above can fail: what most packages use is far off where it matters."""
    doubled = np.array([1.7, 1.0, 0.45, 0.3, 0.12])
    weights = torch.from_numpy(np.repeat(doubled, 2))
    exact = exact_tail(60.0, doubled)
    assert float(gamma_tail(torch.tensor(60.0), weights)) < exact / 3
    body = exact_tail(7.85, doubled)
    assert float(gamma_tail(torch.tensor(7.85), weights)) == pytest.approx(body, rel=0.1)


@pytest.mark.parametrize("freedom", [1, 2, 10, 200])
def test_equal_weights_are_a_chi_square(freedom):
    values = torch.tensor(chi2.isf([0.9, 0.5, 0.05, 1e-4, 1e-12], freedom))
    weights = torch.ones(len(values), freedom, dtype=torch.float64)
    for tail in (chi2_mixture_tail(2 * values, 2 * weights), gamma_tail(2 * values, 2 * weights)):
        assert tail.numpy() == pytest.approx(chi2.sf(values, freedom), rel=0.06)


def test_logarithm_goes_below_the_smallest_float():
    value, weights = torch.tensor(5000.0, dtype=torch.float64), torch.ones(4, dtype=torch.float64)
    exact = -2500 + np.log(2501)  # a chi-square of 4 degrees
    assert float(chi2_mixture_tail(value, weights, log=True)) == pytest.approx(exact, rel=1e-4)
    assert float(chi2_mixture_tail(value, weights)) > 0


def test_smooth_through_the_mean():
    """At the mean the formula is 0/0; it must pass there without a step."""
    weights = torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64)
    values = 1.75 + torch.linspace(-1e-3, 1e-3, 201, dtype=torch.float64)
    tails = chi2_mixture_tail(values, weights.expand(201, 3))
    assert float(tails.diff().abs().max()) < 1e-4
    exact = 0.5 * float(tails[0] + tails[-1])
    assert float(tails[100]) == pytest.approx(exact, abs=1e-4)


def test_nothing_to_weigh():
    nothing = torch.zeros(2, 3)
    for tail in (chi2_mixture_tail, gamma_tail):
        assert tail(torch.tensor([1.0, 0.0]), nothing).tolist() == [1.0, 1.0]
        assert float(tail(torch.tensor(-1.0), torch.ones(3))) == 1.0


def test_moments_are_those_of_every_permutation(rng):
    phi, psi = torch.from_numpy(rng.normal(size=(2, 3, 6)))
    psi = psi[:2] ** 2
    first, second = (each - each.mean(1, keepdim=True) for each in (phi, psi))
    gram = first.mT @ first
    values = []
    for order in permutations(range(6)):
        moved = second[:, list(order)]
        values.append(float((gram * (moved.mT @ moved)).sum()))
    mean, variance = permutation_moments(Spectrum.of(phi), Spectrum.of(psi))
    assert mean == pytest.approx(np.mean(values), rel=1e-12)
    assert variance == pytest.approx(np.var(values), rel=1e-10)


def test_tails_of_columns_are_those_of_each_alone(rng):
    target = Spectrum.of(torch.from_numpy(rng.normal(size=(2, 40))))
    columns = [Spectrum.of(torch.from_numpy(rng.normal(size=(r, 40)))) for r in (1, 4, 2)]
    statistics = torch.tensor([0.05, 0.1, 0.3], dtype=torch.float64)
    together = hsic_tails(statistics, columns, target)
    for place in range(3):
        alone = hsic_tails(statistics[place : place + 1], columns[place : place + 1], target)
        assert float(together[place]) == pytest.approx(float(alone[0]), rel=1e-10)
    flat = Spectrum.of(torch.ones(1, 40))
    assert hsic_tails(statistics[:1], [flat], target).tolist() == [1.0]
    assert hsic_tails(statistics[:1], columns[:1], flat).tolist() == [1.0]
    assert hsic_tails(statistics[:0], [], target).shape == (0,)


@pytest.mark.slow
def test_follows_a_hundred_thousand_permutations(rng):
    """Between 1e-3 and 0.2; the ratio's noise is about 0.1 at 1e-3 (100 exceedances)."""
    n, count = 200, 100_000
    x, y = rng.normal(size=(2, n))
    phi = torch.from_numpy(np.stack([x, x**2, np.sin(2 * x)]))
    psi = torch.from_numpy(np.stack([y, np.abs(y)]))
    first, second = (each - each.mean(1, keepdim=True) for each in (phi, psi))
    orders = torch.from_numpy(np.stack([rng.permutation(n) for _ in range(count)]))
    null = torch.zeros(count, dtype=torch.float64)
    for a in first:
        for b in second:
            null += (b[orders] @ a).square()
    null = (null / n**2).sort().values
    spectra = Spectrum.of(phi), Spectrum.of(psi)
    for share in (0.2, 0.05, 0.01, 0.001):
        value = null[int((1 - share) * count) :][:1]
        assert float(hsic_tails(value, [spectra[0]], spectra[1])) / share == pytest.approx(
            1, abs=0.3
        )
