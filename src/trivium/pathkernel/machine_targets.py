"""Labels as columns of scores: the classes of a kernel machine, which may grow."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium._core.checks import check_finite
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, ShapeError

__all__ = ["Levels", "class_places", "is_label", "read_target", "winning_levels"]


def is_label(y: Any) -> bool:
    """Return whether y holds class labels: whole numbers, one a row."""
    if not isinstance(y, Tensor):
        return False
    return y.ndim == 1 and not y.is_floating_point() and not y.is_complex()


def read_target(caller: str, y: Tensor, n_rows: int, classes: list[int]) -> Tensor:
    """Return targets as `(n, c)` in float64.

    Args:
        caller: The public name that was called.
        y: Labels `(n,)`, or values `(n,)` or `(n, c)`.
        n_rows: Rows of x.
        classes: The label of each column, for labels.

    Raises:
        ArgumentError: Not a tensor.
        ShapeError: Another number of rows, or too many axes.
        DataError: A value that is not finite, or a label that is no class.
    """
    if not isinstance(y, Tensor):
        raise ArgumentError(f"{caller}: y must be a torch tensor; got {type(y).__name__}")
    if y.ndim not in (1, 2) or len(y) != n_rows:
        raise ShapeError(
            f"{caller}: y must have the axes (n) or (n, c) with the {counted(n_rows, 'row')} of x; "
            f"got shape {tuple(y.shape)}"
        )
    if is_label(y):
        places = class_places(caller, y, classes)
        return torch.nn.functional.one_hot(places, len(classes)).double()
    if not y.is_floating_point():
        raise ArgumentError(f"{caller}: y must be whole labels (n) or floats; got {y.dtype}")
    check_finite(caller, "y", y)
    return y.detach().double().cpu().reshape(n_rows, -1)


def class_places(caller: str, y: Tensor, classes: list[int]) -> Tensor:
    """Return the column of each label.

    Raises:
        DataError: A label that is no class.
    """
    place = {label: i for i, label in enumerate(classes)}
    listed = y.tolist()
    unknown = sorted(set(listed) - set(place))
    if unknown:
        raise DataError(
            f"{caller}: labels must be among the classes {classes[:20]}; got {unknown[0]}"
        )
    return torch.tensor([place[label] for label in listed], dtype=torch.long)


@dataclass(frozen=True)
class Levels:
    """Where a machine's scores usually are.

    Attributes:
        high: Mean score of the class that wins.
        low: Mean score of the classes that lose.
    """

    high: float
    low: float


def winning_levels(scores: Tensor) -> Levels:
    """Return the levels of winning and losing scores, `(n, c)`."""
    ordered = scores.sort(1).values
    return Levels(float(ordered[:, -1].mean()), float(ordered[:, :-1].mean()))
