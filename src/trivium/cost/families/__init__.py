"""The families: from the fields of a configuration to the layers of a model.

A family is one file with `MODEL_TYPES`, a builder for each `model_type` that it knows; a new file
here is found by itself.
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module

from trivium.cost.fields import Fields
from trivium.cost.shape import TransformerShape

__all__ = ["FAMILIES"]

Builder = Callable[[Fields], TransformerShape]


def _gathered() -> dict[str, Builder]:
    found: dict[str, Builder] = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        for model_type, build in import_module(module.name).MODEL_TYPES.items():
            if found.setdefault(model_type, build) is not build:
                raise ImportError(f"{module.name}: model_type {model_type!r} has a builder already")
    return found


FAMILIES = _gathered()
