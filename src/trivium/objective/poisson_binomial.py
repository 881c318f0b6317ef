"""How many of n independent events happen, and the mean of a function of two such numbers."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from trivium._core.checks import check_shapes

__all__ = ["grid_mean", "poisson_binomial"]

_PIECE = 256
_DENSE = 2**21
Grid = Callable[[Tensor, Tensor], Tensor]


def poisson_binomial(p: Float[Tensor, "n"]) -> Float[Tensor, "counts"]:
    r"""Return the probability of 0, 1, ..., n events: the coefficients of $\prod (1-p_i+p_i x)$.

    The product is taken pairwise, by direct convolution in float64. All terms are at least 0, so
    nothing cancels: every coefficient, however small, is right to about n units of the last place.
    A fast Fourier transform would leave noise of 1e-16, of either sign, on tails far below it.

    Args:
        p: Probabilities.

    Returns:
        n + 1 probabilities in float64, differentiable to every order.

    Raises:
        ShapeError: p is no vector.

    Cost: n²/2 multiplications, O(n log n) memory with the gradient.

    Example:
        >>> poisson_binomial(torch.tensor([0.5, 0.5])).tolist()
        [0.25, 0.5, 0.25]

    Source: Le Cam (1960) for the name; Biscarri, Zhao and Brunner, CSDA 122 (2018), for the tree.
    """
    check_shapes("poisson_binomial", {"p": (p, "n")})
    p = p.double()
    level = torch.stack((1 - p, p), -1)
    product = torch.ones(1, 1, dtype=p.dtype, device=p.device)
    while len(level):
        if len(level) % 2:
            product = _convolve(product, level[-1:])
        level = _convolve(level[0:-1:2], level[1::2]) if len(level) > 1 else level[:0]
    return product[0]


def grid_mean(
    rows: Float[Tensor, "a"], columns: Float[Tensor, "b"], grid: Grid
) -> Float[Tensor, ""]:
    r"""Return $\sum_{ij} p_i q_j g(i, j)$ without keeping a large grid.

    Args:
        rows: p.
        columns: q.
        grid: g, of counts `(a, 1)` and `(1, b)`.

    Cost: O(a b) time, O(a + b) memory beside one block.
    """
    return rows @ _GridProduct.apply(columns, grid, len(rows), False)


def _convolve(a: Float[Tensor, "m la"], b: Float[Tensor, "m lb"]) -> Float[Tensor, "m l"]:
    return _Convolution.apply(a, b)


class _Convolution(torch.autograd.Function):
    """Products of polynomials; its backward is made of products again, so it has every order."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor) -> Tensor:
        short, long = (a, b) if a.shape[1] <= b.shape[1] else (b, a)
        size, width = short.shape[1], long.shape[1]
        found = long.new_zeros(len(long), size + width - 1)
        for start in range(0, size, _PIECE):
            piece = short[:, start : start + _PIECE].flip(1)
            count = piece.shape[1]
            windows = pad(long, (count - 1, count - 1)).unfold(1, count, 1)
            found[:, start : start + width + count - 1] += (windows @ piece[..., None])[..., 0]
        return found

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None]:
        a, b = ctx.saved_tensors
        back = [
            _against(slope, other) if wanted else None
            for other, wanted in zip((b, a), ctx.needs_input_grad, strict=True)
        ]
        return back[0], back[1]


def _against(slope: Tensor, other: Tensor) -> Tensor:
    """Return the correlation of a slope with one factor: the slope of the other factor."""
    size = other.shape[1]
    return _convolve(slope, other.flip(1))[:, size - 1 : slope.shape[1]]


class _GridProduct(torch.autograd.Function):
    """A matrix that is made block by block, times a vector; its backward is its transpose."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, grid: Grid, size: int, turned: bool) -> Tensor:
        ctx.grid, ctx.turned, ctx.size = grid, turned, len(vector)
        height, width = (len(vector), size) if turned else (size, len(vector))
        across = torch.arange(width, dtype=vector.dtype, device=vector.device)[None]
        found = vector.new_zeros(size)
        step = max(1, _DENSE // width)
        for start in range(0, height, step):
            stop = min(start + step, height)
            down = torch.arange(start, stop, dtype=vector.dtype, device=vector.device)
            block = grid(down[:, None], across)
            if turned:
                found += vector[start:stop] @ block
            else:
                found[start:stop] = block @ vector
        return found

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None, None]:
        return _GridProduct.apply(slope, ctx.grid, ctx.size, not ctx.turned), None, None, None
