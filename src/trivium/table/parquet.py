"""Parquet files: flat columns of any type, read as text like every other format."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from trivium._core.counted import counted
from trivium._core.errors import DataError, ResourceError
from trivium.table.arrow import check_flat, text_of
from trivium.table.naming import name_columns
from trivium.table.raw import RawTable
from trivium.table.source import Source

__all__ = ["Layout", "open_parquet", "parquet_batches", "parquet_layout", "read_parquet"]

_BATCH_ROWS = 1 << 16
_BUFFER = 1 << 16  # bytes of a column chunk read at once, so that no chunk is held whole


@dataclass(frozen=True)
class Layout:
    """What is in a Parquet file.

    Args:
        header: Names of the columns, as written.
        types: Their types.
        rows: Rows of each row group.
        sizes: Unpacked bytes of each row group.
    """

    header: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    rows: tuple[int, ...]
    sizes: tuple[int, ...]


def read_parquet(source: Source) -> RawTable:
    """Read a Parquet file, a gzipped one too.

    Raises:
        DataError: Truncated or damaged, nested columns, duplicate names, no rows, or more cells
            or bytes than `max_bytes` allows.
    """
    with open_parquet(source) as file:
        schema = file.schema_arrow
        names, notices = name_columns(
            schema.names, source.where, rename=source.options.rename_duplicates
        )
        source.options.check_names(names, source.where)
        dropped = source.options.drop
        check_flat(names, list(schema.types), dropped, source.where)
        _check_size(file, source)
        table = file.read(use_threads=False)
        if table.num_rows != file.metadata.num_rows:
            raise _lost(file.metadata.num_rows - table.num_rows)
        kept = [i for i, name in enumerate(names) if name not in dropped]
        cells = [text_of(names[i], table.column(i), source.where) for i in kept]
        return RawTable([names[i] for i in kept], cells, table.num_rows, notices)


def parquet_layout(source: Source) -> Layout:
    """Read what a Parquet file has, and none of its rows.

    Raises:
        DataError: As `read_parquet`, but for rows.
    """
    with open_parquet(source) as file:
        _check_size(file, source)
        meta, schema = file.metadata, file.schema_arrow
        groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
        return Layout(
            tuple(schema.names),
            tuple(schema.types),
            tuple(group.num_rows for group in groups),
            tuple(group.total_byte_size for group in groups),
        )


def parquet_batches(
    file: pq.ParquetFile, groups: range, places: list[int], skip: int, n_rows: int, batch: int = 0
) -> Iterator[pa.RecordBatch]:
    """Yield rows of some columns, in batches.

    Args:
        file: The file.
        groups: Row groups.
        places: Positions of the columns, in the order wanted.
        skip: Rows of them to pass over.
        n_rows: Rows to give.
        batch: Most rows of a batch.

    Raises:
        ArrowInvalid: There are fewer rows; `open_parquet` says that the file is damaged.
    """
    names = file.schema_arrow.names
    wanted = [names[i] for i in places]
    simple = len(set(names)) == len(names) and not any("." in name for name in names)
    batches = file.iter_batches(
        batch or _BATCH_ROWS,
        row_groups=list(groups),
        columns=wanted if simple else None,
        use_threads=False,
    )
    for found in batches:
        if skip >= found.num_rows:
            skip -= found.num_rows
            continue
        part = found.slice(skip, n_rows)
        skip, n_rows = 0, n_rows - part.num_rows
        yield part.select(wanted if simple else places)
        if not n_rows:
            return
    if n_rows:
        raise _lost(n_rows)


@contextmanager
def open_parquet(source: Source) -> Iterator[pq.ParquetFile]:
    """Open a Parquet file; a gzipped one is unpacked into memory.

    Raises:
        DataError: Truncated or damaged, then or while it is read.
        ResourceError: It needs more memory than there is.
    """
    try:
        if source.packed:
            with source.binary() as stream:
                data = io.BytesIO(stream.read())
            with pq.ParquetFile(data, page_checksum_verification=True) as file:
                yield file
        else:
            with pq.ParquetFile(
                source.path,
                page_checksum_verification=True,
                pre_buffer=False,
                buffer_size=_BUFFER,
            ) as file:
                yield file
    except DataError:
        raise
    except MemoryError as error:
        raise ResourceError(
            f"read_table: the Parquet file asks for more memory than there is ({_first(error)})",
            where=source.where,
            remedy="Drop columns, or write smaller row groups; or the file is damaged.",
        ) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"read_table: the Parquet file is truncated or damaged ({_first(error)})",
            where=source.where,
            code="E-DAMAGED",
        ) from error


def _lost(n_rows: int) -> pa.ArrowInvalid:
    """Say what Arrow does not: its pages hold less than its footer says."""
    return pa.ArrowInvalid(f"{n_rows:,} of the rows that it says it has are not there")


def _first(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "")[:120]


def _check_size(file: pq.ParquetFile, source: Source) -> None:
    meta = file.metadata
    packed = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    size = max(packed, meta.num_rows * meta.num_columns)
    if size > source.options.max_bytes:
        raise DataError(
            f"read_table: the file must be at most {counted(source.options.max_bytes, 'byte')} "
            "when "
            f"unpacked; it has {counted(meta.num_rows, 'row')}, "
            f"{counted(meta.num_columns, 'column')}, at least "
            f"{counted(size, 'byte')}",
            where=source.where,
            remedy="If you trust the file, raise --max-bytes (max_bytes=...).",
            code="E-TOO-LONG",
        )
