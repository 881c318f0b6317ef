"""The distance kernel: values, a free origin, scale, slopes, and HSIC as distance covariance."""

import math

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.dependence import hsic, independence_test
from trivium.dependence.shift import Shifts
from trivium.dependence.shift_grams import gram_shifts
from trivium.kernel import Distance, Gaussian, Linear

EXPONENTS = [0.3, 1.0, 1.5, 2.0]


def pair(rng, n, d):
    x = rng.standard_normal((n, d))
    y = np.stack([np.cos(3 * x[:, 0]), x[:, -1] ** 2], 1)[:, :d]
    y = y + 0.5 * rng.standard_normal(y.shape)
    return torch.from_numpy(x), torch.from_numpy(y)


def test_value_by_hand():
    a, b = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[4.0, -2.0]]).double()
    for power in EXPONENTS:
        value = (5 ** (power / 2) + 20 ** (power / 2) - 5**power) / 2
        assert float(Distance(power, origin=0.0).gram(a, b)) == pytest.approx(value, rel=1e-14)
    moved = Distance(origin=(1.0, 2.0)).gram(torch.cat([a, b]))
    assert moved.tolist() == [[0.0, 0.0], [0.0, 5.0]]


def test_at_two_it_is_the_linear_kernel_around_the_origin(rng):
    x = torch.from_numpy(rng.standard_normal((20, 4)))
    expected = Linear().gram(x - x.median(0).values)
    assert torch.allclose(Distance(2.0).gram(x), expected, rtol=1e-12, atol=1e-13)


def test_on_a_line_it_is_the_covariance_of_brownian_motion(rng):
    x = torch.from_numpy(rng.uniform(0, 5, 30))
    expected = torch.minimum(x[:, None], x)
    assert torch.allclose(Distance(origin=0.0).gram(x), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("estimator", ["biased", "n-1", "unbiased"])
def test_hsic_does_not_depend_on_the_origin(rng, exponent, estimator):
    x, y = pair(rng, 60, 2)
    found = [
        float(hsic(x, y, Distance(exponent, origin), Distance(exponent), estimator=estimator))
        for origin in ("median", 0.0, -3.0, (2.0, 7.0))
    ]
    assert np.ptp(found) <= 1e-12 * abs(found[0])


def test_the_gram_matrix_does(rng):
    """So that the test above can fail."""
    x, _ = pair(rng, 60, 2)
    assert float((Distance().gram(x) - Distance(origin=0.0).gram(x)).abs().max()) > 0.01


@pytest.mark.parametrize("d", [1, 3])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_a_unit_only_multiplies(rng, d, exponent):
    x = torch.from_numpy(rng.standard_normal((30, d)))
    gram = Distance(exponent).gram(x)
    for unit in (2.0**-300, 2.0**200):
        scaled = Distance(exponent).gram(x * unit) / unit**exponent
        assert torch.allclose(scaled, gram, rtol=1e-12, atol=1e-14)


def test_a_far_origin_costs_single_precision_nothing(rng):
    x, y = pair(rng, 400, 1)
    x, y = ((each * 256).round() / 256 for each in (x, y))
    exact = float(hsic(x, y, Distance(), Distance()))
    far = float(hsic((x + 4096).float(), (y - 4096).float(), Distance(), Distance()))
    assert far == pytest.approx(exact, rel=1e-5)
    wrong = Distance(origin=0.0)
    lost = float(hsic((x + 4096).float(), (y - 4096).float(), wrong, wrong))
    assert abs(lost - exact) > 1e-4 * exact


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("d", [1, 2])
def test_slopes_are_finite_at_distance_zero(exponent, d):
    x = torch.zeros(5, d, dtype=torch.float64)
    x[3:] = 1.0
    x.requires_grad_()
    hsic(x, x.detach() ** 2, Distance(exponent), Distance(exponent)).backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert float(x.grad.abs().max()) > 0


@pytest.mark.parametrize(("n", "d"), [(60, 1), (60, 2), (1100, 1), (1100, 2)])
@pytest.mark.parametrize("exponent", [1.0, 1.5])
def test_shifts_see_the_statistic_of_the_rows_as_given(rng, n, d, exponent):
    x, y = pair(rng, n, d)
    kernel = Distance(exponent)
    found = independence_test(x, y, kernel, kernel, n_permutations=50)
    assert found.score == pytest.approx(
        float(hsic(x, y, kernel, kernel, estimator="biased")), rel=1e-9
    )
    both = (torch.flip(y * 1e6, [0]), torch.flip(x * 1e-6 + 3, [0]))
    assert independence_test(*both, kernel, kernel, n_permutations=50).p_value == found.p_value


@pytest.mark.parametrize("n", [37, 128, 131])
@pytest.mark.parametrize("exponent", EXPONENTS)
def test_differences_and_blocks_give_the_same_shifts(rng, n, exponent):
    """The road for one column against that for any kernel, which a factor of one leads to."""
    x, y = pair(rng, n, 1)
    kernel = Distance(exponent).resolve(x)
    shifts = Shifts(n, 20, 0)
    fast, general = (
        gram_shifts(x, [each], y, [Gaussian(1.0)], shifts) for each in (kernel, 1.0 * kernel)
    )
    assert torch.allclose(fast, general, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("null", ["shift", "permutation", "saddlepoint"])
def test_other_nulls_take_it(rng, null):
    x, y = pair(rng, 80, 2)
    assert independence_test(x, y, Distance(), Distance(), null=null).p_value < 0.02


def test_factors_serve_it(rng):
    x, y = pair(rng, 300, 1)
    exact = float(hsic(x, y, Distance(), Distance(), method="exact"))
    assert float(hsic(x, y, Distance(), Distance(), method="factor")) == pytest.approx(
        exact, rel=1e-2
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Distance(0.0), "exponent must be a number, positive"),
        (lambda: Distance(2.5), r"exponent must be in \(0, 2\]; got 2\.5"),
        (lambda: Distance(math.nan), "exponent must be a number"),
        (lambda: Distance(origin="mean"), "origin must be 'median', a number or one for each"),
        (lambda: Distance(origin=(0.0, math.inf)), "origin must be a number"),
        (lambda: Distance(origin=None), "origin must be a number"),
        (lambda: Distance()._gram(torch.ones(2, 1), torch.ones(2, 1)), "resolve"),
    ],
)
def test_bad_arguments_are_named(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()


def test_bad_rows_are_named():
    with pytest.raises(ShapeError, match="one number for each of 3 columns; got 2"):
        Distance(origin=(0.0, 1.0)).gram(torch.ones(4, 3))
    with pytest.raises(DataError, match="at least one row"):
        Distance().resolve(torch.ones(0, 2))
    with pytest.raises(DataError, match="must be finite"):
        Distance().resolve(torch.tensor([1.0, math.nan]))


def test_a_grid_is_one_kernel_for_each_lengthscale():
    assert Gaussian().grid((2, 0.5)) == (Gaussian(0.5), Gaussian(2.0))
    for wrong, message in (
        ((), "one or more"),
        ((1.0, 1), "no two alike"),
        ((1.0, -1.0), "lengthscales must be a number, positive"),
        ("median", "lengthscales must be numbers"),
        (1.0, "lengthscales must be numbers"),
    ):
        with pytest.raises(ArgumentError, match=message):
            Gaussian().grid(wrong)
