"""From a name, a path, a dict or a configuration object to a shape."""

import json
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher
from functools import lru_cache
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import Any

from trivium._core.errors import ArgumentError, DataError
from trivium.cost.families import FAMILIES
from trivium.cost.fields import Fields
from trivium.cost.shape import TransformerShape

__all__ = ["config_values", "known", "shape_of"]

_CALLER = "TransformerShape.from_config"
# What a model of many parts calls the configuration of the part that writes.
_TEXT = ("text_config", "llm_config", "language_config")


@lru_cache(maxsize=1)
def known() -> dict[str, dict[str, Any]]:
    """Return the bundled configurations by name."""
    text = files("trivium.cost").joinpath("known.json").read_text("utf-8")
    return json.loads(text)["models"]


def shape_of(config: Any, head: str | None) -> TransformerShape:
    """Return the shape of a configuration; see `TransformerShape.from_config`.

    Raises:
        ArgumentError: It cannot be understood; the message says which field and what would do.
        DataError: The file cannot be read, or is no JSON object.
    """
    if head not in (None, "lm", "base"):
        raise ArgumentError(f"{_CALLER}: head must be lm or base; got {head!r}")
    values, name = _values(config)
    values = _writing(values)
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or model_type not in FAMILIES:
        raise _unknown_type(model_type, name)
    return FAMILIES[model_type](Fields(values, name, head))


def config_values(config: Any) -> Mapping[str, Any]:
    """Return the fields of a configuration, of the part that writes where there are several.

    Raises:
        ArgumentError: It is no configuration, or its name is unknown.
        DataError: The file cannot be read, or is no JSON object.
    """
    return _writing(_values(config)[0])


def _writing(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part that writes, of a model of several parts whose type is not known."""
    parts = [values[key] for key in _TEXT if isinstance(values.get(key), Mapping)]
    return parts[0] if parts and values.get("model_type") not in [*FAMILIES] else values


def _values(config: Any) -> tuple[Mapping[str, Any], str]:
    """Return the fields of a configuration and a name for it."""
    if isinstance(config, Mapping):
        return config, str(config.get("_name_or_path") or config.get("model_type") or "config")
    if hasattr(config, "to_dict"):
        return _values(config.to_dict())
    if not isinstance(config, str | PathLike):
        raise ArgumentError(
            f"{_CALLER}: config must be a name, a path, a dict or a configuration of "
            f"transformers; got {type(config).__name__}"
        )
    name = str(config)
    models = known()
    for key in (name, name.rsplit("/", 1)[-1]):
        if key in models and not Path(name).exists():
            return models[key], key
    path = Path(name)
    path = path / "config.json" if path.is_dir() else path
    if path.is_file():
        return _read(path), name
    near = _nearest(name.rsplit("/", 1)[-1], models, 3)
    raise ArgumentError(
        f"{_CALLER}: config must be a bundled name or an existing file; got {name!r}",
        remedy=f"Near names: {', '.join(near)}. "
        "Give the path of a config.json for any other model.",
    )


def _read(path: Path) -> Mapping[str, Any]:
    try:
        values = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{_CALLER}: the file must be JSON; {error}",
            where=str(path),
            remedy="Give the config.json of a model, or its folder.",
            code="E-CONFIG",
        ) from error
    if not isinstance(values, dict):
        raise DataError(
            f"{_CALLER}: the file must hold one JSON object; got {type(values).__name__}",
            where=str(path),
            code="E-CONFIG",
        )
    return values


def _unknown_type(model_type: Any, name: str) -> ArgumentError:
    rule = f"{_CALLER}: model_type must be one of the {len(FAMILIES)} known"
    if not isinstance(model_type, str):
        return ArgumentError(f"{rule}; got {model_type!r}", where=name)
    near = _nearest(model_type, FAMILIES, 1)[0]
    return ArgumentError(
        f"{rule}; got {model_type!r}",
        where=name,
        remedy=f"The nearest known family is {near}: where the layers are the same, set "
        f'model_type to "{near}" in a copy of the configuration.',
    )


def _nearest(name: str, choices: Iterable[str], n: int) -> list[str]:
    """Return the choices nearest to a name, the nearest first.

    A family shares the beginning of its name; the ends are sizes, versions and parts.
    """

    def near(choice: str) -> tuple[int, float]:
        one, other = choice.lower(), name.lower()
        same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
        shared = min(len(one), len(other)) if same is None else same
        return shared, SequenceMatcher(None, one, other).ratio()

    return sorted(choices, key=near, reverse=True)[:n]
