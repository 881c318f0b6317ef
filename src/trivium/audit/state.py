"""What the stages of one run hand on to each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from trivium.audit.fold_features import FoldFeatures
from trivium.audit.large import Large
from trivium.audit.learnt_encoder import LearntEncoder
from trivium.audit.options import AuditOptions
from trivium.audit.plan import Plan
from trivium.audit.tuned import Tuned
from trivium.closedform import ClosedFormClassifier, Flags
from trivium.parallel import BlockJournal, Executor, Progress, SerialExecutor
from trivium.table import Label, Table, TableEncoder

__all__ = ["AuditState", "Listener", "Section", "Silent"]

Section = dict[str, Any]


@runtime_checkable
class Listener(Protocol):
    """Who is told of a run's progress."""

    def begin(self, name: str) -> None:
        """A stage begins."""

    def step(self, done: int, total: int) -> None:
        """The stage under way has done `done` of `total` parts."""

    def end(self, name: str, did: str, seconds: float) -> None:
        """A stage ended."""


class Silent:
    """A listener that says nothing."""

    def begin(self, name: str) -> None:
        """Ignore."""

    def step(self, done: int, total: int) -> None:
        """Ignore."""

    def end(self, name: str, did: str, seconds: float) -> None:
        """Ignore."""


@dataclass
class AuditState:
    """The run so far.

    Attributes:
        options: What was asked.
        journal: Returns a stage's stored result, or computes and stores it.
        blocks: Returns the journal of work that is done block by block, if it is kept.
        executor: Runs the blocks.
        listener: Who is told of progress.
        source: Name of the data as the report shows it.
        table: Rows that have a label, all columns but the label.
        used: The columns of `table` that carry evidence.
        label: The label of these rows.
        groups: Rows with one number are identical.
        plan: What the stage plan chose and counted.
        X: Encoded rows, of shape (n, d), for fits on all of them.
        base: The same without what was learnt from the label, where something was.
        tuned: What the stage tune kept on top of the classifier.
        large: All rows, where they are too many to be held: the attributes above are then those
            of a sample.
        report: Sections written so far.
    """

    options: AuditOptions
    listener: Listener
    source: str = ""
    executor: Executor = field(default_factory=SerialExecutor)
    journal: Callable[[str, Callable[[], Any]], Any] = field(init=False)
    blocks: Callable[..., BlockJournal | None] = lambda name, plain=None, whole=None: None
    table: Table = field(init=False)
    used: Table = field(init=False)
    label: Label = field(init=False)
    groups: np.ndarray = field(init=False)
    plan: Plan = field(init=False)
    encoder: TableEncoder | LearntEncoder = field(init=False)
    X: np.ndarray = field(init=False)
    base: np.ndarray = field(init=False)
    classifier: ClosedFormClassifier = field(init=False)
    flags: Flags = field(init=False)
    tuned: Tuned | None = None
    large: Large | None = None
    evidence: list[tuple[str, str]] = field(init=False)
    report: Section = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the codes."""
        return self.label.classes

    @property
    def codes(self) -> np.ndarray:
        """Class of each row used."""
        return self.label.codes

    @property
    def features(self) -> FoldFeatures:
        """Encoded rows where no feature of a training row has seen a label of the fold asked."""
        if isinstance(self.encoder, LearntEncoder):
            return self.encoder.for_folds(self.base)
        return FoldFeatures(self.X)

    def run_blocks(
        self,
        name: str,
        function: Callable[..., Any],
        blocks: Sequence[Any],
        shared: Any = None,
        progress: Progress | None = None,
    ) -> list[Any]:
        """Return what a function gives for each block, by the executor, kept as they end.

        Args:
            name: The piece of work, in the journal.
            function: Called as `function(block, shared)` with one thread, maybe elsewhere.
            blocks: Small things that say what to do.
            shared: What all of them read.
            progress: Told of blocks done and in all; the listener by default.
        """
        return self.executor.map(
            function,
            blocks,
            shared=shared,
            journal=self.blocks(name),
            progress=progress or self.listener.step,
        )

    def warn(self, code: str, where: str, message: str) -> None:
        """Add a warning to the report."""
        self.report["warnings"].append({"code": code, "where": where, "message": message})
