"""Trainings of small Transformers over one column of texts, as blocks of the executor."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from trivium._core.random import derive
from trivium.audit.sequence_model import Fitted, fit_sequence_model
from trivium.audit.sequence_text import Rows, Vocabulary
from trivium.audit.state import AuditState

__all__ = ["Texts", "Trial"]

Key = tuple[str, tuple[int, ...]]
"""A network: its position encoding, and the folds that it did not see."""


@dataclass(frozen=True, eq=False)
class Texts:
    """What every training reads.

    Args:
        rows: The texts.
        places: Size of their vocabulary.
        codes: Class of each row.
        groups: Rows with one number are identical.
        folds: The fold of each row.
        n_classes: Classes.
        seed: Seed of the run.
    """

    rows: Rows
    places: int
    codes: np.ndarray
    groups: np.ndarray
    folds: np.ndarray
    n_classes: int
    seed: int


def _fit(key: Key, given: Texts) -> Fitted:
    """Train on the rows of all folds but some."""
    encoding, without = key
    return fit_sequence_model(
        given.rows,
        given.codes,
        given.groups,
        np.flatnonzero(~np.isin(given.folds, without)),
        given.n_classes,
        places=given.places,
        encoding=encoding,
        seed=derive(given.seed, "in order", *without),
    )


def _scores(key: Key, given: Texts) -> np.ndarray:
    """Train, and score all rows."""
    return _fit(key, given).log_proba(given.rows)


def _weights(key: Key, given: Texts) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Train, and return the network's state."""
    return _fit(key, given).state()


@dataclass(frozen=True, eq=False)
class Trial:
    """One column's rows, and the networks that learn from them.

    Args:
        state: The run.
        name: The piece of work, for the journal of blocks.
        texts: What every training reads.
        vocabulary: The words.
        fits: How many networks there will be, at most.
        done: Scores of all rows by the networks so far.
    """

    state: AuditState
    name: str
    texts: Texts
    vocabulary: Vocabulary
    fits: int
    done: dict[Key, np.ndarray] = field(default_factory=dict)

    @property
    def folds(self) -> np.ndarray:
        """The fold of each row."""
        return self.texts.folds

    @property
    def n_folds(self) -> int:
        """How many folds there are."""
        return int(self.folds.max()) + 1

    def train(self, step: str, keys: Sequence[Key]) -> None:
        """Train several networks, as blocks of the executor; those that are there are kept."""
        new = [key for key in dict.fromkeys(keys) if key not in self.done]
        before = len(self.done)
        found = self.state.run_blocks(
            f"{self.name}-{step}",
            _scores,
            new,
            self.texts,
            lambda done, total: self.state.listener.step(before + done, self.fits),
        )
        self.done.update(zip(new, found, strict=True))

    def weights(self, encoding: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the state of a network that saw all rows."""
        key = (encoding, ())
        found: tuple[dict[str, np.ndarray], dict[str, Any]] = self.state.run_blocks(
            f"{self.name}-all", _weights, [key], self.texts, lambda done, total: None
        )[0]
        return found

    def scores(self, encoding: str, *without: int) -> Float[np.ndarray, "n c"]:
        """Return scores of all rows by a network that did not see some folds, trained before."""
        return self.done[encoding, tuple(sorted(set(without)))]

    def outside(self, encoding: str, *beside: int) -> Float[np.ndarray, "n c"]:
        """Return scores of each row by a network without its fold, and without those `beside`."""
        found = np.empty((len(self.folds), len(self.state.classes)))
        for fold in range(self.n_folds):
            test = self.folds == fold
            found[test] = self.scores(encoding, fold, *beside)[test]
        return found
