"""One column's encoder with its scale, and how many of them are kept in a few tensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from trivium._core.counted import counted
from trivium.table.encode_category import CategoryEncoder
from trivium.table.encode_column import ColumnEncoder
from trivium.table.encode_number import DateEncoder, NumberEncoder
from trivium.table.encode_sentence import SentenceEncoder
from trivium.table.encode_text import TextEncoder
from trivium.table.table import ColumnType, Kind

__all__ = ["Block", "Packer", "unpack"]

_WAYS: dict[str, type[ColumnEncoder]] = {
    member.way: member
    for member in (NumberEncoder, DateEncoder, CategoryEncoder, TextEncoder, SentenceEncoder)
}


@dataclass(frozen=True, eq=False)
class Block:
    """One column's encoder, and what brings its features to the common scale."""

    name: str
    kind: str
    encoder: ColumnEncoder
    center: Float[np.ndarray, " d"]
    scale: float

    @property
    def type(self) -> ColumnType:
        """What must be known to read the column of another table the same way."""
        return ColumnType(Kind(self.kind), self.encoder.date_order)


class Packer:
    """Many small arrays in one tensor for each dtype, so that wide tables have few tensors."""

    def __init__(self) -> None:
        self._parts: dict[str, list[np.ndarray]] = {}
        self._sizes: dict[str, int] = {}

    def add(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Keep the arrays; return for each its tensor, where it begins, and its shape."""
        places = {}
        for name, array in arrays.items():
            tensor = array.dtype.name
            start = self._sizes.get(tensor, 0)
            self._parts.setdefault(tensor, []).append(array.ravel())
            self._sizes[tensor] = start + array.size
            places[name] = [tensor, start, list(array.shape)]
        return places

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the tensors, by dtype."""
        return {name: np.concatenate(parts) for name, parts in self._parts.items()}


def unpack(tensors: Mapping[str, np.ndarray], entry: Mapping[str, Any]) -> Block:
    """Make the block that an entry of the manifest describes.

    Raises:
        KeyError, TypeError, ValueError: It does not describe one.
    """
    arrays = {}
    for name, (tensor, start, shape) in entry["arrays"].items():
        size = int(np.prod(shape, dtype=np.int64))
        arrays[name] = tensors[tensor][start : start + size].reshape(shape)
    center = arrays.pop("center")
    encoder = _WAYS[entry["way"]].from_state(arrays, entry["facts"])
    if len(encoder.names) != len(center):
        raise ValueError(
            f"{counted(len(encoder.names), 'feature')} but {counted(len(center), 'center')}"
        )
    return Block(str(entry["name"]), str(entry["kind"]), encoder, center, float(entry["scale"]))
