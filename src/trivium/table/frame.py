"""Frames in memory: pandas, polars, Arrow and whatever else narwhals knows."""

from typing import Any

import narwhals as nw
import pyarrow as pa

from trivium._core.errors import ArgumentError, DataError
from trivium.table.arrow import check_flat, text_of
from trivium.table.naming import cut, name_columns
from trivium.table.options import ReadOptions
from trivium.table.raw import CELL_TYPE, RawTable
from trivium.table.read import build_table
from trivium.table.table import Table

__all__ = ["from_frame"]

_SCALARS = (str, int, float, bool)


def from_frame(frame: Any, options: ReadOptions | None = None, *, name: str = "frame") -> Table:
    """Take a frame as a table: its values as text, then the same inference as for files.

    Args:
        frame: A pandas, polars (lazy too) or Arrow table; the index of a pandas frame is not
            read.
        options: As for `read_table`.
        name: What to call it in messages.

    Returns:
        The table; `line_numbers` is `None`.

    Raises:
        ArgumentError: It is no frame.
        DataError: Nested columns, duplicate names, values that have no text, too few rows.

    Example:
        >>> import pyarrow as pa
        >>> from_frame(pa.table({"x": [1.5, None, 2.5], "ok": [True, False, True]})).names
        ('x', 'ok')
    """
    options = options or ReadOptions()
    header, columns = _columns(frame, name)
    names, notices = name_columns(header, name, rename=options.rename_duplicates)
    options.check_names(names, name)
    check_flat(names, [column.type for column in columns], options.drop, name)
    kept = [i for i, column in enumerate(names) if column not in options.drop]
    raw = RawTable(
        names=[names[i] for i in kept],
        cells=[text_of(names[i], columns[i], name) for i in kept],
        n_rows=len(columns[0]) if columns else 0,
        notices=notices,
    )
    return build_table(raw, options, name, name)


def _columns(frame: Any, where: str) -> tuple[list[str], list[pa.Array | pa.ChunkedArray]]:
    """Return the names and the columns of a frame as Arrow arrays."""
    if isinstance(frame, pa.RecordBatch):
        frame = pa.Table.from_batches([frame])
    if isinstance(frame, pa.Table):
        return list(frame.column_names), list(frame.columns)
    try:
        wrapped = nw.from_native(frame)
    except TypeError as error:
        raise ArgumentError(
            f"from_frame: frame must be a pandas, polars or Arrow table; got {type(frame).__name__}"
        ) from error
    except (ValueError, nw.exceptions.NarwhalsError) as error:
        raise DataError(
            f"from_frame: column names must differ ({str(error).splitlines()[0]})",
            where=where,
            code="E-DUPLICATE-NAME",
        ) from error
    eager = wrapped.collect() if isinstance(wrapped, nw.LazyFrame) else wrapped
    try:
        names = list(eager.columns)
        series = [eager.get_column(name) for name in names]
    except (ValueError, nw.exceptions.NarwhalsError) as error:
        raise DataError(
            f"from_frame: column names must differ ({str(error).splitlines()[0]})",
            where=where,
            code="E-DUPLICATE-NAME",
        ) from error
    arrays = [_array(str(n), column, where) for n, column in zip(names, series, strict=True)]
    return [str(name) for name in names], arrays


def _array(name: str, series: Any, where: str) -> pa.Array | pa.ChunkedArray:
    """Return a column as Arrow; objects of mixed scalar types as the text of each."""
    try:
        found = series.to_arrow()
    except (pa.ArrowException, TypeError, ValueError, UnicodeError):
        found = None
    if found is not None:
        return found
    cells: list[str | None] = []
    for row, value in enumerate(series.to_list(), start=1):
        if value is None or value != value:  # noqa: PLR0124 - NaN is what differs from itself
            cells.append(None)
        elif isinstance(value, _SCALARS):
            cells.append(str(value).lower() if isinstance(value, bool) else str(value))
        else:
            raise DataError(
                f"from_frame: column {cut(name)} must hold text, numbers or dates; "
                f"got {type(value).__name__}",
                where=f"{where}, row {row}",
                remedy="Leave it out with drop, or change its type.",
                code="E-TYPE",
            )
    try:
        return pa.array(cells, CELL_TYPE)
    except UnicodeError as error:
        raise DataError(
            f"from_frame: column {cut(name)} has half a character (a lone surrogate)",
            where=where,
            code="E-ENCODING",
        ) from error
