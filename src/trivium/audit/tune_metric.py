"""The metric that is tuned: a named one, a cost matrix, or any function of labels."""

import hashlib
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from scipy.sparse import csr_array

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError
from trivium._core.random import numpy_generator
from trivium.audit.options import AuditOptions
from trivium.objective import (
    Accuracy,
    ClassMetric,
    CostMatrix,
    Counts,
    FBeta,
    LabelMetric,
    MatthewsCorrelation,
    Recall,
)
from trivium.table import Label
from trivium.table.naming import cut, listed

__all__ = ["TuneMetric", "UserMetric", "load_function", "source_of", "tune_metric"]

_DRAWS = (200, 1000)
_WORK = 2e7


def _refused(what: str, error: BaseException | None = None) -> DataError:
    said = f"; {type(error).__name__}: {error}".split("\n", maxsplit=1)[0] if error else ""
    return DataError(
        f"audit: the function of --metric {what}{said}",
        remedy="It is called as function(target, prediction) with two arrays of class names.",
        code="E-METRIC",
    )


@dataclass(frozen=True, eq=False)
class UserMetric:
    """A function of two arrays of class names, called with codes.

    It gets copies, so that what it does to them changes nothing here; doing it is refused.

    Args:
        function: Called as `function(target, prediction)`; larger is better.
        classes: Class names by code.
    """

    function: Callable[[Any, Any], Any]
    classes: tuple[str, ...]

    def __call__(self, target: np.ndarray, prediction: np.ndarray) -> float:
        """Return its value.

        Raises:
            DataError: It raises, changes what it is given, or returns no finite number.
        """
        names = np.asarray(self.classes)
        given = names[target], names[prediction]
        try:
            found = self.function(*given)
        except (Exception, SystemExit) as error:  # nobody's metric ends a run without a word
            raise _refused("must not raise", error) from error
        if not all(
            mine.shape == codes.shape and np.array_equal(mine, names[codes])
            for mine, codes in zip(given, (target, prediction), strict=True)
        ):
            raise _refused("must leave its arguments as they are; it changed them")
        try:
            if isinstance(found, str | bytes):
                raise TypeError("a text is no number, also where it reads as one")
            value = float(found)
        except (TypeError, ValueError, OverflowError) as error:
            raise _refused(f"must return a number; got {type(found).__name__}") from error
        if not math.isfinite(value):
            raise _refused(f"must return a finite number; got {value}")
        return value


@dataclass(frozen=True, eq=False)
class TuneMetric:
    """A metric of codes, larger is better.

    Args:
        name: As the report shows it.
        metric: A metric made from counts or costs, or a function of the user's.
        n_classes: Number of classes.
        positive: Code of the class that F1 is of.
    """

    name: str
    metric: LabelMetric | UserMetric
    n_classes: int
    positive: int | None = None

    @property
    def codes(self) -> np.ndarray:
        """The classes as the metric knows them."""
        return np.arange(self.n_classes)

    @property
    def counted(self) -> bool:
        """Whether it is a function of the counts of classes, so that many are cheap."""
        return isinstance(self.metric, ClassMetric)

    @property
    def costs(self) -> np.ndarray | None:
        """The cost matrix, if that is what it is."""
        return np.array(self.metric.costs) if isinstance(self.metric, CostMatrix) else None

    def value(self, target: Int64[np.ndarray, " n"], prediction: Int64[np.ndarray, " n"]) -> float:
        """Return the metric of a prediction.

        Raises:
            DataError: A function of the user's fails.
        """
        if isinstance(self.metric, UserMetric):
            return self.metric(target, prediction)
        drawn = torch.from_numpy(prediction)[None]
        return float(self.metric.coded_values(torch.from_numpy(target), drawn, self.codes)[0])

    def of_counts(self, tp: np.ndarray, predicted: np.ndarray, support: np.ndarray) -> np.ndarray:
        """Return the metric of counts of each class, of shape (draws, c).

        Raises:
            TypeError: It is not made from counts of classes.
        """
        if not isinstance(self.metric, ClassMetric):
            raise TypeError("TuneMetric.of_counts: the metric must be made from counts of classes")
        n = support.sum(-1, keepdims=True)
        parts = (tp, predicted - tp, support - tp, n - predicted - support + tp)
        each = (torch.from_numpy(np.asarray(part, dtype=np.float64)) for part in parts)
        return self.metric.score(Counts(*each), self.codes).numpy()

    def paired(
        self,
        target: np.ndarray,
        before: np.ndarray,
        after: np.ndarray,
        seed: int,
        folds: np.ndarray | None = None,
    ) -> dict[str, float]:
        """Return both values, their difference and its standard error.

        The error is that of a bootstrap over rows, with the same resampled rows for both
        predictions: it knows of other rows to score. Where folds are given and it is larger, it is
        that of the jackknife over folds, which knows of other rows to learn from as well. Rows
        that agree in all three labels are counted, not drawn: the counts of a resample are
        multinomial.

        Raises:
            DataError: A function of the user's fails.
        """
        c = self.n_classes
        cells, rows = np.unique((target * c + before) * c + after, return_counts=True)
        labels = cells // c**2, cells // c % c, cells % c
        n_draws = int(np.clip(_WORK // len(cells), *_DRAWS)) if self.counted else _DRAWS[0]
        generator = numpy_generator(seed, "tune", "bootstrap")
        counts = generator.multinomial(len(target), rows / rows.sum(), size=n_draws)
        values = [self._of_cells(counts, labels[0], guess) for guess in labels[1:]]
        now = self.value(target, before), self.value(target, after)
        error = float((values[1] - values[0]).std())
        if folds is not None:
            error = max(error, self._jackknife(target, before, after, folds))
        gain = now[1] - now[0]
        return {"before": now[0], "after": now[1], "gain": gain, "standard_error": error}

    def _jackknife(
        self, target: np.ndarray, before: np.ndarray, after: np.ndarray, folds: np.ndarray
    ) -> float:
        """Standard error of the difference by leaving out one fold at a time."""
        gains = []
        for fold in np.unique(folds):
            rest = folds != fold
            pair = (self.value(target[rest], guess[rest]) for guess in (after, before))
            gains.append(next(pair) - next(pair))
        return float(np.std(gains) * np.sqrt(len(gains) - 1))

    def _of_cells(self, counts: np.ndarray, target: np.ndarray, guess: np.ndarray) -> np.ndarray:
        """The metric of each draw of how often each pair of labels occurs."""
        if isinstance(self.metric, UserMetric):
            return np.array(
                [self.metric(np.repeat(target, row), np.repeat(guess, row)) for row in counts]
            )
        costs = self.costs
        if costs is not None:
            return -(counts @ costs[target, guess]) / counts.sum(1)

        def by_class(codes: np.ndarray, kept: np.ndarray) -> np.ndarray:
            place = np.arange(len(codes)), codes
            pick = csr_array((kept.astype(float), place), shape=(len(codes), self.n_classes))
            return np.asarray(counts @ pick)

        every = np.ones(len(target))
        return self.of_counts(
            by_class(target, target == guess), by_class(guess, every), by_class(target, every)
        )


def load_function(name: str) -> Any:
    """Return the function that `MODULE:FUNCTION` names on the user's own Python path.

    Raises:
        ArgumentError: There is none; what importing the module says is in the message.
    """
    module, _, function = name.partition(":")
    try:
        found: Any = import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except (Exception, SystemExit) as error:
        raise ArgumentError(
            f"audit: --metric must name a function that can be imported; got {cut(name)}: "
            f"{type(error).__name__}: {error}".split("\n", maxsplit=1)[0],
            remedy="Give MODULE:FUNCTION; the module must be on PYTHONPATH.",
        ) from error
    if not callable(found):
        raise ArgumentError(f"audit: --metric must name a function; {cut(name)} is none")
    return found


def source_of(options: AuditOptions) -> bytes:
    """Digest of the file of the user's function: another text is another run."""
    if ":" not in options.tuned:
        return b""
    module = sys.modules.get(getattr(load_function(options.tuned), "__module__", None) or "")
    path = getattr(module, "__file__", None)
    return hashlib.sha256(Path(path).read_bytes()).digest() if path else b""


def _positive(options: AuditOptions, label: Label) -> int:
    """The class that F1 is of: the one named, or the rarer of two."""
    if options.positive is not None:
        if options.positive not in label.classes:
            raise ArgumentError(
                f"audit: --positive must be a class of the label; got {cut(options.positive)}",
                remedy=f"The classes are {listed(map(cut, label.classes))}.",
            )
        return label.classes.index(options.positive)
    if len(label.classes) > 2:
        raise ArgumentError(
            "audit: --metric f1 must come with --positive CLASS; "
            f"{counted(len(label.classes), 'class')}",
            remedy="Or take --metric macro_f1, the mean over classes.",
        )
    # The later one of two that are equally rare: "yes" of no and yes, 1 of 0 and 1.
    return len(label.classes) - 1 - int(np.argmin(np.bincount(label.codes)[::-1]))


def tune_metric(options: AuditOptions, label: Label) -> TuneMetric | None:
    """Return the metric to tune for these classes; `None` for the log-loss, which is not one.

    Raises:
        ArgumentError: A class or a function that does not exist.
        DataError: The costs are of other classes; the function fails on the labels themselves.
    """
    name, c = options.tuned, len(label.classes)
    if name == "log_loss":
        return None
    if options.costs is not None:
        return TuneMetric(name, CostMatrix(options.costs.of(label.classes)), c)
    if ":" in name:
        user = UserMetric(load_function(name), label.classes)
        user(label.codes, label.codes)
        return TuneMetric(name, user, c)
    if name == "f1":
        positive = _positive(options, label)
        return TuneMetric(name, FBeta(average="macro", labels=(positive,)), c, positive)
    named: dict[str, LabelMetric] = {
        "accuracy": Accuracy(),
        "balanced_accuracy": Recall(average="macro"),
        "macro_f1": FBeta(average="macro"),
        "mcc": MatthewsCorrelation(),
    }
    return TuneMetric(name, named[name], c)
