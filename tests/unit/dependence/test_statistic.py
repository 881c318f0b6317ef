"""hsic: closed forms, gradients, tiles, dtypes, bad input."""

import math
import warnings
from itertools import permutations

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumWarning
from trivium.dependence import hsic
from trivium.dependence.pair import as_pair
from trivium.dependence.sums import gram_sums
from trivium.dependence.tiled import tiled_sums
from trivium.kernel import Delta, Gaussian, Linear, Precomputed

ARTICLE = Gaussian.from_sigma2(1.0)  # exp(-(x - x')^2)


def gaussian_closed_form(a, b, covariance):
    """Population HSIC of a Gaussian pair under exp(-a dx^2), exp(-b dy^2)."""
    scale, s = np.diag([a, b]), np.asarray(covariance)
    d = np.diag(np.diag(s))

    def g(c):
        return 1 / math.sqrt(np.linalg.det(np.eye(2) + 2 * scale @ c))

    return g(2 * s) + g(2 * d) - 2 * g(s + d)


def test_the_closed_form_gives_the_published_value():
    assert gaussian_closed_form(1, 1, [[1, 1], [1, 1.01]]) == pytest.approx(0.094523, abs=5e-7)


@pytest.mark.parametrize("slope", [0.0, 0.5, 1.0])
def test_unbiased_has_the_closed_form_as_its_mean(rng, slope):
    """Studentized over 400 samples of 60 rows; alarm 1e-4 a test, sees a bias of 4 errors."""
    s = [[1, slope], [slope, slope**2 + 0.25]]
    values = {"unbiased": [], "biased": []}
    for _ in range(400):
        x = rng.normal(size=60)
        y = slope * x + 0.5 * rng.normal(size=60)
        for estimator, found in values.items():
            found.append(float(hsic(x, y, ARTICLE, Gaussian.from_gamma(2.0), estimator)))
    expected = gaussian_closed_form(1, 2, s)
    z = {
        name: (np.mean(v) - expected) / (np.std(v, ddof=1) / math.sqrt(len(v)))
        for name, v in values.items()
    }
    assert abs(z["unbiased"]) < 3.9
    assert z["biased"] > 3.9  # the check can fail


def test_biased_mean_under_independence_is_exact(rng):
    """Over all orders of 5 rows: (n - 1)(1 - k)(1 - l) / n^2, k and l the mean similarities.

    At n = 1,000 and normal columns k = l = 5^-1/2, so 3.05e-4; the often quoted 2.92e-4 is a
    sample mean with a standard error of about 1e-5.
    """
    x, y = rng.normal(size=(2, 5))
    grams = [ARTICLE.gram(torch.from_numpy(v)) for v in (x, y)]
    means = [float((g.sum() - 5) / 20) for g in grams]
    orders = [list(order) for order in permutations(range(5))]
    for estimator, scale in (("biased", 25), ("n-1", 16)):
        found = np.mean([float(hsic(x, y[o], ARTICLE, ARTICLE, estimator)) for o in orders])
        expected = 4 * (1 - means[0]) * (1 - means[1]) / scale
        assert found == pytest.approx(expected, rel=1e-12)
    assert pytest.approx(3.05e-4, abs=5e-7) == 999 * (1 - 5**-0.5) ** 2 / 1000**2


def test_the_reference_sample_has_the_published_population_value(rng):
    """y = x + 0.1 noise at n = 1,000: studentized over 40 samples, alarm 1e-4 (t, 39 degrees)."""
    values = []
    for _ in range(40):
        x, noise = rng.normal(size=(2, 1000))
        values.append(float(hsic(x, x + 0.1 * noise, ARTICLE, ARTICLE)))
    error = np.std(values, ddof=1) / math.sqrt(40)
    assert abs(np.mean(values) - 0.094523) < 4.33 * error
    assert error < 0.094523 / 100  # a bias of 4 % is seen


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("columns", [1, 5])
def test_tiles_equal_the_whole(rng, own, columns):
    x, y = rng.normal(size=(2, 57, columns))
    pair = as_pair("test", x, y, "auto", "auto")
    whole = gram_sums(pair.kernel_x.gram(pair.x), pair.kernel_y.gram(pair.y))
    for budget in (1_000, 20_000, 10**8):
        both, own_x, _ = tiled_sums(pair, budget, own=own)
        for estimator in ("biased", "unbiased"):
            assert torch.allclose(both.estimate(estimator), whole.estimate(estimator), rtol=1e-12)
        k = pair.kernel_x.gram(pair.x)
        if own:
            expected = gram_sums(k, k).estimate("unbiased")
            assert torch.allclose(own_x.estimate("unbiased"), expected, rtol=1e-12)


@pytest.mark.parametrize("estimator", ["biased", "n-1", "unbiased"])
@pytest.mark.parametrize("normalize", [None, "cka"])
def test_gradient_through_tiles(rng, estimator, normalize):
    x = torch.from_numpy(rng.normal(size=(9, 2))).requires_grad_()
    y = torch.from_numpy(rng.normal(size=(9, 1))).requires_grad_()

    def value(a, b):
        return hsic(a, b, Gaussian(1.3), Gaussian(0.8), estimator, normalize, budget=3000)

    assert torch.autograd.gradcheck(value, (x, y))


def test_gradient_in_tiles_equals_the_whole(rng):
    x = torch.from_numpy(rng.normal(size=(60, 3))).requires_grad_()
    y = torch.from_numpy(rng.normal(size=60))
    grads = [
        torch.autograd.grad(hsic(x, y, Gaussian(1.0), Gaussian(1.0), budget=b), x)[0]
        for b in (4000, 10**8)
    ]
    assert torch.allclose(grads[0], grads[1], rtol=1e-11, atol=1e-16)


def test_factor_method_agrees_with_exact(rng):
    x, y = rng.normal(size=(2, 300))
    y += x
    for normalize in (None, "cka"):
        exact, factor = (hsic(x, y, normalize=normalize, method=m) for m in ("exact", "factor"))
        assert float(factor) == pytest.approx(float(exact), rel=1e-4)


def test_factor_method_reports_what_it_leaves_out(rng):
    x = rng.normal(size=(900, 12))
    with pytest.warns(TriviumWarning, match=r"x: 400 features leave 0\.\d+ of the kernel's trace"):
        hsic(x, x[:, 0], Gaussian(1.0), method="factor")


def test_cka_of_a_variable_with_itself_is_one(rng):
    x = rng.normal(size=50)
    for estimator in ("biased", "unbiased"):
        assert float(hsic(x, 3 * x - 7, estimator=estimator, normalize="cka")) == pytest.approx(1)


def test_symmetric_and_invariant_to_the_order_of_rows(rng):
    x, y = rng.normal(size=(2, 40))
    order = rng.permutation(40)
    value = float(hsic(x, y))
    assert float(hsic(y, x)) == pytest.approx(value, rel=1e-12)
    assert float(hsic(x[order], y[order])) == pytest.approx(value, rel=1e-12)


def test_linear_kernels_give_the_squared_covariance(rng):
    x, y = rng.normal(size=(2, 30))
    expected = np.mean((x - x.mean()) * (y - y.mean())) ** 2
    assert float(hsic(x, y, Linear(), Linear(), "biased")) == pytest.approx(expected, rel=1e-9)


def test_float32_stays_close_to_float64(rng):
    x, y = rng.normal(size=(2, 800))
    wide = float(hsic(x, y + x, normalize="cka"))
    narrow = hsic(torch.tensor(x).float(), torch.tensor(y + x).float(), normalize="cka")
    assert narrow.dtype == torch.float32
    assert float(narrow) == pytest.approx(wide, rel=1e-5)


@pytest.mark.slow
def test_float32_at_twenty_thousand_rows(rng):
    x = torch.from_numpy(rng.normal(size=20_000))
    y = x + torch.from_numpy(rng.normal(size=20_000))
    wide = float(hsic(x, y, Gaussian(1.0), Gaussian(1.4)))
    narrow = float(hsic(x.float(), y.float(), Gaussian(1.0), Gaussian(1.4)))
    assert narrow == pytest.approx(wide, rel=1e-5)


def test_auto_kernels(rng):
    codes, many = rng.integers(0, 5, 100), np.arange(100)
    pair = as_pair("test", codes, many, "auto", "auto")
    assert pair.kernel_x == Delta()
    assert isinstance(pair.kernel_y, Gaussian)
    assert as_pair("test", codes > 2, rng.normal(size=100), "auto", "auto").kernel_x == Delta()


def test_precomputed(rng):
    x, y = (torch.from_numpy(v) for v in rng.normal(size=(2, 20)))
    stored = Precomputed(Gaussian(1.0).gram(x))
    expected = hsic(x, y, Gaussian(1.0), Gaussian(1.0))
    assert torch.allclose(hsic(stored.rows, y, stored, Gaussian(1.0)), expected, rtol=1e-12)


def test_constant_gives_zero_and_a_warning(rng):
    x = torch.ones(10, requires_grad=True)
    with pytest.warns(TriviumWarning, match="x must vary"):
        value = hsic(x, torch.from_numpy(rng.normal(size=10)).float())
    assert float(value.detach()) == 0
    value.backward()
    assert torch.equal(x.grad, torch.zeros(10))


def test_zero_median_is_named(rng):
    x = np.where(np.arange(30) < 25, 0.0, rng.normal(size=30))
    with pytest.warns(TriviumWarning, match="hsic: x: median_lengthscale: more than half"):
        assert np.isfinite(float(hsic(x, rng.normal(size=30))))


def test_a_kernel_that_tells_nothing_gives_zero_alignment(rng):
    value = hsic(np.arange(20), rng.normal(size=20), Delta(), normalize="cka")
    assert float(value) == 0


BAD = [
    ({"x": np.ones(3), "y": np.ones(3)}, DataError, "at least 4 rows; got 3"),
    ({"x": [0.0, 1, 2, np.nan]}, DataError, "x must be finite; got nan"),
    ({"y": [0.0, 1, 2, np.inf]}, DataError, "y must be finite; got inf"),
    ({"x": np.full(4, np.nan)}, DataError, "x must be finite"),
    ({"y": np.arange(5.0)}, ShapeError, "axis n is 4 in x but 5 in y"),
    ({"x": np.zeros((4, 0))}, ShapeError, "x must have a column"),
    ({"x": np.zeros((4, 1, 1))}, ShapeError, "x must have the axes"),
    (
        {"x": np.arange(4).astype("M8[D]")},
        ArgumentError,
        r"x must be numbers or texts; got datetime",
    ),
    ({"x": torch.zeros(4, dtype=torch.float16)}, ArgumentError, "got torch.float16"),
    ({"estimator": "u"}, ArgumentError, "estimator must be one of"),
    ({"normalize": "pca"}, ArgumentError, "normalize must be one of 'cka', 'nocco'"),
    ({"method": "fast"}, ArgumentError, "method must be one of"),
    ({"epsilon": 0.0}, ArgumentError, "epsilon must be a number, positive; got 0.0"),
    ({"block_size": 3}, ArgumentError, "block_size must be at least 4; got 3"),
    ({"block_size": 4.5}, ArgumentError, "block_size must be an integer"),
    ({"normalize": "nocco", "method": "block"}, ArgumentError, "method must be 'auto', 'exact'"),
    ({"budget": 0}, ArgumentError, "budget must be an integer, positive"),
    ({"kernel_x": "gauss"}, ArgumentError, "kernel_x must be 'auto' or a kernel"),
    (
        {"kernel_y": Precomputed(torch.eye(2))},
        ArgumentError,
        "kernel_y cannot serve y: Precomputed",
    ),
]


@pytest.mark.parametrize(("change", "error", "message"), BAD)
def test_bad_input_is_named(change, error, message):
    arguments = {"x": np.arange(4.0), "y": np.arange(4.0) ** 2} | change
    with warnings.catch_warnings(), pytest.raises(error, match=message):
        hsic(**arguments)
