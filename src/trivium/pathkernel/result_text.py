"""An attribution in words and figures: what it is, what it is not, whether it adds up."""

from typing import Any

from trivium._core.counted import counted

__all__ = ["describe"]

_SHOWN = 5
_HEAD = ("row", "before", "after", "rows", "remainder", "sum |rows|")


def describe(result: Any) -> str:
    """Return a few lines: the question, the caution, the completeness and a table."""
    q, n = result.contributions.shape
    lines = [
        f"{type(result).__name__} of the {result.of} of {q} row{'s' * (q != 1)}: "
        f"{result.question}.",
        result.caution,
        f"{counted(n, 'training row')}, {counted(len(result.steps), 'step')}, "
        f"{counted(len(result.layers), 'layer')}; completeness "
        f"error {result.completeness_error:.1e} (allowed {result.tolerance:g}).",
        "".join(f"{name:>12}" for name in _HEAD),
    ]
    columns = (
        result.before,
        result.after,
        result.contributions.sum(1),
        result.remainder,
        result.absolute,
    )
    lines += [
        f"{row:>12}" + "".join(f"{float(one[row]):>12.4g}" for one in columns)
        for row in range(min(q, _SHOWN))
    ]
    if q > _SHOWN:
        lines.append(f"{'':>12}and {q - _SHOWN} more")
    named = [f"{name} {float(value.abs().mean()):.3g}" for name, value in result.remainders.items()]
    if named:
        lines.append(f"Remainder by name, mean absolute: {', '.join(named)}.")
    return "\n".join(lines)
