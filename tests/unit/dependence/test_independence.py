"""The test of independence against full enumeration, and its bad input."""

from itertools import permutations

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumWarning
from trivium.dependence import hsic, independence_test
from trivium.kernel import Delta, Gaussian, Linear

FAST = {"n_permutations": 199}


@pytest.mark.parametrize("n", [5, 6])
def test_p_value_equals_full_enumeration(rng, n):
    x, y = rng.normal(size=(2, n))
    kernels = (Gaussian(1.0), Gaussian(0.7))
    observed = float(hsic(x, y, *kernels, "biased"))
    all_values = [
        float(hsic(x, y[list(order)], *kernels, "biased")) for order in permutations(range(n))
    ]
    expected = np.mean(np.array(all_values) >= observed - 1e-12)
    result = independence_test(x, y, *kernels)
    assert result.p_value == pytest.approx(expected, rel=1e-12)
    assert result.n_permutations == len(all_values) - 1
    assert "all permutations" in result.method


def test_random_permutations_approach_enumeration(rng):
    x, y = rng.normal(size=(2, 7))
    y += x
    exact = independence_test(x, y, n_permutations=5039).p_value
    drawn = independence_test(x, y, n_permutations=4000, random_state=4).p_value
    assert abs(exact - drawn) < 4 * (exact * (1 - exact) / 4000) ** 0.5


def test_enumeration_within_groups(rng):
    x, y = rng.normal(size=(2, 6))
    groups = np.array(["a", "b", "a", "a", "b", "b"])
    kernels = (Gaussian(1.0), Gaussian(1.0))
    allowed = [
        list(order)
        for order in permutations(range(6))
        if all(groups[i] == groups[j] for i, j in enumerate(order))
    ]
    values = np.array([float(hsic(x, y[order], *kernels, "biased")) for order in allowed])
    result = independence_test(x, y, *kernels, groups=groups)
    assert result.n_permutations == len(allowed) - 1 == 35
    assert result.p_value == pytest.approx(np.mean(values >= values[0] - 1e-12), rel=1e-12)


def test_groups_explain_a_common_cause(rng):
    """x and y depend on the group only: dependent, and independent given the group."""
    groups = rng.integers(0, 4, 120)
    x, y = groups + 0.3 * rng.normal(size=(2, 120))
    assert independence_test(x, y, **FAST).p_value == 0.005
    assert independence_test(x, y, groups=groups, **FAST).p_value > 0.05


@pytest.mark.parametrize(
    "shape", [lambda x: np.sin(5 * x), lambda x: x**2, lambda x: (x > 0).astype(int)]
)
def test_dependence_of_any_shape_is_found(rng, shape):
    x = rng.uniform(-1, 1, 100)
    result = independence_test(x, shape(x), **FAST)
    assert result.p_value == 0.005
    assert result.cka > result.null_band > 0


def test_statistics_agree_with_hsic(rng):
    x, y = rng.normal(size=(2, 90))
    result = independence_test(x, y + x, **FAST)
    pairs = [("biased", None, result.statistic), ("unbiased", None, result.statistic_unbiased)]
    for estimator, normalize, found in [*pairs, ("unbiased", "cka", result.cka)]:
        expected = float(hsic(x, y + x, estimator=estimator, normalize=normalize))
        assert found == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("columns", [1, 12])
def test_factors_and_gram_give_one_p_value(rng, columns, monkeypatch):
    """At 300 rows both routes are open; the number of columns decides which is taken."""
    x, y = rng.normal(size=(300, columns)), rng.normal(size=300)
    usual = independence_test(x, y, **FAST)
    assert ("Gram" in usual.method) == (columns == 12)
    monkeypatch.setattr("trivium.dependence.independence._GRAM_ROWS", 10)
    monkeypatch.setattr("trivium.dependence.independence._RANKS", (400, 400))
    other = independence_test(x, y, **FAST)
    assert "factors" in other.method
    assert other.p_value == pytest.approx(usual.p_value, abs=0.011)
    assert other.cka == pytest.approx(usual.cka, abs=1e-4)


def test_many_rows_through_factors(rng):
    x = rng.normal(size=3000)
    y = x + 3 * rng.normal(size=3000)
    result = independence_test(x, y, n_permutations=99)
    assert result.p_value == 0.01
    assert 0 < result.residual < 1e-4
    assert result.method.startswith("HSIC, factors of rank")
    exact = float(hsic(x, y, normalize="cka", method="exact"))
    assert result.cka == pytest.approx(exact, rel=1e-3)


def test_invariant_to_the_order_of_rows_and_to_scale(rng):
    x, y = rng.normal(size=(2, 80))
    y += 0.2 * x
    order = rng.permutation(80)
    p = independence_test(x, y, **FAST).p_value
    assert independence_test(x[order], y[order], **FAST).p_value == p
    assert independence_test(1e6 * x + 3, 1e-3 * y, **FAST).p_value == p
    assert independence_test(torch.tensor(x), torch.tensor(y), **FAST).p_value == p


def test_statistic_invariant_to_swap(rng):
    x, y = rng.normal(size=(2, 80))
    first, second = independence_test(x, y, **FAST), independence_test(y, x, **FAST)
    assert second.statistic == pytest.approx(first.statistic, rel=1e-10)
    assert second.cka == pytest.approx(first.cka, rel=1e-10)


def test_seed(rng):
    x, y = rng.normal(size=(2, 50))
    results = [independence_test(x, y, random_state=s, **FAST) for s in (1, 1, 2)]
    assert np.array_equal(results[0].null, results[1].null)
    assert not np.array_equal(results[0].null, results[2].null)


def test_constant_gets_p_one(rng):
    with pytest.warns(TriviumWarning, match="x must vary; got equal rows, so p = 1"):
        result = independence_test(np.zeros(20), rng.normal(size=20), **FAST)
    assert (result.p_value, result.statistic, result.cka) == (1.0, 0.0, 0.0)
    assert result.lengthscales == (None, pytest.approx(result.lengthscales[1]))


def test_a_kernel_without_power_is_named(rng):
    with pytest.warns(TriviumWarning, match="kernel_x must tell rows of x apart and alike"):
        result = independence_test(np.arange(20), rng.normal(size=20), Delta(), **FAST)
    assert result.p_value == 1.0


def test_groups_of_size_one_are_named(rng):
    x, y = rng.normal(size=(2, 6))
    with pytest.warns(TriviumWarning, match="groups: 1 of 2 groups have one row"):
        result = independence_test(x, y, groups=[0, 0, 0, 0, 0, 1], **FAST)
    assert (result.n_rows, result.n_effective) == (6, 5)
    with pytest.raises(ArgumentError, match="only groups of size one"):
        independence_test(x, y, groups=np.arange(6), **FAST)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"null": "shift"}, ArgumentError, "null must be one of 'permutation'; got 'shift'"),
        ({"n_permutations": 0}, ArgumentError, "n_permutations must be an integer, positive"),
        ({"n_permutations": 9.5}, ArgumentError, "n_permutations must be an integer"),
        ({"groups": [1, 2]}, ShapeError, "groups must have one label for each of 5 rows"),
        ({"random_state": -1}, ArgumentError, "random_state must be"),
        ({"y": np.arange(6.0)}, ShapeError, "axis n is 5 in x but 6 in y"),
        ({"x": np.full(5, np.nan)}, DataError, "independence_test: x must be finite"),
        ({"kernel_x": Linear}, ArgumentError, "kernel_x must be 'auto' or a kernel"),
    ],
)
def test_bad_input_is_named(change, error, message):
    arguments = {"x": np.arange(5.0), "y": np.arange(5.0) ** 2} | change
    with pytest.raises(error, match=message):
        independence_test(**arguments)
    with pytest.raises(DataError, match="at least 4 rows; got 3"):
        independence_test(np.arange(3.0), np.arange(3.0))
