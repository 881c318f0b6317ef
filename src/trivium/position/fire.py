"""FIRE: a small network of the distance relative to how far the query is."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.eager import eager
from trivium._core.errors import ArgumentError
from trivium.position.base import Position
from trivium.position.offsets import is_run, offset_matrix, run_of_offsets, toeplitz

__all__ = ["Fire"]

_EPSILON = 1e-6  # as published, in the denominator
_FAR = 1e6  # no ratio is there: where the knots of units that do not bend are put


class Fire(Position):
    r"""Functional interpolation: $f(\psi(|i - j|) / \psi(\max(i, L)))$, $\psi(x) = \ln(|c| x + 1)$.

    f is a network of one hidden layer from the ratio, in [0, 1], to the heads; c and the
    threshold L = |m| `threshold` are learned, by c and m. With rectified units f is piecewise
    linear in its one input: it is evaluated by the slope and intercept of the piece, so that
    pairs have no hidden vector.

    Args:
        n_heads: Heads h.
        hidden: Units of the hidden layer.
        c: Start of c.
        threshold: Start of L.

    Raises:
        ArgumentError: A size or start that is not positive; a negative position, when called.

    Cost:
        O((n + t) (hidden + h)) while no query is beyond L, O(n t h) else, for consecutive
        positions; O(b n t h) for others.

    Example:
        >>> from trivium.attention import Attention
        >>> layer = Attention(8, 2, position=Fire(n_heads=2))
        >>> layer(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])

    Source:
        Li et al., Functional Interpolation for Relative Positions Improves Long Context
        Transformers, ICLR (2024), eqs. 7-8 and appendix A.
    """

    def __init__(
        self, n_heads: int, hidden: int = 32, *, c: float = 0.1, threshold: float = 512.0
    ) -> None:
        super().__init__()
        self.n_heads = int(check_number("Fire", "n_heads", n_heads, "positive", integer=True))
        units = int(check_number("Fire", "hidden", hidden, "positive", integer=True))
        self.threshold = float(check_number("Fire", "threshold", threshold, "positive"))
        self.inner, self.outer = nn.Linear(1, units), nn.Linear(units, self.n_heads)
        self.c = nn.Parameter(torch.tensor(float(check_number("Fire", "c", c, "positive"))))
        self.multiplier = nn.Parameter(torch.tensor(1.0))

    @classmethod
    def examples(cls) -> Sequence["Fire"]:
        """Return small instances, with a threshold out of reach and within."""
        return (cls(2), cls(2, 5, c=0.5, threshold=3.5))

    def score(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h t d"],
        i: Int[Tensor, "*i n"],
        j: Int[Tensor, "*j t"],
        keep: Bool[Tensor, "*k n t"],
    ) -> Tensor | None:
        """Return the network at each pair.

        Raises:
            ArgumentError: A negative position.
        """
        seen = eager() and not i.is_meta
        if seen and bool((i < 0).any()):
            raise ArgumentError(
                f"Fire: positions must be non-negative; got {int(i.min())}",
                remedy="A query's position is the denominator of its distances.",
            )
        wide = torch.promote_types(self.c.dtype, torch.float32)  # narrow ones round positions
        c, least = self.c.to(wide), (self.multiplier.to(wide) * self.threshold).abs()
        if seen and is_run(i, j) and bool(i[-1] <= least):
            ratio = _psi(c, run_of_offsets(i, j)) / (_psi(c, least) + _EPSILON)
            return toeplitz(self._pieces(ratio).mT, i.shape[-1]).to(q.dtype)
        below = _psi(c, torch.maximum(i.to(wide), least)) + _EPSILON
        ratio = _psi(c, offset_matrix(i, j)) / below[..., None]
        return self._pieces(ratio).movedim(-1, -3).to(q.dtype)

    def _pieces(self, x: Tensor) -> Float[Tensor, "... h"]:
        """Return the network of x, by the slope and the intercept of the piece that x is in."""
        held = (self.inner.weight[:, 0], self.inner.bias, self.outer.weight.mT, self.outer.bias)
        weight, bias, outer, least = (value.to(x.dtype) for value in held)
        knots = (-bias / weight).detach().nan_to_num().clamp(-_FAR, _FAR).sort().values
        middle = torch.cat((knots[:1] - 1, (knots[1:] + knots[:-1]) / 2, knots[-1:] + 1))
        on = (middle[:, None] * weight + bias > 0).to(weight.dtype)
        slope = (on * weight) @ outer
        start = (on * bias) @ outer + least
        piece = torch.bucketize(x.detach(), knots)
        lookup = nn.functional.embedding
        return lookup(piece, slope) * x[..., None] + lookup(piece, start)

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"n_heads={self.n_heads}, threshold={self.threshold}"


def _psi(c: Tensor, x: Tensor) -> Tensor:
    return torch.log1p((c * x).abs())
