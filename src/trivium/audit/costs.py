"""A cost matrix from a CSV file: rows are true classes, columns predicted ones."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from trivium._core.errors import DataError
from trivium.store import unquote_cell
from trivium.table import ReadOptions, read_table
from trivium.table.naming import cut, listed

__all__ = ["Costs", "read_costs"]

_REMEDY = (
    "The header names the predicted classes; each row begins with its true class, or the rows "
    "follow the order of the header."
)


_SMALLEST, _LARGEST = 1e-100, 1e100


@dataclass(frozen=True)
class Costs:
    """What each mistake costs.

    Args:
        classes: Names of rows and columns.
        table: A row for each true class, a cost for each predicted one.
    """

    classes: tuple[str, ...]
    table: tuple[tuple[float, ...], ...]

    def of(self, classes: tuple[str, ...]) -> np.ndarray:
        """Return the costs in the order of these classes.

        Raises:
            DataError: The file names other classes.
        """
        missing = [name for name in classes if name not in self.classes]
        extra = [name for name in self.classes if name not in classes]
        if missing or extra:
            said = f"without {listed(map(cut, missing))}" if missing else ""
            said += " and " * bool(missing and extra)
            said += f"with {listed(map(cut, extra))}" if extra else ""
            raise DataError(
                f"audit: --costs must name the classes of the label; got them {said}",
                remedy=f"The classes are {listed(map(cut, classes))}.",
                code="E-COSTS",
            )
        order = [self.classes.index(name) for name in classes]
        return np.asarray(self.table, dtype=np.float64)[np.ix_(order, order)]


def read_costs(path: Path) -> Costs:
    """Read a cost matrix; a first column with the true classes is optional.

    Raises:
        DataError: It is not square, a name is wrong, or a cost is no finite number or out of range.
    """
    options = ReadOptions(missing=("",), min_rows=1)
    # Once for the names and once with each cell as it is written, not as a number says it.
    table = read_table(path, replace(options, text=read_table(path, options).names))
    header = [unquote_cell(name) for name in table.names]
    rows = [list(row) for row in zip(*(column.texts() for column in table.columns), strict=True)]
    if len(header) == len(rows) + 1 > 2:
        header = header[1:]
        names = [unquote_cell(row.pop(0) or "") for row in rows]
        if sorted(names) != sorted(header):
            raise _refused(
                path,
                f"rows and columns must name the same classes; got {listed(map(cut, names))}",
            )
        rows = [rows[names.index(name)] for name in header]
    if len(rows) != len(header) or len(rows) < 2:
        raise _refused(path, f"the costs must be square; got {len(rows)} by {len(header)}")
    return Costs(
        tuple(header),
        tuple(tuple(_number(path, header[i], text) for text in row) for i, row in enumerate(rows)),
    )


def _number(path: Path, name: str, text: str | None) -> float:
    try:
        found = float((text or "").replace("_", "?"))
    except ValueError:
        found = float("nan")
    said = "an empty cell" if text is None else cut(text)
    if not np.isfinite(found):
        raise _refused(path, f"a cost must be a finite number; got {said} in row {cut(name)}")
    # Sums of costs, and quotients by their spread, stay numbers.
    if found and not _SMALLEST <= abs(found) <= _LARGEST:
        what = f"a cost must be 0 or between {_SMALLEST:g} and {_LARGEST:g} in size"
        raise _refused(path, f"{what}; got {said} in row {cut(name)}")
    return found


def _refused(path: Path, what: str) -> DataError:
    return DataError(f"audit: {what}", where=path.name, remedy=_REMEDY, code="E-COSTS")
