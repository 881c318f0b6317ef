"""Features that are never stored give the statistics of those that are."""

import pytest
import torch

from trivium.dependence.column_grid import ColumnGrid
from trivium.dependence.grid_null import GridTarget
from trivium.dependence.landmarks import landmark_maps
from trivium.dependence.shift import Shifts
from trivium.dependence.shift_stream import stream_shifts
from trivium.kernel import Delta, Gaussian, Laplace

GRID = (Gaussian(0.4), Laplace(1.0))


@pytest.mark.parametrize("n", [50, 307, 2000])
@pytest.mark.parametrize("budget", [1, 2**27])
def test_streamed_equals_stored(rng, n, budget):
    x, y = torch.from_numpy(rng.normal(size=(n, 2))), torch.from_numpy(rng.integers(0, 4, (n, 1)))
    shifts = Shifts(n, 60, seed=2, coarse=n > 50)
    maps_x, residual = landmark_maps(x, GRID, 12)
    maps_y, none = landmark_maps(y, (Delta(),), 12)
    seen = []
    found = stream_shifts(
        x, maps_x, y, maps_y, shifts, budget=budget, progress=lambda *step: seen.append(step)
    )
    stored = [each.transform(x).mT for each in maps_x]
    moved = GridTarget(ColumnGrid(maps_y[0].transform(y).double().mT), shifts)
    expected = torch.cat([moved.null(ColumnGrid(each.double())) for each in stored])
    assert torch.allclose(found[:, 0], expected, rtol=2e-5, atol=1e-9)
    assert none == pytest.approx(0, abs=1e-12)
    assert 0 < residual < 1
    assert seen[-1][0] == seen[-1][1]
    assert seen[-1][0] % shifts.moved == 0


def test_landmarks_do_not_look_at_the_order_of_rows(rng):
    """Else the members of a group would be compared by different features."""
    x = torch.from_numpy(rng.normal(size=(5000, 2)))
    first, second = (
        landmark_maps(rows, GRID, 10)[0] for rows in (x, x[torch.from_numpy(rng.permutation(5000))])
    )
    for one, other in zip(first, second, strict=True):
        assert one.points is not None
        assert torch.equal(one.points, other.points)
