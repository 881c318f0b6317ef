"""Several lengthscales in one test: the grid, the scores, the choices."""

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.dependence.aggregate import (
    FACTORS,
    Candidates,
    aggregate_null,
    check_aggregate,
    check_kernels,
    kernel_grid,
    penalties,
)
from trivium.kernel import Delta, Gaussian, Matern


def test_grid_is_around_the_median():
    grid = kernel_grid(Matern(4.0, nu=1.5), adaptive=True)
    assert [kernel.lengthscale for kernel in grid] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert {kernel.nu for kernel in grid} == {1.5}
    assert kernel_grid(Gaussian(4.0), adaptive=False) == (Gaussian(4.0),)
    assert kernel_grid(Gaussian(), adaptive=True) == (Gaussian(),)
    assert kernel_grid(Delta(), adaptive=True) == (Delta(),)


def test_penalty_grows_from_the_median():
    grid = Candidates.of(Gaussian(1.0), adaptive=True)
    found = penalties(grid.steps, grid.steps)
    middle = FACTORS.index(1.0)
    assert (grid.middle, len(grid)) == (middle, 5)
    assert found[middle, middle] == 0
    assert float(found[0, 4]) == pytest.approx(0.3 * 4)
    even = Candidates.of(Gaussian(1.0), adaptive=True, favored=False)
    assert not penalties(even.steps, even.steps).any()
    alone = Candidates.of(Delta(), adaptive=True)
    assert (alone.middle, penalties(alone.steps, grid.steps).shape) == (0, (1, 5))


def test_several_kernels_are_a_grid():
    kernels = [Gaussian(1.0), Delta()]
    assert check_kernels("x", kernels) == tuple(kernels)
    assert check_kernels("x", "auto") is None
    for wrong in ([], ["auto"], [Gaussian(1.0), Gaussian(1.0)]):
        with pytest.raises(ArgumentError, match="kernel_x must be 'auto', a kernel, or several"):
            check_kernels("x", wrong)


def test_score_is_the_largest_studentised(rng):
    values = torch.from_numpy(rng.normal(size=(3, 50)) * [[1.0], [1e-6], [1e6]])
    found = aggregate_null(values, torch.tensor([0.0, 0.5, 0.0]))
    wide = values.numpy()
    scores = (wide - wide.mean(1, keepdims=True)) / wide.std(1, keepdims=True)
    assert found.numpy() == pytest.approx((scores - [[0.0], [0.5], [0.0]]).max(0), rel=1e-12)


def test_what_does_not_vary_has_no_say(rng):
    """A statistic that is one number but for rounding must not win by noise."""
    flat = 0.3 + 1e-12 * rng.normal(size=(1, 20))
    moving = rng.normal(size=(1, 20))
    both = torch.from_numpy(np.concatenate([flat, moving]))
    alone = aggregate_null(torch.from_numpy(moving), torch.zeros(1))
    assert torch.allclose(aggregate_null(both, torch.zeros(2)), alone, rtol=1e-12)
    assert not aggregate_null(torch.from_numpy(flat), torch.zeros(1)).any()


@pytest.mark.parametrize("value", ["median", 1.5, None, 1])
def test_bad_choice_is_named(value):
    with pytest.raises(ArgumentError, match="aggregate must be True, False or 'uniform'; got"):
        check_aggregate(value)
