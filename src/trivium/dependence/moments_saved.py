"""HSIC moments in a file: the sums, and the feature maps without which they mean nothing."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trivium._core.errors import ArgumentError, ModelError, TriviumError
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.dependence.feature_choice import check_fitted
from trivium.dependence.fourth import Fourth
from trivium.dependence.map_saved import map_from_parts, map_parts
from trivium.kernel import FeatureMap

__all__ = ["plain_moments", "read_moments", "whole_moments", "write_moments"]

_KIND = "trivium.hsic_moments/1"
_SUMS = ("origin", "offset", "second", "traces")


def plain_moments(
    caller: str, held: Fourth, maps: tuple[FeatureMap, FeatureMap]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take sums and maps apart into tensors, and what they are about as JSON can hold it.

    Raises:
        ArgumentError: A map or a kernel is not one of `trivium.kernel`.
    """
    tensors = {name: getattr(held, name).clone() for name in _SUMS}
    about: dict[str, Any] = {"count": held.count, "single": held.single}
    for name, each in zip("xy", maps, strict=True):
        about[name], more = map_parts(each)
        tensors |= {f"{name}.{field}": value.clone() for field, value in more.items()}
        try:
            map_from_parts(caller, about[name], more)
        except ModelError as error:
            raise ArgumentError(
                f"{caller}: features_{name} must be a map of trivium.kernel with a kernel "
                f"of trivium.kernel; got {each!r}"
            ) from error
    return tensors, about


def whole_moments(
    caller: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]
) -> tuple[Fourth, tuple[FeatureMap, FeatureMap]]:
    """Put together what `plain_moments` took apart.

    Raises:
        ModelError: Damaged, or something else.
    """
    count, single = about.get("count"), about.get("single")
    if not isinstance(count, int) or count < 0 or not isinstance(single, bool):
        raise ModelError(f"{caller}: count must be a whole number of rows; got {count!r}")
    first, second = (_map(caller, name, about.get(name), tensors) for name in "xy")
    wanted = Fourth.empty(first.n_features, second.n_features)
    for name in _SUMS:
        found, rule = tensors.get(name), getattr(wanted, name)
        if found is None or found.shape != rule.shape or found.dtype != rule.dtype:
            got = None if found is None else (tuple(found.shape), str(found.dtype))
            raise ModelError(f"{caller}: {name} must be {tuple(rule.shape)} float64; got {got}")
        if not bool(torch.isfinite(found).all()):
            raise ModelError(f"{caller}: {name} must be finite")
    sums = {name: tensors[name] for name in _SUMS}
    return Fourth(count=count, width=wanted.width, single=single, **sums), (first, second)


def write_moments(
    path: str | os.PathLike[str], held: Fourth, maps: tuple[FeatureMap, FeatureMap]
) -> None:
    """Write sums and maps.

    Raises:
        OutputError: It cannot be written.
        ResourceError: The disk is full.
        ArgumentError: A map or a kernel is not one of `trivium.kernel`.
    """
    caller = "HSICMoments.save"
    write_tensors(caller, path, _KIND, *plain_moments(caller, held, maps))


def read_moments(
    path: str | os.PathLike[str],
) -> tuple[Fourth, tuple[FeatureMap, FeatureMap]]:
    """Read what `write_moments` wrote.

    Raises:
        ModelError: Missing, damaged, or something else.
    """
    caller = "HSICMoments.load"
    return whole_moments(caller, *read_tensors(caller, path, _KIND))


def _map(caller: str, name: str, about: Any, tensors: Mapping[str, Tensor]) -> FeatureMap:
    """Return the feature map, tried on two rows."""
    if not isinstance(about, dict):
        raise ModelError(f"{caller}: features_{name} must be in the file; got {about!r}")
    own = {
        key.removeprefix(f"{name}."): value
        for key, value in tensors.items()
        if key.startswith(f"{name}.")
    }
    found = map_from_parts(caller, about, own)
    try:
        check_fitted(caller, f"features_{name}", found)
        shape = found.transform(torch.zeros(2, found.n_columns or 1, dtype=torch.float64)).shape
    except (TriviumError, RuntimeError, TypeError, AttributeError) as error:
        raise ModelError(f"{caller}: features_{name} are damaged: {error}") from error
    if tuple(shape) != (2, found.n_features):
        raise ModelError(
            f"{caller}: features_{name} must be {found.n_features} wide; got {tuple(shape)}"
        )
    return found
