"""What rows and removed rows must satisfy."""

import torch
from torch import Tensor

from trivium._core.blocks import Block
from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, NumericalError, ShapeError
from trivium.moment.merge import Sums

__all__ = ["check_factor", "check_removed", "check_sums", "check_weight", "check_width"]

_ROUNDING = {True: 1e-4, False: 1e-9}  # of the sums before, float32 and float64 products


def check_factor(caller: str, factor: float) -> float:
    """Return a factor of forgetting.

    Raises:
        ArgumentError: Not in (0, 1].
    """
    value = check_number(caller, "factor", factor, "positive")
    if value > 1:
        raise ArgumentError(f"{caller}: factor must be in (0, 1]; got {factor!r}")
    return value


def check_width(caller: str, block: Block, n_features: int) -> None:
    """Refuse a block with another number of columns.

    Raises:
        ShapeError: It has.
    """
    if block.x.shape[1] != n_features:
        raise ShapeError(
            f"{caller}: X must have {counted(n_features, 'column')}; got shape "
            f"{tuple(block.x.shape)}"
        )


def check_weight(caller: str, block: Block) -> Tensor | None:
    """Return the weights of a block on the device of its rows.

    Raises:
        DataError: One is negative or not finite.
    """
    weight = block.weight
    if weight is None:
        return None
    bad = (~torch.isfinite(weight) | (weight < 0)).nonzero()
    if len(bad):
        row = int(bad[0, 0])
        raise DataError(
            f"{caller}: sample_weight must be finite and non-negative; got {float(weight[row]):g}",
            where=f"row {block.start + row}",
        )
    return weight.to(block.x.device) if block.x.device.type != "mps" else weight.float().to("mps")


def check_sums(caller: str, block: Block, part: Sums) -> None:
    """Refuse a block whose sums are not finite, and say which entry did it.

    Raises:
        DataError: X holds NaN or infinity.
        NumericalError: X is finite and its products are not.
    """
    diagonal = part.second.diagonal(dim1=-2, dim2=-1)
    if bool(torch.isfinite(part.first.sum() + diagonal.sum())):
        return
    bad = (~torch.isfinite(block.x)).nonzero()
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise DataError(
            f"{caller}: X must be finite; got {float(block.x[row, column])} and "
            f"{len(bad) - 1} more in this block",
            where=f"row {block.start + row}, column {column}",
            remedy="Impute or drop these values first.",
            code="E-NOT-FINITE",
        )
    largest = float(block.x.abs().max())
    raise NumericalError(
        f"{caller}: squares of X overflow {block.x.dtype}; its largest entry is {largest:.3g}",
        remedy="Scale the columns, or use dtype='float64'.",
    )


def check_removed(caller: str, before: Sums, after: Sums, *, single: bool) -> None:
    """Refuse a removal that leaves less than nothing; clear what it emptied.

    Raises:
        DataError: A count, a weight or a diagonal of the scatter is negative beyond rounding.
    """
    if len(before.count) == 0:
        _refuse(caller, "count", after.count.min(), 0.0)
    share = _ROUNDING[single]
    held = before.second.diagonal(dim1=-2, dim2=-1)
    _refuse(caller, "count", after.count.min(), 0.0)
    _refuse(caller, "weight", after.weight.min(), 1e-9 * float(before.weight.max()))
    slack = share * held + _rounded(before)
    _refuse(caller, "scatter", (after.centered_diagonal() + slack).min(), 0.0)
    empty = after.count == 0
    _refuse(caller, "weight", -after.weight[empty].sum(), 1e-9 * float(before.weight.sum()))
    empty |= after.weight <= 1e-12 * before.weight  # of its own: a faded class is not an empty one
    after.weight[empty], after.first[empty] = 0.0, 0.0
    if after.classwise:
        after.second[empty] = 0.0
    elif bool(empty.all()):
        after.second.zero_()


def _rounded(before: Sums) -> Tensor:
    """What rounding may leave of a scatter of rows that are all alike: eps times Σ w x²."""
    square = before.weight[:, None] * before.shift.square()
    each = square if before.classwise else square.sum(0)
    return 64 * torch.finfo(before.second.dtype).eps * each


def _refuse(caller: str, what: str, least: Tensor, slack: float) -> None:
    if float(least) < -slack:
        raise DataError(
            f"{caller}: the rows must have been added before; a {what} would become "
            f"{float(least):.6g}",
            remedy="Take rows away with the labels and weights they were added with.",
            code="E-NEVER-ADDED",
        )
