"""The estimates against their definitions, by enumeration of tuples of rows."""

from itertools import permutations, product

import numpy as np
import pytest
import torch

from trivium.dependence.sums import factor_sums, gram_sums


@pytest.fixture
def grams(rng):
    phi, psi = (torch.from_numpy(rng.normal(size=(r, 7))) for r in (3, 4))
    return phi, psi, phi.T @ phi, psi.T @ psi


def by_tuples(k, m, tuples):
    """Mean over (i, j, q, r) of k_ij (l_ij + l_qr - 2 l_iq)."""
    values = [k[i, j] * (m[i, j] + m[q, r] - 2 * m[i, q]) for i, j, q, r in tuples]
    return float(sum(values) / len(values))


def test_unbiased_is_the_mean_over_distinct_rows(grams):
    """Song et al., equation 4: the U-statistic itself, all n(n-1)(n-2)(n-3) tuples."""
    *_, k, m = grams
    expected = by_tuples(k, m, list(permutations(range(7), 4)))
    assert float(gram_sums(k, m).estimate("unbiased")) == pytest.approx(expected, rel=1e-12)


def test_biased_is_the_mean_over_all_tuples(grams):
    *_, k, m = grams
    expected = by_tuples(k, m, list(product(range(7), repeat=4)))
    assert float(gram_sums(k, m).estimate("biased")) == pytest.approx(expected, rel=1e-12)


def test_n_minus_one_only_rescales(grams):
    *_, k, m = grams
    sums = gram_sums(k, m)
    ratio = float(sums.estimate("n-1") / sums.estimate("biased"))
    assert ratio == pytest.approx(49 / 36, rel=1e-12)


def test_biased_is_a_trace(grams):
    *_, k, m = grams
    h = torch.eye(7, dtype=torch.float64) - 1 / 7
    expected = torch.trace(k @ h @ m @ h) / 49
    assert torch.allclose(gram_sums(k, m).estimate("biased"), expected, rtol=1e-12)


def test_factor_sums_equal_gram_sums(grams):
    phi, psi, k, m = grams
    for estimator in ("biased", "n-1", "unbiased"):
        by_factor = factor_sums(phi, psi).estimate(estimator)
        assert torch.allclose(by_factor, gram_sums(k, m).estimate(estimator), rtol=1e-12)


def test_factor_sums_serve_many_columns_at_once(rng):
    phi = torch.from_numpy(rng.normal(size=(5, 3, 9)))
    psi = torch.from_numpy(rng.normal(size=(4, 9)))
    many = factor_sums(phi, psi).estimate("unbiased")
    one = torch.stack([factor_sums(each, psi).estimate("unbiased") for each in phi])
    assert torch.allclose(many, one, rtol=1e-12)


def test_mean_of_unbiased_over_all_permutations_is_zero(grams):
    """A wrong divisor or a forgotten diagonal fails here."""
    *_, k, m = grams
    small_k, small_l = k[:5, :5], m[:5, :5]
    orders = [list(p) for p in permutations(range(5))]
    values = [
        [float(gram_sums(small_k, small_l[o][:, o]).estimate(e)) for o in orders]
        for e in ("unbiased", "biased")
    ]
    assert abs(np.mean(values[0])) < 1e-14 * np.abs(values[0]).max() * 1e3
    assert np.mean(values[1]) > 1e-3
