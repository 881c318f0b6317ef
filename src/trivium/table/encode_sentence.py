"""Text through an installed sentence encoder, projected on its leading directions."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float

from trivium._core.checks import require
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError
from trivium.table.encode_column import Arrays, ColumnEncoder, Facts, missing_flag, with_missing
from trivium.table.notice import Notice
from trivium.table.table import Column

__all__ = ["SentenceEncoder", "check_sentences"]

PREFIX = "sentence-transformers:"
MAX_DIMS = 64
ROWS_PER_DIM = 5


class SentenceEncoder(ColumnEncoder):
    """Sentence vectors of an installed model, projected to at most 64 features.

    Args:
        model: Name or path of the model, as `sentence_transformers.SentenceTransformer` takes it.
        axes: The leading right singular vectors of the centered vectors learnt from.
        missing: Whether missing texts are marked by a feature.
    """

    way = "sentence"

    def __init__(self, model: str, axes: np.ndarray, missing: bool) -> None:
        self.model = model
        self.axes = axes
        self.missing = missing

    @classmethod
    def fit(cls, column: Column, model: str) -> "SentenceEncoder":
        """Learn the axes from a column of texts.

        Raises:
            MissingExtraError: sentence-transformers is not installed.
            ArgumentError: There is no such model on this machine.
        """
        start = cls(model, np.zeros((0, 0)), missing_flag(column.missing))
        vectors = start._vectors(column)[~column.missing]
        _, _, right = np.linalg.svd(vectors - vectors.mean(axis=0), full_matrices=False)
        n_dims = min(MAX_DIMS, len(vectors) // ROWS_PER_DIM + 1, len(right))
        axes = right[:n_dims].T
        signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(n_dims)])
        return cls(model, axes * signs, start.missing)

    @property
    def names(self) -> tuple[str, ...]:
        """The axes, and `missing`."""
        axes = (f"sentence {i + 1}" for i in range(self.axes.shape[1]))
        return (*axes, *("missing",) * self.missing)

    def how(self) -> str:
        """Say in words how the column is encoded."""
        return (
            f"sentence vectors of {self.model}, projected to "
            f"{counted(self.axes.shape[1], 'feature')}" + ", missing marked" * self.missing
        )

    def block(self, column: Column) -> tuple[Float[np.ndarray, "n d"], tuple[Notice, ...]]:
        """Return the projected vectors and the mark."""
        vectors = self._vectors(column)
        if vectors.shape[1] != len(self.axes):
            raise DataError(
                "TableEncoder: the sentence encoder must give "
                f"{counted(len(self.axes), 'number')} as when "
                f"it was learnt from; got {vectors.shape[1]}",
                where=f"column {column.name}",
                remedy=f"Install the same model as then: {self.model}.",
            )
        return with_missing(vectors @ self.axes, column.missing, flag=self.missing), ()

    def _vectors(self, column: Column) -> Float[np.ndarray, "n d"]:
        texts = [text or "" for text in column.texts()]
        found = _model(self.model).encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(found, dtype=np.float64)

    def state(self) -> tuple[Arrays, Facts]:
        """Return the axes and the model's name; the model itself is not saved."""
        return {"axes": self.axes}, {"model": self.model, "missing": self.missing}

    @classmethod
    def from_state(cls, arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]) -> Any:
        """Make the encoder that `state` described."""
        return cls(str(facts["model"]), arrays["axes"], bool(facts["missing"]))


def check_sentences(text_encoder: str, *, texts: bool) -> None:
    """Refuse a sentence encoder that is not on this machine, before it is needed.

    Args:
        text_encoder: As for `TableEncoder`.
        texts: Whether there are texts to read, so that its model is needed.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        ArgumentError: There are texts, and no such model on this machine.
    """
    if text_encoder.startswith(PREFIX):
        model = text_encoder.removeprefix(PREFIX)
        _model(model) if texts else _package(model)


def _package(model: str) -> Any:
    return require("sentence_transformers", "text", f"the sentence encoder {model}")


def _model(model: str) -> Any:
    return _load(_package(model), model)


@lru_cache(maxsize=1)
def _load(package: Any, model: str) -> Any:
    """Load a model once, for all columns."""
    try:
        # Never from a hub: a name that is not on this machine is refused, not fetched.
        return package.SentenceTransformer(model, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ArgumentError(
            f"TableEncoder: text_encoder must name an installed model; got {model!r} "
            f"({type(error).__name__})",
            remedy=f"Give the folder of the model: {PREFIX}/path/to/model.",
        ) from error
