"""Arrow columns of any flat type: the exact text that they stand for, and numbers as they are."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
from numpy.typing import NDArray

from trivium._core.errors import DataError
from trivium.table.naming import cut
from trivium.table.raw import CELL_TYPE

__all__ = [
    "as_text",
    "check_flat",
    "is_number",
    "native_values",
    "numbers_in",
    "text_of",
    "text_values",
]

_PARTS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_EXACT = 2**53 - 1  # the largest integer that float64 holds and none that it rounds


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


def as_text(cells: pa.Array) -> pa.Array:
    """Return the text of cells that are text already or numbers of Arrow."""
    return text_of("", cells, "") if is_number(cells.type) else cells


def is_number(kind: pa.DataType) -> bool:
    """Whether the text of a type is always a number: integers, floats, decimals."""
    return pt.is_integer(kind) or pt.is_floating(kind) or pt.is_decimal(kind)


def numbers_in(column: pa.ChunkedArray) -> pa.Array:
    """Return numbers as they are; float16, with which Arrow hardly computes, as float32."""
    return (column.cast(pa.float32()) if pt.is_float16(column.type) else column).combine_chunks()


def native_values(column: pa.Array) -> np.ndarray:
    """Return numbers in their own type, decimals as the nearest float64; NaN where null."""
    if pt.is_decimal(column.type):  # Arrow's own cast is not to the nearest
        column = column.cast(pa.string()).cast(pa.float64())
    values: np.ndarray = column.to_numpy(zero_copy_only=False)
    return values


def text_values(column: pa.Array) -> NDArray[np.float64] | None:
    """Return the float64 nearest to the text of each number, NaN where null.

    A short float is not widened: the text of the float32 nearest to 0.1 is `0.1`, and that is
    the float64 nearest to 0.1.

    Returns:
        The values; `None` where one is infinite or beyond 2^53, of which there is more to say
        than its value.
    """
    if pt.is_float16(column.type) or pt.is_float32(column.type):
        column = text_of("", column, "").cast(pa.float64())
    values = native_values(column).astype(np.float64, copy=False)
    return None if (np.abs(values) > _EXACT).any() else values


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
