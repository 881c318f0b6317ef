"""What a run of the audit was asked to do; its fingerprint decides whether a run can resume."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError
from trivium._core.random import check_seed
from trivium.table import ReadOptions

__all__ = ["METRICS", "AuditOptions", "DependOptions", "Screening"]

_SENTENCE = "sentence-transformers:"
METRICS = ("accuracy", "macro_f1", "log_loss")
_LEAST_PERMUTATIONS = 19


@dataclass(frozen=True)
class Screening:
    """How columns are tested for dependence; the same in the audit and in the verb.

    Args:
        permutations: Shifts of the target in the first group; at least 19.
        fdr: Expected share of false discoveries.
        correction: `"bh"` (Benjamini-Hochberg) or `"by"` (Benjamini-Yekutieli).
        seed: Seed of the shifts.

    Raises:
        ArgumentError: A value breaks its rule.
    """

    permutations: int = 1000
    fdr: float = 0.05
    correction: str = "bh"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_least("depend", "permutations", self.permutations, _LEAST_PERMUTATIONS)
        check_number("depend", "fdr", self.fdr, "in (0, 1)")
        check_choice("depend", "correction", self.correction, ("bh", "by"))
        check_seed(self.seed)


@dataclass(frozen=True)
class DependOptions:
    """Options of `trivium depend`.

    Args:
        data: The table's file.
        target: The column that the others are tested against; `None` with `pairs` only.
        pairs: Whether every two columns are tested against each other.
        how: Shifts, false-discovery rate, correction and seed.
        keep: Columns tested although they determine the target.
        read: How the file is read.

    Raises:
        ArgumentError: Neither a target nor pairs, or columns to keep without a target.
    """

    data: Path
    target: str | None = None
    pairs: bool = False
    how: Screening = field(default_factory=Screening)
    keep: tuple[str, ...] = ()
    read: ReadOptions = field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
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


def _check_least(caller: str, name: str, value: int, least: int) -> None:
    if value < least:
        raise ArgumentError(f"{caller}: {name} must be at least {least}; got {value}")


@dataclass(frozen=True)
class AuditOptions:
    """Options of one audit.

    Args:
        data: The table's file; `None` audits the bundled table.
        label: The label column; `None` only with the bundled table.
        metric: The headline metric, one of `METRICS`.
        seed: Seed of every random choice.
        folds: Number of cross-validation folds; at least 2.
        permutations: Shifts of the label in the dependence test; at least 19.
        text_encoder: `"hashed"` or `"sentence-transformers:NAME"`.
        keep: Columns used although they determine the label.
        read: How the file is read.

    Raises:
        ArgumentError: A value breaks its rule.
    """

    data: Path | None = None
    label: str | None = None
    metric: str = "accuracy"
    seed: int = 0
    folds: int = 5
    permutations: int = 1000
    text_encoder: str = "hashed"
    keep: tuple[str, ...] = ()
    read: ReadOptions = field(default_factory=ReadOptions)

    def __post_init__(self) -> None:
        check_choice("audit", "metric", self.metric, METRICS)
        check_seed(self.seed)
        if self.text_encoder != "hashed" and not self.text_encoder.startswith(_SENTENCE):
            raise ArgumentError(
                f"audit: text_encoder must be 'hashed' or '{_SENTENCE}NAME'; "
                f"got {self.text_encoder!r}"
            )
        _check_least("audit", "folds", self.folds, 2)
        _check_least("audit", "permutations", self.permutations, _LEAST_PERMUTATIONS)

    def fingerprint(self, content: bytes) -> str:
        """Return a digest of the options, the data's digest and nothing of the machine."""
        named = asdict(self) | {"data": self.data and self.data.name}
        text = json.dumps(named, sort_keys=True)
        return hashlib.sha256(text.encode() + content).hexdigest()
