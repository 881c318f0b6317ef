"""Tiles cover once within the budget; the factor is the optimum where that is known."""

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, NumericalError, ResourceError
from trivium.kernel import Delta, Gaussian, Linear, pivoted_cholesky, tile_slices


@pytest.mark.parametrize("n", [1, 2, 17, 60])
@pytest.mark.parametrize("m", [None, 1, 5, 90])
@pytest.mark.parametrize("budget", [300, 2000, 50_000])
def test_slices_cover_once_and_fit(n, m, budget):
    seen = np.zeros((n, n if m is None else m), dtype=int)
    slices = tile_slices(n, m, n_columns=2, itemsize=4, budget=budget, buffers=3)
    for rows, columns in slices:
        seen[rows, columns] += 1
        height, width = seen[rows, columns].shape
        assert 4 * (3 * height * width + 4 * 2 * (height + width)) <= budget
    assert (seen == 1).all()


def test_square_matrices_have_square_tiles_on_the_diagonal():
    slices = list(tile_slices(50, None, n_columns=1, itemsize=8, budget=4000))
    assert any(rows == columns for rows, columns in slices)
    assert all(
        rows == columns or rows.stop <= columns.start or columns.stop <= rows.start
        for rows, columns in slices
    )


def test_a_budget_too_small_says_what_would_do():
    x = torch.ones(4, 3)
    with pytest.raises(ResourceError, match=r"budget must hold .*, 108 bytes; got 107"):
        Linear().tiles(x, budget=107)
    assert len(list(Linear().tiles(x, budget=108))) == 16
    with pytest.raises(ArgumentError, match="budget must be an integer, positive"):
        Linear().tiles(x, budget=0)


def test_a_linear_kernel_has_the_rank_of_its_columns(rng):
    x = torch.from_numpy(rng.standard_normal((30, 4)))
    factor = Linear().factor(x, 20, tol=1e-12)
    assert factor.values.shape == (30, 4)
    assert factor.relative_residual < 1e-12
    assert torch.allclose(factor.values @ factor.values.T, x @ x.T)


def test_labels_are_factored_exactly_by_their_levels():
    codes = torch.tensor([4, 4, 9, 1, 9, 4]).double()
    factor = Delta().factor(codes, 6, tol=0.0)
    assert factor.values.shape == (6, 3)
    assert factor.residual == 0
    assert torch.equal(factor.values @ factor.values.T, Delta().gram(codes))


def test_the_tolerance_stops_and_the_residual_is_near_the_best_possible(rng):
    x = torch.from_numpy(rng.standard_normal((80, 1)))
    gram = Gaussian().gram(x)
    factor = Gaussian().factor(x, 80, tol=1e-4)
    rank = factor.values.shape[1]
    assert rank < 15
    assert factor.residual <= 1e-4 * factor.trace
    best = torch.linalg.eigvalsh(gram)[: 80 - rank].clamp_min(0).sum()
    assert float(best) <= factor.residual <= 50 * float(best)
    assert len(set(factor.pivots.tolist())) == rank


def test_many_rows_never_meet(rng):
    x = torch.from_numpy(rng.standard_normal(20_000))
    factor = Gaussian().factor(x, 40, tol=1e-8)
    some = torch.arange(0, 20_000, 400)
    gap = (factor.values[some] @ factor.values[some].T - Gaussian().resolve(x).gram(x[some])).abs()
    assert float(gap.max()) <= factor.residual


def test_zero_matrices_have_rank_zero():
    factor = Linear().factor(torch.zeros(3, 2), 2)
    assert factor.values.shape == (3, 0)
    assert factor.residual == factor.relative_residual == 0


def test_indefinite_matrices_are_refused():
    bad = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(NumericalError, match="must be positive semi-definite"):
        pivoted_cholesky(bad.diagonal(), lambda i: bad[:, i], rank=2)
    with pytest.raises(NumericalError, match="must be positive semi-definite"):
        pivoted_cholesky(-torch.ones(2), lambda i: -torch.ones(2), rank=2)


def test_bad_rank_and_tolerance_are_refused():
    with pytest.raises(ArgumentError, match="rank must be an integer, positive"):
        Linear().factor(torch.ones(2), 0)
    with pytest.raises(ArgumentError, match="tol must be a number, non-negative"):
        Linear().factor(torch.ones(2), 1, tol=-1.0)
