"""Dates by sinusoids at fitted frequencies: found in the label, tried on folds, kept if better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from trivium._core.errors import DataError, NumericalError
from trivium._core.random import derive
from trivium.audit.baselines import fold_probabilities
from trivium.audit.intervals import row_log_loss
from trivium.audit.learnt_encoder import Arrays, Facts, Learnt, decoded, encoded, scale_of
from trivium.audit.state import AuditState, Section
from trivium.closedform import ClosedFormClassifier
from trivium.sinusoid import fit_series
from trivium.table import Column, Kind

__all__ = ["FittedWaves", "asks_for_waves", "fit_waves", "kept_waves"]

_DAY = 86_400.0
_MOST = 3  # frequencies
_FALSE_ALARM = 0.01
_ORDERS, _CYCLES, _CELLS = 199, 2048, 64  # as `fit_series` has them; cells a cycle


@dataclass(frozen=True, eq=False)
class FittedWaves(Learnt):
    """Cosine and sine of a date at each fitted frequency.

    Args:
        frequencies: Radians a day.
    """

    way = "waves"
    kind = Kind.datetime

    frequencies: Float[np.ndarray, " f"]

    @property
    def names(self) -> tuple[str, ...]:
        """Cosine and sine of each period."""
        periods = (f"{2 * np.pi / theta:.4g} days" for theta in self.frequencies)
        return tuple(f"{period} {wave}" for period in periods for wave in ("cos", "sin"))

    def how(self) -> str:
        """Say in words what was fitted."""
        periods = ", ".join(f"{2 * np.pi / theta:.4g}" for theta in self.frequencies)
        return f"waves fitted to the label, of {periods} days"

    def features(self, column: Column) -> Float[np.ndarray, "n g"]:
        """Return cosines and sines, 0 where there is no date."""
        return _waves(days(column), self.frequencies)

    def state(self) -> tuple[Arrays, Facts]:
        """Return the frequencies."""
        return {"frequencies": self.frequencies}, {}

    @classmethod
    def from_state(
        cls, shared: dict[str, Any], arrays: Mapping[str, np.ndarray], facts: Mapping[str, Any]
    ) -> "FittedWaves":
        """Make what `state` described."""
        frequencies = np.asarray(arrays["frequencies"], dtype=np.float64)
        if frequencies.ndim != 1 or not (np.isfinite(frequencies) & (frequencies > 0)).all():
            raise ValueError("a frequency is not positive")
        return cls(**shared, frequencies=frequencies)


def days(column: Column) -> Float[np.ndarray, " n"]:
    """Return the dates in days, NaN where there is none."""
    if column.values is None:
        return np.full(len(column), np.nan)
    return np.asarray(column.values, dtype=np.float64) / _DAY


def _waves(t: np.ndarray, frequencies: np.ndarray) -> Float[np.ndarray, "n g"]:
    angles = np.nan_to_num(t)[:, None] * frequencies
    pairs = np.stack((np.cos(angles), np.sin(angles)), -1).reshape(len(t), -1)
    return np.where(np.isnan(t)[:, None], 0.0, pairs)


def asks_for_waves(state: AuditState) -> list[str]:
    """Return the columns of dates: a period too short for the tests of dependence is one, too."""
    return [column.name for column in state.used.columns if column.kind is Kind.datetime]


@dataclass(frozen=True, eq=False)
class _Dates:
    """What every search for frequencies reads: dates, classes, folds, and the seed of the run."""

    t: np.ndarray
    codes: np.ndarray
    folds: np.ndarray
    n_classes: int
    seed: int


def _found(block: tuple[int, int], given: _Dates) -> np.ndarray:
    """Return frequencies at which the classes go with the dates without a fold; often none.

    Args:
        block: The fold, -1 for none, and how many frequencies are looked for.
        given: Dates and classes.
    """
    without, most = block
    which = np.flatnonzero(~np.isnan(given.t) & (given.folds != without))
    classes = np.eye(given.n_classes)[given.codes[which]]
    seed = derive(given.seed, "waves") % 2**32
    try:
        found = fit_series(
            given.t[which], classes, most, false_alarm=_FALSE_ALARM, random_state=seed
        )
    except (DataError, NumericalError, np.linalg.LinAlgError):  # too few dates, or one class
        return np.empty(0)
    return found.frequencies.numpy()


def _count(t: np.ndarray, n_classes: int, fits: int) -> float:
    """Return the multiply-adds of all searches, at most: transforms of orders of the classes."""
    cells = _CELLS * max(1.0, min(len(np.unique(t[~np.isnan(t)])) / 2, _CYCLES))
    return float(fits * _MOST * _ORDERS) * n_classes * 4 * cells * np.log2(cells)


def fit_waves(state: AuditState, column: str, name: str, folds: np.ndarray) -> Section:
    """Look for frequencies of a date, and hold them against the calendar's on the folds.

    Args:
        state: The run, with the features of the table.
        column: The column.
        name: The piece of work, for the journal of blocks.
        folds: The fold of each row, as the stage fit has them.

    Returns:
        A section that JSON can hold: `column, periods, calendar_log_loss, gain, standard_error,
        kept, why`; and `waves`, where they were kept.
    """
    t = days(state.used.column(column))
    section: Section = {
        "column": column,
        "periods": [],
        "calendar_log_loss": None,
        "gain": None,
        "standard_error": None,
        "kept": False,
    }
    count = _count(t, len(state.classes), int(folds.max()) + 2)
    if count > state.options.budget:
        return section | {"why": f"{count:.2g} multiply-adds are over the budget"}
    given = _Dates(t, state.codes, folds, len(state.classes), state.options.seed)
    whole = state.run_blocks(f"{name}-whole", _found, [(-1, _MOST)], given)[0]
    section["periods"] = (2 * np.pi / whole).tolist()
    if not len(whole):
        return section | {"why": "no frequency goes with the label (false alarm 1 %)"}
    outside = [_waves(t, whole)]
    blocks = [(fold, len(whole)) for fold in range(int(folds.max()) + 1)]
    for found in state.run_blocks(f"{name}-folds", _found, blocks, given):
        block = _waves(t, found)
        outside.append(np.pad(block, ((0, 0), (0, outside[0].shape[1] - block.shape[1]))))
    calendar, gained = _gained(state, column, outside, folds)
    gain, error = float(gained.mean()), float(gained.std() / len(gained) ** 0.5)
    section |= {"calendar_log_loss": calendar, "gain": gain, "standard_error": error}
    if not gain > error:
        return section | {"why": "they did not beat the calendar's waves by their standard error"}
    held = {"frequencies": encoded(whole), "outside": [encoded(block) for block in outside]}
    return section | {"kept": True, "why": "kept", "waves": held}


def _gained(
    state: AuditState, column: str, outside: list[np.ndarray], folds: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return the log loss by the column's own features, and what the waves take from each row's."""
    own = state.X[:, [name == column for name in state.encoder.column_of_feature]]

    def features(fold: int) -> np.ndarray:
        block = outside[fold + 1]
        shared = scale_of(block)
        return np.column_stack((own, (block - shared["center"]) * shared["scale"]))

    n_classes = len(state.classes)
    losses = [
        row_log_loss(
            fold_probabilities(ClosedFormClassifier, X, state.codes, folds, n_classes), state.codes
        )
        for X in (own, features)
    ]
    return float(losses[0].mean()), losses[0] - losses[1]


def kept_waves(section: Section) -> FittedWaves:
    """Return what `fit_waves` kept."""
    held = section["waves"]
    outside = tuple(decoded(block) for block in held["outside"])
    return FittedWaves(
        section["column"],
        **scale_of(outside[0]),
        outside=outside,
        frequencies=decoded(held["frequencies"]),
    )
