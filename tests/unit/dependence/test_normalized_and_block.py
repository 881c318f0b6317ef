"""NOCCO, blocks and factors of HSIC against dense formulas and complete matrices."""

import numpy as np
import pytest
import torch

from trivium._core.errors import NumericalError, ResourceError, TriviumWarning
from trivium._core.random import torch_generator
from trivium.dependence import hsic
from trivium.dependence.pair import as_pair
from trivium.kernel import Delta, Gaussian, Linear


def dense_nocco(k, m, epsilon):
    """tr(R_X R_Y) as written, with explicit inverses."""
    n = len(k)
    h = np.eye(n) - 1 / n
    first, second = h @ k @ h, h @ m @ h
    shift = n * epsilon * np.eye(n)
    return np.trace(first @ np.linalg.inv(first + shift) @ second @ np.linalg.inv(second + shift))


def grams(x, y, kernel_x, kernel_y):
    return [k.gram(torch.from_numpy(v)).numpy() for k, v in ((kernel_x, x), (kernel_y, y))]


@pytest.mark.parametrize("epsilon", [1e-1, 1e-3, 1e-5])
def test_nocco_equals_the_dense_formula(rng, epsilon):
    x, noise = rng.normal(size=(2, 80, 2))
    y = x**2 + noise
    expected = dense_nocco(*grams(x, y, Gaussian(1.2), Gaussian(2.0)), epsilon)
    arguments = {"normalize": "nocco", "epsilon": epsilon}
    found = hsic(x, y, Gaussian(1.2), Gaussian(2.0), **arguments)
    assert float(found) == pytest.approx(expected, rel=1e-10)
    for estimator in ("biased", "n-1"):
        assert float(hsic(x, y, Gaussian(1.2), Gaussian(2.0), estimator, **arguments)) == float(
            found
        )


def test_nocco_from_factors(rng):
    x, noise = rng.normal(size=(2, 300))
    y = np.sin(2 * x) + 0.3 * noise
    for kernel_y in (Gaussian(1.0), Linear()):
        exact, factor = (
            float(hsic(x, y, Gaussian(0.8), kernel_y, normalize="nocco", method=method))
            for method in ("exact", "factor")
        )
        assert factor == pytest.approx(exact, rel=1e-4)


def test_nocco_counts_the_levels_that_are_told():
    """Equal codes of c levels: c - 1 directions, each with the correlation 1 as ε vanishes."""
    codes = np.arange(60) % 4
    value = float(hsic(codes, codes, Delta(), Delta(), normalize="nocco", epsilon=1e-9))
    assert value == pytest.approx(3, rel=1e-7)


def test_nocco_has_a_gradient(rng):
    x = torch.from_numpy(rng.normal(size=(9, 2))).requires_grad_()
    y = torch.from_numpy(rng.normal(size=(9, 1))).requires_grad_()

    def value(a, b):
        return hsic(a, b, Gaussian(1.3), Gaussian(0.8), normalize="nocco", epsilon=0.01)

    assert torch.autograd.gradcheck(value, (x, y))
    assert torch.autograd.gradgradcheck(value, (x, y))


def test_nocco_refuses_inverses_that_are_too_large():
    x = torch.arange(10_001.0)
    with pytest.raises(ResourceError, match="at most 10000 rows"):
        hsic(x, x**2, Gaussian(1.0), Gaussian(1.0), normalize="nocco", method="exact")


@pytest.mark.parametrize("method", ["exact", "factor"])
def test_nocco_says_when_epsilon_is_lost_in_rounding(rng, method):
    x = rng.normal(size=50)
    with pytest.raises(NumericalError, match="epsilon must be above the rounding"):
        hsic(x, x**2, Linear(1.0), Linear(1.0), normalize="nocco", epsilon=1e-300, method=method)


def test_nocco_of_float32_rows(rng):
    """Complete matrices are made in float64, or a small ε would be lost in their rounding."""
    x = torch.from_numpy(rng.normal(size=60)).float()
    arguments = {"normalize": "nocco", "epsilon": 1e-8}
    found = hsic(x, x**2, Gaussian(1.0), Gaussian(1.0), **arguments)
    wide = hsic(x.double(), (x**2).double(), Gaussian(1.0), Gaussian(1.0), **arguments)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(wide), rel=1e-6)


def test_nocco_says_when_features_do_not_reach_epsilon(rng):
    x = rng.normal(size=(900, 12))
    with pytest.warns(TriviumWarning, match="x: 400 features leave"):
        hsic(x, x[:, 0], Gaussian(2.0), normalize="nocco", method="factor")


def blocks_of(n, size):
    order = torch.randperm(n, generator=torch_generator(0, "hsic", "blocks"))
    return [rows.numpy() for rows in order.tensor_split(n // size)]


@pytest.mark.parametrize(("n", "size"), [(40, 8), (43, 8), (30, None)])
@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_blocks_are_a_mean_over_blocks(rng, n, size, estimator):
    x, y = rng.normal(size=(2, n))
    y += x
    kernels = Gaussian(1.0), Gaussian(1.5)
    blocks = blocks_of(n, size or 5)
    assert sorted(np.concatenate(blocks)) == list(range(n))
    parts = [
        [float(hsic(a[rows], b[rows], k, m, estimator)) for rows in blocks]
        for a, b, k, m in ((x, y, *kernels), (x, x, *kernels[:1] * 2), (y, y, *kernels[1:] * 2))
    ]
    value, own_x, own_y = (np.mean(part) for part in parts)
    arguments = {"estimator": estimator, "method": "block", "block_size": size}
    assert float(hsic(x, y, *kernels, **arguments)) == pytest.approx(value, rel=1e-12)
    cka = float(hsic(x, y, *kernels, normalize="cka", **arguments))
    assert cka == pytest.approx(value / np.sqrt(own_x * own_y), rel=1e-12)


def test_blocks_do_not_follow_the_order_of_a_sorted_table(rng):
    """Blocks of a table sorted by x would see hardly any spread, and so hardly any dependence."""
    x = np.sort(rng.normal(size=2000))
    y = x + 0.5 * rng.normal(size=2000)
    whole = float(hsic(x, y))
    assert float(hsic(x, y, method="block")) == pytest.approx(whole, rel=0.15)
    pair = as_pair("test", x, y, "auto", "auto")
    sorted_blocks = [
        float(hsic(x[at : at + 44], y[at : at + 44], pair.kernel_x, pair.kernel_y))
        for at in range(0, 1980, 44)
    ]
    assert np.mean(sorted_blocks) < 0.2 * whole


def test_one_block_is_the_whole(rng):
    x, y = rng.normal(size=(2, 30))
    found = hsic(x, y, method="block", block_size=1000)
    assert float(found) == pytest.approx(float(hsic(x, y)), rel=1e-10)


def test_blocks_have_a_gradient(rng):
    x = torch.from_numpy(rng.normal(size=13)).requires_grad_()
    y = torch.from_numpy(rng.normal(size=13))

    def value(a):
        return hsic(a, y, Gaussian(1.0), Gaussian(1.0), method="block", block_size=5)

    assert torch.autograd.gradcheck(value, (x,))


@pytest.mark.parametrize("kernel", [Gaussian(3.0), Linear()], ids=repr)
@pytest.mark.parametrize("normalize", [None, "cka"])
@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
def test_landmarks_in_many_columns(rng, monkeypatch, kernel, normalize, estimator):
    """Features, in more than one block of rows, against complete matrices."""
    monkeypatch.setattr("trivium.dependence.factored._BLOCK", 300)
    x = rng.normal(size=(800, 3))
    y = x + rng.normal(size=(800, 3))
    found, expected = (
        float(hsic(x, y, kernel, kernel, estimator, normalize, method))
        for method in ("factor", "exact")
    )
    assert found == pytest.approx(expected, rel=1e-4)
