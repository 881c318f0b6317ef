"""Moments, the closed form and HSIC from files larger than memory: one pass, on any executor."""

import hashlib
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trivium._core.errors import ArgumentError, DataError
from trivium._core.random import RandomState, check_seed
from trivium.closedform import ClosedFormClassifier
from trivium.closedform.reservoir import ROWS
from trivium.dependence import HSICMoments
from trivium.kernel import Kernel
from trivium.moment import Moments, RowSample
from trivium.parallel import BlockJournal, Executor, Progress, SerialExecutor
from trivium.table.block_work import BlockHSIC, BlockMoments, BlockSample
from trivium.table.naming import cut
from trivium.table.numeric import NumericReader
from trivium.table.parts import Parts

__all__ = ["NumericParts"]

_SAMPLE_ROWS = 2_000  # from which kernels and features are fixed
_SAMPLE_PLACES = 32  # blocks that they are from
_VERSION = 1


class NumericParts:
    r"""The rows of numbers of some files, for one pass over them.

    The rows of a block are added in their order and blocks are merged in a fixed tree, so that
    results have the same bits on every executor, after a worker's death, and after a killed run
    was taken up again. Nothing of the size of the files is ever in memory.

    Args:
        parts: The files, opened by `open_parts`.
        label: A column of labels, by whose exact text rows are told apart.
        columns: Columns of numbers; all but the label by default.
        missing: What becomes of rows with missing cells, as for `NumericReader`.
        executor: Where blocks are read; one after the other in this process by default.
        journal: A folder where the results of finished blocks are kept, so that a killed run
            goes on where it was.
        progress: Told of blocks done and in all.

    Raises:
        DataError: A column that is not there.
        ArgumentError: No column, one twice, or an unknown choice.

    Cost:
        A pass: reading and decoding, and what `Moments.update` takes; memory of a block or some
        batches a worker, and of a result for each block that waits for its neighbor.

    Example:
        >>> import pathlib, tempfile
        >>> from trivium.closedform import ClosedFormClassifier
        >>> from trivium.table import open_parts
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i, rows in enumerate(["0,a\n1,a\n", "5,b\n6,b\n"]):
        ...         _ = pathlib.Path(folder, f"{i}.csv").write_text("x,y\n" + rows)
        ...     numbers = NumericParts(open_parts(folder), label="y")
        ...     means = numbers.moments().means.tolist()
        ...     fitted = numbers.fit(ClosedFormClassifier())
        >>> means, fitted.predict([[0.5], [4.0]]).tolist()
        ([[0.5], [5.5]], ['a', 'b'])
    """

    def __init__(
        self,
        parts: Parts,
        *,
        label: str | None = None,
        columns: Sequence[str] | None = None,
        missing: str = "refuse",
        executor: Executor | None = None,
        journal: str | PathLike[str] | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.parts = parts
        given = [n for n in parts.names if n != label] if columns is None else list(columns)
        self._reader = self._reading(given, label, missing)
        self._executor = executor or SerialExecutor()
        self._journal = None if journal is None else Path(journal)
        self._progress = progress

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of numbers, in the order of the axis d."""
        return self._reader.columns

    def _reading(self, columns: Sequence[str], label: str | None, missing: str) -> NumericReader:
        wanted = [*columns, *filter(None, [label])]
        for name in wanted:
            self.parts.check_column("NumericParts", name)
        twice = [cut(name) for i, name in enumerate(wanted) if name in wanted[:i]]
        if twice or not columns:
            raise ArgumentError(
                "NumericParts: columns must be distinct and at least one; got "
                + (f"{twice[0]} twice" if twice else "none")
            )
        return NumericReader(tuple(columns), label, missing)

    def moments(self, *, classwise: bool = False) -> Moments:
        """Return the moments of all rows.

        Args:
            classwise: Keep the scatter of each class.

        Raises:
            DataError: As `NumericReader`.
            ResourceError: Blocks lost their workers again and again.
        """
        found: Moments = self._merged(BlockMoments(self._reader, classwise))
        return found

    def fit(
        self, classifier: ClosedFormClassifier, *, random_state: RandomState = 0
    ) -> ClosedFormClassifier:
        """Fit the closed form to all rows; classes are the exact texts of the label.

        The weights come from the moments of all rows. Ridge and temperature are chosen by exact
        leave-one-out on a uniform sample of 4,000 of them, which depends on the seed and the
        numbers of the rows alone (`trivium.moment.RowSample`).

        Args:
            classifier: What is fitted.
            random_state: Seed of the sample.

        Returns:
            The classifier.

        Raises:
            ArgumentError: There is no label.
            DataError: As `NumericReader`; fewer than two classes.
            ResourceError: Blocks lost their workers again and again.
        """
        if self._reader.label is None:
            raise ArgumentError("NumericParts.fit: label must name a column; got None")
        sample = RowSample(ROWS, random_state, self.parts.n_rows)
        found = self._merged(BlockSample(BlockMoments(self._reader), sample))
        rows = (found.sample.x, found.sample.y)
        return classifier.fit_moments(found.moments, rows=None if rows[0] is None else rows)

    def hsic(
        self,
        x: str | Sequence[str],
        y: str | Sequence[str],
        *,
        kernel_x: Kernel | str = "auto",
        kernel_y: Kernel | str = "auto",
        n_features: int = 128,
        features: str = "auto",
        random_state: RandomState = 0,
    ) -> HSICMoments:
        r"""Return HSIC moments of two sets of columns over all rows.

        Kernels and features are fixed from up to 2,000 rows, of up to 32 places evenly spread
        over the files; then comes the pass.

        Args:
            x: Columns of numbers, whatever `columns` is.
            y: Other columns of numbers.
            kernel_x: As for `HSICMoments.like`, and so are the others.
            kernel_y: The same for y.
            n_features: Most features of each side.
            features: How they are made.
            random_state: Seed of the sample and of the features.

        Raises:
            DataError: A column that is not there; as `NumericReader`; a sample that is constant
                or has fewer than 4 rows.
            ArgumentError: No column, one twice, or as `HSICMoments.like`.
            ResourceError: Blocks lost their workers again and again.

        Example:
            >>> import pathlib, tempfile
            >>> from trivium.table import open_parts
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     path = pathlib.Path(folder, "t.csv")
            ...     rows = [f"{i},{i * i}\n" for i in range(-50, 50)]
            ...     _ = path.write_text("x,y\n" + "".join(rows))
            ...     moments = NumericParts(open_parts(path)).hsic("x", "y")
            >>> moments.count, bool(moments.test().p_value < 1e-6)
            (100, True)
        """
        left, right = ((side,) if isinstance(side, str) else tuple(side) for side in (x, y))
        reader = self._reading((*left, *right), None, self._reader.missing)
        seed, d = check_seed(random_state), len(left)
        rows = self._some_rows(reader, seed)
        nothing = HSICMoments.like(
            rows[:, :d], rows[:, d:], kernel_x, kernel_y, n_features, features, seed
        )
        found: HSICMoments = self._merged(BlockHSIC(reader, d, nothing))
        return found

    def _some_rows(self, reader: NumericReader, seed: int) -> Tensor:
        """Return rows from places all over the files."""
        streams = self.parts.streams()
        places = np.linspace(0, len(streams) - 1, min(len(streams), _SAMPLE_PLACES))
        sample = RowSample(_SAMPLE_ROWS, seed)
        for place in places.round().astype(int):
            first = next(reader(streams[place]), None)
            if first is not None:
                sample.offer(first.numbers, first.x)
        if sample.x is None:
            raise DataError(
                "NumericParts.hsic: rows must have values; got none", where=self.parts.source
            )
        return torch.from_numpy(sample.x)

    def _merged(self, work: BlockMoments | BlockSample | BlockHSIC) -> Any:
        """Run the work on all blocks and merge what they give."""
        journal = None
        if self._journal is not None:
            facts = (_VERSION, torch.__version__, self.parts.fingerprint, work.facts)
            digest = hashlib.sha256(repr(facts).encode()).hexdigest()
            journal = BlockJournal(
                self._journal / f"{work.kind}-{digest[:12]}",
                digest,
                plain=work.made.state,
                whole=lambda state: work.made.from_state(*state),
            )
        return self._executor.merge(
            work, self.parts.streams(), journal=journal, progress=self._progress
        )
