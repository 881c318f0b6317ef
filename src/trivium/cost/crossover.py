"""Where two costs cross as rows grow: exact for counts, an interval for time."""

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from trivium._core.errors import ArgumentError
from trivium.cost.component import GROUPS
from trivium.cost.design import Design, design_of
from trivium.cost.measure import Clock, measure_of
from trivium.cost.root import root
from trivium.cost.shape import TransformerShape
from trivium.cost.table import SUMS, CostTable
from trivium.cost.workload import Mode, check_length

__all__ = ["Crossing", "Crossover", "crossover"]

_FARTHEST = 2**22
_GROWTH = 1.15


@dataclass(frozen=True, slots=True)
class Crossing:
    """One place where two costs cross.

    Args:
        low: The lower end of where it is.
        high: The upper end; equal to `low` where the place is a rational number.
        larger: Which of the two is larger beyond.
        estimate: Where the estimates cross, in time; else `None`.
    """

    low: Fraction
    high: Fraction
    larger: str
    estimate: Fraction | None = None

    @property
    def exact(self) -> bool:
        """Whether the place is known as a rational number."""
        return self.low == self.high

    def __str__(self) -> str:
        if self.exact:
            value = self.low
            return f"{int(value):,}" if value.denominator == 1 else f"{float(value):,.2f}"
        if self.high - self.low < Fraction(1, 100):
            return f"{float(self.low):,.2f}".removesuffix(".00")
        ends = f"{float(self.low):,.0f} to {float(self.high):,.0f}"
        return ends if self.estimate is None else f"{float(self.estimate):,.0f} ({ends})"


@dataclass(frozen=True, slots=True)
class Crossover:
    """Where a and b cross, in tokens of a row.

    Args:
        a: The one.
        b: The other.
        by: What they are compared by.
        crossings: All places up to the farthest length, in their order.
        smaller: Which is smaller where there is no crossing, or before the first; "" for equal.
        attention: The design that the parts are of; "" where designs are compared.
    """

    a: str
    b: str
    by: str
    crossings: tuple[Crossing, ...]
    smaller: str
    attention: str = ""

    @property
    def at(self) -> Fraction | None:
        """The first place as an exact number; `None` where there is none, or it is no rational."""
        first = self.crossings[0] if self.crossings else None
        return first.low if first is not None and first.exact else None

    def __str__(self) -> str:
        if not self.crossings:
            return f"{self.smaller} is smaller everywhere" if self.smaller else "equal everywhere"
        return "; ".join(f"{self.a} = {self.b} at n = {point}" for point in self.crossings)


def crossover(  # noqa: PLR0913 - the two, the measure, and the pass
    shape: TransformerShape,
    a: Design | str,
    b: Design | str,
    by: str = "flops",
    *,
    clock: Clock | None = None,
    mode: Mode = "forward",
    batch: int = 1,
    attention: Design | str = "eager",
    farthest: int = _FARTHEST,
    itemsize: int = 4,
) -> Crossover:
    """Return where the costs of two parts, or of two designs of attention, cross.

    In FLOPs a layer of a BERT has ffn = attention at n = 2hd and quadratic = all the rest at 6hd.
    The place is the root of a polynomial in n; a rational root is returned as it is, another one
    between two rationals 2⁻²⁴ apart.

    Args:
        shape: The shape.
        a: A part of the table ("ffn", "quadratic", "projections+ffn", as in `CostTable.select`),
            then under `attention`; or a design of attention ("sdpa", "linear:4d"), then of the
            whole pass.
        b: The other one, of the same kind.
        by: "flops", "macs", "bytes" or "time".
        clock: What tells the time, for by="time": then a place is the stretch around the
            estimate in which the intervals of the two costs touch.
        mode: The pass. In "prefill" and "forward" n is the tokens of a row, in "decode" the
            context of one token.
        batch: Rows.
        attention: The design that parts are of.
        farthest: The largest n looked at.
        itemsize: Bytes of a number; that of the clock's dtype.

    Returns:
        All crossings up to `farthest`.

    Raises:
        ArgumentError: A name is unknown, a part is compared with a design, the clock is missing,
            the model fixes its length, or a length breaks its rule.

    Cost:
        About a hundred tables: 20 ms.

    Example:
        >>> shape = TransformerShape.from_config("bert-base-uncased")
        >>> crossover(shape, "ffn", "attention").at
        Fraction(1536, 1)
        >>> print(crossover(shape, "eager", "linear:h/4"))
        eager = linear:h/4 at n = 256
    """
    check_length("crossover", "farthest", farthest, 2)
    if shape.tokens is not None:
        raise ArgumentError(
            f"crossover: shape must have rows of any length; {shape.name} has "
            f"{shape.tokens} patches"
        )
    measure = measure_of("crossover", by, clock)
    first, second = _costs(shape, (a, b), mode, batch, attention, itemsize)

    def gap(place: int, n: int) -> Fraction:
        one, other = measure(first(n)), measure(second(n))
        return one[place] - other[2 - place]

    names = (str(a), str(b))
    crossings, before = _crossings(partial(gap, 1), farthest, names, _bends(shape, a, b, attention))
    if by == "time" and crossings:
        crossings = [_widened(gap, point, farthest, names) for point in crossings]
    under = str(design_of(attention)) if _is_part(shape, a, attention) else ""
    return Crossover(*names, by, tuple(crossings), before, under)


Cost = Callable[[int], CostTable]


def _costs(
    shape: TransformerShape,
    pair: tuple[Design | str, Design | str],
    mode: Mode,
    batch: int,
    own: Design | str,
    itemsize: int,
) -> tuple[Cost, Cost]:
    """Return the two costs as functions of n."""
    a, b = pair
    if _is_part(shape, a, own) != _is_part(shape, b, own):
        raise ArgumentError(
            f"crossover: a and b must both be parts or both be designs; got {a!s} and {b!s}"
        )

    def table(n: int, attention: Design | str) -> CostTable:
        if mode == "decode":
            return shape.table(1, batch, mode, n, attention=attention, itemsize=itemsize)
        return shape.table(n, batch, mode, attention=attention, itemsize=itemsize)

    if _is_part(shape, a, own):
        one, other = str(a), str(b)
        return (
            lambda n: table(n, own).select(one),
            lambda n: table(n, own).select(other),
        )
    chosen, rival = design_of(a), design_of(b)
    return lambda n: table(n, chosen), lambda n: table(n, rival)


def _is_part(shape: TransformerShape, what: Design | str, own: Design | str) -> bool:
    known = {*SUMS, *GROUPS, *(part.component.name for part in shape.parts(own))}
    return isinstance(what, str) and set(what.split("+")) <= known


def _bends(shape: TransformerShape, *designs: Design | str) -> list[int]:
    """Lengths around which a cost is not one polynomial: those of the windows."""
    found = set()
    for design in designs:
        try:
            parts = shape.parts(design)
        except ArgumentError:
            parts = shape.parts()
        masks = [part.component.mask for part in parts]
        found |= {mask.window for mask in masks if mask is not None and mask.window}
    return [near for window in found for near in (window - 1, window, window + 1) if near > 0]


def _crossings(
    gap: Callable[[int], Fraction], farthest: int, names: tuple[str, str], bends: list[int]
) -> tuple[list[Crossing], str]:
    """Return the changes of sign of a gap over the integers, each with its root."""
    grid = {1, farthest, *(n for n in bends if n <= farthest)}
    n = 1.0
    while n < farthest:
        grid.add(int(n))
        n = max(n * _GROWTH, n + 1)
    found: list[Crossing] = []
    before, held, last = "", 0, 1
    for n in sorted(grid):
        sign = _sign(gap(n))
        if sign and sign != held:
            if held or n > 1:
                point = _first(partial(_has_sign, gap, sign), last, n)
                low, high = root(gap, point)
                if held or low >= 1:
                    found.append(Crossing(low, high, names[0] if sign > 0 else names[1]))
            before = before or names[sign > 0]
            held = sign
        last = n
    return found, before


def _first(holds: Callable[[int], bool], low: int, high: int) -> int:
    """Return the first integer in (low, high] at which it holds; it holds at `high`."""
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _has_sign(gap: Callable[[int], Fraction], sign: int, n: int) -> bool:
    return _sign(gap(n)) == sign


def _sign(value: Fraction) -> int:
    return (value > 0) - (value < 0)


def _widened(
    gap: Callable[[int, int], Fraction],
    middle: Crossing,
    farthest: int,
    names: tuple[str, str],
) -> Crossing:
    """Return a crossing in time as the stretch around it where neither is surely the smaller."""
    sides = [
        point
        for place in (0, 2)
        for point in _crossings(partial(gap, place), farthest, names, [])[0]
    ]
    below = [point.low for point in sides if point.low <= middle.low]
    above = [point.high for point in sides if point.high >= middle.high]
    low = max(below, default=Fraction(1))
    high = min(above, default=Fraction(farthest))
    return Crossing(low, high, middle.larger, (middle.low + middle.high) / 2)
