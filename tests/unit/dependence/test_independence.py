"""The test of independence against full enumeration, and its bad input."""

from itertools import permutations

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumWarning
from trivium.dependence import hsic, independence_test
from trivium.dependence.canonical import canonical_order
from trivium.dependence.pair import as_pair
from trivium.dependence.shift import Shifts
from trivium.kernel import Delta, Distance, Gaussian, Linear

FAST = {"n_permutations": 200}
LEAST = 1 / 200  # 100 or 200 rows are lengths of fast transforms: 200 members in all


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
    assert independence_test(x, y, **FAST).p_value <= LEAST
    result = independence_test(x, y, groups=groups, **FAST)
    assert result.p_value > 0.05
    assert "200 permutations within groups" in result.method


@pytest.mark.parametrize(
    "shape", [lambda x: np.sin(5 * x), lambda x: x**2, lambda x: (x > 0).astype(int)]
)
def test_dependence_of_any_shape_is_found(rng, shape):
    x = rng.uniform(-1, 1, 100)
    result = independence_test(x, shape(x), **FAST)
    assert result.p_value == LEAST
    assert result.cka > result.null_band > 0


def test_statistics_agree_with_hsic(rng):
    x, y = rng.normal(size=(2, 90))
    result = independence_test(x, y + x, **FAST)
    pairs = [("biased", None, result.statistic), ("unbiased", None, result.statistic_unbiased)]
    for estimator, normalize, found in [*pairs, ("unbiased", "cka", result.cka)]:
        expected = float(hsic(x, y + x, estimator=estimator, normalize=normalize))
        assert found == pytest.approx(expected, rel=1e-8)


def complete(x, y, count, seed):
    """Rank of the median kernels' HSIC among all shifts, each by its definition."""
    pair, _ = canonical_order(as_pair("test", x, y, Gaussian(), Gaussian()))
    shifts = Shifts(len(x), count, seed)
    start = torch.from_numpy(shifts.start())
    first, second = pair.x[start], pair.y[start]
    values = torch.stack(
        [
            hsic(first, second[order], pair.kernel_x, pair.kernel_y, "biased")
            for order in shifts.orders()
        ]
    )
    return float((values >= values[0] * (1 - 1e-9)).double().mean())


@pytest.mark.parametrize("n", [50, 51])
@pytest.mark.parametrize("columns", [1, 12])
def test_p_value_equals_every_shift_by_hand(rng, n, columns):
    x, y = rng.normal(size=(n, columns)), rng.normal(size=n)
    y += 0.5 * x[:, 0]
    for seed in range(3):
        result = independence_test(x, y, aggregate=False, random_state=seed, n_permutations=120)
        assert result.p_value == pytest.approx(complete(x, y, 120, seed), rel=1e-12)
        assert (
            f"complete Gram matrices, {result.n_permutations + 1} shifts in 3 cosets"
            in result.method
        )


def test_lengthscales_are_ranked_together(rng):
    """The largest studentized of 25 statistics, over the same shifts: by hand."""
    x, y = rng.normal(size=(2, 60))
    y += x
    result = independence_test(x, y, n_permutations=60)
    pair, _ = canonical_order(as_pair("test", x, y, "auto", "auto"))
    shifts = Shifts(60, 60)
    start = torch.from_numpy(shifts.start())
    first, second = pair.x[start], pair.y[start]
    scores = []
    for i, one in enumerate((0.125, 0.25, 0.5, 1.0, 2.0)):
        for j, other in enumerate((0.125, 0.25, 0.5, 1.0, 2.0)):
            kernels = (
                Gaussian(one * pair.kernel_x.lengthscale),
                Gaussian(other * pair.kernel_y.lengthscale),
            )
            values = np.array(
                [float(hsic(first, second[o], *kernels, "biased")) for o in shifts.orders()]
            )
            scores.append((values - values.mean()) / values.std() - 0.3 * (abs(i - 3) + abs(j - 3)))
    best = np.max(scores, axis=0)
    assert result.score == pytest.approx(best[0], rel=1e-8)
    assert np.allclose(result.null, best[1:], rtol=0, atol=1e-6)
    assert result.p_value == np.mean(best >= best[0] * (1 - 1e-9))
    assert "largest of 5 × 5 kernels" in result.method
    uniform = independence_test(x, y, n_permutations=60, aggregate="uniform")
    assert uniform.score >= result.score


def test_kernels_of_the_user_are_tried_together(rng):
    """Without favor, in any order; the middle one's sizes are reported."""
    x = rng.uniform(-1, 1, 200)
    y = np.sin(25 * x) + 0.3 * rng.normal(size=200)
    grid = Gaussian().grid([0.02, 0.05, 0.5])
    result = independence_test(x, y, grid, Gaussian(0.5), **FAST)
    assert result.p_value <= 2 * LEAST
    assert result.lengthscales == (0.05, 0.5)
    assert "largest of 3 × 1 kernels" in result.method
    swapped = independence_test(y, x, Gaussian(0.5), grid[::-1], **FAST)
    assert (swapped.p_value, swapped.statistic) == (result.p_value, result.statistic)
    mixed = independence_test(x, y, (Distance(), Gaussian()), "auto", **FAST)
    assert "largest of 2 × 5 kernels" in mixed.method
    tail = independence_test(x, y, grid, Gaussian(0.5), null="saddlepoint")
    assert tail.p_value < 1e-6


def test_narrow_waves_are_found_by_the_grid_only(rng):
    """At the median lengthscale a fast wave is invisible."""
    x = rng.uniform(-1, 1, 200)
    y = np.sin(25 * x) + 0.3 * rng.normal(size=200)
    assert independence_test(x, y, aggregate=False, **FAST).p_value > 0.05
    assert independence_test(x, y, **FAST).p_value <= 2 * LEAST


def test_features_take_over_where_matrices_are_too_large(rng, monkeypatch):
    x, y = rng.normal(size=(2, 300))
    y += 0.15 * x
    usual = independence_test(x, y, aggregate=False, n_permutations=300)
    monkeypatch.setattr("trivium.dependence.nulls._GRAM_PAIRS", 10)
    other = independence_test(x, y, aggregate=False, n_permutations=300)
    assert "complete Gram" in usual.method
    assert "features of rank" in other.method
    assert other.p_value == usual.p_value
    assert np.allclose(other.null, usual.null, rtol=1e-3)
    assert (other.statistic, other.cka) == (usual.statistic, usual.cka)


@pytest.mark.slow
def test_many_rows_through_factors(rng):
    x = rng.normal(size=30_000)
    y = x + 3 * rng.normal(size=30_000)
    result = independence_test(x, y, n_permutations=100)
    assert result.p_value == 0.01
    assert 0 < result.residual < 0.1
    assert result.method.startswith("HSIC, largest of 5 × 5 kernels, features of rank")
    assert result.n_effective == 30_000
    pairs = np.exp(-((x[:4000, None] - x[:4000]) ** 2) / (2 * result.lengthscales[0] ** 2))
    assert 0.3 < pairs.mean() < 0.9


def test_features_and_matrices_give_one_permutation_p_value(rng, monkeypatch):
    """12 columns at 300 rows need the complete matrix; made to use features, they agree."""
    x, y = rng.normal(size=(300, 12)), rng.normal(size=300)
    options = {"null": "permutation", "aggregate": False, **FAST}
    usual = independence_test(x, y, **options)
    monkeypatch.setattr("trivium.dependence.nulls._SMALL_ROWS", 10)
    monkeypatch.setattr("trivium.dependence.nulls._RANKS", (400, 400))
    other = independence_test(x, y, **options)
    assert "complete Gram matrices, 200 permutations" in usual.method
    assert "factors" in other.method
    assert other.p_value == pytest.approx(usual.p_value, abs=0.011)


@pytest.mark.parametrize("null", ["saddlepoint", "gamma"])
def test_tails_follow_the_permutations(rng, null):
    """In the body of the null all roads agree; further out only the saddlepoint goes on."""
    x, y = rng.normal(size=(2, 150))
    drawn = independence_test(x, y, null="permutation", aggregate=False, n_permutations=4000)
    tail = independence_test(x, y, null=null)
    assert tail.p_value == pytest.approx(drawn.p_value, abs=0.03 if null == "saddlepoint" else 0.1)
    assert (tail.n_permutations, len(tail.null)) == (0, 0)
    far = independence_test(x, x + 0.1 * y, null="saddlepoint")
    assert 0 < far.p_value < 1e-20
    assert "asymptotic" in far.method


def test_a_series_is_shifted_without_a_shuffle(rng):
    """Two random walks look dependent; shifts far enough apart say that they are not."""
    noise = rng.normal(size=(2, 400))
    x, y = (np.convolve(row, np.ones(40) / 40, mode="same") for row in noise)
    assert independence_test(x, y, **FAST).p_value <= 2 * LEAST
    result = independence_test(x, y, min_lag=40)
    assert result.p_value > 0.02
    assert result.n_permutations == 321  # 40 to 360 of 400
    assert "needs a stationary series" in result.method
    lagged = independence_test(x, x + 0.05 * y, min_lag=40)
    assert lagged.p_value == 1 / 322


def test_invariant_to_the_order_of_rows_to_scale_and_to_swap(rng):
    x, y = rng.normal(size=(2, 80))
    y += 0.2 * x
    order = rng.permutation(80)
    first = independence_test(x, y, **FAST)
    p = first.p_value
    assert independence_test(x[order], y[order], **FAST).p_value == p
    assert independence_test(1e6 * x + 3, 1e-3 * y, **FAST).p_value == p
    assert independence_test(torch.tensor(x), torch.tensor(y), **FAST).p_value == p
    second = independence_test(y, 100 * x, Gaussian(), "auto", **FAST)
    assert second.p_value == p
    assert second.statistic == pytest.approx(first.statistic, rel=1e-10)
    assert second.cka == pytest.approx(first.cka, rel=1e-10)
    assert second.lengthscales[1] == pytest.approx(100 * first.lengthscales[0])
    assert second.kernels[0] == first.kernels[1]


@pytest.mark.parametrize("rows", ["complete", "streamed"])
def test_a_far_origin_costs_no_digits(rng, rows, monkeypatch):
    """Single precision serves from 2,000 rows on; a timestamp must not be rounded to minutes."""
    if rows == "streamed":
        monkeypatch.setattr("trivium.dependence.nulls._GRAM_PAIRS", 10)
    x, y = rng.normal(size=(2, 2500))
    y += 0.07 * x
    options = {"n_permutations": 500, "aggregate": False}
    near = independence_test(x, y, **options)
    far = independence_test(1.7e9 + x, y - 1e7, **options)
    assert near.p_value < 0.05
    assert far.p_value == pytest.approx(near.p_value, abs=1e-3)
    assert np.allclose(far.null, near.null, rtol=2e-3)


def test_seed(rng):
    x, y = rng.normal(size=(2, 50))
    results = [independence_test(x, y, random_state=s, **FAST) for s in (1, 1, 2)]
    assert np.array_equal(results[0].null, results[1].null)
    assert not np.array_equal(results[0].null, results[2].null)


def test_result_says_what_it_cost_and_draws(rng):
    x, y = rng.normal(size=(2, 100))
    result = independence_test(x, y, **FAST)
    assert result.seconds > 0
    assert result.memory >= 0
    axes = result.plot()
    assert f"p = {result.p_value:.3g}" in axes.get_legend().get_texts()[1].get_text()


def test_constant_gets_p_one(rng):
    with pytest.warns(TriviumWarning, match="x must vary; got equal rows, so p = 1"):
        result = independence_test(np.zeros(20), rng.normal(size=20), **FAST)
    assert (result.p_value, result.statistic, result.cka) == (1.0, 0.0, 0.0)
    assert result.lengthscales == (None, pytest.approx(result.lengthscales[1]))


def test_a_kernel_without_power_is_named(rng):
    with pytest.warns(TriviumWarning, match="must tell rows apart and alike"):
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
        ({"null": "bootstrap"}, ArgumentError, "null must be one of 'shift', 'permutation'"),
        ({"aggregate": "all"}, ArgumentError, "aggregate must be True, False or 'uniform'"),
        ({"min_lag": 0}, ArgumentError, "min_lag must be an integer, positive"),
        ({"min_lag": 3}, ArgumentError, "min_lag must be at most 2 for 5 rows; got 3"),
        (
            {"min_lag": 1, "null": "permutation"},
            ArgumentError,
            "min_lag must come with null='shift'",
        ),
        (
            {"groups": [1, 1, 1, 2, 2], "null": "gamma"},
            ArgumentError,
            "groups must come with null='permutation' and no min_lag; got null='gamma'",
        ),
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
