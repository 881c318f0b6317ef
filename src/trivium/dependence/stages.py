"""How far a p-value is followed: a group for all, a larger one for the few near its floor."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float
from torch import Tensor

from trivium.dependence.grid_null import Members
from trivium.dependence.permutation import Permutations, exceedances, permutation_p_value
from trivium.dependence.shift import Shifts

__all__ = ["SLACK", "Further", "Rank", "Stages", "members_of", "members_words"]

_FEW = 10
MOST_MEMBERS = 100_000
MIDDLE = 10_000
_MOST_FAR, _FEWEST = 2_000_000, 1
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
class Further:
    """A larger group, for tests that few members of the one before reach.

    Args:
        members: The group.
        few: It is asked where fewer members than this reach the rows as given.
        only: Names of the tests that it may be asked about; `None` for all. Of the others the
            p-value stays at (1 + `few`) / (1 + members) of the group before.
    """

    members: Members
    few: int = _FEW
    only: frozenset[str] | None = None


@dataclass(frozen=True)
class Stages:
    """A group for every test, and a larger one for those that fewer than 10 of its members reach.

    Both sizes are fixed beforehand. The p-value is that of the first group where it is at least
    c = 11 / (1 + members), else that of the second. So what is rejected at a level below c is
    rejected by the second group alone, and what is rejected at a level of c or more by the first
    alone: each holds its level, so the rule does, however the two groups depend on each other.
    The same holds for a third and a fourth, and for tests that are not followed and keep c.

    Args:
        first: The group of all tests.
        further: The larger groups; none where the first is large enough.
    """

    first: Members
    further: tuple[Further, ...] = ()

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
        return cls(first, () if enough else (Further(members_of(n_rows, most, seed)),))

    @classmethod
    def ladder(
        cls,
        n_rows: int,
        n_permutations: int,
        n_tests: int,
        fdr: float,
        seed: int,
        far: frozenset[str],
    ) -> "Stages":
        """Plan so many tests that a lone one can pass only beyond 100,000 members.

        Groups of 10,000 and 100,000 members lie between, and the last, of up to 2,000,000, is
        asked about what no member of the one before reaches.

        Args:
            n_rows: Rows.
            n_permutations: Members of the first group at the least, beside the rows as given.
            n_tests: Tests in all.
            fdr: The level of the false-discovery rule.
            seed: Seed.
            far: Names of the tests that may be followed into the last group.
        """
        plain = cls.plan(n_rows, n_permutations, n_tests, fdr, seed)
        most = min(math.ceil(n_tests / fdr), _MOST_FAR)
        if not plain.further or most <= MOST_MEMBERS:
            return plain
        middle = Further(members_of(n_rows, MIDDLE, seed))
        last = Further(members_of(n_rows, most, seed), _FEWEST, far)
        return cls(plain.first, (middle, *plain.further, last))

    @property
    def least(self) -> int:
        """Members of the first group beside the rows as given."""
        return (self.first.total if isinstance(self.first, Shifts) else len(self.first)) - 1

    def follow(
        self,
        ranks: Sequence[Rank],
        again: Callable[[Members, list[int]], Sequence[Rank]],
        names: Sequence[str] = (),
    ) -> list[Rank]:
        """Replace the ranks near the floor by those in a larger group, again and again.

        Args:
            ranks: In the first group.
            again: Ranks in another group of the tests with these numbers.
            names: Of the tests, where not all may be followed.

        Returns:
            Ranks in the order of the tests.
        """
        found = list(ranks)
        near = list(range(len(found)))
        for group in self.further:
            near = [i for i in near if found[i].count < group.few]
            if group.only is not None:
                for i in near:
                    found[i] = replace(found[i], count=max(found[i].count, group.few))
                near = [i for i in near if names[i] in group.only]
            for place, rank in zip(near, again(group.members, near) if near else (), strict=True):
                found[place] = rank
        return found
