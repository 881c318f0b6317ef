"""Columns of a mixed table as kernels: each kind gets features whose inner product compares it.

| kind | compared with | missing |
|---|---|---|
| number | Gaussian on the median distance of its own values; averaged with the same on ranks when the kurtosis is above 20 | an indicator |
| category | 1 for the same level, 0 else; levels rarer than 5 rows are one level | a level |
| date | average of a Gaussian on the day, a periodic kernel on the day of the year, the weekday as a level, and a periodic kernel on the time of day | an indicator |
| text | cosine of the sets of words, inverse-frequency weights, hashed with signs to 256 features | an empty set |

Features depend on the column alone, never on the target, so tests on them keep their level.
"""  # noqa: E501 - a table

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_choice
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.dependence.date_features import date_features
from trivium.dependence.number_features import NumberColumns, number_features
from trivium.dependence.text_features import text_features

__all__ = [
    "DependenceColumn",
    "FeatureBlock",
    "check_columns",
    "column_batches",
    "feature_blocks",
    "single_features",
]

KINDS = ("number", "category", "date", "text")
_BLOCK_BYTES = 16 * 2**20
_MAX_LEVELS = 255
RARE = 5


@dataclass(frozen=True)
class DependenceColumn:
    """A named column in one of four kinds.

    Args:
        name: Its name.
        kind: `"number"`, `"category"`, `"date"` or `"text"`.
        values: Floats with NaN for missing (number; date, as days since 1970-01-01), integer
            codes with -1 for missing (category), or a sequence of strings and `None` (text).

    Raises:
        ArgumentError: An unknown kind.
        ShapeError: Values with more than one axis.
        DataError: Values that the kind cannot hold.
    """

    name: str
    kind: str
    values: Any

    def __post_init__(self) -> None:
        caller = f"DependenceColumn {self.name!r}"
        check_choice(caller, "kind", self.kind, KINDS)
        if self.kind == "text":
            values: Any = list(self.values)
            for row, value in enumerate(values):
                if value is not None and not isinstance(value, str):
                    raise DataError(
                        f"{caller}: values must be strings or None; got {value!r}",
                        where=f"row {row}",
                    )
        else:
            values = np.asarray(self.values)
            self._check_array(caller, values)
            values = values.astype(np.int64 if self.kind == "category" else np.float64)
        object.__setattr__(self, "values", values)

    def _check_array(self, caller: str, values: NDArray[Any]) -> None:
        if values.ndim != 1:
            raise ShapeError(f"{caller}: values must have one axis; got shape {values.shape}")
        allowed = "iub" if self.kind == "category" else "iubf"
        if values.dtype.kind not in allowed:
            wanted = "integer codes" if self.kind == "category" else "numbers"
            raise DataError(
                f"{caller}: a kernel for kind {self.kind!r} needs {wanted}; "
                f"got values of type {values.dtype}"
            )
        if self.kind == "category" and values.size and int(values.min()) < -1:
            raise DataError(f"{caller}: codes must be at least -1; got {int(values.min())}")

    def __len__(self) -> int:
        return len(self.values)

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Which rows have no value."""
        if self.kind == "text":
            return np.array([value is None for value in self.values], dtype=bool)
        return self.values < 0 if self.kind == "category" else np.isnan(self.values)

    def take(self, rows: NDArray[np.int64]) -> "DependenceColumn":
        """Return the column with these rows only."""
        if self.kind == "text":
            return DependenceColumn(self.name, self.kind, [self.values[int(i)] for i in rows])
        return DependenceColumn(self.name, self.kind, self.values[rows])


def check_columns(caller: str, name: str, columns: Any) -> None:
    """Refuse what are no columns, such as a table or an array of numbers.

    Raises:
        ArgumentError: One is no `DependenceColumn`.
    """
    if isinstance(columns, Sequence) and not isinstance(columns, str | bytes):
        wrong = [each for each in columns if not isinstance(each, DependenceColumn)]
        if not wrong:
            return
        columns = wrong[0]
    raise ArgumentError(
        f"{caller}: {name} must be of DependenceColumn; got {type(columns).__name__}",
        remedy="Name each column and its kind: DependenceColumn('age', 'number', values).",
    )


@dataclass(frozen=True)
class FeatureBlock:
    """Features of several columns of one kind, padded with zeros to one width.

    Args:
        columns: The columns.
        kernels: The kernel of each, in words.
        residuals: Share of each kernel's trace that the features leave out.
        values: One `(r, n)` matrix for each column.
        numbers: Numeric columns as they were made ready; `None` for the other kinds.
    """

    columns: tuple[DependenceColumn, ...]
    kernels: tuple[str, ...]
    residuals: tuple[float, ...]
    values: Float[Tensor, "k r n"]
    numbers: NumberColumns | None = None


def feature_blocks(
    columns: Sequence[DependenceColumn], *, rare: int = RARE
) -> Iterator[tuple[list[int], FeatureBlock]]:
    """Give the features of columns of one length, in blocks that fit a memory budget.

    Args:
        columns: The columns.
        rare: Category levels with fewer rows are pooled.

    Returns:
        Places of the block's columns in `columns`, and the block. Numbers come in batches.

    Raises:
        ShapeError: Columns of different lengths.
    """
    for column in columns[1:]:
        if len(column) != len(columns[0]):
            raise ShapeError(
                f"feature_blocks: axis n is {len(columns[0])} in {columns[0].name!r} but "
                f"{len(column)} in {column.name!r}"
            )
    for places in column_batches(columns):
        batch = tuple(columns[place] for place in places)
        if batch[0].kind == "number":
            ready = NumberColumns(torch.from_numpy(np.stack([each.values for each in batch])))
            features, kernels, residuals = number_features(ready)
            left = tuple(residuals.tolist())
            yield places, FeatureBlock(batch, tuple(kernels), left, features, ready)
        else:
            features, kernel, residual = single_features(batch[0], rare)
            yield places, FeatureBlock(batch, (kernel,), (residual,), features[None])


def column_batches(columns: Sequence[DependenceColumn]) -> list[list[int]]:
    """Return the places of the columns whose features are made together.

    They depend on the kinds and on the number of rows alone: numbers in batches that fit a memory
    budget, all else one by one.
    """
    numbers = [place for place, column in enumerate(columns) if column.kind == "number"]
    size = max(1, _BLOCK_BYTES // (8 * 50 * max(1, len(columns[0])))) if columns else 1
    batches = [numbers[low : low + size] for low in range(0, len(numbers), size)]
    return batches + [[i] for i, column in enumerate(columns) if column.kind != "number"]


def single_features(
    column: DependenceColumn, rare: int = RARE
) -> tuple[Float[Tensor, "r n"], str, float]:
    """Return the features of a column that is no number, the kernel in words, and its residual."""
    if column.kind == "category":
        return _category_features(column.values, rare)
    if column.kind == "date":
        return date_features(column.values)
    return text_features(column.values)


def _category_features(codes: NDArray[np.int64], rare: int) -> tuple[Tensor, str, float]:
    """One row of ones and zeros for each level, the rare ones pooled unless all are rare."""
    inverse, pooled, _ = pooled_levels(codes, rare)
    group = np.cumsum(~pooled) - 1
    if pooled.any():
        group[pooled] = (~pooled).sum()
    place = group[inverse]
    features = (place == np.arange(group.max() + 1)[:, None]).astype(np.float64)
    words = f", {pooled.sum()} rare pooled" if pooled.any() else ""
    return torch.from_numpy(features), f"Delta({counted(len(features), 'level')}{words})", 0.0


def pooled_levels(
    codes: NDArray[np.int64], rare: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_], bool]:
    """Return the level of each row, which levels are pooled, and whether only rare ones are."""
    levels, inverse, counts = np.unique(codes, return_inverse=True, return_counts=True)
    pooled = counts < rare
    if pooled.all() or ((~pooled).sum() == 1 and len(levels) == 2):
        pooled[:] = False
    few = int((~pooled).sum()) <= _MAX_LEVELS
    if not few:
        order = np.argsort(-counts, kind="stable")
        pooled[order[_MAX_LEVELS:]] = True
    return inverse, pooled, few
