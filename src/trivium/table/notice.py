"""Something to know about the data: nothing was refused, nothing changed silently."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["Notice", "Severity"]

Severity = Literal["info", "warning"]


@dataclass(frozen=True)
class Notice:
    """Something to know about the data.

    Args:
        code: Stable name, `W-...`.
        where: The place: a column, a row, a file.
        message: One sentence.
        severity: `"warning"` when a reader should look, `"info"` when it is only for the record.
    """

    code: str
    where: str
    message: str
    severity: Severity = "warning"
