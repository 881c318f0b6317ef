"""Notes and states as plain JSON beside named tensors, and back; nothing in them can run."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from trivium._core.errors import ArgumentError
from trivium.pathkernel.loss_call import LossCall
from trivium.pathkernel.notes import Piece, StepNote
from trivium.pathkernel.packed import ROW, Packed

__all__ = ["as_plain", "from_plain"]

_CPU = torch.device("cpu")
_RECORDS: dict[str, Any] = {one.__name__: one for one in (LossCall, Piece, StepNote)}
_SHARED = (LossCall, Packed, tuple, dict)  # what many notes have in common is written once


class _Writer:
    def __init__(self, caller: str) -> None:
        self.caller = caller
        self.tensors: dict[str, Tensor] = {}
        self.shared: list[Any] = []
        self._names: dict[int, str] = {}
        self._places: dict[int, int] = {}
        self._alive: list[Any] = []

    def write(self, value: Any) -> Any:
        if value is None or isinstance(value, bool | str):
            return value
        if isinstance(value, int | float):
            return value if math.isfinite(value) else {"n": repr(value)}
        if isinstance(value, Tensor):
            named = {"tensor": self._tensor(value)}
            return named if value.device.type == "cpu" else {**named, "device": True}
        if isinstance(value, list):
            return [self.write(one) for one in value]
        if isinstance(value, _SHARED):
            return {"same": self._share(value)}
        return self._whole(value)

    def _whole(self, value: Any) -> Any:
        if value is ROW:
            return {"rows": True}
        if isinstance(value, torch.dtype | torch.device):
            return {type(value).__name__: str(value).removeprefix("torch.")}
        if isinstance(value, tuple):
            return {"tuple": [self.write(one) for one in value]}
        if isinstance(value, dict):
            return {"dict": [[self.write(k), self.write(v)] for k, v in value.items()]}
        if isinstance(value, Packed):
            return {"call": self.write(pytree.tree_unflatten(list(value.leaves), value.spec))}
        if type(value).__name__ in _RECORDS:
            return {"record": type(value).__name__, "fields": self.write(dict(vars(value)))}
        raise ArgumentError(
            f"{self.caller}: what a recording keeps must be numbers, strings, tensors, and tuples, "
            f"lists and dicts of them; got {type(value).__name__}",
            remedy="Call the model and the loss with such arguments, or record in memory.",
        )

    def _share(self, value: Any) -> int:
        if id(value) not in self._places:
            text = self._whole(value)
            self._places[id(value)] = len(self.shared)
            self.shared.append(text)
            self._alive.append(value)  # or another value could get its id
        return self._places[id(value)]

    def _tensor(self, value: Tensor) -> str:
        if id(value) not in self._names:
            self._names[id(value)] = name = str(len(self._names))
            self.tensors[name] = value
        return self._names[id(value)]


_DTYPES = {str(one): one for one in vars(torch).values() if isinstance(one, torch.dtype)}


class _Reader:
    def __init__(
        self, tensors: Mapping[str, Tensor], shared: list[Any], device: torch.device
    ) -> None:
        self.tensors, self.device = tensors, device
        self.shared: list[Any] = []
        for one in shared:
            self.shared.append(self._whole(one))

    def read(self, text: Any) -> Any:
        if isinstance(text, list):
            return [self.read(one) for one in text]
        if not isinstance(text, dict):
            return text
        if "tensor" in text:
            found = self.tensors[text["tensor"]]
            return found.to(self.device) if "device" in text else found
        if "same" in text:
            return self.shared[text["same"]]
        if "n" in text:
            return float(text["n"])
        return self._whole(text)

    def _whole(self, text: dict[str, Any]) -> Any:
        kind, inner = next(iter(text.items()))
        if kind == "rows":
            return ROW
        if kind in ("dtype", "device"):
            return torch.device(inner) if kind == "device" else _DTYPES[f"torch.{inner}"]
        if kind == "tuple":
            return tuple(self.read(one) for one in inner)
        if kind == "dict":
            return {self.read(k): self.read(v) for k, v in inner}
        if kind == "call":
            leaves, spec = pytree.tree_flatten(self.read(inner))
            return Packed(spec, tuple(leaves))
        found = _RECORDS[text["record"]].__new__(_RECORDS[text["record"]])
        vars(found).update(self.read(text["fields"]))
        return found


def as_plain(caller: str, value: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return a value as JSON, and the tensors that it names.

    Raises:
        ArgumentError: It holds something that is neither.
    """
    writer = _Writer(caller)
    text = writer.write(value)
    return {"value": text, "shared": writer.shared}, writer.tensors


def from_plain(
    text: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device = _CPU
) -> Any:
    """Return what `as_plain` was given; what was on an accelerator goes to `device`.

    What does not say what it should stumbles in any way: see `as_written`.
    """
    return _Reader(tensors, text["shared"], device).read(text["value"])
