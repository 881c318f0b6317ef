"""What the column selectors share: what they accept, and what they say when columns are few."""

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.feature_selection import SelectorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import DataError, TriviumWarning
from trivium.dependence.column_products import target_column
from trivium.dependence.columns import DependenceColumn
from trivium.dependence.pair import LEAST_ROWS

__all__ = ["Selector", "say_if_few"]


class Selector(SelectorMixin, BaseEstimator):
    """What the selectors share: NaN is a level of its own, infinity is refused, y is required."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.target_tags.required = True
        return tags

    def _get_support_mask(self) -> NDArray[np.bool_]:
        check_is_fitted(self, "support_")
        return self.support_

    def checked(self, X: Any, y: Any) -> tuple[Float[Tensor, "d n"], DependenceColumn]:
        """Columns as rows, and the target."""
        caller = f"{type(self).__name__}.fit"
        try:
            rows, labels = validate_data(
                self,
                X,
                y,
                dtype=np.float64,
                ensure_all_finite="allow-nan",
                ensure_min_samples=LEAST_ROWS,
            )
        except ValueError as error:
            raise DataError(f"{caller}: {error}") from error
        columns = torch.from_numpy(
            np.require(rows.T, requirements=["C", "W"])
        )  # frames are read-only
        return columns, target_column(caller, labels, self.target)


def say_if_few(selector: Any, name: str, wanted: int, usable: int) -> None:
    """Say it when fewer columns vary than are wanted."""
    if usable < wanted:
        warnings.warn(
            f"{type(selector).__name__}.fit: {name} is {wanted}, but only "
            f"{counted(usable, 'column')} vary; "
            "these are selected",
            TriviumWarning,
            stacklevel=3,
        )
