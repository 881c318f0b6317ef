"""Scores of a text by a network that reads it in order, as features of a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from trivium.audit.learnt_encoder import Arrays, Facts, Learnt
from trivium.audit.sequence_model import Fitted
from trivium.audit.sequence_text import Vocabulary
from trivium.table import Column, Kind

__all__ = ["ReadInOrder"]


@dataclass(frozen=True, eq=False)
class ReadInOrder(Learnt):
    """One text column's network: a score a class.

    Args:
        vocabulary: Its words.
        model: The network, trained on all rows.
    """

    way = "in order"
    kind = Kind.text

    vocabulary: Vocabulary
    model: Fitted

    @property
    def names(self) -> tuple[str, ...]:
        """One feature a class."""
        return tuple(f"in order, class {code}" for code in range(len(self.model.prior)))

    def how(self) -> str:
        """Say in words how the column is read."""
        encoding = self.model.encoding
        return f"read in order by a small Transformer ({encoding} positions): a score a class"

    def features(self, column: Column) -> Float[np.ndarray, "n c"]:
        """Return log-probabilities of the classes."""
        return self.model.log_proba(self.vocabulary.rows(column.texts()))

    def state(self) -> tuple[Arrays, Facts]:
        """Return the network's weights, and the words."""
        arrays, facts = self.model.state()
        return arrays, {"words": list(self.vocabulary.known), "model": facts}

    @classmethod
    def from_state(
        cls, shared: dict[str, Any], arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]
    ) -> "ReadInOrder":
        """Make what `state` described."""
        vocabulary = Vocabulary(tuple(str(word) for word in facts["words"]))
        if len(vocabulary) != len(arrays["words.weight"]):
            raise ValueError("words and weights differ in number")
        return cls(**shared, vocabulary=vocabulary, model=Fitted.from_state(arrays, facts["model"]))
