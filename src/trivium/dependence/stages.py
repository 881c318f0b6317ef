"""How far a p-value is followed: a group for all, a larger one for the few near its floor."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from trivium.dependence.grid_null import Members
from trivium.dependence.permutation import Permutations, exceedances, permutation_p_value
from trivium.dependence.shift import Shifts

__all__ = ["SLACK", "Rank", "Stages", "members_of", "members_words"]

_FEW = 10
MOST_MEMBERS = 100_000
SLACK = 1e-4  # share of a statistic that is rounding: transforms in single precision


def members_of(n_rows: int, count: int, seed: int) -> Members:
    """Return every order of the rows if at most `count` + 1 exist, else at least as many shifts."""
    orders = Permutations(n_rows, count, seed=seed)
    if orders.enumerated:
        return np.concatenate(list(orders.tiles(orders.possible)))
    return Shifts(n_rows, count + 1, seed=seed, coarse=n_rows > count)


def members_words(members: Members, count: int) -> str:
    """Say what was ranked among: `count` members beside the rows as given."""
    return f"{count} shifts" if isinstance(members, Shifts) else f"all {count} orders"


@dataclass(frozen=True)
class Rank:
    """Where a statistic stands in a group.

    Args:
        count: Members beside the rows as given that reach it.
        members: Members beside the rows as given.
    """

    count: int
    members: int

    @classmethod
    def of(cls, scores: Float[Tensor, " t"]) -> "Rank":
        """Rank the first of the scores of a group among the others; a near tie counts."""
        return cls(int(exceedances(scores[1:], scores[0], SLACK)), len(scores) - 1)

    @property
    def p_value(self) -> float:
        """Its exact p-value."""
        return permutation_p_value(self.count, self.members)


@dataclass(frozen=True)
class Stages:
    """A group for every test, and a larger one for those that fewer than 10 of its members reach.

    Both sizes are fixed beforehand. The p-value is that of the first group where it is at least
    c = 11 / (1 + members), else that of the second. So what is rejected at a level below c is
    rejected by the second group alone, and what is rejected at a level of c or more by the first
    alone: each holds its level, so the rule does, however the two groups depend on each other.

    Args:
        first: The group of all tests.
        second: The larger group; `None` where the first is large enough.
    """

    first: Members
    second: Members | None

    @classmethod
    def plan(
        cls, n_rows: int, n_permutations: int, n_tests: int, fdr: float, seed: int
    ) -> "Stages":
        """Take every order of a handful of rows; else shifts, more of them for the second group.

        Args:
            n_rows: Rows.
            n_permutations: Members of the first group at the least, beside the rows as given.
            n_tests: Tests in all: a lone one must be able to pass the false-discovery rule, so
                the second group has `n_tests / fdr` members, up to 100,000.
            fdr: The level of that rule.
            seed: Seed.
        """
        first = members_of(n_rows, n_permutations, seed)
        most = min(math.ceil(n_tests / fdr), MOST_MEMBERS)
        enough = not isinstance(first, Shifts) or most <= first.total - 1
        return cls(first, None if enough else members_of(n_rows, most, seed))

    @property
    def least(self) -> int:
        """Members of the first group beside the rows as given."""
        return (self.first.total if isinstance(self.first, Shifts) else len(self.first)) - 1

    def follow(
        self, ranks: Sequence[Rank], again: Callable[[Members, list[int]], Sequence[Rank]]
    ) -> list[Rank]:
        """Replace the ranks near the floor by those in the second group.

        Args:
            ranks: In the first group.
            again: Ranks in the second group of the tests with these numbers.

        Returns:
            Ranks in the order of the tests.
        """
        found = list(ranks)
        few = [i for i, rank in enumerate(ranks) if rank.count < _FEW]
        if self.second is not None and few:
            for place, rank in zip(few, again(self.second, few), strict=True):
                found[place] = rank
        return found
