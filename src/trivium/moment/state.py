"""What moments hold and how blocks, removals and other moments change it, or leave it alone."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trivium._core.blocks import Block
from trivium._core.coded import CodedLabels
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.moment.guards import check_removed, check_sums, check_weight, check_width
from trivium.moment.labels import as_labels, encode, union
from trivium.moment.merge import Sums, block_sums

__all__ = ["State"]

_STALE = 1e4  # squared distance of mean and shift, in variances, at which the shift is moved


@dataclass
class State:
    """Sums by class with their labels (mutable, internal).

    Args:
        name: Public class, to put in front of messages.
        n_features: Columns.
        classwise: Whether each class keeps its second sums.
        dtype: Dtype of block products; `None` for the data's own.
        accumulate: Dtype of the sums.
        labels: Sorted labels; `None` where rows have none.
        fixed: Whether no label may be added.
        single: Whether a product was made in float32.
        sums: The sums; no groups at all before the first row.
    """

    name: str
    n_features: int
    classwise: bool
    dtype: torch.dtype | None
    accumulate: torch.dtype
    labels: np.ndarray | None
    fixed: bool
    single: bool
    sums: Sums

    @classmethod
    def empty(
        cls,
        name: str,
        n_features: int,
        labels: np.ndarray | None,
        *,
        classwise: bool,
        dtype: torch.dtype | None,
        accumulate: torch.dtype,
    ) -> "State":
        """Return the state of no rows."""
        sums = Sums.zeros(
            0 if labels is None else len(labels),
            n_features,
            classwise=classwise,
            dtype=accumulate,
            device=torch.device("cpu"),
        )
        fixed = labels is not None
        return cls(name, n_features, classwise, dtype, accumulate, labels, fixed, False, sums)

    @property
    def n_groups(self) -> int:
        """Classes, or 1 for rows without labels, or 0 before the first row."""
        return len(self.sums.count)

    @property
    def products(self) -> torch.dtype:
        """The coarsest dtype in which a product was made."""
        return torch.float32 if self.single else self.accumulate

    def clone(self) -> "State":
        """Return a copy that shares no sums."""
        return State(**{**vars(self), "sums": self.sums.clone()})

    def weight(self, what: str) -> Tensor:
        """Return the total weight.

        Raises:
            DataError: It is zero.
        """
        weight = self.sums.weight.sum()
        if not float(weight) > 0:
            raise DataError(
                f"{self.name}.{what}: the moments must hold rows; their total weight is "
                f"{float(weight):g}",
                code="E-NO-WEIGHT",
            )
        return weight

    def run(self, caller: str, blocks: Iterator[Block], sign: int) -> None:
        """Add (sign 1) or take away (sign −1) blocks: all of them, or on an error none."""
        before = self.clone()
        try:
            rows, weight = 0, 0.0
            for block in blocks:
                weight += self._fold(caller, block, sign)
                rows += len(block.x)
            if rows and not weight > 0:
                raise DataError(f"{caller}: sample_weight must have a positive sum; got {weight:g}")
            if rows and sign < 0:
                check_removed(caller, before.sums, self.sums, single=self.single)
                self.sums.rebase(_STALE, self.products)
        except BaseException:
            vars(self).update(vars(before))
            raise

    def _fold(self, caller: str, block: Block, sign: int) -> float:
        check_width(caller, block, self.n_features)
        weight = check_weight(caller, block)
        codes = self._codes(caller, block, sign)
        rows = block.x if self.dtype is None else block.x.to(self.dtype)
        if rows.device != self.sums.first.device and not int(self.sums.count.sum()):
            home = torch.device("cpu") if rows.device.type == "mps" else rows.device
            self.sums = self.sums.to(self.accumulate, home)
        self.single |= rows.dtype == torch.float32
        part = block_sums(rows, codes.to(rows.device), weight, self.sums)
        check_sums(caller, block, part)
        self.sums.add_(part, sign)
        return float(part.weight.sum())

    def _codes(self, caller: str, block: Block, sign: int) -> Tensor:
        """Class numbers of the rows; grows the sums by the classes not met before."""
        if block.y is None:
            if self.labels is not None:
                raise ArgumentError(f"{caller}: y must be given, as the moments have classes")
            if self.n_groups == 0:
                self._zero(1)
            return torch.zeros(len(block.x), dtype=torch.int64)
        if self.labels is None and self.n_groups:
            raise ArgumentError(f"{caller}: y must be None, as earlier rows had no labels")
        held = np.empty(0, np.int64) if self.labels is None else self.labels
        coded = isinstance(block.y, CodedLabels)
        labels = block.y if coded else as_labels(caller, block.y)
        codes, known = encode(caller, labels, held, fixed=self.fixed or sign < 0)
        self._grow(known)
        return torch.from_numpy(codes)

    def _zero(self, k: int) -> None:
        device = self.sums.first.device
        self.sums = Sums.zeros(
            k, self.n_features, classwise=self.classwise, dtype=self.accumulate, device=device
        )

    def _grow(self, known: np.ndarray) -> None:
        if self.labels is None:
            self._zero(len(known))
        elif len(known) > len(self.labels):
            self.sums = self._spread(self.sums, self.labels, known)
        self.labels = known

    @staticmethod
    def _spread(sums: Sums, labels: np.ndarray, known: np.ndarray) -> Sums:
        index = torch.from_numpy(np.searchsorted(known, labels))
        return sums.spread(index.to(sums.count.device), len(known))

    def merge(self, other: "State") -> None:
        """Add the rows of `other`; classes are united.

        Raises:
            ShapeError: Different numbers of features.
            ArgumentError: One keeps class scatters and the other not, or one has labels.
            DataError: Labels of different kinds.
        """
        caller = f"{self.name}.merge"
        self._check_mergeable(caller, other)
        if other.n_groups == 0:
            return
        theirs = other.sums
        if other.labels is not None:
            held = other.labels[:0] if self.labels is None else self.labels
            known = union(caller, held, other.labels)
            theirs = self._spread(theirs, other.labels, known)
            self._grow(known)
        elif self.n_groups == 0:
            self._zero(1)
        if not int(self.sums.count.sum()):
            self.sums = self.sums.to(self.accumulate, theirs.first.device)
        theirs = theirs.to(self.accumulate, self.sums.first.device)
        heavier = (theirs.weight > self.sums.weight)[:, None]
        shift = torch.where(heavier, theirs.shift, self.sums.shift)
        self.sums = self.sums.move(shift).add_(theirs.move(shift))
        self.single |= other.single
        self.fixed = self.fixed and other.fixed

    def _check_mergeable(self, caller: str, other: "State") -> None:
        for name, mine, theirs in (
            ("d", self.n_features, other.n_features),
            ("classwise", self.classwise, other.classwise),
        ):
            if mine != theirs and name == "d":
                raise ShapeError(f"{caller}: axis d is {mine} in self but {theirs} in other")
            if mine != theirs:
                raise ArgumentError(f"{caller}: {name} must be {mine} in both; got {theirs}")
        if self.n_groups and other.n_groups and (self.labels is None) != (other.labels is None):
            raise ArgumentError(f"{caller}: both or neither must have labels; got one of each")

    def decay(self, factor: float) -> None:
        """Multiply every weight so far by `factor` and keep the shifts near the means."""
        self.sums.scale_(factor).rebase(_STALE, self.products)
