"""Per-row gradients written out, for layers where that is the smaller form; and sums of forms."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.kernel.layer import LayerTangents

__all__ = ["BesideTangents", "DenseTangents", "SummedTangents"]


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

    def squares(self) -> Tensor:
        """Return the squared length of each row, `(n,)`."""
        return self.values.square().sum(1)

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


@dataclass(frozen=True, eq=False)
class BesideTangents(LayerTangents):
    """The gradients of several quantities of each row, side by side.

    Args:
        parts: One quantity each, with the same parameters.
        fused: All in one form, where there is one.
    """

    parts: Sequence[LayerTangents]
    fused_form: LayerTangents | None = None

    @classmethod
    def of(cls, parts: Sequence[LayerTangents]) -> "BesideTangents":
        """Put quantities side by side, fused where their kind can."""
        return cls(parts, parts[0].fused(parts[1:]))

    @property
    def n_rows(self) -> int:
        """Number of rows n."""
        return self.parts[0].n_rows

    @property
    def n_columns(self) -> int:
        """Number of columns, over all quantities."""
        return sum(part.n_columns for part in self.parts)

    def rows(self, which: slice) -> "BesideTangents":
        """Return the gradients of some rows."""
        fused = None if self.fused_form is None else self.fused_form.rows(which)
        return BesideTangents([part.rows(which) for part in self.parts], fused)

    def products(self, directions: Tensor) -> Tensor:
        """Return the inner products with directions, as `(q, n)`."""
        split = directions.split([part.n_columns for part in self.parts], 1)
        return _total([part.products(u) for part, u in zip(self.parts, split, strict=True)])

    def combine(self, weights: Tensor) -> Tensor:
        """Return the sums of rows by weights `(r, n)`."""
        return torch.cat([part.combine(weights) for part in self.parts], 1)

    def dense(self) -> Tensor:
        """Return the gradients written out."""
        return torch.cat([part.dense() for part in self.parts], 1)

    def squares(self) -> Tensor:
        """Return the squared length of each row, `(n,)`."""
        return _total([part.squares() for part in self.parts])

    def add_gram(self, other: LayerTangents, into: Tensor) -> None:
        """Add the inner products with the rows of `other`, `(n, m)`, in place."""
        if not isinstance(other, BesideTangents):
            return super().add_gram(other, into)
        mine, theirs = self.fused_form, other.fused_form
        if mine is not None and theirs is not None and type(mine) is type(theirs):
            return mine.add_gram(theirs, into)
        for part, their in zip(self.parts, other.parts, strict=True):
            part.add_gram(their, into)
        return None


def _total(values: Sequence[Tensor]) -> Tensor:
    found = values[0]
    for value in values[1:]:
        found = found + value
    return found
