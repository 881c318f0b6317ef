"""The path against scikit-learn's lasso on explicit Gram matrices, and its optimality."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, lars_path

from trivium.dependence import HSICLasso
from trivium.dependence.column_products import ColumnProducts
from trivium.dependence.lasso import LassoPath, lasso_path

N, D = 40, 12


def gram(x, centered=True):
    """Gaussian kernel on one standard deviation, centered, of norm 1."""
    k = np.exp(-((x[:, None] - x[None]) ** 2) / (2 * x.var()))
    if centered:
        k = k - k.mean(0)
        k = k - k.mean(1, keepdims=True)
    return k / np.linalg.norm(k)


def explicit(x, y, centered=True):
    """The design with n² rows and its target."""
    design = np.stack([gram(column, centered).ravel() for column in x.T], 1)
    return design, gram(y, centered).ravel()


@pytest.fixture(params=range(4))
def data(request):
    rng = np.random.default_rng(request.param)
    x = rng.normal(size=(N, D))
    x[:, 5] = x[:, 0] + 0.3 * rng.normal(size=N)
    x[:, 6] = x[:, 1] * x[:, 2]
    y = np.sin(2 * x[:, 0]) + np.abs(x[:, 1]) + x[:, 2] * x[:, 3] + 0.2 * rng.normal(size=N)
    return x, y


def ours(x, y, n_features=D):
    return HSICLasso(n_features, lengthscale=1.0).fit(x, y).path_


def check_optimality(path, design, target, within=1e-8):
    """Karush-Kuhn-Tucker conditions at every knot, on the explicit problem."""
    for penalty, alpha in zip(path.penalties.numpy(), path.coefficients.numpy(), strict=True):
        left = design.T @ (target - design @ alpha)
        assert alpha.min() >= 0
        assert left.max() <= penalty + within
        np.testing.assert_allclose(left[alpha > 0], penalty, atol=within)


def check_against_peer(path, design, target, within=1e-8):
    """At every knot and half-way between, the coefficients of scikit-learn's lasso."""
    knots, alphas = path.penalties.numpy(), path.coefficients.numpy()
    assert len(knots) > 5
    for at in range(len(knots) - 1):
        for penalty, alpha in (
            (knots[at], alphas[at]),
            ((knots[at] + knots[at + 1]) / 2, (alphas[at] + alphas[at + 1]) / 2),
        ):
            peer = Lasso(
                penalty / len(target), positive=True, fit_intercept=False, tol=1e-14, max_iter=10**6
            ).fit(design, target)
            np.testing.assert_allclose(alpha, peer.coef_, atol=within)


def test_path_is_optimal_at_every_knot(data):
    check_optimality(ours(*data), *explicit(*data))


def test_path_is_that_of_scikit_learn_on_gram_matrices(data):
    check_against_peer(ours(*data), *explicit(*data))


def test_knots_are_those_of_least_angle_regression(data):
    design, target = explicit(*data)
    path = ours(*data)
    penalties, _, coefficients = lars_path(design, target, method="lasso", positive=True)
    count = int((path.penalties > 1e-9).sum())
    np.testing.assert_allclose(path.penalties[:count], penalties[:count] * len(target), atol=1e-8)
    np.testing.assert_allclose(path.coefficients[:count], coefficients.T[:count], atol=1e-8)


def test_checks_tell_wrong_solvers():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(N, D))
    y = np.sin(2 * x[:, 0]) + np.abs(x[:, 1]) + 0.2 * rng.normal(size=N)
    design, target = explicit(x, y)
    raw, raw_target = explicit(x, y, centered=False)
    uncentered = lasso_path(
        torch.from_numpy(raw.T @ raw_target), lambda k: torch.from_numpy(raw.T @ raw[:, k]), D
    )
    penalties, _, coefficients = lars_path(design, target, method="lasso")
    signed = LassoPath(
        torch.from_numpy(penalties * len(target)),
        torch.from_numpy(np.ascontiguousarray(coefficients.T)),
        (),
    )
    assert coefficients.min() < -1e-3
    for check in (check_optimality, check_against_peer):
        for wrong in (uncentered, signed):
            with pytest.raises(AssertionError):
                check(wrong, design, target)
    check_optimality(uncentered, raw, raw_target)  # right for the problem that it solves


def test_exactly_k_at_every_k(data):
    x, y = data
    whole = ours(x, y)
    entered = D - whole.filled
    assert entered >= 4
    for k in range(1, D + 1):
        fitted = HSICLasso(k, lengthscale=1.0).fit(x, y)
        assert fitted.support_.sum() == k == len(set(fitted.order_.tolist()))
        assert fitted.path_.filled == max(0, k - entered)
        if k < entered:  # at the end every chosen column has a coefficient, and no other
            assert (fitted.scores_ > 0).sum() == k
            assert set(np.flatnonzero(fitted.scores_)) == set(fitted.order_)


def tied_design(kind, seed):
    """Columns of small integers: many enter at the same penalty, many lie in each other's span."""
    rng = np.random.default_rng(seed)
    if kind == "levels":
        rows = int(rng.integers(4, 7))
        f = rng.integers(-1, 2, size=(rows, int(rng.integers(6, 16)))).astype(float)
    elif kind == "cube":
        f = np.array(np.meshgrid(*[[-1.0, 1.0]] * 4)).reshape(4, -1)
        f = np.r_[f, np.ones((1, 16))]
    else:
        f = rng.integers(0, 2, size=(8, 7)).astype(float)
        f = np.c_[f, f[:, :3], f[:, 0] + f[:, 1]]
    f = f[:, np.linalg.norm(f, axis=0) > 0]
    return f / np.linalg.norm(f, axis=0), rng.integers(-4, 5, size=len(f)) / 4


# 5107 and 1060 are seeds where a solver that lets one column in at a time goes wrong or in circles.
@pytest.mark.parametrize("seed", [*range(25), 1060, 5107])
@pytest.mark.parametrize("kind", ["levels", "cube", "repeats"])
def test_ties_and_spans(kind, seed):
    f, y = tied_design(kind, seed)
    a, b = torch.from_numpy(f.T @ f), torch.from_numpy(f.T @ y)
    for n in (1, 3, f.shape[1]):
        path = lasso_path(b, lambda k: a[k], n)
        check_optimality(path, f, y)
        assert len(set(path.order)) == len(path.order) == min(n, f.shape[1])


def test_repeats_are_filled_in_last():
    rng = np.random.default_rng(0)
    f = np.linalg.qr(rng.normal(size=(9, 5)))[0]
    f = np.c_[f, f[:, 0], f[:, 1]]
    y = f[:, 0] + 0.5 * f[:, 1]
    a, b = torch.from_numpy(f.T @ f), torch.from_numpy(f.T @ y)
    path = lasso_path(b, lambda k: a[k], 7)
    assert path.order[:2] == (0, 1)
    assert set(path.order[2:5]) == {2, 3, 4}
    assert set(path.order[5:]) == {5, 6}
    assert path.filled == 5


def test_nothing_to_explain_fills_all():
    a = torch.eye(3, dtype=torch.float64)
    path = lasso_path(torch.zeros(3, dtype=torch.float64), lambda k: a[k], 2)
    assert path.filled == len(path.order) == 2
    assert path.coefficients.abs().max() == 0


def test_barred_columns_stay_out():
    a = torch.eye(3, dtype=torch.float64)
    b = torch.tensor([3.0, 2.0, 1.0], dtype=torch.float64)
    path = lasso_path(b, lambda k: a[k], 3, torch.tensor([False, True, True]))
    assert path.order == (1, 2)


def test_only_columns_that_come_near_are_asked_for(rng):
    x = rng.normal(size=(60, 30))
    products = ColumnProducts(torch.from_numpy(x.T.copy()))
    asked = []

    def column(place):
        asked.append(place)
        return products.column(place)

    lasso_path(products.column(4), column, 3)
    assert asked[0] == 4
    assert len(asked) == len(set(asked)) <= 4
