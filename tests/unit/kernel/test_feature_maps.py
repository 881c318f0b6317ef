"""Feature maps against what is known of them, and each guard tripped."""

import math

import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.kernel import (
    Coordinates,
    Delta,
    Gaussian,
    Laplace,
    Linear,
    Nystroem,
    OneHot,
    OrthogonalFourier,
    Precomputed,
    RandomFourier,
)


def _error(feature_map, x, seed):
    phi = feature_map.fit(x, seed).transform(x)
    return float((phi @ phi.T - feature_map.kernel.gram(x)).square().mean())


def test_fourier_features_have_the_exact_norm(rng):
    x = torch.from_numpy(rng.standard_normal((20, 4)))
    for kernel in (Gaussian(1.0), 3 * Laplace(2.0)):
        phi = RandomFourier(kernel=kernel, n_features=10).fit(x).transform(x)
        assert torch.allclose(phi.square().sum(1), kernel.diagonal(x))


def test_orthogonal_frequencies_are_orthogonal_and_beat_independent_ones(rng):
    x = torch.from_numpy(rng.standard_normal((30, 8)))
    fitted = OrthogonalFourier(kernel=Gaussian(3.0), n_features=32).fit(x)
    block = fitted.frequencies[:8]
    products = block @ block.T
    assert torch.allclose(products, torch.diag(products.diagonal()), atol=1e-12)
    ours = OrthogonalFourier(kernel=Gaussian(3.0), n_features=32)
    theirs = RandomFourier(kernel=Gaussian(3.0), n_features=32)
    orthogonal = sum(_error(ours, x, seed) for seed in range(30))
    independent = sum(_error(theirs, x, seed) for seed in range(30))
    assert orthogonal < 0.7 * independent


def test_float32_far_from_the_origin_keeps_its_phases(rng):
    x = (rng.standard_normal((40, 2)) * 64).round() / 64
    near = torch.from_numpy(x)
    far = (near + 65536).float()
    phi = RandomFourier(kernel=Gaussian(1.0), n_features=256).fit(far).transform(far)
    psi = RandomFourier(kernel=Gaussian(1.0), n_features=256).fit(near).transform(near)
    assert torch.allclose((phi @ phi.T).double(), psi @ psi.T, atol=1e-4)


def test_greedy_landmarks_do_not_repeat_and_beat_a_sample(rng):
    x = torch.from_numpy(rng.standard_normal((200, 2)))
    x[:150] = x[0]
    greedy = Nystroem(kernel=Gaussian(0.7), n_features=20, landmarks="greedy")
    sample = Nystroem(kernel=Gaussian(0.7), n_features=20)
    assert len(torch.unique(greedy.fit(x).points, dim=0)) == 20
    assert _error(greedy, x, 0) < 0.1 * sum(_error(sample, x, s) for s in range(5)) / 5


def test_repeated_landmarks_climb_the_ladder():
    x = torch.ones(6, 1).double()
    fitted = Nystroem(kernel=Gaussian(1.0), n_features=6).fit(x)
    phi = fitted.transform(x)
    assert torch.allclose(phi @ phi.T, torch.ones(6, 6).double(), atol=1e-9)
    assert 0 < fitted.jitter < 1e-10


def test_greedy_labels_have_one_feature_per_level():
    codes = torch.tensor([0, 1, 2, 1, 0, 2, 2])
    fitted = Nystroem(kernel=Delta(), n_features=7, landmarks="greedy").fit(codes)
    assert fitted.n_features == 3
    phi = fitted.transform(codes)
    assert torch.allclose(phi @ phi.T, Delta().gram(codes), atol=1e-6)


def test_a_stored_matrix_has_features_too():
    kernel = Precomputed.examples()[0]
    phi = Nystroem(kernel=kernel, n_features=24).fit(kernel.rows).transform(kernel.rows)
    assert torch.allclose(phi @ phi.T, kernel.matrix, atol=1e-10)


def test_the_median_is_learned_by_fit_and_kept():
    x = torch.tensor([0.0, 1.0, 3.0])
    fitted = RandomFourier(kernel=Gaussian(), n_features=4).fit(x)
    assert fitted.kernel == Gaussian(2.0)
    assert fitted.transform(x * 5).shape == (3, 4)


def test_gradient_reaches_the_rows(rng):
    x = torch.from_numpy(rng.standard_normal((5, 2))).requires_grad_()
    for feature_map in (
        RandomFourier(kernel=Gaussian(1.0), n_features=4),
        Nystroem(kernel=Gaussian(1.0), n_features=4),
    ):
        (slope,) = torch.autograd.grad(feature_map.fit(x).transform(x).sum(), x)
        assert torch.isfinite(slope).all()
        assert float(slope.abs().max()) > 0


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: RandomFourier(kernel=Gaussian(), n_features=5), "n_features must be even"),
        (lambda: RandomFourier(kernel=Gaussian(), n_features=0), "n_features must be an integer"),
        (lambda: RandomFourier(kernel=Linear()), "spectral sampler"),
        (lambda: RandomFourier(kernel=3.0), "kernel must be a Kernel"),
        (lambda: OrthogonalFourier(kernel=Laplace()), "kernel must be isotropic"),
        (lambda: Nystroem(kernel=Linear(), landmarks="best"), "landmarks must be one of"),
        (lambda: Nystroem(kernel=Linear()).transform(torch.ones(2)), "must be fitted first"),
        (
            lambda: Nystroem(kernel=Linear(), landmarks="greedy").fit(torch.zeros(3)),
            "must not be zero on every row",
        ),
        (lambda: Nystroem(kernel=Linear()).fit([1.0]), "must be a torch tensor"),
        (
            lambda: RandomFourier(kernel=Gaussian(1.0), n_columns=1).transform(torch.ones(2)),
            "learned by fit first",
        ),
        (
            lambda: Nystroem(kernel=Gaussian(1.0), n_columns=1).transform(torch.ones(2)),
            "learned by fit first",
        ),
    ],
)
def test_what_is_wrong_is_refused(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()


def test_rows_unlike_those_of_fit_are_refused():
    fitted = RandomFourier(kernel=Gaussian(1.0), n_features=4).fit(torch.ones(3, 2))
    with pytest.raises(ShapeError, match="must have the 2 columns of fit; got 1"):
        fitted.transform(torch.ones(3))
    with pytest.raises(DataError, match="must be finite"):
        fitted.transform(torch.full((1, 2), math.nan))


def test_levels_are_exact_and_the_rest_is_one_level():
    codes = torch.tensor([4, 2, 4, 7, 2, 4])
    fitted = OneHot(kernel=Delta()).fit(codes)
    phi = fitted.transform(codes)
    assert fitted.n_features == 4
    assert torch.equal(phi @ phi.mT, Delta().gram(codes))
    few = OneHot(kernel=Delta(), n_features=3).fit(codes)
    assert few.points.flatten().tolist() == [4, 2]
    assert few.transform(torch.tensor([7, 9, 2, 4])).argmax(1).tolist() == [2, 2, 1, 0]
    pairs = torch.tensor([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0]])
    both = OneHot(kernel=Delta()).fit(pairs).transform(pairs)
    assert torch.equal(both @ both.mT, Delta().gram(pairs))
    with pytest.raises(ArgumentError, match="kernel must be Delta"):
        OneHot(kernel=Gaussian())


def test_coordinates_are_the_linear_kernel(rng):
    x = torch.from_numpy(rng.standard_normal((9, 3)))
    for kernel, width in ((Linear(), 3), (Linear(2.0), 4)):
        fitted = Coordinates(kernel=kernel).fit(x)
        phi = fitted.transform(x)
        assert fitted.n_features == width
        assert torch.allclose(phi @ phi.mT, kernel.gram(x))
    with pytest.raises(ArgumentError, match="kernel must be Linear"):
        Coordinates(kernel=Gaussian())
    with pytest.raises(ArgumentError, match="at least 4 for 3 columns"):
        Coordinates(kernel=Linear(2.0), n_features=3).fit(x)


@pytest.mark.parametrize(("cls", "kernel"), [(OneHot, Delta()), (Coordinates, Linear())])
def test_exact_maps_are_fitted_first(cls, kernel):
    with pytest.raises(ArgumentError, match="fitted first"):
        cls(kernel=kernel).transform(torch.zeros(3, 1))
    if cls is OneHot:
        with pytest.raises(ArgumentError, match="levels must be learned"):
            cls(kernel=kernel, n_columns=1).transform(torch.zeros(3, 1))
