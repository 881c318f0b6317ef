"""Rows into moments: features block by block, and a part taken away again."""

from typing import Any

import torch

from trivium._core.blocks import tile_rows
from trivium._core.errors import DataError, NumericalError
from trivium.dependence.feature_choice import features_of
from trivium.dependence.fourth import Fourth
from trivium.dependence.pair_blocks import pair_blocks
from trivium.kernel import FeatureMap

__all__ = ["add_rows", "take_away"]

_SLACK = {True: 1e-4, False: 1e-9}  # rounding of what is left, float32 and float64 products


def add_rows(
    caller: str, x: Any, y: Any, maps: tuple[FeatureMap, FeatureMap], start: Fourth
) -> Fourth:
    """Return the moments of `start` and of the rows of a source.

    Raises:
        ArgumentError: As for `pair_blocks`.
        ShapeError: As for `pair_blocks`.
        DataError: As for `pair_blocks`.
        NumericalError: Fourth powers of the features overflow.
    """
    columns = (maps[0].n_columns or 1, maps[1].n_columns or 1)
    width = sum(columns) + len(start.second)
    for left, right in pair_blocks(caller, x, y, columns, tile_rows(width, 8)):
        (phi, one), (psi, two) = features_of(maps[0], left), features_of(maps[1], right)
        part = Fourth.of(phi, psi, torch.tensor([one, two], dtype=torch.float64))
        if not bool(torch.isfinite(part.second).all()):
            largest = max(float(phi.abs().max()), float(psi.abs().max()))
            raise NumericalError(
                f"{caller}: fourth powers of the features must be finite in {phi.dtype}; the "
                f"largest feature is {largest:.3g}",
                remedy="Scale the columns, or give them in float64.",
            )
        start = start.plus(part)
    return start


def take_away(caller: str, whole: Fourth, part: Fourth) -> Fourth:
    """Return the moments of the rows of `whole` that are not in `part`.

    Raises:
        DataError: The part was never in it, as far as sums can tell.
    """
    left = whole.minus(part)
    slack = _SLACK[left.single] * whole.second.diagonal()
    # The scatter of equal rows is nothing but rounding, and may have either sign.
    rounded = 64 * torch.finfo(whole.second.dtype).eps * whole.count
    slack = slack + rounded * (whole.origin + whole.offset).square().max()
    least = float((left.second.diagonal() + slack).min())
    if left.count < 0 or least < 0:
        what, value = ("count", left.count) if left.count < 0 else ("scatter", least)
        raise DataError(
            f"{caller}: the rows must have been added before; a {what} would become {value:g}",
            code="E-NEVER-ADDED",
        )
    return left
