"""Weight, mean and scatter of rows, by class: one pass, any partition, and back again."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.blocks import iter_blocks
from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError
from trivium.moment.condition import condition
from trivium.moment.guards import check_factor
from trivium.moment.labels import check_classes
from trivium.moment.products import mirror
from trivium.moment.saved import float_dtype, plain_state, read_state, whole_state, write_state
from trivium.moment.state import State

__all__ = ["Moments"]


class Moments:
    """Count, weight, mean and scatter of rows, for each class, that merge and un-merge exactly.

    For class k: n_k rows, weight w_k = Σ w_i, mean m_k = Σ w_i x_i / w_k, and the scatter
    `within` = Σ_k Σ_{i in k} w_i (x_i − m_k)(x_i − m_k)ᵀ, `total` = the same about the mean of all
    rows. Products of a block are made in its own dtype, about the mean of the first rows of
    each class; what is summed over blocks is float64. Blocks are added in the order of the rows,
    so the result depends on the sequence of blocks only, not on how it was cut into calls. They
    are of the rows' values: no gradient flows.

    Args:
        n_features: Columns of X.
        classes: The labels, known before the first row; by default they are collected. Without
            labels at all (`y=None`) all rows form one class.
        classwise: Keep the scatter of each class (`class_scatter`) beside their sum.
        dtype: Dtype of the block products, `"float32"` or `"float64"`; by default the data's.
        accumulate: Dtype of the sums.

    Raises:
        ArgumentError: An option breaks its rule.

    Cost:
        Time n d² / 2 multiplications and additions; memory d² (k d² classwise) and one block.

    Example:
        >>> m = Moments(2).update([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]], ["a", "a", "b"])
        >>> m.means.tolist(), m.counts.tolist()
        ([[1.0, 1.0], [4.0, 4.0]], [2, 1])
        >>> (m + m).within.tolist()
        [[4.0, 0.0], [0.0, 0.0]]

    Source:
        Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
        variances", 1979, eq. 2.1; Pébay, SAND2008-6212, 2008.
    """

    def __init__(
        self,
        n_features: int,
        classes: Any = None,
        classwise: bool = False,
        dtype: torch.dtype | str | None = None,
        accumulate: torch.dtype | str = "float64",
    ) -> None:
        d = check_number("Moments", "n_features", n_features, "positive", integer=True)
        self._state = State.empty(
            "Moments",
            int(d),
            None if classes is None else check_classes("Moments", classes),
            classwise=bool(classwise),
            dtype=None if dtype is None else float_dtype("Moments", "dtype", dtype),
            accumulate=float_dtype("Moments", "accumulate", accumulate),
        )

    # ---- what is held -------------------------------------------------------------------

    @property
    def n_features(self) -> int:
        """Columns of X."""
        return self._state.n_features

    @property
    def classwise(self) -> bool:
        """Whether the scatter of each class is kept."""
        return self._state.classwise

    @property
    def classes(self) -> np.ndarray | None:
        """Labels, sorted, in the order of the first axis of everything here; None without y."""
        return self._state.labels

    @property
    def counts(self) -> Int[Tensor, " k"]:
        """Rows of each class."""
        return self._state.sums.count.clone()

    @property
    def weights(self) -> Float[Tensor, " k"]:
        """Weight of each class."""
        return self._state.sums.weight.clone()

    @property
    def means(self) -> Float[Tensor, "k d"]:
        """Mean of each class; NaN where a class has no weight."""
        held = self._state.sums
        return torch.where(held.weight[:, None] > 0, held.shift + held.offset(), float("nan"))

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Mean of all rows.

        Raises:
            DataError: There is no weight at all.
        """
        share = self.weights / self._state.weight("mean")
        return share @ torch.nan_to_num(self.means)

    @property
    def class_scatter(self) -> Float[Tensor, "k d d"]:
        """Scatter of each class about its own mean.

        Raises:
            ArgumentError: The moments were not built with `classwise=True`.
        """
        if not self._state.classwise:
            raise ArgumentError("Moments.class_scatter: classwise must be True; got False")
        return self._state.sums.centered()

    @property
    def within(self) -> Float[Tensor, "d d"]:
        """Sum over classes of the scatter about the class mean."""
        return (
            self._state.sums.centered().sum(0)
            if self._state.classwise
            else self._state.sums.centered()
        )

    @property
    def between(self) -> Float[Tensor, "d d"]:
        """Scatter of the class means about the mean: Σ w_k (m_k − m)(m_k − m)ᵀ."""
        away = torch.nan_to_num(self.means) - self.mean
        return mirror(away.mT @ (away * self._state.sums.weight[:, None]))

    @property
    def total(self) -> Float[Tensor, "d d"]:
        """Scatter of all rows about their mean: `within + between`."""
        return self.within + self.between

    @property
    def cross(self) -> Float[Tensor, "k d"]:
        """Cross products of class indicators and rows, both centered: w_k (m_k − m)."""
        return self._state.sums.weight[:, None] * (torch.nan_to_num(self.means) - self.mean)

    def condition(self) -> float:
        """Largest over smallest eigenvalue of `within`; infinite where it is singular.

        Warns where it exceeds 1e8 although products were made in float32: the small eigenvalues
        are rounding then.

        Raises:
            DataError: There is no weight at all.
        """
        self._state.weight("condition")
        return condition("Moments", self.within, single=self._state.single)

    def __repr__(self) -> str:
        """Say how much is held."""
        labels = (
            "no labels"
            if self._state.labels is None
            else f"{counted(len(self._state.labels), 'class')}"
        )
        rows = int(self._state.sums.count.sum())
        return f"Moments({counted(self.n_features, 'feature')}, {labels}, {counted(rows, 'row')})"

    # ---- rows in, rows out --------------------------------------------------------------

    def update(self, X: Any, y: Any = None, sample_weight: Any = None) -> "Moments":
        """Add rows.

        Args:
            X: Rows: numpy, torch, scipy sparse, Arrow, Dask, or an iterable of blocks `X`,
                `(X, y)`, `(X, y, weight)`. See `trivium._core.blocks.iter_blocks`.
            y: One label per row.
            sample_weight: One number ≥ 0 per row; a weight of 2 counts like the row twice.

        Returns:
            The moments themselves. On an error they are as they were before the call.

        Raises:
            DataError: NaN or infinity, an unknown or missing label, a negative weight, weights
                that sum to zero.
            ShapeError: Lengths or numbers of columns that differ.
            ArgumentError: No labels although earlier rows had them, or the reverse.
        """
        caller = "Moments.update"
        self._state.run(caller, iter_blocks(X, y, sample_weight, caller=caller), 1)
        return self

    def downdate(self, X: Any, y: Any = None, sample_weight: Any = None) -> "Moments":
        """Take away rows that were added before, with the same labels and weights.

        Returns:
            The moments themselves. On an error they are as they were before the call.

        Raises:
            DataError: As `update`; or the rows were never added, as far as sums can tell: a
                count, a weight or a diagonal of the scatter would become negative.
        """
        caller = "Moments.downdate"
        self._state.run(caller, iter_blocks(X, y, sample_weight, caller=caller), -1)
        return self

    # ---- together, and fading -----------------------------------------------------------

    def merge(self, other: "Moments") -> "Moments":
        """Add the rows of `other`, exactly, without seeing them; classes are united.

        Returns:
            The moments themselves; `a + b` gives new ones and changes neither.

        Raises:
            ShapeError: Different numbers of features.
            ArgumentError: One keeps class scatters and the other not, or one has labels.
            DataError: Labels of different kinds.
        """
        if not isinstance(other, Moments):
            raise ArgumentError(f"Moments.merge: other must be Moments; got {type(other).__name__}")
        self._state.merge(other._state)
        return self

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of the rows of both."""
        return self.copy().merge(other)

    def __radd__(self, other: int) -> "Moments":
        """Let `sum(parts)` start from 0."""
        return self.copy() if other == 0 else NotImplemented

    def copy(self) -> "Moments":
        """Return moments of the same rows that share nothing with these."""
        new = Moments.__new__(Moments)
        new._state = self._state.clone()
        return new

    def decay(self, factor: float) -> "Moments":
        """Multiply every weight so far by `factor`, to forget; the counts stay.

        Raises:
            ArgumentError: Not in (0, 1].
        """
        self._state.decay(check_factor("Moments.decay", factor))
        return self

    # ---- taken apart, and kept in a file ------------------------------------------------

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Take the moments apart into tensors, and what they are about as JSON can hold it."""
        return plain_state(self._state)

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "Moments":
        """Put together what `state` took apart.

        Raises:
            ModelError: Something is missing or does not fit together.
        """
        new = cls.__new__(cls)
        new._state = whole_state("Moments.from_state", "Moments", tensors, about)[0]
        return new

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            OutputError: It cannot be written; what was there before is intact.
            ResourceError: The disk is full; what was there before is intact.
        """
        write_state(path, self._state)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Moments":
        """Read what `save` wrote; everything is checked before it is used.

        Raises:
            ModelError: Missing, damaged, or not moments.
        """
        new = cls.__new__(cls)
        new._state = read_state("Moments", path)[0]
        return new
