"""Bytes that a stage needs at once, and how far the peak of the whole run grows by them."""

from trivium.audit.plan_depend import DependRows
from trivium.audit.plan_size import TableSize

__all__ = ["memory_growth"]

_BLOCK = 16 * 2**20
_WIDE = 50
_AXES = 74


def _depend(size: TableSize, rows: DependRows) -> float:
    """The largest block of columns, or the Gram matrices of texts."""
    n = min(size.rows, rows.columns)
    target = float(min(size.classes, 256) - 1)
    numbers = sum(column.kind == "number" for column in size.columns)
    batch = min(numbers, max(1, _BLOCK // (8 * _WIDE * n)))
    most = 32.0 * batch * _WIDE * n + 4 * 4 * 132 * target * max(n, size.permutations)
    if size.texts:
        m = min(size.rows, rows.texts)
        draws = size.permutations + 1
        most = max(most, 4 * 8 * 256 * n, 6 * 8 * float(m) ** 2 + 3 * 8 * draws * m)
    return most


def _encode(size: TableSize) -> float:
    n = size.rows
    pieces = sum(texts.pieces(n) for texts in size.texts)
    dense = sum(4 * 8 * _AXES * (texts.buckets(n) + n) for texts in size.texts)
    return 2 * 8 * n * size.features + 4 * 12 * pieces + dense


def memory_growth(size: TableSize, rows: DependRows, explained: int) -> dict[str, int]:
    """Return for each stage by how many bytes it raises the peak that stages before it left.

    Args:
        size: The table.
        rows: Rows that the stage depend tests.
        explained: Rows that the stage explain asks about.
    """
    table = 8.0 * size.rows * size.features
    scores = 8.0 * size.rows * size.classes
    block = 8.0 * min(256, explained) * size.rows
    # What a stage needs while it runs, and what it leaves behind.
    needs = {
        "depend": (_depend(size, rows), 0.0),
        "encode": (_encode(size), table),
        "fit": (4 * table + 40 * scores, 2 * table + 4 * scores),
        "flag": (3 * table + 30 * scores, scores),
        "tune": (4 * table + 40 * scores, 0.0),
        "explain": (7 * block + 2 * table, 0.0),
    }
    held = peak = 0.0
    found = {}
    for name, (working, kept) in needs.items():
        found[name] = round(max(0.0, held + working - peak))
        peak = max(peak, held + working)
        held += kept
    return found
