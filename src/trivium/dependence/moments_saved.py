"""HSIC moments in a file: the sums, and the feature maps without which they mean nothing."""

import os
from typing import Any

import torch
from torch import Tensor

from trivium._core.errors import ArgumentError, ModelError, TriviumError
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.dependence.feature_choice import check_fitted
from trivium.dependence.fourth import Fourth
from trivium.dependence.map_saved import map_from_parts, map_parts
from trivium.kernel import FeatureMap

__all__ = ["read_moments", "write_moments"]

_KIND = "trivium.hsic_moments/1"
_SUMS = ("origin", "offset", "second", "traces")
_CALLER = "HSICMoments.load"


def write_moments(
    path: str | os.PathLike[str], held: Fourth, maps: tuple[FeatureMap, FeatureMap]
) -> None:
    """Write sums and maps.

    Raises:
        OutputError: It cannot be written.
        ResourceError: The disk is full.
        ArgumentError: A map or a kernel is not one of `trivium.kernel`.
    """
    tensors = {name: getattr(held, name) for name in _SUMS}
    about: dict[str, Any] = {"count": held.count, "single": held.single}
    for name, each in zip("xy", maps, strict=True):
        about[name], more = map_parts(each)
        tensors |= {f"{name}.{field}": value for field, value in more.items()}
        try:
            map_from_parts("HSICMoments.save", about[name], more)
        except ModelError as error:
            raise ArgumentError(
                f"HSICMoments.save: features_{name} must be a map of trivium.kernel with a kernel "
                f"of trivium.kernel; got {each!r}"
            ) from error
    write_tensors("HSICMoments.save", path, _KIND, tensors, about)


def read_moments(
    path: str | os.PathLike[str],
) -> tuple[Fourth, tuple[FeatureMap, FeatureMap]]:
    """Read what `write_moments` wrote.

    Raises:
        ModelError: Missing, damaged, or something else.
    """
    tensors, about = read_tensors(_CALLER, path, _KIND)
    count, single = about.get("count"), about.get("single")
    if not isinstance(count, int) or count < 0 or not isinstance(single, bool):
        raise ModelError(f"{_CALLER}: count must be a whole number of rows; got {count!r}")
    first, second = (_map(name, about.get(name), tensors) for name in "xy")
    wanted = Fourth.empty(first.n_features, second.n_features)
    for name in _SUMS:
        found, rule = tensors.get(name), getattr(wanted, name)
        if found is None or found.shape != rule.shape or found.dtype != rule.dtype:
            got = None if found is None else (tuple(found.shape), str(found.dtype))
            raise ModelError(f"{_CALLER}: {name} must be {tuple(rule.shape)} float64; got {got}")
        if not bool(torch.isfinite(found).all()):
            raise ModelError(f"{_CALLER}: {name} must be finite")
    sums = {name: tensors[name] for name in _SUMS}
    return Fourth(count=count, width=wanted.width, single=single, **sums), (first, second)


def _map(name: str, about: Any, tensors: dict[str, Tensor]) -> FeatureMap:
    """Return the feature map, tried on two rows."""
    if not isinstance(about, dict):
        raise ModelError(f"{_CALLER}: features_{name} must be in the file; got {about!r}")
    own = {
        key.removeprefix(f"{name}."): value
        for key, value in tensors.items()
        if key.startswith(f"{name}.")
    }
    found = map_from_parts(_CALLER, about, own)
    try:
        check_fitted(_CALLER, f"features_{name}", found)
        shape = found.transform(torch.zeros(2, found.n_columns or 1, dtype=torch.float64)).shape
    except (TriviumError, RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(f"{_CALLER}: features_{name} are damaged: {error}") from error
    if tuple(shape) != (2, found.n_features):
        raise ModelError(
            f"{_CALLER}: features_{name} must be {found.n_features} wide; got {tuple(shape)}"
        )
    return found
