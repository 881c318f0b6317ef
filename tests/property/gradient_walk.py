"""Every public name of the library, and which of them can have to do with a gradient at all."""

import dataclasses
import inspect
import pkgutil
import re
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import nn
from torch.distributions import Distribution

import trivium

WORDS = re.compile(r"trivium(?:\.\w+)+")
NUMBERS = {"audit", "cli", "cost", "parallel", "report", "store", "table", "testing"}
OPENED = ("__call__", "__matmul__")


def rooms() -> list[str]:
    """Return the library itself, its rooms, and rooms inside of rooms."""
    inside = pkgutil.walk_packages(trivium.__path__, "trivium.")
    names = [info.name for info in inside if info.ispkg]
    return ["trivium", *(name for name in names if "._" not in name)]


@cache
def public() -> dict[str, Any]:
    """Return whatever can be called, by the shortest of its public names without `trivium.`."""
    found: dict[int, tuple[str, Any]] = {}
    for room in rooms():
        module = import_module(room)
        for name in sorted(getattr(module, "__all__", ())):
            value = getattr(module, name)
            here = getattr(value, "__module__", None) or ""
            if inspect.ismodule(value) or not callable(value) or not here.startswith("trivium"):
                continue
            full = f"{room}.{name}".removeprefix("trivium.")
            known = found.get(id(value), (full,))[0]
            # The room that it lives in, rather than one that hands it on.
            home = here.removeprefix("trivium.").partition(".")[0]
            best = min(known, full, key=lambda one: (not one.startswith(home + "."), len(one), one))
            found[id(value)] = (best, value)
    return dict(sorted(found.values()))


def _annotations(function: Any) -> list[str]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return ["?"]
    given = [p.annotation for p in signature.parameters.values() if p.name not in ("self", "cls")]
    return [str(one) for one in (*given, signature.return_annotation)]


def _methods(kind: type) -> list[Any]:
    found = []
    for parent in kind.__mro__:
        if not parent.__module__.startswith("trivium"):
            continue
        for name, value in vars(parent).items():
            if name.startswith("_") and name not in OPENED:
                continue
            inner = value.fget if isinstance(value, property) else value
            inner = inner.__func__ if isinstance(inner, classmethod | staticmethod) else inner
            if inspect.isfunction(inner):
                found.append(inner)
    return found


def _speaks_of_tensors(text: str) -> bool:
    """Whether an annotation names tensors that may have a graph, or a class of ours that does."""
    text = re.sub(r"jaxtyping\.(Int|Int64|Bool|UInt8)\[[^\]]*\]", "", text)
    if re.search(r"Tensor|torch\.nn|Distribution|\?|~", text):
        return True
    for word in WORDS.findall(text):
        module, _, name = word.rpartition(".")
        kind = getattr(import_module(module), name, None) if module != "trivium" else None
        if inspect.isclass(kind) and _holds_tensors(kind):
            return True
    return False


@cache
def _holds_tensors(kind: type) -> bool:
    if issubclass(kind, nn.Module | Distribution | torch.Tensor):
        return True
    texts = [text for method in _methods(kind) for text in _annotations(method)]
    if dataclasses.is_dataclass(kind):
        texts += [str(one.type) for one in dataclasses.fields(kind)]
    return any("Tensor" in text for text in texts)


def apart(name: str, value: Any) -> bool:
    """Whether nothing with a graph can come out of a call: no tensor is spoken of where one could.

    A class that only holds what it is given is apart, whatever it is given. What returns anything
    at all is not, unless it is of a room of files, tables and numbers.
    """
    if not inspect.isclass(value):
        given = _annotations(value)[-1]
        anything = given in ("typing.Any", str(inspect.Signature.empty))
        return not _speaks_of_tensors(given) and (not anything or name.partition(".")[0] in NUMBERS)
    if issubclass(value, nn.Module | Distribution | torch.Tensor):
        return False
    answers = [_annotations(method)[-1] for method in _methods(value)]
    return issubclass(value, BaseException) or not any(map(_speaks_of_tensors, answers))
