"""Numbers and tables as text."""

from collections.abc import Sequence

from trivium.cost.table import CostTable

__all__ = ["columns", "count_text", "table_text"]

_UNITS = ("", "k", "M", "G", "T", "P", "E", "Z", "Y")


def count_text(value: int) -> str:
    """Return a count in three or four digits with its unit.

    Example:
        >>> count_text(96_636_764_160), count_text(512)
        ('96.64 G', '512')
    """
    scaled, place = float(value), 0
    while abs(scaled) >= 1000 and place < len(_UNITS) - 1:
        scaled /= 1000
        place += 1
    return f"{scaled:.2f} {_UNITS[place]}" if place else str(value)


def table_text(table: CostTable) -> str:
    """Return the table in columns: the GEMM, FLOPs and their share, bytes, what is kept."""
    work = table.work
    whole = table.flops or 1
    last = "saved" if work.mode == "train" else "cache"
    rows = [("component", "layers", "GEMM", "FLOPs", "share", "bytes", last)]
    stacks = len({row.stack for row in table.rows}) > 1
    for row in table.rows:
        moved = row.bytes_read + row.bytes_written
        kept = getattr(row, last)
        if row.flops == 0 and moved == 0 and kept == 0:
            continue
        rows.append(
            (
                f"{row.stack}: {row.name}" if stacks else row.name,
                str(row.layers),
                row.gemm,
                count_text(row.flops) if row.gemm else "",
                f"{100 * row.flops / whole:.1f} %" if row.gemm else "",
                count_text(moved),
                count_text(kept) if kept else "",
            )
        )
    rows.append(
        (
            "total",
            "",
            "",
            count_text(table.flops),
            "100 %",
            count_text(table.bytes),
            count_text(table.total(last)),
        )
    )
    return columns(rows, left=(0, 2))


def columns(rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> str:
    """Return cells in columns, two spaces apart.

    Args:
        rows: The cells.
        left: Columns that begin at the left; the others end at the right.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
