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
from trivium.table import ColumnType, FileBlock, Parts, ReadOptions, Table, find_files
from trivium.table.dates import Order
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
    """What every block needs; it goes to every worker once.

    Args:
        saved: The model.
        types: The columns that it takes, and how their cells are read.
        read: How the files are read.
        starts: Rows of the whole table before each file.
    """

    saved: SavedClassifier
    types: Mapping[str, ColumnType]
    read: ReadOptions
    starts: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class _Block:
    """What was found of one block.

    Args:
        judged: Classes and probabilities.
        odd: Cells that do not fit.
        orders: See `_orders`.
    """

    judged: _Judged
    odd: tuple[Oddity, ...]
    orders: Mapping[str, Order | None]


@one_thread()
def _at_once(saved: SavedClassifier, table: Table, options: ReadOptions) -> _Judged:
    return saved.decide(table, options)


def _judge(block: FileBlock, reading: _Reading) -> _Block:
    """Predict the rows of one block."""
    encoder = reading.saved.encoder
    table, _ = block_as(block, reading.types, reading.read, reading.starts)
    X, unknown = encoder.encode(table, reading.read)
    return _Block(reading.saved.judge(X), oddities(table, unknown), _orders(table, reading))


def _orders(table: Table, reading: _Reading) -> dict[str, Order | None]:
    """Return the columns whose dates took an order from these cells alone, and which.

    `None` is the order of dates that could be either.
    """
    if reading.read.date_order is not None:
        return {}
    return {
        column.name: None if any(n.code == "W-AMBIGUOUS-DATE" for n in column.notes) else order
        for column in table.columns
        if (order := column.date_order) and reading.types[column.name].date_order is None
    }


def _orders_of(block: FileBlock, reading: _Reading) -> dict[str, Order | None]:
    return _orders(block_as(block, reading.types, reading.read, reading.starts)[0], reading)


def _settled(reading: _Reading, told: Iterable[Mapping[str, Order | None]]) -> _Reading:
    """Read dates by the order that all blocks together tell, as `read_dates` does of a column."""
    types = dict(reading.types)
    for name, order in (item for each in told for item in each.items()):
        before = types[name].date_order
        types[name] = replace(types[name], date_order="dmy" if before == "dmy" else order or before)
    return replace(reading, types=types)


def _in_order(
    reading: _Reading, blocks: Sequence[FileBlock], executor: Executor, progress: Progress | None
) -> Generator[_Block]:
    """Yield what was found of each block, in their order.

    A block that comes late holds the others up after a while: what has ended waits in memory.
    """
    waiting: dict[int, _Block] = {}
    coming, ahead = 0, _AHEAD * executor.n_workers
    each = executor.each(_judge, blocks, shared=reading, progress=progress, ahead=ahead)
    with closing(each):
        for number, found in each:
            waiting[number] = found
            while coming in waiting:
                yield waiting.pop(coming)
                coming += 1


def _by_blocks(
    saved: SavedClassifier, parts: Parts, executor: Executor, progress: Progress | None
) -> Generator[_Judged]:
    """Yield what was found of each block, in their order; say at the end which cells were odd.

    An order of dates that neither the model nor the options have belongs to the whole table: the
    first block that needs one stops the work until all others were asked.
    """
    reading = _Reading(saved, saved.encoder.types, parts.options, file_starts(parts))
    odd: tuple[Oddity, ...] = ()
    at, start, asked = 0, 0, False

    def tell(ended: int, of: int) -> None:
        if progress is not None:
            progress(start + ended, start + of)

    while at < len(parts.blocks):
        start, left = at, parts.blocks[at:]
        with closing(_in_order(reading, left, executor, tell)) as blocks:
            for found in blocks:
                if found.orders and not asked:
                    break
                at += 1
                odd = merged_oddities(odd, found.odd)
                yield found.judged
        if at < len(parts.blocks):
            told = executor.map(_orders_of, parts.blocks[at:], shared=reading)
            reading, asked = _settled(reading, told), True
    for notice in (each.notice for each in odd):
        warn(f"predict: {notice.where}: {notice.message}", TriviumWarning, stacklevel=2)


def _rows(judged: Iterable[_Judged], classes: Sequence[str]) -> Iterator[list[Any]]:
    numbers = count(1)
    for codes, proba in judged:
        for code, shares in zip(codes.tolist(), proba.tolist(), strict=True):
            yield [next(numbers), classes[code], *shares]
