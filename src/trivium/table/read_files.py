"""Several files as one table: the same columns in each, rows one after the other."""

from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path

import numpy as np

from trivium._core.errors import DataError
from trivium.table.naming import cut, listed, nearest
from trivium.table.options import ReadOptions
from trivium.table.places import Places
from trivium.table.raw import RawTable, cells_of
from trivium.table.read import build_table, read_raw
from trivium.table.source import open_source
from trivium.table.table import Table

__all__ = ["data_files", "read_files", "shown_name"]

_ENDINGS = {".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".parquet", ".pq"}


def data_files(paths: Sequence[str | PathLike[str]]) -> tuple[Path, ...]:
    """Return the files that are meant: a folder stands for its data files, in order of name.

    Data files end in .csv, .tsv, .tab, .txt, .jsonl, .ndjson, .parquet or .pq, or in one of these
    and .gz; names that begin with a dot or an underscore are not data.

    Args:
        paths: Files and folders, in the order of their rows.

    Raises:
        DataError: A folder without data files, or a file that is named twice.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        found += _inside(path) if path.is_dir() else [path]
    for place, path in enumerate(found):
        if path in found[:place]:
            raise DataError(
                "read_files: a file must be named once; its rows would count twice",
                where=str(path),
                code="E-NO-FILE",
            )
    return tuple(found)


def _inside(folder: Path) -> list[Path]:
    try:
        names = sorted(path for path in folder.iterdir() if path.is_file())
    except OSError as error:
        raise DataError(
            f"read_files: the folder cannot be read ({error.strerror})",
            where=str(folder),
            code="E-NO-FILE",
        ) from error
    found = [path for path in names if path.name[0] not in "._" and _ending(path) in _ENDINGS]
    if not found:
        raise DataError(
            "read_files: a folder must hold data files; it holds none",
            where=str(folder),
            remedy="They end in .csv, .tsv, .jsonl or .parquet, also with .gz behind it.",
            code="E-NO-FILE",
        )
    return found


def _ending(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def shown_name(paths: Sequence[Path]) -> str:
    """Return what a table of these files is called: `a.csv`, or `a.csv and 3 more files`."""
    more = len(paths) - 1
    return paths[0].name + (f" and {more} more file{'s' * (more > 1)}" if more else "")


def read_files(paths: Sequence[str | PathLike[str]], options: ReadOptions | None = None) -> Table:
    """Read one or several files as one table, rows one after the other in the order given.

    What a column is, is found out over all files together. Columns are matched by name; rows
    are counted through, and `Table.place` has the file and its own line. Each file may have
    `max_bytes`, and `min_rows` is asked of all rows together.

    Args:
        paths: Files, or folders of files, see `data_files`.
        options: As for `read_table`.

    Raises:
        DataError: As `read_table`, or a file lacks a column of the first one, or has one more.

    Cost:
        As `read_table`; all rows are held.
    """
    options = options or ReadOptions()
    files = data_files(paths)
    sources = [open_source(path, options) for path in files]
    raws = [read_raw(source) for source in sources]
    if len(files) == 1:
        return build_table(raws[0], options, files[0].name, sources[0].where)
    names = raws[0].names
    for source, raw in zip(sources[1:], raws[1:], strict=True):
        check_columns(raw.names, names, sources[0].where, source.where)
    order = [[raw.names.index(name) for name in names] for raw in raws]
    whole = RawTable(
        names=names,
        cells=[
            cells_of([raw.cells[own[place]] for raw, own in zip(raws, order, strict=True)])
            for place in range(len(names))
        ],
        n_rows=sum(raw.n_rows for raw in raws),
        notices=[notice for raw in raws for notice in raw.notices],
    )
    places = _places(files, raws)
    try:
        table = build_table(whole, options, shown_name(files), f"{len(files)} files")
    except DataError as error:
        where = error.where and places.told(error.where)
        raise DataError(error.what, where=where, remedy=error.remedy, code=error.code) from error
    columns = tuple(replace(each, notes=places.noted(each.notes)) for each in table.columns)
    return replace(table, columns=columns, places=places)


def check_columns(names: Sequence[str], wanted: Sequence[str], first: str, where: str) -> None:
    """Refuse a file whose columns are not those of the first.

    Args:
        names: Columns of the file.
        wanted: Columns of the first file.
        first: The first file.
        where: The file.

    Raises:
        DataError: One is missing, or there is one more; the message names it.
    """
    missing = [name for name in wanted if name not in names]
    more = [name for name in names if name not in wanted]
    if not missing and not more:
        return
    said = f"{where} is without {listed(map(cut, missing))}" if missing else ""
    said += " and " * bool(missing and more)
    said += f"{where} has also {listed(map(cut, more))}" if more else ""
    raise DataError(
        f"read_files: all files must have the columns of the first, {first}; {said}",
        where=where,
        remedy=nearest(missing[0], names) if missing else "Leave it out of that file.",
        code="E-COLUMN",
    )


def _places(files: Sequence[Path], raws: Sequence[RawTable]) -> Places:
    numbers = [
        np.arange(1, raw.n_rows + 1, dtype=np.int64) if raw.lines is None else raw.lines
        for raw in raws
    ]
    return Places(
        files=tuple(str(path) for path in files),
        words=tuple("row" if raw.lines is None else "line" for raw in raws),
        file=np.repeat(np.arange(len(raws)), [raw.n_rows for raw in raws]),
        number=np.concatenate(numbers),
    )
