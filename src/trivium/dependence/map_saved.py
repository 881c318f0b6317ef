"""Kernels and feature maps as data: JSON and tensors out, checked objects back."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any, TypeVar

from torch import Tensor

from trivium._core.errors import ArgumentError, ModelError, TriviumError
from trivium._core.families import members
from trivium._core.tensor_file import checksum
from trivium.kernel import FeatureMap, Kernel

__all__ = ["check_same", "map_digest", "map_from_parts", "map_parts"]

T = TypeVar("T")
_PLAIN = (bool, int, float, str, type(None))


def map_parts(feature_map: FeatureMap) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what a feature map is made of: what JSON can hold, and its tensors.

    Raises:
        ArgumentError: A field is neither a number, a string, a tensor, nor made of kernels.
    """
    about: dict[str, Any] = {"class": type(feature_map).__name__}
    tensors: dict[str, Tensor] = {}
    for field in dataclasses.fields(feature_map):
        value = getattr(feature_map, field.name)
        if isinstance(value, Tensor):
            tensors[field.name] = value.detach().cpu()
        else:
            about[field.name] = _written(feature_map, field.name, value)
    return about, tensors


def _written(owner: Any, name: str, value: Any) -> Any:
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, tuple):
        return [_written(owner, name, each) for each in value]
    if isinstance(value, Kernel) and dataclasses.is_dataclass(value):
        fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        written = {field: _written(value, field, each) for field, each in fields.items()}
        return {"class": type(value).__name__, **written}
    raise ArgumentError(
        f"{type(owner).__name__}: {name} must be numbers, strings or kernels to be written down; "
        f"got {type(value).__name__}"
    )


def map_digest(feature_map: FeatureMap) -> str:
    """Return a SHA-256 of everything that decides the features: equal digests, equal features.

    Raises:
        ArgumentError: As for `map_parts`.

    Example:
        >>> import torch
        >>> from trivium.kernel import Gaussian, RandomFourier
        >>> x = torch.linspace(0, 1, 5)
        >>> one, two = (RandomFourier(kernel=Gaussian(s)).fit(x) for s in (1.0, 2.0))
        >>> map_digest(one) == map_digest(two)
        False
    """
    about, tensors = map_parts(feature_map)
    return checksum(tensors, json.dumps(about, sort_keys=True))


def check_same(caller: str, name: str, mine: FeatureMap, theirs: FeatureMap) -> None:
    """Refuse feature maps that differ in any bit.

    Raises:
        ArgumentError: They differ.
    """
    digests = [map_digest(each) for each in (mine, theirs)]
    if mine is theirs or digests[0] == digests[1]:
        return
    raise ArgumentError(
        f"{caller}: {name} must be the same map in both; got {mine!r} (digest {digests[0][:12]}) "
        f"and {theirs!r} (digest {digests[1][:12]})",
        remedy="Make the maps once, and send every part a copy() or the saved file.",
    )


def map_from_parts(
    caller: str, about: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> FeatureMap:
    """Build the fitted feature map that `map_parts` took apart; only classes of `trivium.kernel`.

    Raises:
        ModelError: An unknown class, or a field that breaks its rule.
    """
    fields = {name: _read(caller, value) for name, value in about.items() if name != "class"}
    return _built(caller, FeatureMap, about.get("class"), {**fields, **tensors})


def _read(caller: str, value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_read(caller, each) for each in value)
    if isinstance(value, dict):
        fields = {name: _read(caller, each) for name, each in value.items() if name != "class"}
        return _built(caller, Kernel, value.get("class"), fields)
    return value


def _built(caller: str, family: type[T], name: Any, fields: dict[str, Any]) -> T:
    known = {member.__name__: member for member in members("trivium.kernel", family)}
    if not isinstance(name, str) or name not in known:
        raise ModelError(
            f"{caller}: the file must name a {family.__name__} of trivium.kernel; got {name!r}"
        )
    try:
        return known[name](**fields)
    except (TriviumError, TypeError, ValueError) as error:
        raise ModelError(f"{caller}: {name} in the file is damaged: {error}") from error
