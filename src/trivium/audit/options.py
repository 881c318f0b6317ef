"""What a run of the audit was asked to do; its fingerprint decides whether a run can resume."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError
from trivium._core.random import check_seed
from trivium.audit.costs import Costs
from trivium.dependence.screen import MOST_ROWS
from trivium.dependence.sequence import MOST_ROWS as MOST_TEXTS
from trivium.table import ReadOptions

__all__ = ["BUDGET", "HOLD", "METRICS", "AuditOptions", "DependOptions", "Screening", "as_paths"]

BUDGET = 10**12
HOLD = 2 * 10**7
"""Cells that are held at once: rows times columns."""

_SENTENCE = "sentence-transformers:"
METRICS = ("accuracy", "balanced_accuracy", "f1", "log_loss", "macro_f1", "mcc")
# Those that every model is scored by, and the one of them that stands for another.
_SCORED = ("accuracy", "macro_f1", "log_loss")
_STANDS_FOR = dict.fromkeys(("balanced_accuracy", "f1", "mcc"), "macro_f1")
_LEAST_PERMUTATIONS = 19


@dataclass(frozen=True)
class Screening:
    """How columns are tested for dependence; the same in the audit and in the verb.

    Args:
        permutations: Shifts of the target in the first group; at least 19.
        fdr: Expected share of false discoveries.
        correction: `"bh"` (Benjamini-Hochberg) or `"by"` (Benjamini-Yekutieli).
        seed: Seed of the shifts.
        rows: Above this many rows a random sample of that size is tested.
        texts: The same for the tests of words, order and distance.

    Raises:
        ArgumentError: A value breaks its rule.
    """

    permutations: int = 1000
    fdr: float = 0.05
    correction: str = "bh"
    seed: int = 0
    rows: int = MOST_ROWS
    texts: int = MOST_TEXTS

    def __post_init__(self) -> None:
        _check_least("depend", "permutations", self.permutations, _LEAST_PERMUTATIONS)
        check_number("depend", "fdr", self.fdr, "in (0, 1)")
        check_choice("depend", "correction", self.correction, ("bh", "by"))
        check_seed(self.seed)


@dataclass(frozen=True)
class DependOptions:
    """Options of `trivium depend`.

    Args:
        data: The table's file, or its files: their rows one after the other.
        target: The column that the others are tested against; `None` with `pairs` only.
        pairs: Whether every two columns are tested against each other.
        how: Shifts, false-discovery rate, correction and seed.
        keep: Columns tested although they determine the target.
        hold: Cells, rows times columns, that are held at once; of more rows a sample.
        read: How the file is read.

    Raises:
        ArgumentError: Neither a target nor pairs, or columns to keep without a target.
    """

    data: str | Path | tuple[str | Path, ...]
    target: str | None = None
    pairs: bool = False
    how: Screening = field(default_factory=Screening)
    keep: tuple[str, ...] = ()
    hold: int = HOLD
    read: ReadOptions = field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        _check_hold("depend", self.hold)
        if self.target is None and not self.pairs:
            raise ArgumentError(
                "depend: --target must name the column to test against; got none",
                remedy="Add --target COLUMN, or --pairs for every two columns.",
            )
        if self.target is None and self.keep:
            raise ArgumentError(
                "depend: --keep must come with --target; got it with --pairs alone",
                remedy="Without a target no column is left out as a leak.",
            )


def as_paths(data: str | Path | tuple[str | Path, ...] | None) -> tuple[Path, ...]:
    """Return the files and folders that were named, as a tuple; text is a path too."""
    if data is None:
        return ()
    return (Path(data),) if isinstance(data, str | Path) else tuple(map(Path, data))


def _check_least(caller: str, name: str, value: int, least: int) -> None:
    if value < least:
        raise ArgumentError(f"{caller}: {name} must be at least {least}; got {value}")


def _check_budget(value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(
            f"audit: budget must be a whole number of multiply-adds, at least 1; got {value!r}",
            remedy=f"The default is {BUDGET:.0e}; on the command line --budget 1e11 does as well.",
        )


def _check_hold(caller: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArgumentError(
            f"{caller}: hold must be a whole number of cells, at least 1; got {value!r}",
            remedy=f"The default is {HOLD:.0e}; on the command line --hold 1e8 does as well.",
        )


def _check_metric(options: "AuditOptions") -> None:
    """Refuse metrics that do not exist, and options that do not go together."""
    metric = options.metric
    if metric is not None and ":" not in metric and metric not in METRICS:
        raise ArgumentError(
            f"audit: metric must be one of {', '.join(METRICS)}, or MODULE:FUNCTION; got {metric!r}"
        )
    if options.costs is not None and metric is not None:
        raise ArgumentError(
            "audit: --costs must come without --metric: the mean cost is the metric; got both"
        )
    if options.positive is not None and metric != "f1":
        raise ArgumentError(
            f"audit: --positive must come with --metric f1; got {options.positive!r} without it"
        )


@dataclass(frozen=True)
class AuditOptions:
    """Options of one audit.

    Args:
        data: The table's file, or its files: their rows one after the other; `None` audits the
            bundled table.
        label: The label column; `None` only with the bundled table.
        metric: What counts: one of `METRICS`, or `MODULE:FUNCTION`, any function of two arrays of
            class names. It is tuned, and the headline where all models are scored by it; `None`
            is the accuracy, tuned by class offsets only.
        positive: The class that the metric `f1` is of; the rarer of two by default.
        costs: What each mistake costs, instead of a metric.
        seed: Seed of every random choice.
        folds: Number of cross-validation folds; at least 2.
        permutations: Shifts of the label in the dependence test; at least 19.
        text_encoder: `"hashed"` or `"sentence-transformers:NAME"`.
        keep: Columns used although they determine the label.
        budget: Multiply-adds that each choice of the plan may take; a whole number. Fewer rows are
            tested or explained where more would not fit.
        machine: A file of `trivium calibrate` that tells the plan's seconds. It changes nothing
            else.
        hold: Cells, rows times columns, that are held at once. Of a larger table a sample of the
            rows is held, and all rows pass by in blocks.
        read: How the file is read.

    Raises:
        ArgumentError: A value breaks its rule.
    """

    data: str | Path | tuple[str | Path, ...] | None = None
    label: str | None = None
    metric: str | None = None
    positive: str | None = None
    costs: Costs | None = None
    seed: int = 0
    folds: int = 5
    permutations: int = 1000
    text_encoder: str = "hashed"
    keep: tuple[str, ...] = ()
    budget: int = BUDGET
    machine: Path | None = None
    hold: int = HOLD
    read: ReadOptions = field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        _check_metric(self)
        _check_budget(self.budget)
        _check_hold("audit", self.hold)
        check_seed(self.seed)
        if self.text_encoder != "hashed" and not self.text_encoder.startswith(_SENTENCE):
            raise ArgumentError(
                f"audit: text_encoder must be 'hashed' or '{_SENTENCE}NAME'; "
                f"got {self.text_encoder!r}"
            )
        _check_least("audit", "folds", self.folds, 2)
        _check_least("audit", "permutations", self.permutations, _LEAST_PERMUTATIONS)

    @property
    def tuned(self) -> str:
        """Name of what is tuned."""
        return "cost" if self.costs is not None else self.metric or "accuracy"

    @property
    def headline(self) -> str:
        """The metric that the verdict speaks of: one that all models are scored by."""
        return self.tuned if self.tuned in _SCORED else _STANDS_FOR.get(self.tuned, "accuracy")

    def fingerprint(self, content: bytes) -> str:
        """Return a digest of the options, the data's digest and nothing of the machine."""
        names = [path.name for path in as_paths(self.data)]
        named = asdict(self) | {"data": names if len(names) > 1 else names[0] if names else None}
        # The clock tells seconds only: it decides nothing.
        del named["machine"]
        text = json.dumps(named, sort_keys=True)
        return hashlib.sha256(text.encode() + content).hexdigest()
