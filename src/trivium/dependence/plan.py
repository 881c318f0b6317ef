"""How a test makes its null: the options of `independence_test`, checked together."""

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from trivium._core.checks import check_choice, check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError, TriviumWarning
from trivium._core.random import RandomState, check_seed
from trivium.dependence.aggregate import check_aggregate

__all__ = ["Plan", "row_groups"]

_NULLS = ("shift", "permutation", "saddlepoint", "gamma")


@dataclass(frozen=True)
class Plan:
    """Options that are legal, each alone and together."""

    null: str
    count: int
    aggregate: bool | str
    seed: int
    min_lag: int | None

    @classmethod
    def checked(
        cls,
        caller: str,
        null: str,
        n_permutations: int,
        aggregate: bool | str,
        random_state: RandomState,
        min_lag: int | None,
    ) -> "Plan":
        """Check the options.

        Raises:
            ArgumentError: One breaks its rule.
        """
        check_choice(caller, "null", null, _NULLS)
        count = check_number(caller, "n_permutations", n_permutations, "positive", integer=True)
        if min_lag is not None:
            min_lag = int(check_number(caller, "min_lag", min_lag, "positive", integer=True))
            if null != "shift":
                raise ArgumentError(
                    f"{caller}: min_lag must come with null='shift'; got null={null!r}"
                )
        seed = check_seed(random_state)
        return cls(null, int(count), check_aggregate(aggregate), seed, min_lag)

    def within(self, groups: Any) -> "Plan":
        """Return the plan for rows in groups, which change places by permutations only.

        Raises:
            ArgumentError: Groups with a tail or a lag.
        """
        if groups is None:
            return self
        if self.min_lag is not None or self.null not in ("shift", "permutation"):
            raise ArgumentError(
                "independence_test: groups must come with null='permutation' and no min_lag; "
                f"got null={self.null!r}, min_lag={self.min_lag}"
            )
        return replace(self, null="permutation")


def row_groups(caller: str, groups: Any, n: int) -> NDArray[np.int64] | None:
    """Return the group of each row as a number, or `None` without groups.

    Raises:
        ShapeError: Not one label for each row.

    Warns:
        TriviumWarning: Groups of size one: their rows stay where they are.
    """
    if groups is None:
        return None
    labels = groups.detach().cpu().numpy() if isinstance(groups, torch.Tensor) else groups
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ShapeError(
            f"{caller}: groups must have one label for each of {counted(n, 'row')}; got shape "
            f"{labels.shape}"
        )
    codes, counts = np.unique(labels, return_inverse=True, return_counts=True)[1:]
    alone = int((counts == 1).sum())
    if 0 < alone < len(counts):
        warnings.warn(
            f"{caller}: groups: {alone} of {counted(len(counts), 'group')} have one row, which "
            "cannot change "
            "places",
            TriviumWarning,
            stacklevel=3,
        )
    return codes.astype(np.int64)
