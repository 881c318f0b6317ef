"""Values against closed forms written out by hand, and each guard tripped."""

import math

import numpy as np
import pytest
import torch

import trivium.kernel as room
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.kernel import (
    Delta,
    Gaussian,
    Laplace,
    Linear,
    Matern,
    Polynomial,
    Precomputed,
    Product,
    RationalQuadratic,
    Scaled,
    Sum,
)

A, B = torch.tensor([[1.0, 2.0]]).double(), torch.tensor([[4.0, -2.0]]).double()  # distance 5, L1 7
RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("kernel", "value"),
    [
        (Gaussian(2.0), math.exp(-25 / 8)),
        (Gaussian.from_gamma(0.1), math.exp(-2.5)),
        (Gaussian.from_sigma2(10.0), math.exp(-2.5)),
        (Laplace(2.0), math.exp(-3.5)),
        (Laplace(2.0, norm="l2"), math.exp(-2.5)),
        (Laplace.from_gamma(0.5), math.exp(-3.5)),
        (Matern(2.0, nu=0.5), math.exp(-2.5)),
        (Matern(2.0, nu=1.5), (1 + math.sqrt(3) * 2.5) * math.exp(-math.sqrt(3) * 2.5)),
        (
            Matern(2.0, nu=2.5),
            (1 + math.sqrt(5) * 2.5 + 5 * 6.25 / 3) * math.exp(-math.sqrt(5) * 2.5),
        ),
        (RationalQuadratic(2.0, alpha=0.5), (1 + 25 / 4) ** -0.5),
        (Linear(bias=1.0), 1.0),
        (Polynomial(degree=3, gamma=0.5, bias=2.0), 8.0),
        (Delta(), 0.0),
        (3.0 * Gaussian(2.0), 3 * math.exp(-25 / 8)),
        (Gaussian(2.0) * 3.0 + Linear(), 3 * math.exp(-25 / 8)),
        (Gaussian(2.0) * Laplace(2.0), math.exp(-25 / 8 - 3.5)),
    ],
)
def test_value_by_hand(kernel, value):
    assert float(kernel.gram(A, B)) == pytest.approx(value, rel=1e-14, abs=1e-15)


def test_delta_compares_codes_of_any_type():
    for dtype in (torch.int64, torch.int32, torch.uint8, torch.bool):
        codes = torch.tensor([1, 0, 1]).to(dtype)
        assert Delta().gram(codes).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
    assert Delta().gram(torch.tensor([1.0, 2.0]).double()).dtype == torch.float64
    both = torch.tensor([[1, 2], [1, 3], [1, 2]])
    assert Delta().gram(both).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_precomputed_follows_row_numbers():
    matrix = torch.tensor([[2.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 4.0]])
    kernel = Precomputed(matrix)
    assert torch.equal(kernel.gram(kernel.rows), matrix)
    order = torch.tensor([2, 0])
    assert torch.equal(kernel.gram(order, kernel.rows), matrix[order])
    tiles = kernel.tiles(kernel.rows, budget=200)
    assert sum(float(tile.sum()) for _, _, tile in tiles) == float(matrix.sum())


def test_composites_derive_what_they_can_do():
    assert (Gaussian() + Linear()).characteristic
    assert not (Gaussian() * Linear()).characteristic
    assert not (Gaussian() + Linear()).stationary
    assert (Gaussian() * Laplace()).stationary
    assert not (Gaussian() * Laplace()).isotropic
    assert (Delta() * Delta()).inputs == "codes"
    assert (Delta() + Gaussian()).inputs == "vectors"
    assert not (Delta() + Gaussian()).differentiable


def test_composites_resolve_their_parts():
    x = torch.tensor([0.0, 1.0, 3.0])
    resolved = (2 * (Gaussian() + Laplace() * Linear())).resolve(x)
    assert resolved == Scaled(Sum((Gaussian(2.0), Product((Laplace(2.0), Linear())))), 2.0)


def test_huge_and_tiny_columns_stay_in_float32():
    x = torch.tensor([0.0, 1.0, 3.0])
    expected = Gaussian().gram(x)
    for scale in (1e30, 1e-30):
        assert torch.allclose(Gaussian().gram(x * scale), expected)


def test_outliers_do_not_blur_the_rest_in_float32(rng):
    """A mean as origin would sit far from the bulk and lose its distances: an error of 0.8."""
    x = torch.from_numpy(rng.standard_cauchy((400, 6)))
    x[0] = 1e6
    exact, single = Gaussian(2.0).gram(x), Gaussian(2.0).gram(x.float()).double()
    near = x.abs().amax(1) < 30
    gap = (exact - single)[near][:, near].abs().max()
    assert float(gap) < 1e-4


def test_gradient_is_zero_between_equal_rows():
    for kernel in (Laplace(1.0), Laplace(1.0, norm="l2"), Matern(1.0), Gaussian(1.0)):
        x = torch.zeros(3, 2, requires_grad=True)
        kernel.gram(x).sum().backward()
        assert x.grad is not None
        assert torch.equal(x.grad, torch.zeros(3, 2))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Gaussian("mean"), "lengthscale must be 'median' or a positive number"),
        (lambda: Gaussian(0.0), "lengthscale must be a number, positive"),
        (lambda: Gaussian(float("nan")), "lengthscale"),
        (lambda: Gaussian.from_gamma(-1), "gamma must be a number, positive"),
        (lambda: Gaussian.from_sigma2(0), "sigma2 must be a number, positive"),
        (lambda: Laplace(1.0, norm="max"), "norm must be one of 'l1', 'l2'"),
        (lambda: Laplace.from_gamma(0), "gamma"),
        (lambda: Matern(1.0, nu=2.0), r"nu must be one of 0\.5, 1\.5, 2\.5"),
        (lambda: RationalQuadratic(1.0, alpha=0), "alpha"),
        (lambda: Linear(bias=-1), "bias"),
        (lambda: Polynomial(degree=1.5), "degree must be an integer, positive"),
        (lambda: Polynomial(gamma=0), "gamma"),
        (lambda: Polynomial(bias=-1), "bias"),
        (lambda: Sum(()), "parts must be one or more kernels"),
        (lambda: Product((Linear(), 3)), "parts must be one or more kernels"),
        (lambda: Scaled(Linear(), 0.0), "scale must be a number, positive"),
        (lambda: -1 * Linear(), "scale"),
        (lambda: Linear() + Precomputed(torch.eye(2)), "parts must take the same inputs"),
        (lambda: Precomputed([[1.0]]), "matrix must be a float tensor; got list"),
        (lambda: Precomputed(torch.eye(2).long()), "got torch.int64"),
        (lambda: Precomputed(torch.ones(2, 3)), "axis n is 2"),
        (lambda: Precomputed(torch.tensor([[1.0, 2.0], [0.0, 1.0]])), "must be symmetric"),
        (lambda: Precomputed(-torch.eye(2)), "non-negative diagonal"),
    ],
)
def test_what_is_built_wrong_is_refused(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()


def test_precomputed_refuses_values_that_are_not_finite():
    with pytest.raises(DataError, match="matrix must be finite"):
        Precomputed(torch.tensor([[float("nan")]]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Linear().gram([1.0]), ArgumentError, "x must be a torch tensor; got list"),
        (lambda: Linear().gram(torch.ones(2, 2, 2)), ShapeError, r"must have the axes \(n, d\)"),
        (lambda: Linear().gram(torch.ones(2, 0)), ShapeError, r"got shape \(2, 0\)"),
        (lambda: Linear().gram(torch.ones(0, 2)), DataError, "at least one row"),
        (lambda: Linear().gram(torch.ones(2).half()), ArgumentError, "float32 or float64"),
        (lambda: Linear().gram(torch.ones(2) * 1j), ArgumentError, "got torch.complex64"),
        (lambda: Linear().gram(torch.tensor([1.0, math.inf])), DataError, "row 1"),
        (lambda: Linear().gram(torch.ones(2), torch.ones(2, 2)), ShapeError, "axis d is 1"),
        (lambda: Linear().gram(torch.ones(2), torch.ones(2).double()), ArgumentError, "dtype"),
        (lambda: Precomputed(torch.eye(2)).gram(torch.ones(1)), ArgumentError, "row numbers"),
        (lambda: Precomputed(torch.eye(2)).gram(torch.tensor([2])), ArgumentError, r"\[0, 2\)"),
        (lambda: Linear().spectral_sample(1, 1, RNG), ArgumentError, "Nystroem"),
        (lambda: Gaussian().spectral_sample(1, 1, RNG), ArgumentError, "must be a number here"),
    ],
)
def test_what_is_passed_wrong_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_operators_leave_strangers_alone():
    with pytest.raises(TypeError):
        Linear() + 1
    with pytest.raises(TypeError):
        Linear() * "a"


def test_whole_numbers_are_vectors_in_the_default_type():
    assert Linear().gram(torch.tensor([1, 2])).dtype == torch.get_default_dtype()


def test_the_room_names_its_members():
    assert {"Gaussian", "Nystroem", "median_lengthscale", "Factor"} <= set(room.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Gausian'"):
        _ = room.Gausian
