"""The conditional test: its algebra against refits, what it sees, its edges, its bad input."""

import warnings

import numpy as np
import pytest
import torch
from scipy.stats import norm

from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumWarning
from trivium.dependence import conditional_test, independence_test
from trivium.dependence.conditional_null import ProductMean
from trivium.dependence.conditioning import (
    Basis,
    bases_of,
    normal_scores,
    residual_of,
    share_left,
    standardized,
)
from trivium.kernel import Delta, Gaussian


def confounded(rng, n=200):
    """X and y depend on z only; the noise of x, for a dependence to be made of."""
    z, e, h = rng.normal(size=(3, n))
    return z + np.sin(2 * z) + 0.5 * e, z + z**2 / 4 + 0.5 * h, z, e


def test_residuals_equal_refits_without_the_row(rng):
    """Every row left out in turn, the ridge regression solved again."""
    n, features = 15, torch.from_numpy(rng.normal(size=(15, 2)))
    basis = Basis.of("plain", torch.from_numpy(rng.normal(size=(n, 4))))
    found = residual_of(features, [basis])
    columns = basis.directions * basis.weights.sqrt()
    errors = {}
    for ridge in [10.0 ** (k / 2) for k in range(-10, 3)]:
        left = torch.empty(n, 2, dtype=torch.float64)
        for row in range(n):
            others = torch.arange(n) != row
            # The penalty is on the slopes of the n - 1 rows alone; the intercept is free.
            design = torch.cat([columns, torch.ones(n, 1, dtype=torch.float64)], 1)
            penalty = torch.eye(5, dtype=torch.float64) * ridge * float(basis.weights.sum())
            penalty[4, 4] = 0
            normal = design[others].mT @ design[others] + penalty
            slopes = torch.linalg.solve(normal, design[others].mT @ features[others])
            left[row] = features[row] - design[row] @ slopes
        errors[ridge] = (float(left.square().sum()), left)
    least, values = min(errors.values(), key=lambda pair: pair[0])
    mean = (features - features.mean(0)) * n / (n - 1)
    if float(mean.square().sum()) < least:
        values = mean
    assert torch.allclose(found.values, values, rtol=1e-8)
    assert found.share == pytest.approx(
        float(values.square().sum() / mean.square().sum()), rel=1e-8
    )


def test_a_function_of_z_is_predicted(rng):
    scores = normal_scores(torch.from_numpy(rng.normal(size=(200, 2))))
    target = torch.sin(2 * scores[:, :1]) + scores[:, 1:].square()
    found = residual_of(target, bases_of(scores))
    assert found.share < 1e-3
    assert found.basis.startswith("sum of 2 Gaussians")
    noise = torch.from_numpy(rng.normal(size=(200, 1)))
    assert residual_of(noise, bases_of(scores)).share > 0.9


def test_a_gram_matrix_and_features_give_one_basis(rng):
    features = torch.from_numpy(rng.normal(size=(30, 4)))
    one, other = Basis.of("a", features), Basis.of_gram("a", features @ features.mT)
    assert torch.allclose(one.weights, other.weights)
    signs = (one.directions * other.directions).sum(0)
    assert torch.allclose(signs.abs(), torch.ones(4, dtype=torch.float64))


def test_location_and_size_given_z_are_taken_off(rng):
    z, e = torch.from_numpy(rng.normal(size=(2, 300)))
    bases = bases_of(normal_scores(z[:, None]))
    left = standardized((torch.sin(2 * z) + e * (0.3 + z.abs()))[:, None], bases)[:, 0]
    assert float(torch.corrcoef(torch.stack([left, e]))[0, 1]) > 0.9
    by_size = torch.stack([left.abs().log(), z.abs()])
    assert abs(float(torch.corrcoef(by_size)[0, 1])) < 0.15
    assert share_left((2 * z + 1)[:, None], bases) < 1e-3 < share_left(e[:, None], bases)


def test_both_roads_of_the_null_agree(rng, monkeypatch):
    factors = [torch.from_numpy(rng.normal(size=(120, k))) for k in (2, 3, 2)]
    small = ProductMean.of(factors)
    products = torch.einsum("na,nb,nc->nabc", *factors).flatten(1)
    by_gram, signs = small.by_tail(), small.by_signs(20, 3)
    assert by_gram[0] == pytest.approx(float(products.mean(0).square().sum()), rel=1e-10)
    assert float(signs[0]) == pytest.approx(by_gram[0], rel=1e-10)
    monkeypatch.setattr("trivium.dependence.conditional_null._GRAM_ROWS", 10)
    monkeypatch.setattr("trivium.dependence.conditional_null._TILE", 50)
    large = ProductMean.of(factors)
    assert large.residual < 1e-12
    assert large.by_tail() == pytest.approx(by_gram, rel=1e-8)
    assert torch.allclose(large.by_signs(20, 3), signs)
    monkeypatch.setattr("trivium.dependence.conditional_null._RANK", 1)
    assert 0.2 < ProductMean.of(factors).residual < 1


def test_tail_agrees_with_signs(rng):
    x, y, z, e = confounded(rng)
    tail = conditional_test(x, y + 0.1 * e, z).p_value
    signs = conditional_test(x, y + 0.1 * e, z, null="sign", n_draws=4000)
    assert signs.n_draws == len(signs.null) == 4000
    assert 0.001 < tail < 0.8
    assert 0.6 < signs.p_value / tail < 1.6


@pytest.mark.parametrize("null", ["saddlepoint", "sign"])
def test_confounding_is_taken_away_and_dependence_found(rng, null):
    x, y, z, e = confounded(rng)
    assert independence_test(x, y).p_value <= 0.05
    assert conditional_test(x, y, z, null=null).p_value > 0.05
    for change in (e, np.sign(z) * e, e**2):
        assert conditional_test(x, y + 0.7 * change, z, null=null).p_value < 0.01


def test_the_result_says_what_was_used_and_that_no_level_is_exact(rng):
    x, y, z, _ = confounded(rng)
    result = conditional_test(x, y, z)
    assert "no exact level exists" in result.method
    assert "Shah and Peters" in result.method
    assert "No exact level exists" in conditional_test.__doc__
    assert "saddlepoint" in result.method
    assert all(0 < share < 1.1 for share in result.left)
    assert all("median" in name for name in result.regressions)
    assert result.residual == 0


def test_increasing_functions_order_and_swap_change_nothing(rng):
    x, y, z, _ = confounded(rng)
    p = conditional_test(x, y, z).p_value
    assert conditional_test(np.exp(x), y**3, np.arctan(z)).p_value == pytest.approx(p, rel=1e-9)
    order = rng.permutation(len(x))
    for null in ("saddlepoint", "sign"):
        p = conditional_test(x, y, z, null=null).p_value
        moved = conditional_test(x[order], y[order], z[order], null=null).p_value
        assert moved == p
        assert conditional_test(y, x, z, null=null).p_value == pytest.approx(p, rel=1e-6)


def test_constant_z_is_a_test_of_independence(rng):
    e, h = rng.normal(size=(2, 200))
    for strength in (0.0, 0.15, 0.3):
        x, y = e, h + strength * e
        with pytest.warns(TriviumWarning, match="z must vary; .* tested for independence"):
            found = conditional_test(x, y, np.ones(200))
        assert found.regressions == ("mean", "mean")
        scores = [norm.ppf((np.argsort(np.argsort(v)) + 1) / 201) for v in (x, y)]
        usual = independence_test(*scores, null="saddlepoint").p_value
        assert abs(norm.isf(found.p_value) - norm.isf(usual)) < 0.35


@pytest.mark.parametrize("function", [np.square, np.sin, lambda z: 3 * z - 1, lambda z: z])
def test_a_function_of_z_gets_p_one(rng, function):
    z, y = rng.normal(size=(2, 150))
    with pytest.warns(TriviumWarning, match="x must vary given z; got a function of z, so p = 1"):
        result = conditional_test(function(z), y + z, z)
    assert (result.p_value, result.statistic) == (1.0, 0.0)


def test_codes_that_z_determines_get_p_one(rng):
    z = rng.integers(0, 4, 100)
    with pytest.warns(TriviumWarning, match="y must vary given z"):
        assert conditional_test(rng.normal(size=100), z % 2, z).p_value == 1.0


def test_a_little_noise_is_not_determined(rng):
    """A noise of 1 % of the standard deviation is used, and found."""
    z, e, h = rng.normal(size=(3, 200))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert conditional_test(z + 0.01 * e, e + 0.3 * h, z).p_value < 1e-4


@pytest.mark.parametrize("name", ["x", "y"])
def test_constant_variables_get_p_one(rng, name):
    given = dict(zip("xyz", rng.normal(size=(3, 40)), strict=True)) | {name: np.zeros(40)}
    with pytest.warns(TriviumWarning, match=f"{name} must vary; got equal rows, so p = 1"):
        assert conditional_test(**given).p_value == 1.0


def test_codes_and_columns(rng):
    """Simpson's paradox: codes, a variable of two columns, one column of z constant."""
    z = rng.integers(0, 3, 300)
    x = (rng.random(300) < 0.2 + 0.3 * z).astype(int)
    y = rng.normal(size=(300, 2)) + z[:, None]
    assert independence_test(x, y).p_value < 0.01
    found = conditional_test(x, y, z)
    assert found.p_value > 0.05
    assert (found.kernels[0], found.kernels[2]) == ("Delta()", "Delta()")
    assert conditional_test(x, y + x[:, None], z).p_value < 1e-4
    wide = np.stack([z + 0.1 * rng.normal(size=300), np.ones(300)], 1)
    assert conditional_test(x.astype(bool), y, wide).p_value > 0.01
    kernels = (Delta(), Gaussian(2.0), Delta())
    assert conditional_test(x, y, z, kernels).kernels[1] == "Gaussian(lengthscale=2.0)"


def test_groups_of_one_row_stay_finite(rng):
    z = np.r_[np.repeat([0, 1, 2], 30), np.arange(3, 13)]
    x, y = rng.normal(size=(2, 100)) + z
    result = conditional_test(x, y, z)
    assert 0 < result.p_value <= 1
    assert np.isfinite([result.statistic, *result.left]).all()


def test_many_rows(rng):
    x, y, z, e = confounded(rng, 3000)
    result = conditional_test(x, y, z)
    assert result.p_value > 0.01
    assert 0 < result.residual < 0.05
    assert conditional_test(x, y + 0.2 * e, z).p_value < 1e-4


def test_bad_input(rng):
    x, y, z = rng.normal(size=(3, 20))
    with pytest.raises(ShapeError, match="axis n is 20 in x but 19 in z"):
        conditional_test(x, y, z[:19])
    with pytest.raises(DataError, match="at least 10 rows; got 9"):
        conditional_test(x[:9], y[:9], z[:9])
    with pytest.raises(DataError, match="conditional_test: z must be finite"):
        conditional_test(x, y, np.where(z > 0, np.inf, z))
    with pytest.raises(ArgumentError, match="z must be numbers"):
        conditional_test(x, y, np.zeros(20, "M8[D]"))
    with pytest.raises(ShapeError, match=r"y must have the axes \(n, d\)"):
        conditional_test(x, np.zeros((20, 2, 2)), z)
    with pytest.raises(ArgumentError, match="null must be one of 'saddlepoint', 'sign'"):
        conditional_test(x, y, z, null="shift")
    with pytest.raises(ArgumentError, match="n_draws must be an integer, positive; got 0"):
        conditional_test(x, y, z, n_draws=0)
    with pytest.raises(ShapeError, match="kernels must be one for each of x, y, z; got 2"):
        conditional_test(x, y, z, ("auto", "auto"))
    with pytest.raises(ArgumentError, match="must be 'auto' or a kernel"):
        conditional_test(x, y, z, "gauss")


def test_kernels_that_find_all_rows_alike_stay_finite(rng):
    x, y, z = rng.normal(size=(3, 40))
    flat = Gaussian(1e12)
    with pytest.warns(TriviumWarning, match="x must vary given z"):
        assert conditional_test(x, y, z, (flat, "auto", "auto")).p_value == 1.0
    result = conditional_test(x, y, z, ("auto", "auto", flat))
    assert 0 < result.p_value <= 1
    assert np.isfinite([result.statistic, *result.left]).all()
