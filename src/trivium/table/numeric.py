"""Rows of numbers from a block of a file: the fast road from files to moments."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.blocks import tile_rows
from trivium._core.checks import check_choice
from trivium._core.coded import CodedLabels
from trivium._core.errors import DataError
from trivium.table.arrow import is_number, native_values, text_of
from trivium.table.levels import Levels
from trivium.table.naming import cut
from trivium.table.numeric_text import exact_columns, fast_columns, not_a_number, numbers_of
from trivium.table.parquet import open_parquet, parquet_batches, parquet_layout
from trivium.table.part_block import FileBlock, check_unchanged
from trivium.table.source import Format

__all__ = ["NumericReader", "NumericRows"]

_MISSING = ("refuse", "drop")
_BATCH_TILES = 8  # tiles decoded at once: a call into Arrow has its price for each column


@dataclass(frozen=True, eq=False)
class NumericRows:
    """Consecutive rows of numbers.

    Args:
        x: The rows.
        y: Their labels, exact text; `None` without a label.
        numbers: Their numbers in the whole table.
    """

    x: Float[Tensor, "b d"]
    y: CodedLabels | None
    numbers: Int[np.ndarray, " b"]


@dataclass(frozen=True)
class NumericReader:
    r"""Reads columns of numbers, and a label beside them, from blocks of `Parts`.

    Numbers of Parquet go from Arrow to memory as they are: float32 where all columns are float32
    or shorter, else float64; numbers in text become the nearest float64. A cell that is neither
    a number nor missing is refused.

    Args:
        columns: Columns of numbers.
        label: The label's column, if there is one; its exact text is kept.
        missing: What becomes of a row with a missing or not finite cell, or without a label:
            `"refuse"` or `"drop"`.

    Raises:
        ArgumentError: An unknown choice.

    Example:
        >>> import pathlib, tempfile
        >>> from trivium.table import open_parts
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "t.csv")
        ...     _ = path.write_text("x,y\n1.5,a\n2,b\n")
        ...     reader = NumericReader(("x",), "y")
        ...     [rows.x.tolist() for b in open_parts(path).blocks for rows in reader(b)]
        [[[1.5], [2.0]]]
    """

    columns: tuple[str, ...]
    label: str | None = None
    missing: str = "refuse"

    def __post_init__(self) -> None:
        check_choice("NumericReader", "missing", self.missing, _MISSING)

    def __call__(self, block: FileBlock) -> Iterator[NumericRows]:
        """Read a block, a few megabytes at a time.

        Args:
            block: One of `Parts.blocks` or of `Parts.streams()`.

        Raises:
            DataError: As `read_block`; a cell that is not a number; under `"refuse"` a missing
                one; each with its file and its line or row.

        Cost:
            Parquet: what decoding costs, and memory of some megabytes. Text: the block.
        """
        check_unchanged(block.part)
        if block.part.source.format is Format.parquet:
            return self._parquet(block)
        return self._text(block)

    # ---- text ---------------------------------------------------------------------------

    def _text(self, block: FileBlock) -> Iterator[NumericRows]:
        found = fast_columns(block, self.columns, self.label)
        found = found or exact_columns(block, self.columns, self.label)
        labels = None if found.label is None else self._labels(found.label, block)
        n = found.values.shape[1]
        step = tile_rows(len(self.columns), 8)
        for start in range(0, n, step):
            stop = min(n, start + step)
            x = _rows(list(found.values), start, stop, found.values.dtype)
            y = None if labels is None else labels[start:stop]
            yield from self._checked(block, x, y, start)

    # ---- Parquet ------------------------------------------------------------------------

    def _parquet(self, block: FileBlock) -> Iterator[NumericRows]:
        own, wanted = block.part.own, [*self.columns, *filter(None, [self.label])]
        places = [own.index(name) for name in wanted]
        groups = range(block.start, block.stop or block.start + 1)
        start = 0
        with open_parquet(block.part.source) as file:
            types = file.schema_arrow.types
            kinds = [types[i] for i in places]
            dtype = _dtype(kinds[: len(self.columns)])
            step = tile_rows(len(self.columns), dtype.itemsize)
            for batch in parquet_batches(
                file, groups, places, block.skip, block.n_rows, step * _BATCH_TILES
            ):
                yield from self._batch(block, batch, start, dtype, step)
                start += batch.num_rows

    def _batch(
        self, block: FileBlock, batch: pa.RecordBatch, before: int, dtype: np.dtype, step: int
    ) -> Iterator[NumericRows]:
        d, n = len(self.columns), batch.num_rows
        named = zip(self.columns, batch.columns[:d], strict=True)
        columns = [self._numbers(block, name, column, before) for name, column in named]
        labels = self._labels(batch.column(d), block) if self.label is not None else None
        for start in range(0, n, step):
            stop = min(n, start + step)
            y = None if labels is None else labels[start:stop]
            yield from self._checked(block, _rows(columns, start, stop, dtype), y, before + start)

    def _numbers(self, block: FileBlock, name: str, column: pa.Array, before: int) -> np.ndarray:
        if pt.is_boolean(column.type):
            column = column.cast(pa.float64())
        if is_number(column.type):
            return native_values(column)
        texts = text_of(name, column, block.part.source.where)
        values, bad = numbers_of(texts, block.part.source.options)
        if bad is not None:
            raise not_a_number(name, cut(texts[bad].as_py()), _place(block, before + bad))
        return values

    # ---- both ---------------------------------------------------------------------------

    def _labels(self, column: pa.Array, block: FileBlock) -> CodedLabels:
        """Return labels as exact text, -1 for a missing one."""
        if not pt.is_dictionary(column.type):
            if not (pt.is_integer(column.type) or pt.is_string(column.type)):
                column = text_of(self.label or "", column, block.part.source.where)
            column = pc.dictionary_encode(column)
        texts = text_of(self.label or "", column.dictionary, block.part.source.where)
        levels = Levels.of(texts)
        missing = levels.tokens(block.part.source.options.tokens)
        named = levels.subset(~missing).to_numpy(zero_copy_only=False).astype(np.str_)
        if pc.any(pc.ends_with(levels.subset(~missing), "\0")).as_py():
            raise _ends_with_nul(self.label or "", block)
        distinct, rank = np.unique(named, return_inverse=True)
        ranks = np.full(len(levels) + 1, -1, dtype=np.int64)
        ranks[:-1][~missing] = rank.reshape(-1)
        codes = column.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
        return CodedLabels(ranks[np.append(levels.codes, -1)][codes], distinct)

    def _checked(
        self, block: FileBlock, x: Tensor, y: CodedLabels | None, start: int
    ) -> Iterator[NumericRows]:
        """Yield the rows, those dropped left out, or refuse them."""
        numbers = block.first_row + np.arange(start, start + len(x))
        whole = bool(torch.isfinite(x.sum())) or bool(torch.isfinite(x).all())
        if not whole or (y is not None and bool((y.codes < 0).any())):
            kept = torch.isfinite(x).all(1).numpy()
            if y is not None:
                kept &= y.codes >= 0
            if self.missing == "refuse":
                raise self._missing(block, x, start, int(np.argmin(kept)))
            x, numbers = x[torch.from_numpy(kept)], numbers[kept]
            y = None if y is None else y[kept]
        if len(x):
            yield NumericRows(x, y, numbers)

    def _missing(self, block: FileBlock, x: Tensor, start: int, row: int) -> DataError:
        bad = (~torch.isfinite(x[row])).nonzero()
        name = self.columns[int(bad[0, 0])] if len(bad) else self.label or ""
        what = "is missing or not finite" if len(bad) else "is missing"
        return DataError(
            f"numeric_rows: every cell must have a value; column {cut(name)} {what}",
            where=_place(block, start + row),
            remedy='Fill it, or leave such rows out with missing="drop".',
            code="E-MISSING",
        )


def _ends_with_nul(name: str, block: FileBlock) -> DataError:
    """NumPy's texts lose a NUL at their end, and two labels could become one."""
    return DataError(
        f"numeric_rows: a label must not end with the character NUL; one in {cut(name)} does",
        where=block.where,
        remedy="Take the character out.",
        code="E-NUL",
    )


def _rows(columns: Sequence[np.ndarray], start: int, stop: int, dtype: np.dtype) -> Tensor:
    """Return some rows of columns: a tile at a time, turned while it is in the cache."""
    tile = np.empty((len(columns), stop - start), dtype)
    for row, column in zip(tile, columns, strict=True):
        row[:] = column[start:stop]
    return torch.from_numpy(tile).mT.contiguous()


def _place(block: FileBlock, row: int) -> str:
    """Return where a row of a block stands in its file; the file is looked through again."""
    source = block.part.source
    if source.format is not Format.parquet:
        lines = exact_columns(block, (), None).lines
        return source.where if lines is None else source.at(int(lines[row]))
    before = sum(parquet_layout(source).rows[: block.start]) + block.skip
    return f"{source.where}, row {before + row + 1}"


def _dtype(kinds: Sequence[pa.DataType]) -> np.dtype:
    """Return the shorter float that holds all columns as they are."""
    short = all(
        pt.is_float16(kind)
        or pt.is_float32(kind)
        or pt.is_boolean(kind)
        or (pt.is_integer(kind) and kind.bit_width <= 16)
        for kind in kinds
    )
    return np.dtype(np.float32 if short else np.float64)
