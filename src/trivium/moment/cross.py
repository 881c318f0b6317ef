"""Cross products of two sets of columns: one pass, any partition, or step by step."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.blocks import Block, iter_blocks, tile_rows
from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ModelError, ShapeError
from trivium._core.sources import dense_rows, matrix
from trivium.moment.guards import check_factor
from trivium.moment.saved import float_dtype, plain_state, read_state, whole_state, write_state
from trivium.moment.state import State

__all__ = ["CrossMoments"]


class CrossMoments:
    """Means, scatters and cross scatter of rows (x_i, y_i), that merge and un-merge exactly.

    `cross` = Σ w_i (x_i − x̄)(y_i − ȳ)ᵀ. Over its weight it is the cross-covariance, whose squared
    norm is HSIC with the linear kernels of these features; with `scatter_x` it is all that a
    ridge regression of many outputs needs. Kept as the moments of the joined columns, so all that
    `Moments` promises holds here.

    Args:
        n_x: Columns of X.
        n_y: Columns of Y.
        dtype: Dtype of the block products, `"float32"` or `"float64"`; by default the data's.
        accumulate: Dtype of the sums.

    Raises:
        ArgumentError: An option breaks its rule.

    Cost:
        Time n (n_x + n_y)² / 2; memory (n_x + n_y)² and one block.

    Example:
        >>> m = CrossMoments(1, 1).update([[0.0], [2.0]], [[1.0], [5.0]])
        >>> m.cross.item(), m.mean_y.item()
        (4.0, 3.0)

    Source:
        Pébay, SAND2008-6212, 2008, eq. 3.3.
    """

    def __init__(
        self,
        n_x: int,
        n_y: int,
        dtype: torch.dtype | str | None = None,
        accumulate: torch.dtype | str = "float64",
    ) -> None:
        caller = "CrossMoments"
        self.n_x = int(check_number(caller, "n_x", n_x, "positive", integer=True))
        self.n_y = int(check_number(caller, "n_y", n_y, "positive", integer=True))
        self._state = State.empty(
            caller,
            self.n_x + self.n_y,
            None,
            classwise=False,
            dtype=None if dtype is None else float_dtype(caller, "dtype", dtype),
            accumulate=float_dtype(caller, "accumulate", accumulate),
        )

    @property
    def count(self) -> int:
        """Rows."""
        return int(self._state.sums.count.sum())

    @property
    def weight(self) -> Tensor:
        """Σ w_i."""
        return self._state.sums.weight.sum()

    @property
    def mean_x(self) -> Float[Tensor, " n_x"]:
        """Mean of X. Raises `DataError` where there is no weight."""
        return self._mean("mean_x")[: self.n_x]

    @property
    def mean_y(self) -> Float[Tensor, " n_y"]:
        """Mean of Y. Raises `DataError` where there is no weight."""
        return self._mean("mean_y")[self.n_x :]

    def _mean(self, what: str) -> Tensor:
        self._state.weight(what)
        sums = self._state.sums
        return (sums.shift + sums.offset())[0]

    def _scatter(self) -> Tensor:
        sums = self._state.sums
        return sums.centered() if len(sums.count) else sums.second

    @property
    def cross(self) -> Float[Tensor, "n_x n_y"]:
        """Σ w_i (x_i − x̄)(y_i − ȳ)ᵀ."""
        return self._scatter()[: self.n_x, self.n_x :]

    @property
    def scatter_x(self) -> Float[Tensor, "n_x n_x"]:
        """Σ w_i (x_i − x̄)(x_i − x̄)ᵀ."""
        return self._scatter()[: self.n_x, : self.n_x]

    @property
    def scatter_y(self) -> Float[Tensor, "n_y n_y"]:
        """Σ w_i (y_i − ȳ)(y_i − ȳ)ᵀ."""
        return self._scatter()[self.n_x :, self.n_x :]

    @property
    def products(self) -> Float[Tensor, "n_x n_y"]:
        """Σ w_i x_i y_iᵀ, not centered: the state of linear attention."""
        if not self.count or not float(self.weight) > 0:
            return self.cross
        return self.cross + self.weight * torch.outer(self.mean_x, self.mean_y)

    def covariance(self) -> Float[Tensor, "n_x n_y"]:
        """Return `cross` over the weight. Raises `DataError` where there is none."""
        return self.cross / self._state.weight("covariance")

    def __repr__(self) -> str:
        """Say how much is held."""
        return f"CrossMoments({self.n_x} by {self.n_y}, {counted(self.count, 'row')})"

    def update(self, X: Any, Y: Any = None, sample_weight: Any = None) -> "CrossMoments":
        """Add rows; sources as in `Moments.update`, with the rows of Y in the place of labels.

        Raises:
            DataError: NaN or infinity, a negative weight, weights that sum to zero.
            ShapeError: Lengths or numbers of columns that differ.
            ArgumentError: No Y.
        """
        caller = "CrossMoments.update"
        self._state.run(caller, self._blocks(caller, X, Y, sample_weight), 1)
        return self

    def downdate(self, X: Any, Y: Any = None, sample_weight: Any = None) -> "CrossMoments":
        """Take away rows that were added before.

        Raises:
            DataError: As `update`; or the rows were never added, as far as sums can tell.
        """
        caller = "CrossMoments.downdate"
        self._state.run(caller, self._blocks(caller, X, Y, sample_weight), -1)
        return self

    def _blocks(self, caller: str, X: Any, Y: Any, weight: Any) -> Iterator[Block]:
        rows = tile_rows(self._state.n_features, 8)
        for block in iter_blocks(X, Y, weight, block_rows=rows, caller=caller):
            if block.y is None:
                raise ArgumentError(f"{caller}: Y must be given, one row for each row of X")
            y = block.y[:, None] if block.y.ndim == 1 else block.y
            y = dense_rows(caller, matrix(caller, y), 0, len(block.x))
            if block.x.shape[1] != self.n_x or y.shape[1] != self.n_y:
                raise ShapeError(
                    f"{caller}: X and Y must have {self.n_x} and {self.n_y} columns; got shapes "
                    f"{tuple(block.x.shape)}, {tuple(y.shape)}"
                )
            dtype = torch.promote_types(block.x.dtype, y.dtype)
            joined = torch.cat([block.x.to(dtype), y.to(block.x.device, dtype)], dim=1)
            yield replace(block, x=joined, y=None)

    def merge(self, other: "CrossMoments") -> "CrossMoments":
        """Add the rows of `other`, exactly, without seeing them.

        Raises:
            ShapeError: Different numbers of columns.
            ArgumentError: Not cross moments.
        """
        if not isinstance(other, CrossMoments):
            raise ArgumentError(
                f"CrossMoments.merge: other must be CrossMoments; got {type(other).__name__}"
            )
        if (self.n_x, self.n_y) != (other.n_x, other.n_y):
            raise ShapeError(
                f"CrossMoments.merge: the columns are {self.n_x} and {self.n_y} in self but "
                f"{other.n_x} and {other.n_y} in other"
            )
        self._state.merge(other._state)
        return self

    def __add__(self, other: "CrossMoments") -> "CrossMoments":
        """Return the moments of the rows of both."""
        return self.copy().merge(other)

    def __radd__(self, other: int) -> "CrossMoments":
        """Let `sum(parts)` start from 0."""
        return self.copy() if other == 0 else NotImplemented

    def copy(self) -> "CrossMoments":
        """Return moments of the same rows that share nothing with these."""
        return CrossMoments._of(self._state.clone(), self.n_x)

    @classmethod
    def _of(cls, state: State, n_x: int) -> "CrossMoments":
        new = cls.__new__(cls)
        new._state, new.n_x, new.n_y = state, n_x, state.n_features - n_x
        return new

    def decay(self, factor: float) -> "CrossMoments":
        """Multiply every weight so far by `factor` in (0, 1]; the count stays.

        Raises:
            ArgumentError: Not in (0, 1].
        """
        self._state.decay(check_factor("CrossMoments.decay", factor))
        return self

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Take the moments apart into tensors, and what they are about as JSON can hold it."""
        return plain_state(self._state, {"n_x": self.n_x})

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "CrossMoments":
        """Put together what `state` took apart.

        Raises:
            ModelError: Something is missing or does not fit together.
        """
        caller = "CrossMoments.from_state"
        return cls._sized(caller, *whole_state(caller, "CrossMoments", tensors, about))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            OutputError: It cannot be written; what was there before is intact.
            ResourceError: The disk is full; what was there before is intact.
        """
        write_state(path, self._state, {"n_x": self.n_x})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "CrossMoments":
        """Read what `save` wrote; everything is checked before it is used.

        Raises:
            ModelError: Missing, damaged, or not cross moments.
        """
        return cls._sized("CrossMoments.load", *read_state("CrossMoments", path))

    @classmethod
    def _sized(cls, caller: str, state: State, more: Mapping[str, Any]) -> "CrossMoments":
        n_x = more.get("n_x")
        if not isinstance(n_x, int) or not 0 < n_x < state.n_features:
            raise ModelError(f"{caller}: n_x must be below the columns; got {n_x!r}")
        return cls._of(state, n_x)
