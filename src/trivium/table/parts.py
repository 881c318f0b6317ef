"""Files larger than memory as blocks: small descriptions of rows that are read one at a time."""

import glob
import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from os import PathLike, fspath
from pathlib import Path

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import DataError
from trivium.parallel import Executor, SerialExecutor
from trivium.table.infer import column_as
from trivium.table.naming import cut, listed, name_columns, nearest
from trivium.table.notice import Notice
from trivium.table.options import ReadOptions
from trivium.table.part_block import FileBlock, read_block
from trivium.table.part_scan import Scan, keys_of, scan_file
from trivium.table.source import Format
from trivium.table.table import ColumnType, Kind, Table

__all__ = ["BLOCK_BYTES", "Parts", "block_table", "find_files", "open_parts"]

BLOCK_BYTES = 32 << 20
"""Text of one block, in bytes; its columns take about four times as much."""

_ENDINGS = (".csv", ".tsv", ".tab", ".txt", ".jsonl", ".ndjson", ".parquet", ".pq")

PathName = str | PathLike[str]


@dataclass(frozen=True)
class Parts:
    """One table in one or many files, cut into blocks of rows.

    The cut depends on the files and the size of a block only. A block is a small description
    that pickles; `read_block` reads it, in any process that sees the files.

    Args:
        names: The columns, without those to drop.
        blocks: The blocks, in the order of the rows.
        n_rows: Rows of all files.
        notices: What was noticed about the files.
        options: How they are read.
    """

    names: tuple[str, ...]
    blocks: tuple[FileBlock, ...]
    n_rows: int
    notices: tuple[Notice, ...]
    options: ReadOptions

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that have rows, in order."""
        return tuple(dict.fromkeys(block.part.source.path for block in self.blocks))

    @property
    def source(self) -> str:
        """The first file, and how many more there are."""
        return listed(map(str, self.files), limit=1)

    @property
    def fingerprint(self) -> str:
        """A hash of what decides every block: the files as they are, the options, the cut."""
        facts = repr((self.names, self.blocks, self.options))
        return hashlib.sha256(facts.encode()).hexdigest()

    def check_column(self, caller: str, name: str) -> str:
        """Return the name of a column.

        Raises:
            DataError: There is none of that name; the message has the nearest ones.
        """
        if name not in self.names:
            raise DataError(
                f"{caller}: a column must be one of the {counted(len(self.names), 'column')}; got "
                f"{cut(name)}",
                where=self.source,
                remedy=nearest(name, self.names),
                code="E-COLUMN",
            )
        return name

    def streams(self) -> tuple[FileBlock, ...]:
        """Return the blocks, those of one Parquet row group joined, for readers that stream.

        A block in the middle of a row group is found by decoding the rows before it; who reads
        batch by batch needs no small blocks.
        """
        found: list[FileBlock] = []
        for block in self.blocks:
            if block.skip:
                found[-1] = replace(found[-1], n_rows=found[-1].n_rows + block.n_rows)
            else:
                found.append(block)
        return tuple(found)


def open_parts(
    paths: PathName | Iterable[PathName],
    options: ReadOptions | None = None,
    *,
    block_bytes: int = BLOCK_BYTES,
    executor: Executor | None = None,
) -> Parts:
    r"""Open one table that lies in one or many files and need not fit in memory.

    Parquet, CSV, TSV and JSONL, gzipped or not, also side by side. Text is looked through once
    for places where it may be cut (never inside quotes); JSONL also for its keys. What
    `read_block` gives for all blocks is what `read_table` gives for all rows in one file.

    Args:
        paths: A file; a folder, whose data files are taken in the order of their names; a
            pattern such as `"big/*.parquet"`; or several of these, in their order.
        options: What to know about the files that cannot be found out. `max_bytes` bounds only
            what a packed file becomes, and only above 100 times its size.
        block_bytes: Size of a block, as unpacked text; of Parquet, at least 8 bytes a cell.
        executor: Where JSON lines are looked through for keys; here by default.

    Returns:
        The parts.

    Raises:
        DataError: As `read_table` for each file; no file; files whose columns differ. What is
            wrong inside rows is found when a block is read.
        ArgumentError: `block_bytes` is not positive.

    Cost:
        Parquet: its footers. Text: one pass at about the speed of the disk. JSONL: its lines are
        decoded. Memory of the longest record. A gzipped file, and one that is not UTF-8, is
        unpacked from its beginning for every block.

    Example:
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for i in range(2):
        ...         _ = pathlib.Path(folder, f"{i}.csv").write_text(f"x,y\n{i},a\n")
        ...     parts = open_parts(folder)
        ...     parts.n_rows, parts.names, [read_block(b).cells[0][0].as_py() for b in parts.blocks]
        (2, ('x', 'y'), ['0', '1'])
    """
    options = options or ReadOptions()
    size = int(check_number("open_parts", "block_bytes", block_bytes, "positive", integer=True))
    found = find_files(paths)
    scans = [scan_file(path, options, size) for path in found]
    scans, keyed = _with_keys(scans, options, executor or SerialExecutor())
    names = _names(scans, options)
    blocks: list[FileBlock] = []
    row = 0
    for scan in scans:
        part = replace(scan.part, names=names)
        blocks.extend(replace(b, part=part, first_row=row + b.first_row) for b in scan.blocks)
        row += sum(b.n_rows for b in scan.blocks)
    _check_rows(found, blocks, row, options)
    notices = [note for scan in scans for note in (*scan.notices, *_none_in(scan))]
    kept = tuple(name for name in names if name not in options.drop)
    return Parts(kept, tuple(blocks), row, (*keyed, *dict.fromkeys(notices)), options)


def block_table(
    block: FileBlock,
    kinds: Mapping[str, ColumnType | Kind | str],
    options: ReadOptions | None = None,
) -> Table:
    """Read a block as a table whose columns have kinds that are known already.

    Args:
        block: One of `Parts.blocks`.
        kinds: The columns wanted, each with its kind or its `Column.type`.
        options: Missing tokens, decimal mark, order of dates; as the parts were opened by default.

    Raises:
        DataError: As `read_block`.
    """
    options = options or block.part.source.options
    raw = read_block(block, numbers=True)
    cells = dict(zip(raw.names, raw.cells, strict=True))
    columns = tuple(column_as(name, cells[name], kind, options) for name, kind in kinds.items())
    return Table(columns, raw.n_rows, block.part.source.path.name, tuple(raw.notices), raw.lines)


def find_files(paths: PathName | Iterable[PathName]) -> list[str]:
    """Return the files that paths, folders and patterns stand for.

    Raises:
        DataError: None, or one of them twice: its rows would count twice.
    """
    given = [paths] if isinstance(paths, str | PathLike) else list(paths)
    files: list[str] = []
    for path in (fspath(one) for one in given):
        if os.path.isdir(path):
            inside = sorted(entry.path for entry in os.scandir(path) if _is_data(entry))
        elif glob.has_magic(path) and not os.path.exists(path):
            inside = sorted(name for name in glob.glob(path) if not os.path.isdir(name))
        else:
            inside = [path]
        if not inside:
            raise DataError(
                "open_parts: there must be a CSV, TSV, JSONL or Parquet file; got none",
                where=path,
                code="E-NO-FILE",
            )
        files += inside
    if not files:
        raise DataError("open_parts: paths must hold a file; got none", code="E-NO-FILE")
    if len({*files}) < len(files):
        twice = next(name for place, name in enumerate(files) if name in files[:place])
        raise DataError(
            "open_parts: a file must be named once; its rows would count twice",
            where=twice,
            code="E-NO-FILE",
        )
    return files


def _is_data(entry: os.DirEntry[str]) -> bool:
    name = entry.name.lower()
    hidden = name.startswith((".", "_"))
    return not hidden and entry.is_file() and name.removesuffix(".gz").endswith(_ENDINGS)


def _with_keys(
    scans: list[Scan], options: ReadOptions, executor: Executor
) -> tuple[list[Scan], list[Notice]]:
    """Give the JSONL files their columns: the keys of all their lines."""
    lines = [b for scan in scans if _is_json(scan) for b in scan.blocks]
    if not lines:
        return scans, []
    header = tuple(dict.fromkeys(k for keys in executor.map(keys_of, lines) for k in keys))
    where = lines[0].part.source.where
    own, notices = name_columns(header, where, rename=options.rename_duplicates)
    names = tuple(own)
    keyed = [
        replace(scan, part=replace(scan.part, header=header, own=names)) if _is_json(scan) else scan
        for scan in scans
    ]
    return keyed, notices


def _is_json(scan: Scan) -> bool:
    return scan.part.source.format is Format.jsonl


def _names(scans: list[Scan], options: ReadOptions) -> tuple[str, ...]:
    """Return the columns of the first file; those of the others must be the same.

    Raises:
        DataError: They are not, or a column that was asked for is not there.
    """
    first = next((scan for scan in scans if scan.part.own), scans[0])
    names = first.part.own
    options.check_names(names, first.part.source.where)
    for scan in scans:
        if not scan.part.own or scan.part.own == names:
            continue
        lacking = [cut(name) for name in names if name not in set(scan.part.own)]
        beside = [cut(name) for name in scan.part.own if name not in set(names)]
        if lacking or beside:
            what = f"lacks {listed(lacking)}" if lacking else f"also has {listed(beside)}"
            raise DataError(
                f"open_parts: files must have the same columns; this one {what}",
                where=scan.part.source.where,
                remedy=f"The first file is {first.part.source.where}.",
                code="E-COLUMNS-DIFFER",
            )
    return names


def _check_rows(
    found: list[str], blocks: list[FileBlock], n_rows: int, options: ReadOptions
) -> None:
    where = listed(found, limit=1)
    if n_rows < max(1, options.min_rows):
        for block in blocks:
            read_block(block)  # there may be more rows, that cannot be read: it says why
    if not n_rows:
        raise DataError("open_parts: the files have no rows", where=where, code="E-EMPTY")
    if n_rows < options.min_rows:
        raise DataError(
            f"open_parts: there must be at least {counted(options.min_rows, 'row')}; got {n_rows}",
            where=where,
            code="E-FEW-ROWS",
        )


def _none_in(scan: Scan) -> list[Notice]:
    if scan.blocks:
        return []
    return [Notice("W-EMPTY-PART", scan.part.source.path.name, "the file has no rows")]
