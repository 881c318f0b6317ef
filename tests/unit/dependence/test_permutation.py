"""The orders, and the statistic after each of them, against plain loops."""

from itertools import permutations as all_orders

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.dependence.permutation import (
    Permutations,
    exceedances,
    permutation_p_value,
)
from trivium.dependence.permutation_null import factor_null, gram_null
from trivium.dependence.sums import gram_sums


def listed(orders, rows=7):
    return np.concatenate(list(orders.tiles(rows)))


@pytest.mark.parametrize("groups", [None, np.array([0, 1, 0, 1, 2, 0, 1, 0, 2, 3])])
def test_orders_do_not_depend_on_the_tiles(groups):
    orders = Permutations(10, 40, groups, seed=3)
    whole = listed(orders, 1000)
    assert whole.shape == (41, 10)
    assert np.array_equal(whole[0], np.arange(10))
    assert np.array_equal(np.sort(whole, 1), np.tile(np.arange(10), (41, 1)))
    for rows in (1, 7):
        assert np.array_equal(listed(orders, rows), whole)


def test_a_longer_stream_begins_with_the_shorter():
    first, more = (listed(Permutations(20, count, seed=1)) for count in (30, 60))
    assert np.array_equal(more[:31], first)
    other = listed(Permutations(20, 30, seed=2))
    assert not np.array_equal(other, first)


def test_groups_keep_their_rows():
    groups = np.array([2, 0, 0, 1, 1, 1, 2, 0, 3, 0, 1, 0, 2, 2, 1])
    orders = Permutations(15, 300, groups)
    assert orders.movable == 14
    tile = listed(orders)
    assert (groups[tile] == groups).all()
    assert len(np.unique(tile, axis=0)) > 290


@pytest.mark.parametrize("groups", [None, np.array([0, 1, 0, 1, 0])])
def test_all_orders_when_few(groups):
    orders = Permutations(5, 200, groups)
    assert orders.enumerated
    tile = listed(orders)
    expected = {
        order
        for order in all_orders(range(5))
        if groups is None or all(groups[i] == groups[j] for i, j in enumerate(order))
    }
    assert {tuple(order) for order in tile.tolist()} == expected
    assert len(tile) == len(expected) == orders.count + 1
    assert tile[0].tolist() == [0, 1, 2, 3, 4]


def test_each_order_is_as_likely_as_any_other():
    """Chi-square over the 24 orders of 4 rows; alarm 1e-4; a fixed point more often would show."""
    orders = Permutations(30, 4800, np.repeat(np.arange(8), [4, 4, 4, 4, 4, 4, 4, 2]), seed=5)
    tile = listed(orders, 500)[1:, 8:12] - 8
    _, counts = np.unique(tile, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 54.0


@pytest.mark.parametrize("n", [9, 300])
def test_gram_null_equals_a_loop(rng, n):
    phi, psi = (torch.from_numpy(rng.normal(size=(n, 3))) for _ in "xy")
    k, m = phi @ phi.T, psi @ psi.T
    orders = Permutations(n, 12, seed=1)
    expected = [float(gram_sums(k, m[o][:, o]).estimate("biased")) for o in listed(orders)]
    exact = n <= 256
    assert gram_null(k, m, orders).tolist() == pytest.approx(expected, rel=1e-9 if exact else 1e-4)


def test_factor_null_equals_gram_null(rng):
    phi, psi = (torch.from_numpy(rng.normal(size=(r, 40))) for r in (3, 5))
    orders = Permutations(40, 60, seed=1)
    expected = gram_null(phi.T @ phi, psi.T @ psi, orders)
    assert torch.allclose(factor_null(phi, psi.T, orders)[0], expected, rtol=1e-12, atol=0)


def test_factor_null_of_many_columns(rng):
    parts = [torch.from_numpy(rng.normal(size=(r, 40))) for r in (3, 0, 2)]
    psi = torch.from_numpy(rng.normal(size=(40, 2)))
    orders = Permutations(40, 30, seed=1)
    found = factor_null(torch.cat(parts), psi, orders, widths=[3, 0, 2])
    for part, row in zip(parts, found, strict=True):
        assert torch.allclose(row, factor_null(part, psi, orders)[0], rtol=1e-12)


def test_ties_count_against_rejection():
    null = torch.tensor([1.0, 1.0 - 1e-7, 0.5, 2.0])
    assert int(exceedances(null, torch.tensor(1.0))) == 3
    wide = null.double()
    assert int(exceedances(wide, torch.tensor(1.0, dtype=torch.float64))) == 2


def test_ties_in_float32_are_all_counted(rng):
    """Half of the rows equal: many orders give the same statistic, whatever the rounding."""
    x = torch.tensor([0.0] * 6 + [1.0] * 6)[None]
    y = torch.tensor([0.3] * 6 + [0.7] * 6)[:, None]
    orders = Permutations(12, 3000, seed=2)
    null = factor_null(x, y, orders)[0]
    moved = x[0, torch.from_numpy(listed(orders))]
    ones = (moved * (y[:, 0] > 0.5)).sum(1)
    as_extreme = ((ones == 0) | (ones == 6))[1:].sum()
    assert int(exceedances(null[1:], null[0])) == int(as_extreme)


def test_p_value_is_never_zero():
    assert permutation_p_value(0, 99) == 0.01
    assert permutation_p_value(99, 99) == 1.0


def test_bad_counts_and_groups():
    with pytest.raises(ArgumentError, match="n_permutations must be at least 1; got 0"):
        Permutations(5, 0)
    with pytest.raises(ArgumentError, match="only groups of size one"):
        Permutations(3, 10, np.arange(3))
