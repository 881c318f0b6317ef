"""The number of events: exact to the last places in the far tail, and differentiable."""

import sys
from fractions import Fraction

import pytest
import torch

from trivium._core.errors import ShapeError
from trivium.objective import grid_mean
from trivium.objective import poisson_binomial as pb

module = sys.modules["trivium.objective.poisson_binomial"]


def literal(p):
    """One event after the other, in whole numbers of 2^-10 each."""
    found = [1]
    for value in (round(1024 * x) for x in p):
        stay, more = [(1024 - value) * x for x in found], [value * x for x in found]
        found = [x + y for x, y in zip([*stay, 0], [0, *more], strict=True)]
    return [Fraction(x, 1024 ** len(p)) for x in found]


def on_grid(n, most):
    """Multiples of 2^-10, for which p and 1 - p are exact."""
    rng = torch.Generator().manual_seed(n)
    return torch.randint(0, most, (n,), generator=rng).double() / 1024


def worst(found, p):
    exact = literal(p)
    assert len(found) == len(exact)
    return max(
        abs(Fraction(got) - want) / want if want else abs(Fraction(got))
        for got, want in zip(found.tolist(), exact, strict=True)
    )


@pytest.mark.parametrize("n", [0, 1, 2, 3, 5, 8, 13, 64, 65, 300])
def test_every_coefficient_is_right_to_its_last_places(n):
    """Relative, down to 1e-300: nothing cancels."""
    p = on_grid(n, 1000)
    assert worst(pb(p), p.tolist()) < 1e-13


def test_a_fast_fourier_transform_would_not_do():
    """The planted wrong one: its noise is far above the tail, and has both signs."""
    p = on_grid(300, 200)
    at = torch.exp(-2j * torch.pi * torch.arange(301).double() / 301)
    wrong = torch.fft.ifft((1 - p[:, None] + p[:, None] * at).prod(0)).real
    assert (wrong - pb(p)).abs().max() < 1e-14
    assert wrong.min() < 0
    assert worst(wrong, p.tolist()) > 1


def test_many_rows_add_up_and_have_the_moments():
    p = torch.rand(3000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    found, k = pb(p), torch.arange(3001)
    assert found.min() >= 0
    assert found.sum().item() == pytest.approx(1, abs=1e-12)
    assert (found @ k.double()).item() == pytest.approx(p.sum().item(), rel=1e-12)
    variance = found @ (k - p.sum()).square()
    assert variance.item() == pytest.approx((p * (1 - p)).sum().item(), rel=1e-10)


@pytest.mark.parametrize("piece", [2, 256])
def test_derivatives_of_two_orders(piece, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", piece)
    p = torch.tensor([0.1, 0.5, 0.9, 0.3, 0.0, 1.0, 0.7], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(pb, p)
    assert torch.autograd.gradgradcheck(pb, p)


def test_gradients_map_over_batches():
    p = torch.rand(3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def third(row):
        return pb(row)[3]

    found = torch.func.vmap(torch.func.grad(third))(p)
    each = torch.stack([torch.func.grad(third)(row) for row in p])
    assert torch.allclose(found, each, rtol=1e-13)


@pytest.mark.parametrize("dense", [7, 2**21])
def test_a_grid_in_blocks_is_the_grid(dense, monkeypatch):
    monkeypatch.setattr(module, "_DENSE", dense)
    rng = torch.Generator().manual_seed(0)
    rows = torch.rand(5, dtype=torch.float64, generator=rng, requires_grad=True)
    columns = torch.rand(4, dtype=torch.float64, generator=rng, requires_grad=True)

    def grid(a, b):
        return (a + 1) / (a + 2 * b + 1)

    full = grid(torch.arange(5.0)[:, None], torch.arange(4.0)[None]).double()
    assert torch.allclose(grid_mean(rows, columns, grid), rows @ full @ columns, rtol=1e-7)
    assert torch.autograd.gradcheck(lambda a, b: grid_mean(a, b, grid), (rows, columns))
    assert torch.autograd.gradgradcheck(lambda a, b: grid_mean(a, b, grid), (rows, columns))


def test_a_matrix_is_refused():
    with pytest.raises(ShapeError, match="poisson_binomial: p must have the axes"):
        pb(torch.zeros(2, 2))
