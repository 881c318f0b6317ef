"""`trivium predict`: class and probabilities of every row, of a table of any size."""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any
from warnings import warn

import numpy as np
from jaxtyping import Float, Int64

from trivium._core.errors import TriviumWarning
from trivium._core.threads import one_thread
from trivium.audit.large_odd import Oddity, merged_oddities, oddities
from trivium.audit.large_rows import block_as
from trivium.audit.options import HOLD
from trivium.audit.read_stage import open_table
from trivium.audit.saved import SavedClassifier, load_classifier
from trivium.parallel import Executor, Progress, SerialExecutor
from trivium.table import FileBlock, Parts, ReadOptions, Table, find_files
from trivium.table.read_files import file_starts

__all__ = ["predict_files"]


def predict_files(
    model: Path,
    data: Sequence[Path],
    options: ReadOptions,
    *,
    hold: int = HOLD,
    executor: Executor | None = None,
    progress: Progress | None = None,
) -> tuple[list[str], Iterator[list[Any]]]:
    """Predict every row of some files: a header, and rows `row, LABEL, p(CLASS)...` in order.

    Where the model was tuned the class is by the tuned decision, and may have less than the
    largest probability; the probabilities are those of the closed form. A table of more than
    `hold` cells is read block by block as its rows are asked for; the executor changes no bit.

    Args:
        model: The folder of a model or of a run.
        data: Files, folders and patterns with the same columns; rows are counted through.
        options: How they are read.
        hold: Cells, rows times columns, that are held at once.
        executor: Where blocks are read and predicted; here by default.
        progress: Told of blocks done and in all.

    Raises:
        ModelError: The model is damaged.
        MissingExtraError: It reads texts by a sentence encoder, and that is not installed.
        ArgumentError: Its sentence encoder is not on this machine.
        DataError: A column of the fit is missing; a file is refused; of a large table perhaps
            only when its block is reached.

    Cost:
        As reading; memory of the table, or where it is larger of a few blocks.
    """
    saved = load_classifier(model)
    saved.encoder.check_sentences()
    # A single row to predict is no fault.
    options = replace(options, min_rows=1)
    executor = executor or SerialExecutor()
    found = open_table([Path(path) for path in find_files(data)], options, hold, executor)
    if isinstance(found, Parts):
        saved.encoder.check_columns(found.names, found.source)
        judged: Iterable[_Judged] = _by_blocks(saved, found, executor, progress)
    else:
        judged = [_at_once(saved, found, options)]
    header = ["row", saved.label, *(f"p({name})" for name in saved.classes)]
    return header, _rows(judged, saved.classes)


_AHEAD = 4  # blocks a worker, from the first that has not ended on
_Judged = tuple[Int64[np.ndarray, " n"], Float[np.ndarray, "n c"]]


@dataclass(frozen=True, eq=False)
class _Reading:
    """What every block needs; it goes to every worker once."""

    saved: SavedClassifier
    read: ReadOptions
    starts: Mapping[str, int]


@one_thread()
def _at_once(saved: SavedClassifier, table: Table, options: ReadOptions) -> _Judged:
    return saved.decide(table, options)


def _judge(block: FileBlock, reading: _Reading) -> tuple[_Judged, tuple[Oddity, ...]]:
    """Predict the rows of one block."""
    encoder = reading.saved.encoder
    table, _ = block_as(block, encoder.types, reading.read, reading.starts)
    X, unknown = encoder.encode(table, reading.read)
    return reading.saved.judge(X), oddities(table, unknown)


def _by_blocks(
    saved: SavedClassifier, parts: Parts, executor: Executor, progress: Progress | None
) -> Generator[_Judged]:
    """Yield what was found of each block, in their order; say at the end which cells were odd.

    A block that comes late holds the others up after a while: what has ended waits in memory.
    """
    reading = _Reading(saved, parts.options, file_starts(parts))
    waiting: dict[int, tuple[_Judged, tuple[Oddity, ...]]] = {}
    odd: tuple[Oddity, ...] = ()
    coming = 0
    ahead = _AHEAD * executor.n_workers
    blocks = executor.each(_judge, parts.blocks, shared=reading, progress=progress, ahead=ahead)
    with closing(blocks):
        for number, found in blocks:
            waiting[number] = found
            while coming in waiting:
                judged, own = waiting.pop(coming)
                odd = merged_oddities(odd, own)
                coming += 1
                yield judged
    for notice in (each.notice for each in odd):
        warn(f"predict: {notice.where}: {notice.message}", TriviumWarning, stacklevel=2)


def _rows(judged: Iterable[_Judged], classes: Sequence[str]) -> Iterator[list[Any]]:
    numbers = count(1)
    for codes, proba in judged:
        for code, shares in zip(codes.tolist(), proba.tolist(), strict=True):
            yield [next(numbers), classes[code], *shares]
