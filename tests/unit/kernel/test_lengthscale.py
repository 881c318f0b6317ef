"""The median heuristic: against numpy on all pairs, and its fallbacks by name."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from trivium._core.errors import ArgumentError, DataError, TriviumWarning
from trivium.kernel import Gaussian, Laplace, median_lengthscale


@pytest.mark.parametrize("shape", [(2, 1), (7, 1), (40, 3), (41, 5)])
@pytest.mark.parametrize(("norm", "metric"), [("l2", "euclidean"), ("l1", "cityblock")])
def test_all_pairs_against_scipy(rng, shape, norm, metric):
    x = rng.standard_normal(shape)
    assert median_lengthscale(torch.from_numpy(x), norm=norm) == pytest.approx(
        np.median(pdist(x, metric)), rel=1e-13
    )


def test_a_sample_is_close_to_all_pairs_and_fixed_by_its_seed(rng):
    x = torch.from_numpy(rng.standard_normal(20_000))
    found = median_lengthscale(x)
    # The median distance of two standard normal draws is sqrt(2) * 0.6745.
    assert found == pytest.approx(0.9539, rel=0.05)
    assert found == median_lengthscale(x)
    assert found != median_lengthscale(x, random_state=1)


def test_the_order_of_rows_does_not_matter(rng):
    x = torch.from_numpy(rng.standard_normal((3000, 2)))
    order = torch.from_numpy(rng.permutation(3000))
    assert median_lengthscale(x) == pytest.approx(median_lengthscale(x[order]), rel=1e-14)


@pytest.mark.parametrize("scale", [1e-30, 1e-3, 7.0, 1e30])
def test_it_follows_the_scale(rng, scale):
    x = torch.from_numpy(rng.standard_normal((50, 2)))
    assert median_lengthscale(x * scale) == pytest.approx(scale * median_lengthscale(x), rel=1e-12)


def test_each_kernel_uses_the_norm_of_its_own():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]])
    assert Gaussian().resolve(x).lengthscale == 5
    assert Laplace().resolve(x).lengthscale == 7
    assert Laplace(norm="l2").resolve(x).lengthscale == 5
    assert Gaussian(2.0).resolve(x) == Gaussian(2.0)


def test_ties_fall_back_to_the_pairs_that_differ():
    x = torch.tensor([0.0] * 20 + [1.0, 3.0])
    with pytest.warns(TriviumWarning, match="median distance of the pairs that differ"):
        assert median_lengthscale(x) == 2.0


@pytest.mark.parametrize("x", [torch.ones(5), torch.ones(1, 2), torch.zeros(3, 4)])
def test_a_constant_falls_back_to_one(x):
    with pytest.warns(TriviumWarning, match="all rows are equal"):
        assert median_lengthscale(x) == 1.0
    with pytest.warns(TriviumWarning, match="all rows are equal"):
        assert torch.isfinite(Gaussian().gram(x)).all()


def test_what_is_wrong_is_refused():
    with pytest.raises(ArgumentError, match="norm must be one of"):
        median_lengthscale(torch.ones(2), norm="l3")
    with pytest.raises(ArgumentError, match=r"max_rows must be in \[2, 4096\]; got 1"):
        median_lengthscale(torch.ones(2), max_rows=1)
    with pytest.raises(DataError, match="at least one row"):
        median_lengthscale(torch.ones(0))
    with pytest.raises(DataError, match="must be finite"):
        median_lengthscale(torch.tensor([1.0, float("nan")]))


COLUMNS = {
    "normal": lambda rng, n: rng.normal(size=n),
    "heavy": lambda rng, n: rng.standard_cauchy(n),
    "ties": lambda rng, n: rng.integers(0, 9, n).astype(float),
    "tenths": lambda rng, n: 0.1 * rng.poisson(3, n),
    "far": lambda rng, n: np.r_[rng.normal(size=n - 5), 1e6 * rng.normal(size=5)],
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_one_column_is_selected_without_all_distances(rng, kind):
    """Odd and even numbers of pairs, ties at the middle, outliers: as if all were sorted."""
    for n in (65, 66, 67, 68, 200, 501):
        x = COLUMNS[kind](rng, n)
        expected = np.median(pdist(x[:, None]))
        assert median_lengthscale(torch.from_numpy(x)) == pytest.approx(expected, rel=1e-12)
