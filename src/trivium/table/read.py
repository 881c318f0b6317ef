"""From a file to a table: open, read the text, find out what each column is."""

from os import PathLike

from trivium._core.counted import counted
from trivium._core.errors import DataError
from trivium.parallel import Progress
from trivium.table.delimited import read_delimited
from trivium.table.infer import infer_column
from trivium.table.jsonl import read_jsonl
from trivium.table.options import ReadOptions
from trivium.table.parquet import read_parquet
from trivium.table.raw import RawTable
from trivium.table.source import Format, Source, open_source
from trivium.table.table import Table
from trivium.table.told import told

__all__ = ["build_table", "read_raw", "read_table"]

_READERS = {
    Format.delimited: read_delimited,
    Format.jsonl: read_jsonl,
    Format.parquet: read_parquet,
}


def read_table(
    path: str | PathLike[str],
    options: ReadOptions | None = None,
    *,
    progress: Progress | None = None,
) -> Table:
    """Read a CSV, TSV, JSONL or Parquet file, gzipped or not.

    Every cell is read as text first; what a column is, is found out over the whole column by the
    rules of `trivium.table.infer`. No datum changes silently: `Column.source` is the exact text,
    and everything noticed is in the table's notices and the columns' notes.

    Args:
        path: The file.
        options: What to know about it that cannot be found out.
        progress: Told of columns done and in all, once their text is there.

    Returns:
        The table.

    Raises:
        DataError: The file is refused; the message has the file, the line or column, and what to
            do about it.

    Cost:
        about 0.5 CPU seconds for a million cells; memory about four times the text.
    """
    options = options or ReadOptions()
    source = open_source(path, options)
    return build_table(read_raw(source), options, source.path.name, source.where, progress)


def read_raw(source: Source) -> RawTable:
    """Read the names and the exact text of a file that was opened.

    Raises:
        DataError: The file is refused.
    """
    return _READERS[source.format](source)


def build_table(
    raw: RawTable,
    options: ReadOptions,
    name: str,
    where: str,
    progress: Progress | None = None,
) -> Table:
    """Infer the columns of what a reader found.

    Raises:
        DataError: No rows, fewer than `min_rows`, or no columns.
    """
    if not raw.cells:
        raise DataError("read_table: no columns are left", where=where, code="E-EMPTY")
    if raw.n_rows == 0:
        raise DataError("read_table: there is a header and no rows", where=where, code="E-EMPTY")
    if raw.n_rows < options.min_rows:
        raise DataError(
            f"read_table: there must be at least {counted(options.min_rows, 'row')}; got "
            f"{raw.n_rows}",
            where=where,
            code="E-FEW-ROWS",
        )
    columns = tuple(
        infer_column(column, cells, options)
        for column, cells in told(list(zip(raw.names, raw.cells, strict=True)), progress)
    )
    return Table(columns, raw.n_rows, name, tuple(raw.notices), raw.lines)
