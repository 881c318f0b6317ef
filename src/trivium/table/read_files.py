"""Several files as one table in memory: the same columns in each, rows one after the other."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from trivium._core.errors import DataError
from trivium.parallel import Executor, Progress, SerialExecutor
from trivium.table.options import ReadOptions
from trivium.table.part_block import FileBlock, read_block
from trivium.table.parts import Parts, open_parts
from trivium.table.places import Places
from trivium.table.raw import RawTable, cells_of
from trivium.table.read import build_table, read_table
from trivium.table.table import Table

__all__ = [
    "block_places",
    "file_starts",
    "gather",
    "joined_places",
    "open_files",
    "read_files",
    "shown_name",
]

PathName = str | PathLike[str]
_PACKED = (".gz", ".parquet", ".pq")


def shown_name(paths: Sequence[PathName]) -> str:
    """Return what a table of these files is called: `a.csv`, or `a.csv and 3 more files`."""
    more = len(paths) - 1
    return Path(paths[0]).name + (f" and {more} more file{'s' * (more > 1)}" if more else "")


def open_files(
    paths: Sequence[PathName],
    options: ReadOptions | None = None,
    *,
    small: int = 0,
    block_bytes: int | None = None,
    executor: Executor | None = None,
) -> Parts | None:
    """Open files as parts, unless they are one file that can be read in one go without a look.

    Args:
        paths: Files, folders and patterns, see `open_parts`.
        options: As for `read_table`.
        small: One text file of so many bytes at the most is not looked through: `None`.
        block_bytes: As for `open_parts`.
        executor: As for `open_parts`.

    Raises:
        DataError: As `open_parts`.
    """
    if len(paths) == 1 and os.path.isfile(paths[0]):
        name = os.fspath(paths[0]).lower()
        if not name.endswith(_PACKED) and os.path.getsize(paths[0]) <= small:
            return None
    if len(paths) == 1 and not os.path.lexists(paths[0]) and not set("*?[") & {*str(paths[0])}:
        return None  # no such file: who reads it says so
    size = {} if block_bytes is None else {"block_bytes": block_bytes}
    return open_parts(list(paths), options, executor=executor, **size)


def read_files(
    paths: Sequence[PathName],
    options: ReadOptions | None = None,
    executor: Executor | None = None,
) -> Table:
    """Read one or several files as one table, rows one after the other in the order given.

    What a column is, is found out over all files together. Columns are matched by name; rows
    are counted through, and `Table.place` has the file and its own line.

    Args:
        paths: Files, folders and patterns, see `open_parts`.
        options: As for `read_table`.
        executor: Reads blocks of the files; here by default.

    Raises:
        DataError: As `read_table`, or a file lacks a column of the first one, or has one more.

    Cost:
        As `read_table`; all rows are held.
    """
    options = options or ReadOptions()
    if len(paths) == 1 and not os.path.isdir(paths[0]) and not set("*?[") & {*str(paths[0])}:
        return read_table(paths[0], options)
    parts = open_parts(list(paths), options, executor=executor)
    return gather(parts, (executor or SerialExecutor()).map(read_block, parts.blocks))


def gather(parts: Parts, raws: Sequence[RawTable], progress: Progress | None = None) -> Table:
    """Put the blocks of parts together, and find out what each column is.

    Args:
        parts: The parts.
        raws: What `read_block` gave for each of their blocks.
        progress: Told of columns done and in all.

    Raises:
        DataError: As `build_table`.
    """
    files = parts.files
    names = list(parts.names)
    notices = [*parts.notices, *(notice for raw in raws for notice in raw.notices)]
    whole = RawTable(
        names=names,
        cells=[cells_of([raw.cells[place] for raw in raws]) for place in range(len(names))],
        n_rows=parts.n_rows,
        notices=list(dict.fromkeys(notices)),
    )
    if len(files) == 1:
        if all(raw.lines is not None for raw in raws):
            whole = replace(whole, lines=np.concatenate([raw.lines for raw in raws]))
        return build_table(whole, parts.options, files[0].name, str(files[0]), progress)
    starts = file_starts(parts)
    pairs = zip(parts.blocks, raws, strict=True)
    places = joined_places([block_places(block, raw, starts) for block, raw in pairs])
    try:
        name = shown_name(files)
        table = build_table(whole, parts.options, name, name, progress)
    except DataError as error:
        where = error.where and places.told(error.where)
        raise DataError(error.what, where=where, remedy=error.remedy, code=error.code) from error
    columns = tuple(replace(each, notes=places.noted(each.notes)) for each in table.columns)
    return replace(table, columns=columns, places=places)


def file_starts(parts: Parts) -> dict[str, int]:
    """Return how many rows of the whole table come before each file."""
    found: dict[str, int] = {}
    for block in parts.blocks:
        found.setdefault(str(block.part.source.path), block.first_row)
    return found


def block_places(block: FileBlock, raw: RawTable, starts: Mapping[str, int]) -> Places:
    """Return where the rows of a block stand: in Parquet by their number, else by their line."""
    path = str(block.part.source.path)
    if raw.lines is None:
        before = block.first_row - starts[path]
        numbers = before + np.arange(1, raw.n_rows + 1, dtype=np.int64)
    else:
        numbers = raw.lines
    word = "row" if raw.lines is None else "line"
    return Places((path,), (word,), np.zeros(raw.n_rows, dtype=np.int64), numbers)


def joined_places(places: Sequence[Places]) -> Places:
    """Return the places of rows one after the other."""
    pairs = [pair for each in places for pair in zip(each.files, each.words, strict=True)]
    words = dict(pairs)
    at = {file: place for place, file in enumerate(words)}
    file = [np.array([at[name] for name in each.files])[each.file] for each in places]
    numbers = np.concatenate([each.number for each in places])
    return Places(tuple(words), tuple(words.values()), np.concatenate(file), numbers)
