"""A table's features with scores of texts read in order: trained on the label, without the row's.

What a network learnt from a label must not be judged on that label. So each row's scores come from
a network that saw neither the row nor its fold, those of the training part of a fold from networks
that saw nothing of that fold, and those of a new table from one that saw all rows.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from trivium._core.errors import ModelError
from trivium.audit.sequence_model import Fitted
from trivium.audit.sequence_text import Vocabulary
from trivium.table import ReadOptions, Table, TableEncoder

__all__ = ["ReadInOrder", "SequenceEncoder", "decoded", "encoded"]

_KEY = "sequences"


@dataclass(frozen=True, eq=False)
class ReadInOrder:
    """One text column's network, and what brings its scores to the scale of a block.

    Args:
        column: The column.
        vocabulary: Its words.
        model: The network, trained on all rows.
        center: Mean of the scores over the rows learnt from.
        scale: What brings their variances to a sum of 1.
        outside: Scores of the rows learnt from, none of which saw its own label: for the whole,
            and for each fold those of every row without that fold.
    """

    column: str
    vocabulary: Vocabulary
    model: Fitted
    center: Float[np.ndarray, " c"]
    scale: float
    outside: tuple[Float[np.ndarray, "n c"], ...] = field(default=(), repr=False)

    def block(self, scores: Float[np.ndarray, "n c"]) -> Float[np.ndarray, "n c"]:
        """Return scores on the common scale."""
        return (scores - self.center) * self.scale

    @property
    def names(self) -> tuple[str, ...]:
        """One feature a class."""
        return tuple(f"in order, class {code}" for code in range(len(self.center)))


class SequenceEncoder:
    """A `TableEncoder` and, for some text columns, the scores of a network behind its features.

    Args:
        base: The encoder of the table.
        read: The columns read in order.
    """

    def __init__(self, base: TableEncoder, read: tuple[ReadInOrder, ...]) -> None:
        self.base, self.read = base, read

    def transform(
        self, table: Table, options: ReadOptions | None = None
    ) -> Float[np.ndarray, "n d"]:
        """Return the features of a new table.

        Raises:
            DataError: A column is missing.
        """
        found = [self.base.transform(table, options)]
        for each in self.read:
            rows = each.vocabulary.rows(table.column(each.column).texts())
            found.append(each.block(each.model.log_proba(rows)))
        return np.column_stack(found)

    def outside(self, X: Float[np.ndarray, "n d"], fold: int | None) -> Float[np.ndarray, "n d"]:
        """Return features of the rows learnt from that saw neither their own label nor a fold's.

        Args:
            X: Their features by the base.
            fold: The fold that was not seen; `None` for the row's own alone.
        """
        place = 0 if fold is None else fold + 1
        return np.column_stack([X, *(each.block(each.outside[place]) for each in self.read)])

    @property
    def feature_names(self) -> tuple[str, ...]:
        """The name of each feature: the column and what of it."""
        own = (f"{each.column}: {name}" for each in self.read for name in each.names)
        return (*self.base.feature_names, *own)

    @property
    def column_of_feature(self) -> tuple[str, ...]:
        """The column that each feature comes from."""
        own = (each.column for each in self.read for _ in each.names)
        return (*self.base.column_of_feature, *own)

    @property
    def roles(self) -> dict[str, tuple[str, ...]]:
        """Columns by role, to read a new file the same way."""
        return self.base.roles

    def explain(self) -> list[dict[str, Any]]:
        """Return for each column `column, kind, features, how`, in words."""
        read = {each.column: each for each in self.read}
        found = []
        for entry in self.base.explain():
            each = read.get(entry["column"])
            found.append(entry if each is None else _explained(entry, each))
        return found

    def state(self) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return tensors and a JSON manifest from which `from_state` makes the same encoder."""
        tensors, manifest = self.base.state()
        entries = []
        for place, each in enumerate(self.read):
            arrays, facts = each.model.state()
            arrays = arrays | {"center": each.center}
            tensors = tensors | {f"{_KEY}.{place}.{name}": a for name, a in arrays.items()}
            entry = {"column": each.column, "words": list(each.vocabulary.known), "model": facts}
            entries.append(entry | {"scale": each.scale})
        return tensors, manifest | {_KEY: entries}

    @classmethod
    def from_state(
        cls, tensors: Mapping[str, np.ndarray], manifest: Mapping[str, Any]
    ) -> "TableEncoder | SequenceEncoder":
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
            read = tuple(_read(own, place, entry) for place, entry in enumerate(manifest[_KEY]))
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise ModelError(
                f"SequenceEncoder.from_state: the state must describe an encoder; {error!r}"
            ) from error
        return cls(base, read)


def _explained(entry: dict[str, Any], each: ReadInOrder) -> dict[str, Any]:
    """Return what a table's encoder says of a column, and how it is read in order."""
    how = (
        f"{entry['how']}; and read in order by a small Transformer "
        f"({each.model.encoding} positions): a score a class"
    )
    return entry | {"features": entry["features"] + len(each.names), "how": how}


def _read(tensors: Mapping[str, np.ndarray], place: int, entry: Mapping[str, Any]) -> ReadInOrder:
    head = f"{_KEY}.{place}."
    arrays = {n.removeprefix(head): a for n, a in tensors.items() if n.startswith(head)}
    center = np.asarray(arrays.pop("center"), dtype=np.float64)
    vocabulary = Vocabulary(tuple(str(word) for word in entry["words"]))
    model = Fitted.from_state(arrays, entry["model"])
    if len(vocabulary) != len(arrays["words.weight"]) or len(center) != len(model.prior):
        raise ValueError("words, classes and weights differ in number")
    return ReadInOrder(str(entry["column"]), vocabulary, model, center, float(entry["scale"]))


def encoded(array: np.ndarray) -> dict[str, Any]:
    """Return an array as JSON holds it, to the last bit."""
    text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
    return {"dtype": array.dtype.str, "shape": list(array.shape), "bytes": text}


def decoded(held: Mapping[str, Any]) -> np.ndarray:
    """Return the array that `encoded` kept."""
    raw = np.frombuffer(base64.b64decode(held["bytes"]), dtype=held["dtype"])
    return raw.reshape(held["shape"]).copy()
