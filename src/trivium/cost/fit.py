"""Fitting a law to measured calls: non-negative coefficients, relative residuals."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import ceil

import numpy as np
from numpy.typing import NDArray

from trivium._core.errors import DataError
from trivium.cost.law import COEFFICIENTS, Law, beyond, doubt, features
from trivium.cost.operation import Operation

__all__ = ["Measured", "coverage_error", "fit_law", "fit_laws", "non_negative"]

# The interval holds nine times in ten, and is never narrower than repeats differ.
_COVERAGE = 0.9
_LEAST_ERROR = 0.03
_CACHES = (0.0, *(2.0 ** (power / 2) for power in range(34, 52)))
# Results above this size are mapped anew at each call: glibc's upper limit, musl's, never.
_FRESH_ABOVE = (2.0**25, 2.0**17, 2.0**60)
# What a call holds besides never explains all of it.
_MOST_BESIDES = 0.8
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Measured:
    """A call that was measured.

    Args:
        operation: What one call does.
        seconds: What it took.
        size: What is left out together with it when the law is tried on sizes it has not seen.
        besides: Operations of other kinds in the same call, whose laws are fitted first.
    """

    operation: Operation
    seconds: float
    size: Hashable
    besides: tuple[Operation, ...] = ()


def non_negative(matrix: Matrix, target: Matrix) -> Matrix:
    """Return the x ≥ 0 that minimizes ‖matrix·x − target‖².

    The minimum is the least-squares solution on its own support, so all supports are tried:
    exact, and with five columns 31 small problems.

    Args:
        matrix: At most a few columns.
        target: As many numbers as rows.

    Source:
        Lawson and Hanson, Solving Least Squares Problems (1974), chapter 23, theorem 23.4.
    """
    columns = matrix.shape[1]
    scale = np.linalg.norm(matrix, axis=0)
    used = [j for j in range(columns) if scale[j] > 0]
    best, least = np.zeros(columns), float(target @ target)
    for count in range(1, len(used) + 1):
        for chosen in map(list, combinations(used, count)):
            part = matrix[:, chosen] / scale[chosen]
            found = np.linalg.lstsq(part, target, rcond=None)[0]
            if (found < 0).any():
                continue
            gap = part @ found - target
            # A larger support has to be better by more than rounding.
            if float(gap @ gap) < least * (1 - 1e-9):
                least = float(gap @ gap)
                best = np.zeros(columns)
                best[chosen] = found / scale[chosen]
    return best


def fit_law(
    measured: Sequence[Measured],
    cache: float,
    fresh_above: float,
    known: Mapping[str, Law] | None = None,
) -> Law:
    """Return the law of least squared relative error, and how far it is off on sizes left out.

    Args:
        measured: Calls of one kind.
        cache: As in `Machine`.
        fresh_above: As in `Machine`.
        known: Laws of the kinds that the calls hold besides.

    Raises:
        DataError: There is no call, or one took no time.
    """
    if not measured or not all(0 < each.seconds < float("inf") for each in measured):
        raise DataError("fit: seconds must be positive and finite, of at least one call")
    data = _Data.of(measured, cache, fresh_above, known or {})
    coefficients = data.solve()
    ratios: list[float] = []
    sizes = dict.fromkeys(each.size for each in measured)
    for size in sizes if len(sizes) > 1 else ():
        out = np.array([each.size == size for each in measured])
        least, most = _ranges([each for each in measured if each.size != size])
        doubts = [
            doubt(beyond(each.operation, least, most)) for each in measured if each.size == size
        ]
        guesses = data.part(out).ratios(data.part(~out).solve())
        # A size outside all others is given the wider interval that such a size gets.
        ratios += [
            max(max(r, 1 / r) / wider, 1.0) if r > 0 else 0.0
            for r, wider in zip(guesses.tolist(), doubts, strict=True)
        ]
    least, most = _ranges(measured)
    return Law(
        **{name: float(c) for name, c in zip(COEFFICIENTS, coefficients, strict=True)},
        error=coverage_error(ratios),
        least=least,
        most=most,
        sizes=len(sizes),
    )


def _ranges(measured: Sequence[Measured]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return FLOPs and bytes of the smallest calls, and of the largest."""
    flops = [float(each.operation.flops / each.operation.calls) for each in measured]
    moved = [float(each.operation.bytes / each.operation.calls) for each in measured]
    return (min(flops), min(moved)), (max(flops), max(moved))


def coverage_error(ratios: Sequence[float]) -> float:
    """Return the e for which nine in ten of new ratios are between 1/(1+e) and 1+e.

    With m ratios that is the ⌈0.9(m + 1)⌉-th smallest distance from 1, or the largest where there
    are fewer than nine: the rank that split conformal prediction takes.

    Args:
        ratios: Predicted over measured seconds, each of a size that was left out.

    Source:
        Lei et al., Distribution-Free Predictive Inference for Regression, JASA 113 (2018).
    """
    if not len(ratios):
        return 1.0
    off = sorted(max(r, 1 / r) - 1 if r > 0 else 9.0 for r in ratios)
    rank = min(ceil(_COVERAGE * (len(off) + 1)), len(off))
    return float(min(max(off[rank - 1], _LEAST_ERROR), 9.0))


def fit_laws(
    measured: Sequence[Measured],
) -> tuple[dict[str, Law], float, float]:
    """Return a law for each kind, with the cache and the allocator that explain all best.

    Args:
        measured: Calls of all kinds.

    Returns:
        The laws, the size of the cache, and the largest result of memory that is there.

    Raises:
        DataError: There is no call, or one took no time.
    """
    kinds: dict[str, list[Measured]] = {}
    # Kinds that hold others besides come after them.
    for each in sorted(measured, key=lambda each: len(each.besides)):
        kinds.setdefault(each.operation.kind, []).append(each)
    if not kinds:
        raise DataError("fit: seconds must be positive and finite, of at least one call")
    plain = [some for some in kinds.values() if not some[0].besides] or list(kinds.values())
    # Without results of that size nothing can be said against the usual threshold.
    largest = max(each.operation.fresh / each.operation.calls for each in measured)
    thresholds = _FRESH_ABOVE if largest >= _FRESH_ABOVE[0] else _FRESH_ABOVE[:1]
    best = min(
        ((cache, above) for above in thresholds for cache in _CACHES),
        key=lambda pair: sum(_Data.of(some, pair[0], pair[1], {}).loss() for some in plain),
    )
    laws: dict[str, Law] = {}
    for kind, some in kinds.items():
        laws[kind] = fit_law(some, *best, laws)
    return laws, *best


@dataclass(frozen=True, slots=True)
class _Data:
    """What is fitted: features and seconds, and the seconds of what calls hold besides."""

    rows: Matrix
    times: Matrix
    besides: Matrix

    @classmethod
    def of(
        cls,
        measured: Sequence[Measured],
        cache: float,
        fresh_above: float,
        known: Mapping[str, Law],
    ) -> "_Data":
        besides = [
            min(
                sum(known[x.kind].seconds(x, cache, fresh_above) for x in each.besides),
                _MOST_BESIDES * each.seconds,
            )
            for each in measured
        ]
        rows = [features(each.operation, cache, fresh_above) for each in measured]
        times = [each.seconds for each in measured]
        return cls(np.array(rows), np.array(times), np.array(besides))

    def part(self, chosen: NDArray[np.bool_]) -> "_Data":
        return _Data(self.rows[chosen], self.times[chosen], self.besides[chosen])

    def solve(self) -> Matrix:
        """Return the coefficients: relative residuals, so that each size counts alike."""
        return non_negative(self.rows / self.times[:, None], 1 - self.besides / self.times)

    def ratios(self, coefficients: Matrix) -> Matrix:
        found: Matrix = (self.rows @ coefficients + self.besides) / self.times
        return found

    def loss(self) -> float:
        return float(np.square(self.ratios(self.solve()) - 1).sum())
