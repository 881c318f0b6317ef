"""A machine: what each kind of operator costs on it, measured or from a datasheet."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import sqrt
from os import PathLike
from typing import Any

from trivium._core.errors import ArgumentError
from trivium.cost.law import Law
from trivium.cost.operation import Operation, gathered

__all__ = ["DTYPES", "Machine"]

DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2, "float64": 8}


@dataclass(frozen=True)
class Machine:
    """Laws of a machine, one for each kind of operator, under one dtype and number of threads.

    Args:
        laws: A law for each kind.
        dtype: Of the numbers.
        threads: That compute.
        cache: Bytes of a call that stay in a cache.
        fresh_above: From this size on the allocator asks the system for each result.
        calibrated: Whether it was measured; else it is what a datasheet says.
        about: Processor, versions, date and so on.

    Raises:
        ArgumentError: There is no law, or an argument breaks its rule.

    Example:
        >>> machine = Machine.datasheet(100e9, 20e9)
        >>> low, middle, high = machine.seconds([Operation("linear", flops=6e9, bytes=1e6)])
        >>> low < middle < high, machine.calibrated
        (True, False)
    """

    laws: Mapping[str, Law]
    dtype: str = "float32"
    threads: int = 1
    cache: float = 0.0
    fresh_above: float = float(2**25)
    calibrated: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.laws or not all(isinstance(law, Law) for law in self.laws.values()):
            raise ArgumentError(f"Machine: laws must hold at least one law; got {self.laws!r}")
        if self.dtype not in DTYPES:
            raise ArgumentError(
                f"Machine: dtype must be one of {', '.join(DTYPES)}; got {self.dtype!r}"
            )
        if isinstance(self.threads, bool) or not isinstance(self.threads, int) or self.threads < 1:
            raise ArgumentError(f"Machine: threads must be at least 1; got {self.threads!r}")
        for name in ("cache", "fresh_above"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ArgumentError(
                    f"Machine: {name} must be a finite number ≥ 0; got {getattr(self, name)!r}"
                )

    def seconds(self, operations: Iterable[Operation]) -> tuple[float, float, float]:
        """Return the lower end, the estimate and the upper end of the seconds of some work.

        t = Σ over the operations of flops·c₁ + bytes·c₂ + calls·c₃ + fresh·c₄, with the
        coefficients of their kinds. The distance to an end is the root of the summed squares of
        those of the kinds: within a kind errors add up, those of different kinds are independent.
        Work outside the sizes that were fitted widens the interval, and `outside` names it.

        Args:
            operations: The work.

        Raises:
            ArgumentError: There is no law for a kind.

        Cost:
            O(operations).
        """
        middle = below = above = 0.0
        for kind, works in gathered(operations).items():
            law = self.law(kind)
            down = up = 0.0
            for work in works:
                seconds = law.seconds(work, self.cache, self.fresh_above)
                spread = law.spread(work)
                middle += seconds
                down += seconds - seconds / spread
                up += seconds * spread - seconds
            below += down**2
            above += up**2
        # Each distance down is less than the seconds of its kind, so the lower end is positive.
        return middle - sqrt(below), middle, middle + sqrt(above)

    def law(self, kind: str) -> Law:
        """Return the law of a kind.

        Raises:
            ArgumentError: There is none.
        """
        if kind not in self.laws:
            raise ArgumentError(
                f"Machine: kind must be one of {', '.join(self.laws)}; got {kind!r}",
                remedy="Calibrate again, with cases of this kind.",
            )
        return self.laws[kind]

    def outside(self, operations: Iterable[Operation]) -> tuple[str, ...]:
        """Return the kinds whose calls are beyond the sizes that were fitted.

        Raises:
            ArgumentError: There is no law for a kind.
        """
        return tuple(
            kind
            for kind, works in gathered(operations).items()
            if any(self.law(kind).beyond(work) > 1 for work in works)
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Write the machine file, JSON, whole or not at all.

        Raises:
            ResourceError: The disk is full; what was there before is intact.
            OutputError: The place cannot be written to; what was there before is intact.
        """
        from trivium.cost.machine_file import save

        save(self, path)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str] | None = None,
        *,
        dtype: str | None = None,
        threads: int | None = None,
    ) -> "Machine":
        """Return the machine of a file.

        Args:
            path: The file; by default where `trivium calibrate` writes it.
            dtype: What it must be calibrated for, where that matters.
            threads: Likewise.

        Raises:
            DataError: The file cannot be read, is damaged, is newer than the program, or holds a
                number that is negative or not finite.
            ArgumentError: It is of another dtype or number of threads than asked.
        """
        from trivium.cost.machine_file import load

        machine = load(path)
        machine.check(dtype=dtype, threads=threads)
        return machine

    def check(self, *, dtype: str | None = None, threads: int | None = None) -> None:
        """Refuse another dtype or number of threads than those of this machine.

        Raises:
            ArgumentError: It is another one.
        """
        for name, asked in (("dtype", dtype), ("threads", threads)):
            own = getattr(self, name)
            if asked is not None and asked != own:
                raise ArgumentError(
                    f"Machine: {name} must be {own}, which the machine was calibrated for; "
                    f"got {asked}",
                    remedy=f"Calibrate with {name} {asked}.",
                )

    @classmethod
    def datasheet(
        cls,
        flops_per_second: int | float | str,
        bytes_per_second: int | float | None = None,
        call_seconds: int | float = 5e-6,
        *,
        dtype: str = "float32",
        threads: int = 1,
    ) -> "Machine":
        """Return a machine that was not measured: peak rates, and a wide interval.

        Real operators reach between a sixth and all of the peaks; the estimate takes 40 %, and
        the interval is a factor of 2.5 to either side.

        Args:
            flops_per_second: The peak, of all threads together; or the name of a datasheet, one
                of `trivium.cost.datasheet.DATASHEETS`.
            bytes_per_second: The peak of the memory.
            call_seconds: What a call costs however small.
            dtype: Of the numbers.
            threads: That compute.

        Raises:
            ArgumentError: A rate is not positive and finite, or the name is unknown.
        """
        from trivium.cost.datasheet import laws_of

        laws, about = laws_of(flops_per_second, bytes_per_second, call_seconds)
        return cls(laws, dtype, threads, calibrated=False, about=about)

    @classmethod
    def calibrate(
        cls,
        seconds: int | float = 60.0,
        threads: int = 1,
        dtype: str = "float32",
        progress: Callable[[int, int], None] | None = None,
        **more: Any,
    ) -> "Machine":
        """Measure this machine: operators of several sizes, and a law fitted to each kind.

        Args:
            seconds: Time to spend, within about a tenth.
            threads: Threads of torch while measuring; with one, CPU seconds are measured, with
                more, seconds on the wall.
            dtype: Of the numbers.
            progress: Told of the measurements done and in all.
            **more: As for `trivium.cost.calibrate.calibrate`.

        Raises:
            ArgumentError: An argument breaks its rule.
        """
        from trivium.cost.calibrate import calibrate

        return calibrate(seconds, threads, dtype, progress, **more)

    def to_dict(self) -> dict[str, Any]:
        """Return the machine as a JSON object, as its file holds it."""
        from trivium.cost.machine_file import document

        return document(self)

    def __str__(self) -> str:
        from trivium.cost.text import machine_text

        return machine_text(self)
