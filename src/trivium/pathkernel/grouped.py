"""Contributions by group of training rows: signed totals beside absolute ones."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError

__all__ = ["Grouped", "grouped"]

Groups = Sequence[Any] | Tensor | Mapping[Hashable, Any] | Callable[[Hashable], Any]


@dataclass(frozen=True)
class Grouped:
    """Totals of each group, in the order of the groups' names.

    Attributes:
        names: The groups.
        totals: Signed, `(q, g)`.
        absolute: Sum of the absolute contributions, `(q, g)`.
        n_rows: Training rows in each.
    """

    names: tuple[Any, ...]
    totals: Tensor
    absolute: Tensor
    n_rows: tuple[int, ...]

    def totals_of(self, row: int) -> list[tuple[str, float]]:
        """Return each group's name and signed total for one of the rows asked about."""
        return [
            (f"{name} ({counted(n, 'row')})", float(value))
            for name, n, value in zip(self.names, self.n_rows, self.totals[row], strict=True)
        ]

    def table(self, row: int = 0) -> str:
        """Return the totals for one of the rows asked about, as text."""
        width = max(len(str(name)) for name in self.names)
        lines = [f"{'group':<{max(5, width)}}  {'rows':>6}  {'total':>10}  {'absolute':>10}"]
        for name, n, total, absolute in zip(
            self.names, self.n_rows, self.totals[row], self.absolute[row], strict=True
        ):
            lines.append(
                f"{name!s:<{max(5, width)}}  {n:>6}  {float(total):>+10.4g}  "
                f"{float(absolute):>10.4g}"
            )
        return "\n".join(lines)

    def __str__(self) -> str:
        return "\n\n".join(
            f"row {row}\n{self.table(row)}" for row in range(min(len(self.totals), 3))
        )


def grouped(caller: str, ids: Sequence[Hashable], contributions: Tensor, groups: Groups) -> Grouped:
    """Add up contributions `(q, n)` by group.

    Args:
        caller: The public name that was called.
        ids: The n rows' ids.
        contributions: `(q, n)`.
        groups: A label for each row, or a mapping or function from an id to a label.

    Raises:
        ShapeError: Another number of labels than rows.
        ArgumentError: A row without a label.
    """
    labels = _labels(caller, ids, groups)
    try:
        names = sorted(set(labels))
    except TypeError:  # labels of several kinds
        names = sorted(set(labels), key=str)
    place = {name: number for number, name in enumerate(names)}
    index = torch.tensor([place[one] for one in labels], dtype=torch.long)
    empty = contributions.new_zeros((len(contributions), len(names)))
    return Grouped(
        tuple(names),
        empty.index_add(1, index, contributions),
        empty.index_add(1, index, contributions.abs()),
        tuple(index.bincount(minlength=len(names)).tolist()),
    )


def _labels(caller: str, ids: Sequence[Hashable], groups: Groups) -> list[Any]:
    if isinstance(groups, Mapping):
        missing = [one for one in ids if one not in groups]
        if missing:
            raise ArgumentError(
                f"{caller}: groups must have a label for every training row; got none for "
                f"{missing[0]!r} and {len(missing) - 1} more"
            )
        return [groups[one] for one in ids]
    if callable(groups):
        return [groups(one) for one in ids]
    plain = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    if len(plain) != len(ids):
        raise ShapeError(
            f"{caller}: groups must have one label for each of the "
            f"{counted(len(ids), 'training row')}, in "
            f"the order of ids; got {len(plain)}",
            remedy="A mapping from id to label does not depend on the order.",
        )
    return plain
