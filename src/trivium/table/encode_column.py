"""What every way to encode a column keeps: learn from one, give a block for another."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from trivium.table.dates import Order
from trivium.table.notice import Notice
from trivium.table.table import Column

__all__ = ["ColumnEncoder"]

Arrays = dict[str, np.ndarray]
Facts = dict[str, Any]


class ColumnEncoder(ABC):
    """One column's way to become numbers. Members are final; they are made by their `fit`."""

    way: ClassVar[str]
    date_order: Order | None = None

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What each feature is, within the column."""

    @abstractmethod
    def how(self) -> str:
        """Say in words how the column is encoded."""

    @abstractmethod
    def block(self, column: Column) -> tuple[Float[np.ndarray, "n d"], tuple[Notice, ...]]:
        """Return the column's features before centering and scaling, and what was odd."""

    @abstractmethod
    def state(self) -> tuple[Arrays, Facts]:
        """Return arrays and JSON facts from which `from_state` makes the same encoder."""

    @classmethod
    @abstractmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Any:
        """Make the encoder that `state` described."""


def with_missing(block: np.ndarray, missing: np.ndarray, *, flag: bool) -> np.ndarray:
    """Set missing rows to zero and, with `flag`, add the column that marks them."""
    filled = np.where(missing[:, None], 0.0, block)
    return np.column_stack([filled, missing.astype(float)]) if flag else filled


def missing_flag(missing: np.ndarray) -> bool:
    """Whether missing cells deserve a feature: some are, and not all."""
    return bool(missing.any()) and not bool(missing.all())
