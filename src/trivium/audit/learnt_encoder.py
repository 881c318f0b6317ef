"""A table's features, and behind them features that were learnt from the label.

What was learnt from a label must not be judged on that label. So in the scores on folds all
features come from something that saw nothing of the fold tested; those of a new table from what
saw all rows. In a fit on all rows a network's scores of a row come from one without the row's
fold; the frequencies of waves, three numbers a column at most, are those of all rows.
"""

import base64
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from trivium._core.counted import counted
from trivium._core.errors import ModelError
from trivium.audit.fold_features import FoldFeatures
from trivium.table import (
    Column,
    ColumnType,
    Kind,
    Notice,
    ReadOptions,
    Table,
    TableEncoder,
)
from trivium.table.encode import as_learnt

__all__ = ["Learnt", "LearntEncoder", "decoded", "encoded", "scale_of"]

_KEY = "learnt"
Arrays = dict[str, np.ndarray]
Facts = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Learnt(ABC):
    """Features of one column that were learnt from the label. Members are final.

    Args:
        column: The column.
        center: Mean of the features over the rows learnt from.
        scale: What brings their variances to a sum of 1.
        outside: Features of the rows learnt from, before that scale: those for a fit on all rows,
            and for each fold those that saw none of its labels.
    """

    way: ClassVar[str]
    kind: ClassVar[Kind]

    column: str
    center: Float[np.ndarray, " d"]
    scale: float
    outside: tuple[Float[np.ndarray, "n d"], ...] = field(repr=False)

    @property
    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """What each feature is, within the column."""

    @abstractmethod
    def how(self) -> str:
        """Say in words how the column is encoded."""

    @abstractmethod
    def features(self, column: Column) -> Float[np.ndarray, "n d"]:
        """Return the features of a column of a new table, before centering and scaling."""

    @abstractmethod
    def state(self) -> tuple[Arrays, Facts]:
        """Return arrays and JSON facts from which `from_state` makes it, without `outside`."""

    @classmethod
    @abstractmethod
    def from_state(
        cls, shared: dict[str, Any], arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]
    ) -> "Learnt":
        """Make what `state` described; `shared` are the arguments that all members have."""

    def scaled(self, features: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n d"]:
        """Return features on the common scale."""
        return (features - self.center) * self.scale


def scale_of(features: Float[np.ndarray, "n d"]) -> dict[str, Any]:
    """Return `center` and `scale` of a block."""
    total = float(features.var(axis=0).sum())
    return {"center": features.mean(axis=0), "scale": total**-0.5 if total > 0 else 0.0}


class LearntEncoder:
    """A `TableEncoder`, and behind its features those that were learnt from the label.

    Args:
        base: The encoder of the table.
        learnt: What was learnt.
    """

    def __init__(self, base: TableEncoder, learnt: tuple[Learnt, ...]) -> None:
        self.base, self.learnt = base, learnt

    def transform(
        self, table: Table, options: ReadOptions | None = None
    ) -> Float[np.ndarray, "n d"]:
        """Return the features of a new table.

        Raises:
            DataError: A column is missing.
        """
        return self._beside(self.base.transform(table, options), table, options)

    def encode(
        self, table: Table, options: ReadOptions | None = None
    ) -> tuple[Float[np.ndarray, "n d"], tuple[Notice, ...]]:
        """Return the same, and notices about cells that do not fit their column.

        Raises:
            DataError: A column is missing.
        """
        base, notices = self.base.encode(table, options)
        return self._beside(base, table, options), notices

    @property
    def types(self) -> dict[str, ColumnType]:
        """The columns learnt from, and what each was taken for."""
        return self.base.types

    def check_columns(self, names: Sequence[str], source: str) -> None:
        """Refuse a table that lacks a column, as `TableEncoder` does."""
        self.base.check_columns(names, source)

    def check_sentences(self) -> None:
        """Refuse a sentence encoder that is not on this machine, as `TableEncoder` does."""
        self.base.check_sentences()

    def _beside(
        self, base: Float[np.ndarray, "n b"], table: Table, options: ReadOptions | None
    ) -> Float[np.ndarray, "n d"]:
        found, types = [base], self.types
        for each in self.learnt:
            column, _ = as_learnt(table.column(each.column), types[each.column], options)
            found.append(each.scaled(each.features(column)))
        return np.column_stack(found)

    def outside(self, X: Float[np.ndarray, "n d"], fold: int | None) -> Float[np.ndarray, "n d"]:
        """Return features of the rows learnt from that did not see the labels of a fold.

        Args:
            X: Their features by the base.
            fold: The fold that was not seen; `None` for those of a fit on all rows.
        """
        return self.for_folds(X).of(fold)

    def for_folds(self, X: Float[np.ndarray, "n d"]) -> FoldFeatures:
        """Return the same for every fold, as a worker may have it: without what made them."""
        places = len(self.learnt[0].outside) if self.learnt else 0
        learnt = (
            tuple(each.scaled(each.outside[place]) for each in self.learnt)
            for place in range(places)
        )
        return FoldFeatures(X, tuple(learnt))

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature: the column and what of it."""
        own = (f"{each.column}: {name}" for each in self.learnt for name in each.names)
        return (*self.base.feature_names, *own)

    @property
    def column_of_feature(self) -> tuple[str, ...]:
        """The column that each feature comes from."""
        own = (each.column for each in self.learnt for _ in each.names)
        return (*self.base.column_of_feature, *own)

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """Columns by role, to read a new file the same way."""
        return self.base.roles

    def explain(self) -> list[dict[str, Any]]:
        """Return for each column `column, kind, features, how`, in words."""
        learnt = {each.column: each for each in self.learnt}
        found = []
        for entry in self.base.explain():
            each = learnt.get(entry["column"])
            found.append(entry if each is None else _explained(entry, each))
        return found

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return tensors and a JSON manifest from which `from_state` makes the same encoder."""
        tensors, manifest = self.base.state()
        entries = []
        for place, each in enumerate(self.learnt):
            arrays, facts = each.state()
            held = arrays | {"center": each.center}
            tensors = tensors | {f"{_KEY}.{place}.{name}": a for name, a in held.items()}
            entry = {"column": each.column, "way": each.way, "scale": each.scale}
            entries.append(entry | {"facts": facts})
        return tensors, manifest | {_KEY: entries}

    @classmethod
    def from_state(
        cls, tensors: Mapping[str, np.ndarray], manifest: Mapping[str, Any]
    ) -> "TableEncoder | LearntEncoder":
        """Make the encoder that a state describes: this one, or a table's alone.

        Raises:
            ModelError: The two do not describe an encoder.
        """
        own = {name: a for name, a in tensors.items() if name.startswith(f"{_KEY}.")}
        rest = {name: array for name, array in tensors.items() if name not in own}
        base = TableEncoder.from_state(rest, manifest)
        if _KEY not in manifest:
            return base
        try:
            learnt = tuple(_made(own, place, entry) for place, entry in enumerate(manifest[_KEY]))
        except (
            LookupError,
            TypeError,
            ValueError,
            ArithmeticError,
            RuntimeError,
            AttributeError,
        ) as error:
            raise ModelError(
                f"LearntEncoder.from_state: the state must describe an encoder; {error!r}"
            ) from error
        known = {column for named in base.roles.values() for column in named}
        if not {each.column for each in learnt} <= known:
            raise ModelError("LearntEncoder.from_state: what was learnt must be of its columns")
        return cls(base, learnt)


def _explained(entry: dict[str, Any], each: Learnt) -> dict[str, Any]:
    """Return what a table's encoder says of a column, and what was learnt of it."""
    how = f"{entry['how']}; and {each.how()}"
    return entry | {"features": entry["features"] + len(each.names), "how": how}


def _made(tensors: Mapping[str, np.ndarray], place: int, entry: Mapping[str, Any]) -> Learnt:
    head = f"{_KEY}.{place}."
    arrays = {n.removeprefix(head): a for n, a in tensors.items() if n.startswith(head)}
    if not all(array.dtype.kind == "f" for array in arrays.values()):
        raise ValueError("an array is not of real numbers")
    ways = {member.way: member for member in Learnt.__subclasses__()}
    shared = {
        "column": str(entry["column"]),
        "center": np.asarray(arrays.pop("center"), dtype=np.float64),
        "scale": float(entry["scale"]),
        "outside": (),
    }
    found = ways[entry["way"]].from_state(shared, arrays, entry["facts"])
    if found.center.shape != (len(found.names),):
        raise ValueError(
            f"{counted(len(found.names), 'feature')} but centers of shape {found.center.shape}"
        )
    if not np.isfinite([*found.center, found.scale]).all():
        raise ValueError("a center or the scale is not finite")
    return found


def encoded(array: np.ndarray) -> dict[str, Any]:
    """Return an array as JSON holds it, to the last bit."""
    text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "bytes": text}


def decoded(held: Mapping[str, Any]) -> np.ndarray:
    """Return the array that `encoded` kept."""
    raw = np.frombuffer(base64.b64decode(held["bytes"]), dtype=held["dtype"])
    return raw.reshape(held["shape"]).copy()
