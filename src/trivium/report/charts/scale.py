"""Where a number stands on an axis, and which round numbers the axis names."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Scale"]


@dataclass(frozen=True)
class Scale:
    """An axis from `low` to `high` with round `ticks`.

    Example:
        >>> scale = Scale.around([0.72, 0.91])
        >>> scale.ticks
        (0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
        >>> round(scale.place(0.825), 3)
        0.5
    """

    low: float
    high: float
    ticks: tuple[float, ...]

    @classmethod
    def around(
        cls,
        values: Iterable[float | None],
        *,
        include: Iterable[float] = (),
        n_ticks: int = 5,
        bounds: tuple[float, float] | None = None,
    ) -> "Scale":
        """Return the smallest round axis around the finite ones of `values`.

        Args:
            values: Numbers; `None` and non-finite ones are passed over.
            include: Numbers that must be on the axis.
            n_ticks: About how many steps.
            bounds: The axis never leaves them: (0, 1) for shares.
        """
        known = [value for value in values if value is not None and math.isfinite(value)]
        known += list(include)
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        if bounds is not None:
            low, high = max(low, bounds[0]), min(high, bounds[1])
        if not high > low:
            margin = abs(low) * 0.1 or 0.5
            low, high = low - margin, high + margin
        step = _round_step((high - low) / max(n_ticks, 1))
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        ticks = tuple(float(f"{index * step:.12g}") for index in range(first, last + 1))
        if bounds is not None:
            ticks = tuple(t for t in ticks if bounds[0] - 1e-12 <= t <= bounds[1] + 1e-12)
        return cls(ticks[0], ticks[-1], ticks)

    def place(self, value: float) -> float:
        """Return where `value` stands, 0 at `low` and 1 at `high`, clipped to the axis."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    @property
    def decimals(self) -> int:
        """How many decimals its ticks need."""
        step = self.ticks[1] - self.ticks[0] if len(self.ticks) > 1 else 1.0
        return max(0, -math.floor(math.log10(step) + 1e-9)) + (
            1 if str(float(f"{step:.2g}")).rstrip("0").endswith("25") else 0
        )


def _round_step(step: float) -> float:
    if not (step > 0 and math.isfinite(step)):
        return 1.0
    power = 10.0 ** math.floor(math.log10(step))
    for factor in (1.0, 2.0, 5.0):
        if step <= factor * power * (1 + 1e-9):
            return factor * power
    return 10.0 * power
