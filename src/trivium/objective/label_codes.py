"""Labels of any kind (numbers, words, truth values) as the numbers 0 to c - 1."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, ShapeError

__all__ = ["class_values", "distinct_values", "label_codes"]


def class_values(caller: str, classes: Any, *seen: Any) -> np.ndarray:
    """Return the class of each code.

    Args:
        caller: The public name that was called.
        classes: A number of classes (0 to c - 1), their values in the order of the codes, or
            `None` for the sorted distinct values of `seen`.
        seen: Arrays of labels.

    Raises:
        ArgumentError: Words and numbers are mixed, a class is named twice, or there is none.
        ShapeError: Rows of labels differ in length.
    """
    if classes is None:
        arrays = [_array(caller, "labels", labels).ravel() for labels in seen]
        arrays = [labels for labels in arrays if len(labels)]
        if len({labels.dtype.kind == "U" for labels in arrays}) != 1:
            raise ArgumentError(f"{caller}: labels must be all words or all numbers, at least one")
        return np.unique(np.concatenate(arrays))
    if isinstance(classes, int):
        return np.arange(check_number(caller, "classes", classes, "positive", integer=True))
    return distinct_values(caller, "classes", classes)


def distinct_values(caller: str, name: str, values: Any) -> np.ndarray:
    """Return label values that were listed by hand.

    Args:
        caller: The public name that was called.
        name: The argument's name.
        values: What was passed.

    Raises:
        ArgumentError: It is no list of distinct words or numbers, at least one.
    """
    found = _array(caller, name, values)
    if found.ndim != 1 or not len(found) or len(np.unique(found)) != len(found):
        raise ArgumentError(
            f"{caller}: {name} must be a list of distinct values, at least one; got {values!r}"
        )
    return found


def label_codes(caller: str, name: str, labels: Any, classes: np.ndarray) -> Int[Tensor, "..."]:
    """Return the place of each label among the classes, on the device of the labels.

    Raises:
        ArgumentError: A label is none of the classes, or missing.
        ShapeError: Rows of labels differ in length.
    """
    device = None
    if isinstance(labels, Tensor):
        device = labels.device
        # Codes already: they stay where they are, also inside a functional transform.
        if not labels.dtype.is_floating_point and np.array_equal(classes, np.arange(len(classes))):
            codes = labels.long()
            if not bool(((codes < 0) | (codes >= len(classes))).any()):
                return codes
    values = _array(caller, name, labels)
    order = np.argsort(classes, kind="stable")
    if (values.dtype.kind == "U") == (classes.dtype.kind == "U"):
        ranked = classes[order]
        place = np.searchsorted(ranked, values).clip(max=len(classes) - 1)
        unknown = values[ranked[place] != values]
    else:
        place, unknown = np.zeros(values.shape, dtype=int), values.ravel()
    if len(unknown):
        listed = ", ".join(repr(value) for value in classes[:8].tolist())
        raise ArgumentError(
            f"{caller}: {name} must be among the classes {listed}"
            f"{', ...' if len(classes) > 8 else ''}; got {unknown[:1].tolist()[0]!r}",
            remedy="Name the classes with classes=, in the order of the columns.",
        )
    return torch.as_tensor(order[place], device=device)


def _array(caller: str, name: str, labels: Any) -> np.ndarray:
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    try:
        found = np.asarray(labels)
    except ValueError as error:
        raise ShapeError(f"{caller}: {name} must have rows of one length") from error
    if found.dtype.kind == "O" and all(isinstance(value, str) for value in found.ravel()):
        found = found.astype(str)
    # numpy writes the 1 of ["a", 1] as a word, and it would equal the word.
    listed = found.dtype.kind == "U" and not isinstance(labels, np.ndarray)
    if listed and not all(isinstance(v, str) for v in np.asarray(labels, dtype=object).ravel()):
        raise ArgumentError(f"{caller}: {name} must be all words or all numbers; got both")
    if found.dtype.kind not in "biufU" or (found.dtype.kind == "f" and np.isnan(found).any()):
        raise ArgumentError(f"{caller}: {name} must be numbers or words, none missing")
    return found
