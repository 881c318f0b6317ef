r"""Rows that came later: kernel terms for them, solved jointly with terms of anchors.

New terms alone pull every other row along: the anchors' terms push back. Half of the anchors are
drawn with classes balanced; the other half lies where the first solution does the most harm.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ShapeError
from trivium._core.linalg import cholesky_psd
from trivium._core.random import torch_generator
from trivium.pathkernel.machine_gram import gram_values, times
from trivium.pathkernel.machine_targets import winning_levels
from trivium.pathkernel.row_sets import count_rows, join_rows, take_rows

if TYPE_CHECKING:
    from trivium.pathkernel.kernel_machine import KernelMachine

__all__ = ["AddedRows", "added_rows"]


@dataclass(frozen=True)
class AddedRows:
    """Terms that were added.

    Attributes:
        anchors: Places of the anchors among the old rows.
        on_anchors: Their further coefficients, `(anchors, c)`.
        on_new: The new rows' coefficients, `(new, c)`.
    """

    anchors: Tensor
    on_anchors: Tensor
    on_new: Tensor

    def onto(self, coefficients: Tensor) -> Tensor:
        """Return the coefficients of all rows, old and new."""
        old = coefficients.index_add(0, self.anchors, self.on_anchors)
        return torch.cat([old, self.on_new])


class _Addition:
    """What is wanted of the old and the new rows.

    Args:
        machine: With an output for each class, the new ones too.
        rows: Old and new ones.
        target: Targets of the new ones, `(new, c)`.
        emphasis: For classes that no old row has.
    """

    def __init__(
        self, machine: "KernelMachine", rows: tuple[Any, Any], target: Tensor, emphasis: float
    ) -> None:
        self.machine, (self.known, self.x), self.target = machine, rows, target
        self.old, self.now = machine.scores(self.known), machine.scores(self.x)
        self.keep, self.want = self.old, target
        if machine.classes_:
            levels = winning_levels(self.old)
            unseen = machine.target_.sum(0) == 0
            above = torch.where(unseen, emphasis, 1.0) * (levels.high - levels.low)
            self.want = levels.low + target * above
            self.keep = torch.where(unseen, levels.low, self.old)

    def solve(self, anchors: Tensor) -> AddedRows:
        """Return the terms that move anchors and new rows to where they are wanted."""
        rows = join_rows("add_rows", take_rows(self.known, anchors), self.x)
        gram = gram_values(self.machine.kernel, rows)
        gap = torch.cat([(self.keep - self.old)[anchors], self.want - self.now])
        eye = torch.eye(len(gram), dtype=gram.dtype)
        ridge = self.machine.ridge * float(gram.diagonal().mean())
        found = torch.cholesky_solve(gap, cholesky_psd("add_rows", gram + ridge * eye).lower)
        return AddedRows(anchors, found[: len(anchors)], found[len(anchors) :])

    def harmed(self, first: AddedRows, count: int) -> Tensor:
        """Return the old rows that a first solution harms most."""
        rows = join_rows("add_rows", take_rows(self.known, first.anchors), self.x)
        terms = torch.cat([first.on_anchors, first.on_new])
        change = times(self.machine.kernel, self.known, rows, terms, self.machine.budget)
        harm = change.norm(dim=1)
        if self.machine.classes_:
            after, own = self.old + change, self.machine.target_.bool()
            rivals = (self.target.sum(0) > 0).expand_as(own) & ~own
            rival = torch.where(rivals, after, -torch.inf).max(1).values
            harm = rival - torch.where(own, after, -torch.inf).max(1).values
        harm[first.anchors] = -torch.inf
        return harm.topk(count).indices


def added_rows(
    machine: "KernelMachine",
    old: Any,
    x: Any,
    target: Tensor,
    anchors: int,
    *,
    emphasis: float,
) -> AddedRows:
    """Return further terms of a machine, for new rows and for anchors among the old ones.

    Args:
        machine: With an output for each class, the new ones too.
        old: Its rows.
        x: New rows.
        target: Their targets, `(new, c)`.
        anchors: How many old rows get a term; all of them where there are fewer.
        emphasis: How far up new rows of an unseen class are asked to be.

    Raises:
        ArgumentError: `anchors` is negative or no whole number; `emphasis` is not positive.
        ShapeError: Targets of another number of columns.
        NumericalError: The kernel is not positive semi-definite.

    Cost:
        Gram blocks of (anchors + new) rows against themselves and, once, against all old rows;
        O((anchors + new)^3).
    """
    if target.shape[1] != machine.target_.shape[1]:
        raise ShapeError(
            f"add_rows: y must have {counted(machine.target_.shape[1], 'column')}, as before; "
            f"got {target.shape[1]}"
        )
    wanted = int(check_number("add_rows", "anchors", anchors, "non-negative", integer=True))
    check_number("add_rows", "emphasis", emphasis, "positive")
    wanted = min(wanted, count_rows("add_rows", old))
    addition = _Addition(machine, (old, x), target, float(emphasis))
    drawn = _balanced(machine, wanted - wanted // 2)
    first = addition.solve(drawn)
    if wanted == len(drawn):
        return first
    return addition.solve(torch.cat([drawn, addition.harmed(first, wanted - len(drawn))]))


def _balanced(machine: "KernelMachine", count: int) -> Tensor:
    """Draw old rows, the classes in turn."""
    generator = torch_generator(machine.random_state, "KernelMachine", "anchors")
    order = torch.randperm(len(machine.target_), generator=generator)
    if machine.classes_:
        seen = machine.target_[order]
        turn = (seen.cumsum(0) * seen).sum(1)  # how many of its class came before it
        order = order[turn.argsort(stable=True)]
    return order[:count]
