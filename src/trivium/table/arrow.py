"""Arrow columns of any flat type as the exact text that they stand for."""

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from trivium._core.errors import DataError
from trivium.table.naming import cut
from trivium.table.raw import CELL_TYPE

__all__ = ["check_flat", "text_of"]

_PARTS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def check_flat(
    names: list[str], types: list[pa.DataType], dropped: tuple[str, ...], where: str
) -> None:
    """Refuse nested columns (lists, structs, maps, unions) unless they are dropped.

    Raises:
        DataError: Some are nested; the message names them.
    """
    bad = [
        f"{cut(name)} ({kind})"
        for name, kind in zip(names, types, strict=True)
        if name not in dropped and (pt.is_nested(kind) or pt.is_union(kind))
    ]
    if bad:
        raise DataError(
            f"read_table: columns must hold single values; nested: {', '.join(bad[:5])}",
            where=where,
            remedy="Leave them out with --drop, or flatten them first.",
            code="E-NESTED",
        )


def text_of(name: str, column: pa.ChunkedArray | pa.Array, where: str) -> pa.Array:
    """Return the text of each cell: what one would write by hand, exact to the last digit.

    Floating NaN becomes null, booleans `true` and `false`, dictionaries their values, times ISO.

    Raises:
        DataError: A type that has no text, or bytes that are not UTF-8.
    """
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
        if isinstance(column, pa.ChunkedArray):
            column = pa.concat_arrays(column.chunks)
    try:
        return _text(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, UnicodeError) as error:
        raise DataError(
            f"read_table: column {cut(name)} of type {column.type} cannot be read as text "
            f"({str(error).splitlines()[0]})",
            where=where,
            remedy="Leave it out with --drop, or change its type.",
            code="E-TYPE",
        ) from error


def _text(column: pa.Array) -> pa.Array:
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        if not (pt.is_string(kind.storage_type) or pt.is_large_string(kind.storage_type)):
            raise pa.ArrowNotImplementedError(f"{kind} stores {kind.storage_type}")
        return _text(column.storage)
    if pt.is_dictionary(kind):
        return _text(column.dictionary_decode())
    if pt.is_run_end_encoded(kind):
        return _text(pc.run_end_decode(column))
    if pt.is_null(kind):
        return pa.nulls(len(column), CELL_TYPE)
    if pt.is_floating(kind):
        wide = column.cast(pa.float32()) if pt.is_float16(kind) else column
        nan = pc.is_nan(wide).fill_null(False)
        return pc.if_else(nan, pa.scalar(None, CELL_TYPE), wide.cast(CELL_TYPE))
    text = column.cast(CELL_TYPE)
    if pt.is_timestamp(kind) and kind.tz is not None:
        in_utc = column.cast(pa.timestamp(kind.unit, "UTC")).cast(CELL_TYPE)
        text = pc.if_else(_odd_offsets(column), in_utc, text)
    text.validate(full=True)
    return text


def _odd_offsets(column: pa.Array) -> pa.Array:
    """Which moments are off UTC by odd seconds, as before there were zones: ISO has minutes."""
    wall = pc.local_timestamp(column).cast(pa.int64())
    offset = pc.subtract(wall, column.cast(pa.int64()))
    minute = 60 * _PARTS[column.type.unit]
    return pc.not_equal(pc.multiply(pc.divide(offset, minute), minute), offset)
