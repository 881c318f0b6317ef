"""A uniform sample of rows that merges: which rows are kept depends on their numbers alone."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.coded import CodedLabels
from trivium._core.errors import ArgumentError, ModelError, ShapeError
from trivium._core.random import RandomState, check_seed, derive
from trivium.moment.labels import as_labels, labels_from_json, labels_to_json

__all__ = ["RowSample"]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST = np.uint64(31)
_DEVIATIONS = 6.0


class RowSample:
    """At most `size` rows of a stream, each set of so many rows as likely as any other.

    The rows with the smallest keys are kept, and a row's key is a mix of the seed and of its
    number. So the sample is the same for any partition of the rows and any order of the parts.

    Args:
        size: Most rows.
        seed: Seed.
        n_rows: How many rows will come in all, where that is known: parts then do not carry rows
            that cannot stay. One sample in 10⁸ is a little smaller for it.

    Raises:
        ArgumentError: An option breaks its rule.

    Cost:
        O(1) a row and O(d) a row that is kept for a while; memory 2 size d.

    Example:
        >>> x = np.arange(8.0)[:, None]
        >>> whole = RowSample(3, seed=5).offer(np.arange(8), x)
        >>> left, right = RowSample(3, seed=5).offer(np.arange(5), x[:5]), RowSample(3, seed=5)
        >>> right.offer(np.arange(5, 8), x[5:]).merge(left).numbers.tolist()
        [4, 6, 7]
        >>> whole.x.tolist()
        [[4.0], [6.0], [7.0]]

    Source:
        The mix is splitmix64: Steele, Lea, Flood, "Fast splittable pseudorandom number
        generators", 2014. It is one to one, so that no two rows have one key.
    """

    def __init__(self, size: int = 4_000, seed: RandomState = 0, n_rows: int | None = None) -> None:
        self.size = int(check_number("RowSample", "size", size, "positive", integer=True))
        self.seed = check_seed(seed)
        self.n_rows = n_rows
        if n_rows is not None:
            check_number("RowSample", "n_rows", n_rows, "positive", integer=True)
        self._limit = self._first_limit()
        self._keys = np.empty(0, dtype=np.uint64)
        self._held: dict[str, np.ndarray] = {"numbers": np.empty(0, dtype=np.int64)}

    def _first_limit(self) -> np.uint64:
        """Return a key above which no row stays, but for chance."""
        if self.n_rows is None:
            return np.uint64(2**64 - 1)
        enough = self.size + _DEVIATIONS * math.sqrt(self.size) + _DEVIATIONS**2
        return np.uint64(min(2**64 - 1, int(enough / self.n_rows * 2.0**64)))

    def offer(
        self, numbers: NDArray[np.int64], x: Any, y: Any = None, weight: Any = None
    ) -> "RowSample":
        """Offer rows, each once.

        Args:
            numbers: The number of each row in the stream.
            x: The rows.
            y: A label for each, if all rows have one.
            weight: A weight for each, if all rows have one.

        Returns:
            The sample itself.

        Raises:
            ShapeError: Lengths that differ.
            ArgumentError: Labels or weights although earlier rows had none, or the reverse.
        """
        keys = _keys(self.seed, numbers)
        picked = np.flatnonzero(keys <= self._limit)
        parts = {"numbers": numbers, "x": x, "y": y, "weight": weight}
        given = {name: part for name, part in parts.items() if part is not None}
        for name, part in given.items():
            if len(part) != len(numbers):
                raise ShapeError(
                    f"RowSample.offer: axis n is {len(numbers)} in numbers but {len(part)} in "
                    f"{name}"
                )
        if len(picked):
            self._take(keys[picked], {name: _picked(v, picked) for name, v in given.items()})
        return self

    def _take(self, keys: NDArray[np.uint64], rows: Mapping[str, np.ndarray]) -> None:
        if not len(self._keys):
            self._keys, self._held = keys, dict(rows)
        else:
            if rows.keys() != self._held.keys():
                raise ArgumentError(
                    f"RowSample: rows must have {', '.join(self._held)} as earlier ones had; got "
                    f"{', '.join(rows)}"
                )
            self._keys = np.concatenate((self._keys, keys))
            for name, held in self._held.items():
                self._held[name] = np.concatenate((held, rows[name]))
        if len(self._keys) > 2 * self.size:
            self._trim()

    def _trim(self) -> None:
        """Keep the smallest keys, in the order of the rows."""
        if len(self._keys) > self.size:
            kept = np.argpartition(self._keys, self.size - 1)[: self.size]
            self._limit = self._keys[kept].max()
        else:
            kept = np.arange(len(self._keys))
        kept = kept[np.argsort(self._held["numbers"][kept])]
        self._keys = self._keys[kept]
        self._held = {name: held[kept] for name, held in self._held.items()}

    def _read(self, name: str) -> np.ndarray | None:
        self._trim()
        return self._held.get(name)

    @property
    def numbers(self) -> NDArray[np.int64]:
        """Numbers of the rows that are kept, in their order."""
        self._trim()
        return self._held["numbers"]

    @property
    def x(self) -> np.ndarray | None:
        """The rows; `None` before the first."""
        return self._read("x")

    @property
    def y(self) -> np.ndarray | None:
        """Their labels, if they have some."""
        return self._read("y")

    @property
    def weight(self) -> np.ndarray | None:
        """Their weights, if they have some."""
        return self._read("weight")

    def __len__(self) -> int:
        return min(self.size, len(self._keys))

    def copy(self) -> "RowSample":
        """Return a sample of the same rows that shares nothing that changes."""
        new = RowSample(self.size, self.seed, self.n_rows)
        new._limit, new._keys, new._held = self._limit, self._keys, dict(self._held)
        return new

    def merge(self, other: "RowSample") -> "RowSample":
        """Offer the rows of another sample of the same stream.

        Returns:
            The sample itself.

        Raises:
            ArgumentError: Not a sample, or one with another size, seed or number of rows; labels
                or weights in one of them only.
        """
        mine, theirs = (
            (s.size, s.seed, s.n_rows) if isinstance(s, RowSample) else None for s in (self, other)
        )
        if mine != theirs:
            raise ArgumentError(
                f"RowSample.merge: size, seed and n_rows must be {mine} in both; got {theirs}"
            )
        if len(other._keys):
            below = other._keys <= self._limit
            rows = {name: held[below] for name, held in other._held.items()}
            self._take(other._keys[below], rows)
        return self

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Take the sample apart into tensors, and what they are about as JSON can hold it."""
        self._trim()
        held = dict(self._held)
        labels, codes = None, None
        if "y" in held:
            labels, codes = np.unique(as_labels("RowSample.state", held["y"]), return_inverse=True)
            held["y"] = codes
        tensors = {name: torch.from_numpy(np.array(value)) for name, value in held.items()}
        about = {
            "size": self.size,
            "seed": self.seed,
            "n_rows": self.n_rows,
            "labels": labels_to_json(labels),
        }
        return tensors, about

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "RowSample":
        """Put together what `state` took apart.

        Raises:
            ModelError: Something is missing or does not fit together.
        """
        caller = "RowSample.from_state"
        try:
            new = cls(about["size"], about["seed"], about["n_rows"])
            labels = labels_from_json(caller, about["labels"])
            held = {name: value.numpy() for name, value in tensors.items()}
            if labels is not None:
                held["y"] = labels[held["y"]]
            numbers = held["numbers"]
            if len(numbers):
                new.offer(numbers, held["x"], held.get("y"), held.get("weight"))
        except (KeyError, IndexError, TypeError, ArgumentError, ShapeError) as error:
            raise ModelError(f"{caller}: the sample is damaged: {error}") from error
        return new


def _picked(values: Any, places: NDArray[np.int64]) -> np.ndarray:
    if isinstance(values, Tensor):
        return values[torch.from_numpy(places)].detach().cpu().numpy()
    if isinstance(values, CodedLabels):
        return np.asarray(values[places])
    return np.asarray(values)[places]


def _keys(seed: int, numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Mix row numbers: one to one, and as if drawn at random."""
    mixed = numbers.astype(np.uint64) * _STEP + np.uint64(derive(seed, "moment", "row_sample"))
    for shift, factor in _ROUNDS:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    keys: NDArray[np.uint64] = mixed ^ (mixed >> _LAST)
    return keys
