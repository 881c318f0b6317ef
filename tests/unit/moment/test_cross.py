"""Cross moments and prefix states against numpy."""

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ModelError, NumericalError, ShapeError
from trivium.moment import CrossMoments, Moments, prefix


def pair(n=200, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)) + 1e3
    return x, np.stack([x[:, 0] ** 2, x[:, 1]], axis=1), rng.random(n)


def test_weighted_cross_covariance_is_numpys():
    x, y, w = pair()
    m = CrossMoments(3, 2).update(x, y, w)
    wanted = np.cov(np.hstack([x, y]).T, aweights=w, ddof=0)
    assert np.allclose(m.covariance(), wanted[:3, 3:], rtol=1e-9)
    assert np.allclose(m.scatter_x / m.weight, wanted[:3, :3], rtol=1e-9)
    assert np.allclose(m.scatter_y / m.weight, wanted[3:, 3:], rtol=1e-9)
    assert np.allclose(m.mean_x, np.average(x, 0, w), rtol=1e-12)
    assert np.allclose(m.mean_y, np.average(y, 0, w), rtol=1e-12)
    assert np.allclose(m.products, (x * w[:, None]).T @ y, rtol=1e-12)
    assert m.count == 200
    assert "3 by 2" in repr(m)


def test_merge_removal_fading_and_files(tmp_path):
    x, y, w = pair()
    whole = CrossMoments(3, 2).update(x, y, w)
    a, b = (CrossMoments(3, 2).update(x[i], y[i], w[i]) for i in (slice(50), slice(50, None)))
    assert np.allclose(sum([a, b]).cross, whole.cross, rtol=1e-10)
    assert np.allclose(whole.copy().downdate(x[50:], y[50:], w[50:]).cross, a.cross, rtol=1e-7)
    assert np.allclose(whole.copy().decay(0.5).cross, whole.cross / 2, rtol=1e-12)
    whole.save(tmp_path / "m")
    again = CrossMoments.load(tmp_path / "m")
    assert torch.equal(again.cross, whole.cross)
    assert (again.n_x, again.n_y) == (3, 2)
    Moments(3).update(x).save(tmp_path / "other")
    with pytest.raises(ModelError, match="must hold CrossMoments"):
        CrossMoments.load(tmp_path / "other")


def test_ridge_of_many_outputs_from_moments_alone():
    x, y, _ = pair()
    m = CrossMoments(3, 2).update((x[i : i + 60], y[i : i + 60]) for i in range(0, 200, 60))
    slope = torch.linalg.solve(m.scatter_x, m.cross)
    wanted = np.linalg.lstsq(x - x.mean(0), y - y.mean(0), rcond=None)[0]
    assert np.allclose(slope, wanted, rtol=1e-7, atol=1e-7)


def test_one_column_of_y_may_be_flat():
    m = CrossMoments(1, 1).update([[0.0], [2.0]], [1.0, 5.0])
    assert m.cross.item() == 4.0
    assert CrossMoments(1, 1).products.item() == 0.0


@pytest.mark.parametrize(
    ("build", "error"),
    [
        (lambda: CrossMoments(0, 1), ArgumentError),
        (lambda: CrossMoments(1, 1).update([[1.0]]), ArgumentError),
        (lambda: CrossMoments(1, 1).update([[1.0]], [[1.0, 2.0]]), ShapeError),
        (lambda: CrossMoments(1, 1).update([[1.0, 2.0]], [[1.0]]), ShapeError),
        (lambda: CrossMoments(1, 1).update([[1.0]], [[float("nan")]]), DataError),
        (lambda: CrossMoments(1, 1).update([[1.0]], [["a"]]), DataError),
        (lambda: CrossMoments(1, 1).downdate([[1.0]], [[1.0]]), DataError),
        (lambda: CrossMoments(1, 1).covariance(), DataError),
        (lambda: CrossMoments(1, 1).mean_x, DataError),
        (lambda: CrossMoments(1, 2).merge(CrossMoments(2, 1)), ShapeError),
        (lambda: CrossMoments(1, 2).merge(Moments(3)), ArgumentError),
        (lambda: CrossMoments(1, 2).decay(2), ArgumentError),
    ],
)
def test_bad_input(build, error):
    with pytest.raises(error):
        build()


def test_prefix_states_are_running_sums():
    x, y, w = (torch.from_numpy(a) for a in pair(20))
    states = list(prefix(x, y, w))
    outer = torch.einsum("s,sr,sv->srv", w, x, y).cumsum(0)
    assert torch.allclose(torch.stack([s.products for s in states]), outer, rtol=1e-12)
    last = CrossMoments(3, 2).update(x, y, w).products
    assert torch.allclose(states[-1].products, last, rtol=1e-12)
    resumed = list(prefix(x[8:], y[8:], w[8:], start=states[7]))
    assert torch.equal(resumed[-1].products, states[-1].products)
    faded = list(prefix(x, y, decay=0.5))[-1].products
    powers = 0.5 ** torch.arange(19, -1, -1, dtype=torch.float64)
    assert torch.allclose(faded, torch.einsum("s,sr,sv->rv", powers, x, y), rtol=1e-12)


def test_prefix_refuses():
    one = torch.ones(2, 1)
    with pytest.raises(ShapeError):
        prefix(one, torch.ones(3, 1))
    with pytest.raises(DataError, match="finite"):
        prefix(one, one * float("nan"))
    with pytest.raises(DataError, match="non-negative"):
        prefix(one, one, torch.tensor([1.0, -1.0]))
    with pytest.raises(ArgumentError, match="factor"):
        prefix(one, one, decay=0.0)
    with pytest.raises(NumericalError, match="mass"):
        next(prefix(one, one)).read(torch.zeros(1))
