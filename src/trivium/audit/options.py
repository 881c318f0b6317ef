"""What a run of the audit was asked to do; its fingerprint decides whether a run can resume."""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from trivium._core.checks import check_choice
from trivium._core.errors import ArgumentError
from trivium._core.random import check_seed
from trivium.table import ReadOptions

__all__ = ["METRICS", "AuditOptions"]

_SENTENCE = "sentence-transformers:"
METRICS = ("accuracy", "macro_f1", "log_loss")


@dataclass(frozen=True)
class AuditOptions:
    """Options of one audit.

    Args:
        data: The table's file; `None` audits the bundled table.
        label: The label column; `None` only with the bundled table.
        metric: The headline metric, one of `METRICS`.
        seed: Seed of every random choice.
        folds: Number of cross-validation folds; at least 2.
        permutations: Permutations of the dependence test; at least 19.
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
        for name, least in (("folds", 2), ("permutations", 19)):
            if getattr(self, name) < least:
                raise ArgumentError(
                    f"audit: {name} must be at least {least}; got {getattr(self, name)}"
                )

    def fingerprint(self, content: bytes) -> str:
        """Return a digest of the options, the data's digest and nothing of the machine."""
        named = asdict(self) | {"data": self.data and self.data.name}
        text = json.dumps(named, sort_keys=True)
        return hashlib.sha256(text.encode() + content).hexdigest()
