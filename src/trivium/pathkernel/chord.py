"""One straight piece of the path, as the rows asked about see it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.kernel.tangents import Tangents
from trivium.pathkernel.sums import Sums

__all__ = ["Chord"]


@dataclass
class Chord:
    r"""The gradient that one straight piece of the path saw, $\bar g = h + c\, d$.

    c makes $\langle \bar g, d \rangle$ the value's exact change, so that all that is made of it
    is complete.

    Attributes:
        middle: h, the gradients at its midpoint.
        change: The value's change along it, `(q,)`.
        displacement: d, `(p,)`.
        square: $|d|^2$ of each layer, `(l,)`.
    """

    middle: Tangents
    change: Tensor
    displacement: Tensor
    square: Tensor

    @classmethod
    def of(cls, middle: Tangents, change: Tensor, displacement: Tensor, sums: Sums) -> "Chord":
        """Return the chord with this displacement."""
        square = sums.per_layer_dot(displacement[None], displacement)[:, 0]
        return cls(middle, change, displacement, square)

    def through(self) -> Tensor:
        r"""Return the layers' parts of $\langle h, d \rangle$, `(l, q)`."""
        return self.middle.products_by_layer(self.displacement[None])[:, 0].double()

    def correction(self, seen: Tensor) -> Tensor:
        r"""Return c, `(q,)`, from $\langle h, d \rangle$."""
        length = self.square.sum().clamp_min(torch.finfo(torch.float64).tiny)
        return (self.change - seen) / length

    def dense(self, correction: Tensor, rows: slice | None = None) -> Tensor:
        r"""Return $\bar g$ as `(q, p)`, of all rows or some."""
        some = slice(None) if rows is None else rows
        middle = self.middle if rows is None else self.middle.rows(rows)
        return middle.dense().addr_(correction[some].to(self.displacement.dtype), self.displacement)
