"""Kernels and features against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn import gaussian_process, kernel_approximation
from sklearn.metrics import pairwise

from trivium.kernel import (
    Gaussian,
    Laplace,
    Linear,
    Matern,
    Nystroem,
    Polynomial,
    RandomFourier,
    RationalQuadratic,
)

GP = gaussian_process.kernels
PAIRS = [
    (Gaussian(0.8), GP.RBF(0.8)),
    (Gaussian.from_gamma(0.3), lambda x, y: pairwise.rbf_kernel(x, y, gamma=0.3)),
    (Laplace.from_gamma(0.3), lambda x, y: pairwise.laplacian_kernel(x, y, gamma=0.3)),
    (Linear(), pairwise.linear_kernel),
    (
        Polynomial(degree=3, gamma=0.2, bias=1.5),
        lambda x, y: pairwise.polynomial_kernel(x, y, degree=3, gamma=0.2, coef0=1.5),
    ),
    (RationalQuadratic(0.7, alpha=1.3), GP.RationalQuadratic(0.7, alpha=1.3)),
    (Matern(0.7, nu=0.5), GP.Matern(0.7, nu=0.5)),
    (Matern(0.7, nu=1.5), GP.Matern(0.7, nu=1.5)),
    (Matern(0.7, nu=2.5), GP.Matern(0.7, nu=2.5)),
]


@pytest.mark.parametrize(("ours", "theirs"), PAIRS, ids=lambda v: type(v).__name__)
@pytest.mark.parametrize("n_columns", [1, 3, 9])
def test_gram_equals_theirs(rng, ours, theirs, n_columns):
    x, y = rng.standard_normal((30, n_columns)), rng.standard_normal((20, n_columns))
    expected = theirs(x, y)
    found = ours.gram(torch.from_numpy(x), torch.from_numpy(y)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def test_another_bandwidth_would_be_seen(rng):
    x = rng.standard_normal((30, 3))
    found = Gaussian(0.8001).gram(torch.from_numpy(x)).numpy()
    with pytest.raises(AssertionError):
        np.testing.assert_allclose(found, GP.RBF(0.8)(x, x), rtol=1e-12, atol=1e-13)


def _errors(rng, ours, theirs, gamma, n_seeds=8):
    x = rng.standard_normal((80, 4))
    exact = pairwise.rbf_kernel(x, gamma=gamma)
    rows = torch.from_numpy(x)
    found = [0.0, 0.0]
    for seed in range(n_seeds):
        phi = ours.fit(rows, seed).transform(rows).numpy()
        psi = theirs(seed).fit_transform(x)
        found[0] += float(np.square(phi @ phi.T - exact).mean())
        found[1] += float(np.square(psi @ psi.T - exact).mean())
    return found


def test_random_features_err_no_more_than_theirs(rng):
    ours, theirs = _errors(
        rng,
        RandomFourier(kernel=Gaussian.from_gamma(0.2), n_features=64),
        lambda seed: kernel_approximation.RBFSampler(gamma=0.2, n_components=64, random_state=seed),
        0.2,
    )
    assert ours <= 1.1 * theirs


def test_nystroem_errs_no_more_than_theirs(rng):
    ours, theirs = _errors(
        rng,
        Nystroem(kernel=Gaussian.from_gamma(0.2), n_features=40),
        lambda seed: kernel_approximation.Nystroem(gamma=0.2, n_components=40, random_state=seed),
        0.2,
    )
    assert ours <= 1.25 * theirs
    greedy, _ = _errors(
        np.random.default_rng(20260101),
        Nystroem(kernel=Gaussian.from_gamma(0.2), n_features=40, landmarks="greedy"),
        lambda seed: kernel_approximation.Nystroem(gamma=0.2, n_components=40, random_state=seed),
        0.2,
    )
    assert greedy <= 1.25 * theirs
