"""A column on the way to its kind: distinct texts, missing tokens, and what was noticed."""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from trivium._core.counted import counted
from trivium.table.dates import Order
from trivium.table.levels import Levels
from trivium.table.notice import Notice
from trivium.table.options import ReadOptions
from trivium.table.table import Column, Kind

__all__ = ["Draft"]

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Draft:
    """A column on the way to its kind.

    Args:
        name: Its name.
        cells: Its text.
        options: What the user said.
        levels: Its distinct texts.
        token: Which of these are missing tokens.
        texts: Those that are not, as an Arrow array.
        values: A value for each of `texts`, where the kind has values.
        kind: The kind, once known.
        notes: What was noticed so far.
        date_order: The order of dates with slashes, once known.
    """

    name: str
    cells: pa.Array
    options: ReadOptions
    levels: Levels
    token: Mask
    texts: pa.Array
    values: NDArray[np.float64] | None = None
    kind: Kind = Kind.text
    notes: tuple[Notice, ...] = ()
    date_order: Order | None = None

    @classmethod
    def of(cls, name: str, cells: pa.Array, options: ReadOptions) -> "Draft":
        """Begin with the distinct texts and the missing tokens among them."""
        levels = Levels.of(cells)
        token = levels.tokens(options.tokens)
        return cls(name, cells, options, levels, token, levels.subset(~token))

    def noted(
        self, code: str, message: str, *, row: int | None = None, info: bool = False
    ) -> "Draft":
        """Add a notice at the column, or at a row of it."""
        where = f"column {self.name}" if row is None else f"column {self.name}, row {row}"
        note = Notice(code, where, message, "info" if info else "warning")
        return replace(self, notes=(*self.notes, note))

    def all_levels(self, mask: Mask) -> Mask:
        """Spread a mask over `texts` to one over `levels`."""
        if len(mask) == len(self.token):
            return mask
        full = np.zeros(len(self.token), dtype=np.bool_)
        full[~self.token] = mask
        return full

    def share(self, mask: Mask) -> float:
        """The share of the present rows whose text is in `mask` (over `texts`)."""
        present = self.levels.n_rows(~self.token)
        return self.levels.n_rows(self.all_levels(mask)) / max(present, 1)

    def build(self, kind: Kind, missing: Mask | None = None) -> Column:
        """Make the column; `missing` are the texts that count as missing, tokens by default."""
        gone = self.token if missing is None else missing
        draft = self._with_tokens(gone) if kind is not Kind.constant else self
        rows = self.levels.rows(gone, absent=True)
        hides = bool(gone.any())
        values = None
        if self.values is not None:
            full = np.full(len(self.token), np.nan)
            full[~self.token] = self.values
            values = self.levels.spread(full)
        strings = self.cells
        if hides:
            strings = pc.if_else(pa.array(rows), pa.scalar(None, self.cells.type), self.cells)
        return Column(
            name=self.name,
            kind=kind,
            cells=strings,
            values=values,
            missing=rows,
            notes=draft.notes,
            written=self.cells if hides else None,
            date_order=self.date_order if kind is Kind.datetime else None,
        )

    def _with_tokens(self, gone: Mask) -> "Draft":
        """Note the words (not the empty cells) that were taken for missing."""
        if not (gone & self.token).any():
            return self
        said = gone & self.token & ~self.levels.tokens(frozenset({""}))
        if not said.any():
            return self
        message = f"read as missing: {self.levels.quoted(said)}"
        return self.noted("W-MISSING-TOKEN", message, info=True)

    def build_lossy(self, fits: Mask) -> Column:
        """Make a column of a known kind whose other cells are missing, and list them."""
        bad = self.all_levels(~fits)
        draft = self
        if bad.any():
            row, _ = self.levels.first(bad)
            message = (
                f"{counted(self.levels.n_rows(bad), 'cell')} with no {self.kind.value}, counted as "
                f"missing: {self.levels.examples(bad)}"
            )
            draft = self.noted("W-UNREADABLE", message, row=row)
        assert draft.values is not None
        infinite = self.all_levels(~np.isfinite(draft.values))
        return draft.build(self.kind, self.token | infinite)
