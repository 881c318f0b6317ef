"""A fitted bottleneck in a file: its tensors and options, and the layers made from them again."""

import copy
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trivium._core.counted import counted
from trivium._core.errors import ModelError
from trivium._core.tensor_file import as_written, read_tensors, write_tensors
from trivium.dependence.bottleneck_layers import Centered, Standard, dense
from trivium.dependence.bottleneck_readout import Readout
from trivium.moment.labels import labels_from_json, labels_to_json

__all__ = ["Saved", "read_saved", "write_saved"]

_FORMAT = "trivium.hsic_bottleneck/1"
_LOAD = "HSICBottleneck.load"


@dataclass(frozen=True)
class Saved:
    """What a file holds.

    Args:
        options: Of the constructor.
        given: What the model was built from: widths, and modules untrained.
        layers: The trained layers.
        readout: The readout.
        classes: Sorted labels.
    """

    options: dict[str, Any]
    given: list[int | nn.Module]
    layers: list[nn.Module]
    readout: Readout
    classes: NDArray[Any]


def write_saved(path: str | os.PathLike[str], held: Saved) -> None:
    """Write a fitted bottleneck, whole or not at all.

    Raises:
        OutputError: It cannot be written; what was there before is intact.
        ResourceError: The disk is full; what was there before is intact.
    """
    tensors = {"readout.weight": held.readout.weight, "readout.bias": held.readout.bias}
    for place, layer in enumerate(held.layers):
        # Cloned, since modules may share weights and tensors in a file may not.
        tensors |= {f"layer.{place}.{k}": v.clone() for k, v in layer.state_dict().items()}
    about = {
        "options": held.options,
        "widths": [each if isinstance(each, int) else None for each in held.given],
        "ridge": held.readout.ridge,
        "sharpness": held.readout.sharpness,
        "classes": labels_to_json(held.classes),
    }
    write_tensors("HSICBottleneck.save", path, _FORMAT, tensors, about)


def read_saved(path: str | os.PathLike[str], given: Sequence[int | nn.Module] | None) -> Saved:
    """Read what `write_saved` wrote, into copies of the modules in `given`.

    Raises:
        ModelError: Missing, damaged, or modules that are missing or do not fit.
    """
    tensors, about = read_tensors(_LOAD, path, _FORMAT)
    with as_written(_LOAD, path, "a bottleneck"):
        widths, options = about["widths"], about["options"]
        readout = Readout(
            tensors["readout.weight"], tensors["readout.bias"], about["ridge"], about["sharpness"]
        )
        classes = labels_from_json(_LOAD, about["classes"])
        held = _held(widths, given)
        layers = [_restored(tensors, place, each) for place, each in enumerate(held)]
    if classes is None or len(classes) != len(readout.bias):
        raise ModelError(f"{_LOAD}: classes and readout must fit together", where=str(path))
    return Saved(options, held, layers, readout, classes)


def _held(
    widths: list[int | None], given: Sequence[int | nn.Module] | None
) -> list[int | nn.Module]:
    """Return widths as they were saved, and modules as they are given."""
    if given is not None and len(given) != len(widths):
        raise ModelError(
            f"{_LOAD}: layers must be {counted(len(widths), 'module')}; got {len(given)}"
        )
    found: list[int | nn.Module] = []
    for place, width in enumerate(widths):
        module = width if width is not None or given is None else given[place]
        if module is None or (width is None and not isinstance(module, nn.Module)):
            raise ModelError(f"{_LOAD}: layer {place} was a module; pass layers of the same shapes")
        found.append(module)
    return found


def _restored(tensors: dict[str, Tensor], place: int, given: int | nn.Module) -> nn.Module:
    start = f"layer.{place}."
    state = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
    if isinstance(given, nn.Module):
        module = copy.deepcopy(given)
    else:
        d = state["1.weight"].shape[1]
        module = dense(Standard() if place else Centered(d), d, given, torch.Generator())
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{_LOAD}: layer {place} must fit the file; {error}") from error
    return module.eval()
