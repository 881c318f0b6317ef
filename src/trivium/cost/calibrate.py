"""Measuring a machine: cases in a random order, again and again."""

import ctypes
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from trivium._core.errors import ArgumentError
from trivium.cost.machine import DTYPES, Machine
from trivium.cost.operation import Operation

__all__ = ["Case", "Timer", "calibrate", "check_asked"]

# A measurement repeats a call until this many seconds have passed.
_SPAN = 0.004
# A call of this many seconds is not repeated within a round.
_LONG = 0.03
_LEAST = 10.0
_ROUNDS = 4
# Share of the time that measuring may take; the rest is for the fit and the last case.
_SHARE = 0.95


@dataclass(frozen=True)
class Case:
    """A call to be measured.

    Args:
        operation: What one call does.
        size: What it is left out by when the law is tried on sizes it has not seen.
        build: Makes the operands and returns the call.
        cost: About what a measurement costs, in seconds: the largest are left out where the time
            does not allow for them.
        besides: Operations of other kinds in the same call; these kinds need cases of their own.
    """

    operation: Operation
    size: str
    build: Callable[[], Callable[[], Any]]
    cost: float = 0.0
    besides: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class Timer:
    """The two clocks of a calibration.

    Args:
        spent: Seconds of a call: those of the processor, or those on the wall.
        wall: Seconds that have passed, for the budget.
    """

    spent: Callable[[], float]
    wall: Callable[[], float]

    @classmethod
    def of(cls, threads: int) -> "Timer":
        """Return CPU seconds for one thread, seconds on the wall for more."""
        return cls(time.process_time if threads == 1 else time.perf_counter, time.perf_counter)


@dataclass
class _Best:
    """What is known of a case."""

    case: Case
    rounds: list[float] = field(default_factory=list)
    took: float = 0.0

    @property
    def seconds(self) -> float:
        """The lower quartile of the rounds: neither disturbed nor lucky."""
        return sorted(self.rounds)[len(self.rounds) // 4]


def calibrate(
    seconds: int | float = 60.0,
    threads: int = 1,
    dtype: str = "float32",
    progress: Callable[[int, int], None] | None = None,
    *,
    cases: Sequence[Case] = (),
    random_state: int = 0,
    only: bool = False,
    timer: Timer | None = None,
) -> Machine:
    """Measure this machine and fit a law to each kind of operator.

    Every round visits all cases in a new random order, so that whatever else the machine does
    hits all alike. Of a round the least time of a case counts, of the rounds their lower quartile:
    the least alone would be luck where memory may or may not be there already. Rounds go on until
    the time is over.

    Args:
        seconds: Time to spend, at least 10; within about a tenth.
        threads: Threads of torch while measuring.
        dtype: "float32", "bfloat16", "float16" or "float64".
        progress: Told of the seconds spent and in all, in tenths.
        cases: More cases, of any kind: an operator of yours gets its law like the others.
        random_state: Of the order.
        only: Whether to measure `cases` alone.
        timer: The clocks; of the processor for one thread, on the wall for more.

    Raises:
        ArgumentError: An argument breaks its rule, or there is no case.
        ResourceError: There is not enough memory for a case.

    Cost:
        `seconds`; memory of about 1.3 GB for the largest case.
    """
    check_asked(seconds, threads, dtype)
    timer = timer or Timer.of(threads)
    if only:
        return _measured(list(cases), seconds, threads, dtype, progress, random_state, timer)
    import torch

    from trivium.cost.cases import standard_cases

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            # Once a result of nearly 32 MiB was freed, glibc serves all smaller ones from memory
            # it has: the state in which a process that computes is anyway.
            torch.zeros(31 * 2**20, dtype=torch.uint8)
            every = [*standard_cases(dtype), *cases]
            return _measured(every, seconds, threads, dtype, progress, random_state, timer)
    finally:
        torch.set_num_threads(before)


def check_asked(seconds: int | float, threads: int, dtype: str) -> None:
    """Refuse what `calibrate` would refuse.

    Raises:
        ArgumentError: An argument breaks its rule.
    """
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not _LEAST <= seconds < float("inf"):
        raise ArgumentError(
            f"calibrate: seconds must be a finite number from {_LEAST:.0f}; got {seconds!r}"
        )
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ArgumentError(f"calibrate: threads must be at least 1; got {threads!r}")
    if dtype not in DTYPES:
        raise ArgumentError(f"calibrate: dtype must be one of {', '.join(DTYPES)}; got {dtype!r}")


def _measured(
    cases: list[Case],
    seconds: int | float,
    threads: int,
    dtype: str,
    progress: Callable[[int, int], None] | None,
    random_state: int,
    timer: Timer,
) -> Machine:
    from trivium.cost.fit import Measured, fit_laws

    begun = timer.wall()
    board = _rounds(cases, begun + _SHARE * seconds, seconds, random_state, timer, progress)
    done = [each for each in board if each.rounds]
    measured = [
        Measured(each.case.operation, each.seconds, each.case.size, each.case.besides)
        for each in done
    ]
    laws, cache, fresh_above = fit_laws(measured)
    about = _about() | {
        "seconds": round(timer.wall() - begun, 1),
        "cases": len(done),
        "rounds": min(len(each.rounds) for each in done),
    }
    return Machine(laws, dtype, threads, cache, fresh_above, True, about)


def _rounds(
    cases: list[Case],
    deadline: float,
    seconds: int | float,
    random_state: int,
    timer: Timer,
    progress: Callable[[int, int], None] | None,
) -> list[_Best]:
    """Visit the cases in rounds until the time is over; each at least once if it can be."""
    if not cases:
        raise ArgumentError("calibrate: cases must hold at least one case; got none")
    order = random.Random(random_state)
    begun = timer.wall()
    board = [_Best(case) for case in _affordable(cases, seconds)]
    over = False
    while not over:
        order.shuffle(board)
        for each in board:
            now = timer.wall()
            if each.rounds and now + each.took > deadline:
                over = True  # the others have this round too, and it is the last
                continue
            _visit(each, timer)
            if progress is not None:
                part = min((timer.wall() - begun) / seconds, 1.0)
                progress(int(10 * seconds * part), int(10 * seconds))
    return board


def _affordable(cases: list[Case], seconds: float) -> list[Case]:
    """Leave out the dearest cases where the time does not allow for four rounds of all."""
    kept = sorted(cases, key=lambda case: case.cost)
    while len(kept) > 1 and _ROUNDS * sum(case.cost for case in kept) > seconds:
        kept.pop()
    return kept


def _visit(best: _Best, timer: Timer) -> None:
    """Measure a case once: a call to warm up, then calls until they take long enough."""
    begun = timer.wall()
    _trim()
    call = best.case.build()
    start = timer.spent()
    call()
    once = max(timer.spent() - start, 1e-9)
    loops = max(1, min(int(_SPAN / once), 10_000))
    least = float("inf")
    for _ in range(2 if once < _LONG else 1):
        start = timer.spent()
        for _ in range(loops):
            call()
        least = min(least, max((timer.spent() - start) / loops, 1e-9))
    best.rounds.append(least)
    best.took = timer.wall() - begun


@cache
def _c_library() -> Any:
    """Return the C library where it can give freed memory back (glibc), else `None`."""
    try:
        library = ctypes.CDLL(None)
        library.malloc_trim.argtypes = [ctypes.c_size_t]
    except (OSError, AttributeError, TypeError):
        return None
    return library


def _trim() -> None:
    """Give freed memory back, so that a case does not depend on what ran before it."""
    if (library := _c_library()) is not None:
        library.malloc_trim(0)


def _about() -> dict[str, Any]:
    """Return the processor, the versions and the date."""
    import platform
    import sys
    from datetime import UTC, datetime

    torch = sys.modules.get("torch")
    return {
        "source": "calibration",
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "torch": None if torch is None else str(torch.__version__),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
