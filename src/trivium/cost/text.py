"""Numbers and tables as text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from trivium.cost.table import CostTable

if TYPE_CHECKING:
    from trivium.cost.machine import Machine

__all__ = ["columns", "count_text", "machine_text", "seconds_text", "table_text"]

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


def seconds_text(seconds: float) -> str:
    """Return seconds in three digits with their unit.

    Example:
        >>> seconds_text(0.01234), seconds_text(250.0)
        ('12.3 ms', '250 s')
    """
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        value = seconds * factor
        if value >= 0.9995 or unit == "µs":
            digits = max(0, 2 - len(str(int(value))) + 1) if value >= 1 else 2
            return f"{value:,.{digits}f} {unit}"
    raise AssertionError  # pragma: no cover - the last unit always returns


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


def machine_text(machine: "Machine") -> str:
    """Return the rates of a machine, a row for each kind, and how far each is off."""
    about = machine.about
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    head = f"{about.get('processor') or about.get('name') or about.get('source', 'a machine')}"
    lines = [f"{head}, {machine.dtype}, {threads}", ""]
    top = ("kind", "GFLOP/s", "GB/s near", "GB/s far", "µs a call", "GB/s fresh", "off by")
    rows: list[Sequence[str]] = [top]
    for kind, law in machine.laws.items():
        rates = [_rate(each) for each in (law.flops, law.near, law.far)]
        call = f"{1e6 * law.calls:.1f}" if law.calls else ""
        off = f"{100 * law.error:.0f} %"
        rows.append((kind, *rates, call, _rate(law.fresh), off))
    lines.append(columns(rows, left=(0,)))
    if machine.calibrated:
        lines += [
            "",
            f"Near: calls of up to {count_text(round(machine.cache))}B. Fresh: results from "
            f"{count_text(round(machine.fresh_above))}B. Off by: sizes left out, nine in ten.",
        ]
        if "seconds" in about:
            lines.append(f"Measured in {about['seconds']} s.")
    else:
        lines += ["", "By a datasheet, not measured."]
    return "\n".join(lines)


def _rate(seconds: float) -> str:
    """Return billions a second; nothing where a law has no such term."""
    return f"{1e-9 / seconds:.1f}" if seconds else ""


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
