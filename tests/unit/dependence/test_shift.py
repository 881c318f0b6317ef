"""All shifts at once equal each shift taken by hand; the group is one, and its rank uniform."""

import math

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.dependence import grid_null, hsic
from trivium.dependence.column_grid import ColumnGrid
from trivium.dependence.diagonal_sums import DiagonalSums
from trivium.dependence.grid_null import GridTarget
from trivium.dependence.shift import Shifts, smooth_length
from trivium.dependence.shift_grams import gram_shifts
from trivium.kernel import Delta, Gaussian, Laplace, Linear, Matern

SIZES = [7, 8, 50, 51]


def by_hand(x, kernel_x, y, kernel_y, shifts):
    """HSIC of every member by its definition, from the rows as the member orders them."""
    start = shifts.start()
    x, y = x[start], y[start]
    found = [hsic(x, y[order], kernel_x, kernel_y, "biased") for order in shifts.orders()]
    return torch.stack(found).double()


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("columns", [1, 12])
@pytest.mark.parametrize("count", [5, 130])
def test_transforms_equal_every_shift(rng, n, columns, count):
    """Rows that stay (7 and 51 are not lengths of fast transforms) and cosets among them."""
    x, y = torch.from_numpy(rng.normal(size=(n, columns))), torch.from_numpy(rng.normal(size=n))
    y = (x[:, 0] * y + y)[:, None]
    kernels_x = (Gaussian(0.8), Laplace(2.0), Linear())
    kernels_y = (Gaussian(0.3), Matern(1.0))
    shifts = Shifts(n, count, seed=3)
    found = gram_shifts(x, kernels_x, y, kernels_y, shifts)
    assert found.shape == (3, 2, shifts.total)
    for i, first in enumerate(kernels_x):
        for j, second in enumerate(kernels_y):
            expected = by_hand(x, first, y, second, shifts)
            assert torch.allclose(found[i, j], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("n", SIZES)
def test_categories_and_small_budgets(rng, n):
    """One diagonal at a time gives the same as all at once."""
    x, y = torch.from_numpy(rng.integers(0, 3, (n, 1))), torch.from_numpy(rng.normal(size=(n, 1)))
    shifts = Shifts(n, 60, seed=1)
    expected = by_hand(x, Delta(), y, Laplace(1.0), shifts)
    steps = []
    for budget in (1, 2**25):
        found = gram_shifts(
            x,
            [Delta()],
            y,
            [Laplace(1.0)],
            shifts,
            budget=budget,
            progress=lambda *s: steps.append(s),
        )
        assert torch.allclose(found[0, 0], expected, rtol=0, atol=1e-12)
    assert steps[-1] == ((shifts.length - 1) // 2,) * 2
    assert len(steps) > 1


def test_a_wrong_diagonal_is_seen(rng, monkeypatch):
    """Diagonals counted once instead of twice: the comparison above can fail."""
    x, y = torch.from_numpy(rng.normal(size=(2, 8, 1)))
    shifts = Shifts(8, 8)
    expected = by_hand(x, Gaussian(1.0), y, Gaussian(1.0), shifts)
    right = DiagonalSums._correlate
    monkeypatch.setattr(DiagonalSums, "_correlate", lambda s, a, b, weight: right(s, a, b, 1))
    found = gram_shifts(x, [Gaussian(1.0)], y, [Gaussian(1.0)], shifts)
    assert (found[0, 0] - expected).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("n", "count", "coarse"), [(50, 50, False), (51, 130, False), (307, 20, True)]
)
@pytest.mark.parametrize("budget", [grid_null._BYTES, 1])
def test_features_equal_every_shift(rng, n, count, coarse, budget, monkeypatch):
    """Whether the features of the target are taken all at once or one after the other."""
    monkeypatch.setattr(grid_null, "_BYTES", budget)
    shifts = Shifts(n, count, seed=5, coarse=coarse)
    sizes = (3, 1, 0, 2)
    features = [torch.from_numpy(rng.normal(size=(r, n))) for r in sizes]
    target = torch.from_numpy(rng.normal(size=(2, n)))
    moved = GridTarget(ColumnGrid(target), shifts)
    for phi in features:
        found = moved.null(ColumnGrid(phi))[0]
        if not len(phi):
            assert found.shape == (shifts.total,)
            assert not found.any()
            continue
        expected = by_hand(phi.T, Linear(), target.T, Linear(), shifts)
        assert torch.allclose(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    ("n", "count", "coarse"), [(7, 7, False), (51, 51, False), (307, 20, True)]
)
def test_the_members_are_a_group(n, count, coarse):
    """Closed under composition, without repeats, the identity first."""
    shifts = Shifts(n, count, coarse=coarse)
    assert shifts.cosets == math.ceil(count / shifts.length)
    members = [tuple(order) for order in shifts.orders()][: shifts.length]
    assert members[0] == tuple(range(n))
    assert len(set(members)) == len(members)
    first, second = np.array(members[1]), np.array(members[-2])
    assert tuple(first[second]) in set(members)
    assert all(sorted(order) == list(range(n)) for order in members)


def test_rank_over_cosets_is_uniform():
    """Every member of the set, taken as the data, has the others around it with one law.

    With 4 rows the 24 orders are few: over all pairs of cosets the rank of a statistic without
    ties is uniform, exactly.
    """
    from itertools import permutations

    every = [np.array(p) for p in permutations(range(4))]
    group = [np.roll(np.arange(4), -t) for t in range(4)]
    values = {
        tuple(p): v for p, v in zip(every, np.random.default_rng(0).normal(size=24), strict=True)
    }
    counts = np.zeros(8)
    for data in every:
        for base in every:
            orders = [*group, *(base[g] for g in group)]
            scores = np.array([values[tuple(data[order])] for order in orders])
            # Ties (a base within the group) count against rejection.
            counts[int((scores >= scores[0]).sum()) - 1] += 1
    shares = counts.cumsum() / counts.sum()
    assert (shares <= np.arange(1, 9) / 8 + 1e-12).all()


def test_lengths():
    assert [smooth_length(n) for n in (2, 7, 11, 1001, 20_000)] == [2, 6, 10, 1000, 20_000]
    coarse = Shifts(1_000_000, 1000, coarse=True)
    assert (coarse.length, coarse.stride, coarse.moved) == (1000, 1000, 1_000_000)
    odd = Shifts(999_983, 1000, coarse=True)
    assert odd.total >= 1000
    assert odd.moved > 999_983 - odd.stride
    series = Shifts(51, 1000, shuffle=False)
    assert (series.cosets, list(series.start())) == (1, list(range(51)))


@pytest.mark.parametrize(
    ("n", "count", "message"), [(1, 5, "n_rows must be"), (5, 0, "n_permutations")]
)
def test_bad_input_is_named(n, count, message):
    with pytest.raises(ArgumentError, match=message):
        Shifts(n, count)
