"""HSIC against the formulas of others, written out, and against OpenTURNS where installed."""

import numpy as np
import pytest
import torch

from trivium.dependence import hsic
from trivium.kernel import Delta, Gaussian, Linear


def sample(rng, n=25):
    x = rng.normal(size=(n, 2))
    return x, np.sin(x[:, :1]) + 0.4 * rng.normal(size=(n, 1))


def grams(x, y, kernel_x, kernel_y):
    return [k.gram(torch.from_numpy(v)).numpy() for k, v in ((kernel_x, x), (kernel_y, y))]


def song(k, m):
    """Song et al. (2012), the definition of the U-statistic: means over distinct rows."""
    n = len(k)
    two, three, four = 0.0, 0.0, 0.0
    for i in range(n):
        for j in range(n):
            if j == i:
                continue
            two += k[i, j] * m[i, j]
            for q in range(n):
                if q in (i, j):
                    continue
                three += k[i, j] * m[i, q]
                rest = np.setdiff1d(np.arange(n), (i, j, q))
                four += k[i, j] * m[q, rest].sum()
    falling = np.cumprod(n - np.arange(4.0))
    return two / falling[1] - 2 * three / falling[2] + four / falling[3]


def r_dhsic(grams):
    """The V-statistic of d variables as the R package dHSIC has it (Pfister et al., 2018)."""
    n = len(grams[0])
    first, second, third = 1.0, 1.0, 2 / n
    for gram in grams:
        first = first * gram
        second = second * gram.sum() / n**2
        third = third * gram.sum(0) / n
    return first.sum() / n**2 + second - third.sum()


def debiased_cka(k, m):
    """Debiased CKA as written for networks' features: hollow matrices and vectors of ones."""
    n, ones = len(k), np.ones(len(k))
    k, m = (gram - np.diag(np.diag(gram)) for gram in (k, m))

    def product(a, b):
        total = np.trace(a @ b) + (ones @ a @ ones) * (ones @ b @ ones) / ((n - 1) * (n - 2))
        return (total - 2 / (n - 2) * (ones @ a @ b @ ones)) / (n * (n - 3))

    return product(k, m) / np.sqrt(product(k, k) * product(m, m))


KERNELS = [(Gaussian(1.1), Gaussian(0.7)), (Linear(), Gaussian(1.0)), (Linear(), Linear())]


@pytest.mark.parametrize("kernels", KERNELS, ids=repr)
def test_song_by_brute_force(rng, kernels):
    x, y = sample(rng, 14)
    expected = song(*grams(x, y, *kernels))
    assert float(hsic(x, y, *kernels)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("kernels", KERNELS, ids=repr)
def test_r_dhsic(rng, kernels):
    x, y = sample(rng)
    expected = r_dhsic(grams(x, y, *kernels))
    assert float(hsic(x, y, *kernels, "biased")) == pytest.approx(expected, rel=1e-12)
    assert float(hsic(x, y, *kernels, "n-1")) != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("kernels", KERNELS, ids=repr)
def test_debiased_alignment(rng, kernels):
    x, y = sample(rng)
    expected = debiased_cka(*grams(x, y, *kernels))
    assert float(hsic(x, y, *kernels, normalize="cka")) == pytest.approx(expected, rel=1e-12)
    biased = float(hsic(x, y, *kernels, "biased", "cka"))
    assert biased != pytest.approx(expected, rel=1e-3)


def test_linear_alignment_is_that_of_features(rng):
    """The feature form: the Frobenius norm of YᵀX over those of XᵀX and YᵀY, centered."""
    x, y = rng.normal(size=(2, 30, 4))
    y += x
    first, second = x - x.mean(0), y - y.mean(0)
    norms = [
        np.linalg.norm(a.T @ b) for a, b in ((second, first), (first, first), (second, second))
    ]
    expected = norms[0] ** 2 / (norms[1] * norms[2])
    found = float(hsic(x, y, Linear(), Linear(), "biased", "cka"))
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("estimator", "name"), [("biased", "VStat"), ("unbiased", "UStat")])
def test_openturns(rng, estimator, name):
    ot = pytest.importorskip("openturns")
    x, y = (v[:, :1] for v in sample(rng, 60))
    theirs = [ot.SquaredExponential([scale], [1.0]) for scale in (1.1, 0.7)]
    found = ot.HSICEstimatorGlobalSensitivity(
        theirs, ot.Sample(x), ot.Sample(y), getattr(ot, f"HSIC{name}")()
    ).getHSICIndices()[0]
    ours = float(hsic(x, y, Gaussian(1.1), Gaussian(0.7), estimator))
    assert ours == pytest.approx(found, rel=1e-10)


def test_equal_labels_by_hand():
    """Two levels of m rows each: tr(KHLH)/n² = 1/4."""
    codes = np.repeat([0, 1], 6)
    assert float(hsic(codes, codes, Delta(), Delta(), "biased")) == pytest.approx(0.25, rel=1e-12)
