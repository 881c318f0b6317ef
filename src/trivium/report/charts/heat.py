"""The shade of a cell of the confusion table, as a class of the style sheet."""

__all__ = ["shade"]

_LEVELS = 8


def shade(part: float | None, *, correct: bool) -> str:
    """Return the class for a cell that holds `part` of its row.

    Args:
        part: Share of the row's total, in [0, 1].
        correct: Whether the cell is on the diagonal.

    Example:
        >>> shade(0.5, correct=True), shade(0.01, correct=False), shade(0.0, correct=False)
        ('right-4', 'wrong-1', '')
    """
    if part is None or part <= 0:
        return ""
    level = min(max(round(part * _LEVELS), 1), _LEVELS)
    return f"{'right' if correct else 'wrong'}-{level}"
