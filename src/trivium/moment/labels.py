"""Class labels: one sorted array without repeats, of integers, floats, booleans or strings."""

import json
import math
from typing import Any

import numpy as np
from torch import Tensor

from trivium._core.coded import CodedLabels
from trivium._core.errors import ArgumentError, DataError, ModelError, ShapeError

__all__ = [
    "as_labels",
    "check_classes",
    "encode",
    "labels_from_json",
    "labels_to_json",
    "union",
]

_KINDS = {"i": "int", "u": "int", "f": "float", "b": "bool", "U": "str"}
_MISSING = ("NAType", "NaTType")  # pandas
_DTYPES = {"int": np.int64, "float": np.float64, "bool": np.bool_, "str": np.str_}


def as_labels(caller: str, y: Any) -> np.ndarray:
    """Return labels as a flat array of int64, float64, bool or str.

    Raises:
        ShapeError: Not one axis.
        DataError: A missing label, or labels of several kinds at once.
    """
    values = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise ShapeError(f"{caller}: y must have the axes (n); got shape {values.shape}")
    if values.dtype.kind in "OT":
        values = _from_objects(caller, values)
    kind = _KINDS.get(values.dtype.kind)
    if kind is None:
        raise DataError(
            f"{caller}: y must be integers, floats, booleans or strings; got {values.dtype}"
        )
    if kind == "float" and not np.isfinite(values).all():
        place = int(np.flatnonzero(~np.isfinite(values))[0])
        raise DataError(
            f"{caller}: y must not be missing; got {values[place]}",
            where=f"row {place} of the block",
        )
    return values if kind == "str" else values.astype(_DTYPES[kind], copy=False)


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


def _from_objects(caller: str, values: np.ndarray) -> np.ndarray:
    for row, value in enumerate(values):
        if value is None or type(value).__name__ in _MISSING or _is_nan(value):
            raise DataError(
                f"{caller}: y must not be missing; got {value}", where=f"row {row} of the block"
            )
    if all(isinstance(value, str) for value in values):
        return values.astype(np.str_)
    plain = np.array(values.tolist()) if not any(isinstance(v, str) for v in values) else values
    if plain.dtype.kind == "O" or plain.ndim != 1:
        kinds = ", ".join(sorted({type(value).__name__ for value in values}))
        raise DataError(f"{caller}: y must hold one kind of label; got {kinds}")
    return plain


def encode(
    caller: str, y: np.ndarray | CodedLabels, classes: np.ndarray, *, fixed: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Return `(codes, classes)`: positions of the labels, and the classes, grown where needed.

    Raises:
        DataError: A label that is not in fixed `classes`, or of another kind.
    """
    if isinstance(y, CodedLabels):
        found, levels, inverse = y.present(), y.levels, y.codes
    else:
        found, inverse = np.unique(y, return_inverse=True)
        levels = found
    known = union(caller, classes, found)
    if len(known) > len(classes) and fixed:
        unknown = np.setdiff1d(known, classes)[:5].tolist()
        raise DataError(
            f"{caller}: y must hold only the classes {_some(classes)}; got {unknown}",
            remedy="Name every class at the start, or leave classes out.",
        )
    return np.searchsorted(known, levels)[inverse.reshape(-1)], known


def union(caller: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the sorted union of two label arrays.

    Raises:
        DataError: One holds strings and the other numbers.
    """
    if len(a) == 0 or len(b) == 0:
        return a if len(b) == 0 else b
    if (a.dtype.kind == "U") != (b.dtype.kind == "U"):
        raise DataError(f"{caller}: labels must be of one kind; got {_some(a)} and {_some(b)}")
    return a if len(a) == len(b) and bool((a == b).all()) else np.union1d(a, b)


def _some(labels: np.ndarray) -> str:
    text = ", ".join(repr(label) for label in labels[:5].tolist())
    return f"[{text}{', ...' if len(labels) > 5 else ''}]"


def labels_to_json(classes: np.ndarray | None) -> str:
    """Write labels, or their absence, as JSON."""
    if classes is None:
        return "null"
    return json.dumps({"kind": _KINDS[classes.dtype.kind], "labels": classes.tolist()})


def labels_from_json(caller: str, text: str) -> np.ndarray | None:
    """Read what `labels_to_json` wrote.

    Raises:
        ModelError: It is something else.
    """
    try:
        held = json.loads(text)
        if held is None:
            return None
        labels: np.ndarray = np.array(held["labels"], dtype=_DTYPES[held["kind"]])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{caller}: the labels are damaged; got {text[:60]!r}") from error
    if labels.ndim != 1 or len(np.unique(labels)) != len(labels):
        raise ModelError(f"{caller}: the labels must be distinct; got {text[:60]!r}")
    return labels


def check_classes(caller: str, classes: Any) -> np.ndarray:
    """Return fixed classes, sorted.

    Raises:
        ArgumentError: None at all, or one twice.
    """
    labels = as_labels(caller, list(classes) if not isinstance(classes, np.ndarray) else classes)
    distinct = np.unique(labels)
    if len(distinct) == 0 or len(distinct) != len(labels):
        raise ArgumentError(f"{caller}: classes must be distinct and not empty; got {classes!r}")
    return distinct
