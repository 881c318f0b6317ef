"""Attributions in files that run no code."""

import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, TypeVar

import torch

from trivium._core.errors import ArgumentError, ModelError
from trivium._core.tensor_file import as_written, read_tensors, write_tensors

__all__ = ["load_attribution", "save_attribution", "saved_ids"]

_KIND = "trivium.pathkernel.attribution/1"
_TENSORS = ("contributions", "steps", "layer_totals", "before", "after")
_REMAINDER = "remainder/"
_Kind = TypeVar("_Kind")


def save_attribution(path: str | os.PathLike[str], result: Any) -> None:
    """Write an attribution.

    Raises:
        ArgumentError: An id is neither an integer nor a string.
        OutputError: It cannot be written.
        ResourceError: The disk is full.
    """
    tensors = {name: getattr(result, name) for name in _TENSORS}
    tensors |= {_REMAINDER + name: value for name, value in result.remainders.items()}
    if result.lengths is not None:
        tensors["lengths"] = result.lengths
    about = {
        "question": type(result).__name__,
        "of": result.of,
        "ids": saved_ids("save", result.ids),
        "layers": list(result.layers),
        "dtype": str(result.dtype).removeprefix("torch."),
    }
    write_tensors("save", path, _KIND, tensors, about)


def load_attribution(
    path: str | os.PathLike[str], wanted: type[_Kind], kinds: Mapping[str, Any]
) -> _Kind:
    """Read an attribution of the wanted kind.

    Raises:
        ModelError: Missing, damaged, or the answer to another question.
        NumericalError: What it holds is not complete.
    """
    tensors, about = read_tensors("load", path, _KIND)
    kind = kinds.get(str(about.get("question")))
    if kind is None or not issubclass(kind, wanted):
        raise ModelError(
            f"load: the file must hold a {wanted.__name__}; got {about.get('question')!r}",
            where=str(path),
        )
    remainders = {
        name.removeprefix(_REMAINDER): value
        for name, value in tensors.items()
        if name.startswith(_REMAINDER)
    }
    with as_written("load", path, f"a {wanted.__name__}"):
        made: _Kind = kind(
            ids=about["ids"],
            layers=about["layers"],
            dtype=getattr(torch, about["dtype"]),
            of=about["of"],
            remainders=remainders,
            lengths=tensors.get("lengths"),
            **{name: tensors[name] for name in _TENSORS},
        )
    return made


def saved_ids(caller: str, ids: Sequence[Hashable]) -> list[int | str]:
    """Return ids as JSON keeps them.

    Raises:
        ArgumentError: An id is neither an integer nor a string.
    """
    found: list[int | str] = []
    for one in ids:
        if isinstance(one, bool) or not isinstance(one, int | str):
            raise ArgumentError(
                f"{caller}: ids must be integers or strings to be kept in a file; got {one!r}"
            )
        found.append(one)
    return found
