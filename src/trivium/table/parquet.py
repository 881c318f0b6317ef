"""Parquet files: flat columns of any type, read as text like every other format."""

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

from trivium._core.errors import DataError
from trivium.table.arrow import check_flat, text_of
from trivium.table.naming import name_columns
from trivium.table.raw import RawTable
from trivium.table.source import Source

__all__ = ["read_parquet"]


def read_parquet(source: Source) -> RawTable:
    """Read a Parquet file, a gzipped one too.

    Raises:
        DataError: Truncated or damaged, nested columns, duplicate names, no rows, or more cells
            or bytes than `max_bytes` allows.
    """
    with _opened(source) as file:
        schema = file.schema_arrow
        names, notices = name_columns(
            schema.names, source.where, rename=source.options.rename_duplicates
        )
        source.options.check_names(names, source.where)
        dropped = source.options.drop
        check_flat(names, list(schema.types), dropped, source.where)
        _check_size(file, source)
        table = file.read(use_threads=False)
        kept = [i for i, name in enumerate(names) if name not in dropped]
        cells = [text_of(names[i], table.column(i), source.where) for i in kept]
        return RawTable([names[i] for i in kept], cells, table.num_rows, notices)


@contextmanager
def _opened(source: Source) -> Iterator[pq.ParquetFile]:
    try:
        if source.packed:
            with source.binary() as stream:
                data = io.BytesIO(stream.read())
            with pq.ParquetFile(data, page_checksum_verification=True) as file:
                yield file
        else:
            with pq.ParquetFile(source.path, page_checksum_verification=True) as file:
                yield file
    except DataError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            "read_table: the Parquet file is truncated or damaged "
            f"({str(error).splitlines()[0][:120]})",
            where=source.where,
            code="E-DAMAGED",
        ) from error


def _check_size(file: pq.ParquetFile, source: Source) -> None:
    meta = file.metadata
    packed = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
    size = max(packed, meta.num_rows * meta.num_columns)
    if size > source.options.max_bytes:
        raise DataError(
            f"read_table: the file must be at most {source.options.max_bytes:,} bytes when "
            f"unpacked; it has {meta.num_rows:,} rows, {meta.num_columns:,} columns, at least "
            f"{size:,} bytes",
            where=source.where,
            remedy="If you trust the file, raise --max-bytes (max_bytes=...).",
            code="E-TOO-LONG",
        )
