"""Several lengthscales on one basis, moved by groups: against the long way round."""

import numpy as np
import pytest
import torch

from trivium.dependence import DependenceColumn, grid_null, screen
from trivium.dependence.aggregate import FACTORS, aggregate_null, penalties, steps_from
from trivium.dependence.column_grid import ColumnGrid, number_grids
from trivium.dependence.columns import feature_blocks
from trivium.dependence.grid_null import GridTarget
from trivium.dependence.number_features import NumberColumns, number_features
from trivium.dependence.screen_block import BlockFeatures, ScreenTarget
from trivium.dependence.shift import Shifts
from trivium.dependence.stages import Rank, Stages, members_of

EXACT = {"tol": 1e-12, "dtype": torch.float64}

STEPS = steps_from(FACTORS.index(1.0), 5)


def numbers(*columns, **options):
    values = torch.from_numpy(np.stack(columns).astype(float))
    return number_grids(NumberColumns(values), **{**EXACT, **options})


def long_way(column, target, shifts):
    """Every order of a group, every pair of kernels, from features."""
    start = torch.from_numpy(shifts.start())
    found = []
    for order in shifts.orders():
        moved = [each[:, start][:, order] for each in target.features()]
        found.append(
            [
                float((phi[:, start] @ psi.mT).square().sum()) / shifts.n_rows**2
                for phi in column.features()
                for psi in moved
            ]
        )
    return torch.tensor(found, dtype=torch.float64).mT


@pytest.mark.parametrize(
    "shifts",
    [Shifts(60, 60, 1), Shifts(61, 150, 2), Shifts(64, 20, 3, coarse=True)],
    ids=["one group", "cosets, a row stays", "by blocks"],
)
@pytest.mark.parametrize("kinds", ["nn", "nc", "cn", "cc"])
@pytest.mark.parametrize("budget", [grid_null._BYTES, 1])
def test_all_members_equal_the_long_way(shifts, kinds, budget, rng, monkeypatch):
    monkeypatch.setattr(grid_null, "_BYTES", budget)
    n = shifts.n_rows
    sides = []
    for kind in kinds:
        if kind == "n":
            sides += numbers(rng.normal(size=n))
        else:
            levels = torch.from_numpy(rng.integers(0, 3, n) == np.arange(3)[:, None]).double()
            sides.append(ColumnGrid(levels - levels.mean(1, keepdim=True)))
    found = GridTarget(sides[1], shifts).null(sides[0])
    expected = long_way(*sides, shifts)
    assert found.shape == (5 ** kinds.count("n"), shifts.total)
    assert torch.allclose(found, expected, rtol=1e-10, atol=1e-14)
    listed = np.stack(list(shifts.orders()))
    start = torch.from_numpy(shifts.start())
    moved = [ColumnGrid(side.basis[:, start], side.maps) for side in sides]
    again = GridTarget(moved[1], listed).null(moved[0])
    assert torch.allclose(again, expected, rtol=1e-10, atol=1e-14)


def test_a_screen_ranks_among_all_members(rng):
    """p-value and adjusted p-value, from the long way round and their definitions."""
    n, count = 30, 59
    columns = [
        DependenceColumn("x", "number", rng.normal(size=n)),
        DependenceColumn("c", "category", rng.integers(0, 3, n)),
    ]
    y = columns[0].values ** 2 + 2.5 * rng.normal(size=n)
    target = DependenceColumn("y", "number", y)
    rows = screen(columns, target, n_permutations=count, random_state=4, fdr=0.3).rows
    shifts = Shifts(n, count + 1, seed=4)
    grid = ScreenTarget.of(target).grid
    scores = []
    for column in columns:
        mine = BlockFeatures.of(next(feature_blocks([column]))[1]).grids[0]
        values = long_way(mine, grid, shifts)
        scores.append(
            aggregate_null(
                values,
                penalties(
                    steps_from(FACTORS.index(1.0) if len(mine) > 1 else 0, len(mine)), STEPS
                ).flatten(),
            )
        )
    even = [(each - each.mean()) / each.std(correction=0) for each in scores]
    largest = torch.maximum(*even)
    for row, score, mine in zip(rows, scores, even, strict=True):
        assert row.n_permutations == shifts.total - 1 == 59
        assert row.p_value == float((score >= score[0] - 1e-4).double().mean())
        assert row.p_adjusted == float((largest >= mine[0] - 2e-4).double().mean())
    assert rows[0].p_value < rows[0].p_adjusted < 1


def test_few_values_keep_their_kernels(rng):
    """Up to 48 values are the nodes: ranks, levels and all lengthscales as they are."""
    plain = rng.integers(0, 20, 200).astype(float)
    missing = np.where(rng.random(200) < 0.2, np.nan, plain)
    missing[:2] = np.inf, -np.inf
    heavy = np.where(np.arange(200) < 3, 1e4, plain)
    columns = NumberColumns(torch.from_numpy(np.stack([plain, missing, heavy])))
    assert columns.heavy.tolist() == [False, False, True]
    expected, _, residual = number_features(columns)
    assert residual.max() < 1e-5
    for grid, features in zip(number_grids(columns, **EXACT), expected, strict=True):
        centered = features - features.mean(1, keepdim=True)
        middle = grid.features()[FACTORS.index(1.0)]
        assert torch.allclose(middle.mT @ middle, centered.mT @ centered, atol=1e-4)


def test_many_values_are_close_to_their_kernels(rng):
    x = rng.normal(size=1500)
    columns = NumberColumns(torch.from_numpy(x)[None])
    bounds = (0.15, 0.05, 0.02, 0.01, 0.01)
    features = number_grids(columns, **EXACT)[0].features()
    for factor, found, bound in zip(FACTORS, features, bounds, strict=True):
        scale = factor * columns.scales[0][0]
        apart = (columns.scaled[0][:, None] - columns.scaled[0]) / scale
        gram = torch.exp(-0.5 * apart.square())
        gram = gram - gram.mean(0) - gram.mean(0)[:, None] + gram.mean()
        assert float((gram - found.mT @ found).norm() / gram.norm()) < bound


def test_a_constant_side_has_no_evidence():
    still, x = numbers(np.full(20, 3.0), np.arange(20.0))
    assert still.basis.shape == (0, 20)
    for first, second in ((still, x), (x, still)):
        values = GridTarget(second, Shifts(20, 20)).null(first)
        assert values.shape == (25, 20)
        assert not values.any()
        assert Rank.of(aggregate_null(values, penalties(STEPS, STEPS).flatten())).p_value == 1.0


def test_ranks_and_groups():
    assert Rank.of(torch.tensor([2.0, 1.0, 2.0, 3.0])) == Rank(2, 3)
    assert Rank(2, 3).p_value == 0.75
    assert members_of(5, 119, 0).shape == (120, 5)
    assert members_of(5, 118, 0).total == 120
    stages = Stages.plan(20, 99, 30, fdr=0.05, seed=1)
    (second,) = stages.further
    assert (stages.first.total, second.members.total) == (100, 620)
    assert Stages.plan(20, 99, 4, fdr=0.05, seed=1).further == ()
    asked = []

    def again(members, few):
        asked.append((members, few))
        return [Rank(7, 619)] * len(few)

    ranks = [Rank(9, 99), Rank(10, 99)]
    assert stages.follow(ranks, again) == [Rank(7, 619), Rank(10, 99)]
    assert asked == [(second.members, [0])]
    assert Stages(stages.first).follow(ranks, again) == ranks
