"""Weight, mean and scatter of rows, by class: one pass, any partition, and back again."""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.blocks import Block, iter_blocks
from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.moment.guards import check_removed, check_sums, check_weight, check_width
from trivium.moment.labels import (
    as_labels,
    check_classes,
    encode,
    labels_from_json,
    labels_to_json,
    union,
)
from trivium.moment.merge import Sums, block_sums
from trivium.moment.saved import checked_sums, read_moments, write_moments

__all__ = ["Moments"]

_DTYPES = {"float32": torch.float32, "float64": torch.float64}
_STALE = 1e4  # squared distance of mean and shift, in variances, at which the shift is moved


class Moments:
    """Count, weight, mean and scatter of rows, for each class, that merge and un-merge exactly.

    For class k: n_k rows, weight w_k = Σ w_i, mean m_k = Σ w_i x_i / w_k, and the scatter
    `within` = Σ_k Σ_{i in k} w_i (x_i − m_k)(x_i − m_k)ᵀ, `total` = the same about the mean of all
    rows. Products of a block are made in its own dtype, about the mean of the first rows of
    each class; what is summed over blocks is float64. Blocks are added in the order of the rows,
    so the result depends on the sequence of blocks only, not on how it was cut into calls.

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
        self.n_features = int(
            check_number("Moments", "n_features", n_features, "positive", integer=True)
        )
        self.dtype = None if dtype is None else _dtype("dtype", dtype)
        self.accumulate = _dtype("accumulate", accumulate)
        self.classwise = bool(classwise)
        self.fixed = classes is not None
        self._labels = None if classes is None else check_classes("Moments", classes)
        self._single = False  # products were made in float32
        self._sums = self._zeros(0 if self._labels is None else len(self._labels))

    def _zeros(self, k: int) -> Sums:
        return Sums.zeros(
            k,
            self.n_features,
            classwise=self.classwise,
            dtype=self.accumulate,
            device=torch.device("cpu"),
        )

    # ---- what is held -------------------------------------------------------------------

    @property
    def classes(self) -> np.ndarray | None:
        """Labels, sorted, in the order of the first axis of everything here; None without y."""
        return self._labels

    @property
    def counts(self) -> Int[Tensor, " k"]:
        """Rows of each class."""
        return self._sums.count.clone()

    @property
    def weights(self) -> Float[Tensor, " k"]:
        """Weight of each class."""
        return self._sums.weight.clone()

    @property
    def means(self) -> Float[Tensor, "k d"]:
        """Mean of each class; NaN where a class has no weight."""
        held = self._sums
        return torch.where(held.weight[:, None] > 0, held.shift + held.offset(), float("nan"))

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Mean of all rows.

        Raises:
            DataError: There is no weight at all.
        """
        share = self.weights / self._weight("mean")
        return share @ torch.nan_to_num(self.means)

    @property
    def class_scatter(self) -> Float[Tensor, "k d d"]:
        """Scatter of each class about its own mean.

        Raises:
            ArgumentError: The moments were not built with `classwise=True`.
        """
        if not self.classwise:
            raise ArgumentError("Moments.class_scatter: classwise must be True; got False")
        return self._sums.centered()

    @property
    def within(self) -> Float[Tensor, "d d"]:
        """Sum over classes of the scatter about the class mean."""
        return self._sums.centered().sum(0) if self.classwise else self._sums.centered()

    @property
    def between(self) -> Float[Tensor, "d d"]:
        """Scatter of the class means about the mean: Σ w_k (m_k − m)(m_k − m)ᵀ."""
        away = torch.nan_to_num(self.means) - self.mean
        return away.mT @ (away * self._sums.weight[:, None])

    @property
    def total(self) -> Float[Tensor, "d d"]:
        """Scatter of all rows about their mean: `within + between`."""
        return self.within + self.between

    @property
    def cross(self) -> Float[Tensor, "k d"]:
        """Cross products of class indicators and rows, both centered: w_k (m_k − m)."""
        return self._sums.weight[:, None] * (torch.nan_to_num(self.means) - self.mean)

    def _weight(self, name: str) -> Tensor:
        weight = self._sums.weight.sum()
        if not float(weight) > 0:
            raise DataError(
                f"Moments.{name}: the moments must hold rows; their total weight is "
                f"{float(weight):g}",
                code="E-NO-WEIGHT",
            )
        return weight

    def __repr__(self) -> str:
        """Say how much is held."""
        labels = "no labels" if self._labels is None else f"{len(self._labels)} classes"
        return f"Moments({self.n_features} features, {labels}, {int(self._sums.count.sum())} rows)"

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
        return self._run(caller, iter_blocks(X, y, sample_weight, caller=caller), 1)

    def downdate(self, X: Any, y: Any = None, sample_weight: Any = None) -> "Moments":
        """Take away rows that were added before, with the same labels and weights.

        Returns:
            The moments themselves. On an error they are as they were before the call.

        Raises:
            DataError: As `update`; or the rows were never added, as far as sums can tell: a
                count, a weight or a diagonal of the scatter would become negative.
        """
        caller = "Moments.downdate"
        return self._run(caller, iter_blocks(X, y, sample_weight, caller=caller), -1)

    def _run(self, caller: str, blocks: Iterator[Block], sign: int) -> "Moments":
        before = self._sums.clone(), self._labels, self._single
        try:
            rows, weight = 0, 0.0
            for block in blocks:
                weight += self._fold(caller, block, sign)
                rows += len(block.x)
            if rows and not weight > 0:
                raise DataError(f"{caller}: sample_weight must have a positive sum; got {weight:g}")
            if sign < 0:
                check_removed(caller, before[0], self._sums, single=self._single)
                self._sums.rebase(_STALE, self._products())
        except BaseException:
            self._sums, self._labels, self._single = before
            raise
        return self

    def _fold(self, caller: str, block: Block, sign: int) -> float:
        """Add or take away one block; return its weight."""
        check_width(caller, block, self.n_features)
        weight = check_weight(caller, block)
        codes = self._codes(caller, block, sign)
        rows = block.x if self.dtype is None else block.x.to(self.dtype)
        if rows.device != self._sums.first.device and not int(self._sums.count.sum()):
            home = torch.device("cpu") if rows.device.type == "mps" else rows.device
            self._sums = self._sums.to(self.accumulate, home)
        self._single |= rows.dtype == torch.float32
        part = block_sums(rows, codes.to(rows.device), weight, self._sums)
        check_sums(caller, block, part)
        self._sums.add_(part, sign)
        return float(part.weight.sum())

    def _codes(self, caller: str, block: Block, sign: int) -> Tensor:
        """Class numbers of the rows; grows the sums by the classes not met before."""
        k = len(self._sums.count)
        if block.y is None:
            if self._labels is not None:
                raise ArgumentError(f"{caller}: y must be given, as the moments have classes")
            if k == 0:
                self._sums = self._zeros(1)
            return torch.zeros(len(block.x), dtype=torch.int64)
        if self._labels is None and k:
            raise ArgumentError(f"{caller}: y must be None, as earlier rows had no labels")
        held = np.empty(0, np.int64) if self._labels is None else self._labels
        fixed = self.fixed or sign < 0
        codes, known = encode(caller, as_labels(caller, block.y), held, fixed=fixed)
        self._grow(known)
        return torch.from_numpy(codes)

    def _grow(self, known: np.ndarray) -> None:
        if self._labels is None:
            self._sums = self._zeros(len(known))
        elif len(known) > len(self._labels):
            index = torch.from_numpy(np.searchsorted(known, self._labels))
            self._sums = self._sums.spread(index.to(self._sums.count.device), len(known))
        self._labels = known

    def _products(self) -> torch.dtype:
        return torch.float32 if self._single else self.accumulate

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
        self._check_mergeable(other)
        if len(other._sums.count) == 0:
            return self
        if other._labels is None:
            if len(self._sums.count) == 0:
                self._sums = self._zeros(1)
            theirs = other._sums
        else:
            held = np.empty(0, np.int64) if self._labels is None else self._labels
            known = union("Moments.merge", held, other._labels)
            self._grow(known)
            index = torch.from_numpy(np.searchsorted(known, other._labels))
            theirs = other._sums.spread(index.to(other._sums.count.device), len(known))
        if not int(self._sums.count.sum()):
            self._sums = self._sums.to(self.accumulate, theirs.first.device)
        theirs = theirs.to(self.accumulate, self._sums.first.device)
        heavier = (theirs.weight > self._sums.weight)[:, None]
        shift = torch.where(heavier, theirs.shift, self._sums.shift)
        self._sums = self._sums.move(shift).add_(theirs.move(shift))
        self._single |= other._single
        self.fixed = self.fixed and other.fixed
        return self

    def _check_mergeable(self, other: "Moments") -> None:
        if not isinstance(other, Moments):
            raise ArgumentError(f"Moments.merge: other must be Moments; got {type(other).__name__}")
        if other.n_features != self.n_features:
            raise ShapeError(
                f"Moments.merge: axis d is {self.n_features} in self but {other.n_features} in "
                "other"
            )
        if other.classwise != self.classwise:
            raise ArgumentError(
                f"Moments.merge: classwise must be {self.classwise} in both; got {other.classwise}"
            )
        groups = len(self._sums.count), len(other._sums.count)
        if all(groups) and (self._labels is None) != (other._labels is None):
            raise ArgumentError("Moments.merge: both or neither must have labels; got one of each")

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of the rows of both."""
        return self.copy().merge(other)

    def __radd__(self, other: int) -> "Moments":
        """Let `sum(parts)` start from 0."""
        return self.copy() if other == 0 else NotImplemented

    def copy(self) -> "Moments":
        """Return moments of the same rows that share nothing with these."""
        new = Moments(self.n_features, None, self.classwise, self.dtype, self.accumulate)
        new.fixed, new._labels, new._single = self.fixed, self._labels, self._single
        new._sums = self._sums.clone()
        return new

    def decay(self, factor: float) -> "Moments":
        """Multiply every weight so far by `factor`, to forget; the counts stay.

        Raises:
            ArgumentError: Not in (0, 1].
        """
        value = check_number("Moments.decay", "factor", factor, "positive")
        if value > 1:
            raise ArgumentError(f"Moments.decay: factor must be in (0, 1]; got {factor!r}")
        self._sums.scale_(value).rebase(_STALE, self._products())
        return self

    # ---- kept in a file -----------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            OutputError: It cannot be written; what was there before is intact.
        """
        write_moments(
            path,
            self._sums.tensors(),
            {
                "n_features": self.n_features,
                "classwise": self.classwise,
                "dtype": None if self.dtype is None else str(self.dtype).removeprefix("torch."),
                "accumulate": str(self.accumulate).removeprefix("torch."),
                "fixed": self.fixed,
                "single": self._single,
                "labels": labels_to_json(self._labels),
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Moments":
        """Read what `save` wrote; everything is checked before it is used.

        Raises:
            ModelError: Missing, damaged, or not moments.
        """
        tensors, about = read_moments(path)
        new = cls(
            about["n_features"], None, about["classwise"], about["dtype"], about["accumulate"]
        )
        new.fixed, new._single = about["fixed"], about["single"]
        new._labels = labels_from_json(about["labels"])
        new._sums = checked_sums(tensors, about, new._labels, new.accumulate)
        return new


def _dtype(name: str, value: Any) -> torch.dtype:
    text = str(value).removeprefix("torch.")
    return _DTYPES[check_choice("Moments", name, text, _DTYPES)]
