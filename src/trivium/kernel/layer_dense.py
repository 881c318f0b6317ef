"""Per-row gradients written out, for layers where that is the smaller form; and sums of forms."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from trivium.kernel.layer import LayerTangents

__all__ = ["DenseTangents", "SummedTangents"]


@dataclass(frozen=True, eq=False)
class DenseTangents(LayerTangents):
    """Per-row gradients as one matrix.

    Args:
        values: `(n, p)`.
    """

    values: Tensor

    @property
    def n_rows(self) -> int:
        """Number of rows n."""
        return len(self.values)

    @property
    def n_columns(self) -> int:
        """Number of columns p."""
        return self.values.shape[1]

    def rows(self, which: slice) -> "DenseTangents":
        """Return the gradients of some rows."""
        return DenseTangents(self.values[which])

    def products(self, directions: Tensor) -> Tensor:
        """Return the inner products with directions `(q, p)`, as `(q, n)`."""
        return directions @ self.values.mT

    def combine(self, weights: Tensor) -> Tensor:
        """Return the sums of rows by weights `(r, n)`, as `(r, p)`."""
        return weights @ self.values

    def dense(self) -> Tensor:
        """Return the gradients, `(n, p)`."""
        return self.values

    def add_gram(self, other: LayerTangents, into: Tensor) -> None:
        """Add the inner products with the rows of `other`, `(n, m)`, in place."""
        if isinstance(other, DenseTangents):
            into.addmm_(self.values, other.values.mT)
        else:
            super().add_gram(other, into)


@dataclass(frozen=True, eq=False)
class SummedTangents(LayerTangents):
    """The gradients of one parameter that several layers share.

    Args:
        parts: The layers' own gradients, with the same columns.
    """

    parts: Sequence[LayerTangents]

    @property
    def n_rows(self) -> int:
        """Number of rows n."""
        return self.parts[0].n_rows

    @property
    def n_columns(self) -> int:
        """Number of columns p."""
        return self.parts[0].n_columns

    def rows(self, which: slice) -> "SummedTangents":
        """Return the gradients of some rows."""
        return SummedTangents([part.rows(which) for part in self.parts])

    def products(self, directions: Tensor) -> Tensor:
        """Return the inner products with directions `(q, p)`, as `(q, n)`."""
        return _total([part.products(directions) for part in self.parts])

    def combine(self, weights: Tensor) -> Tensor:
        """Return the sums of rows by weights `(r, n)`, as `(r, p)`."""
        return _total([part.combine(weights) for part in self.parts])

    def dense(self) -> Tensor:
        """Return the gradients written out, `(n, p)`."""
        return _total([part.dense() for part in self.parts])


def _total(values: Sequence[Tensor]) -> Tensor:
    found = values[0]
    for value in values[1:]:
        found = found + value
    return found
