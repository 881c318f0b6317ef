"""Seconds of counted work, by a calibrated machine or a datasheet; no choice ever asks them."""

import platform
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium._core.errors import ArgumentError, TriviumError
from trivium.audit.plan_work import Work
from trivium.cost import Machine, Operation
from trivium.cost.machine import DTYPES
from trivium.cost.machine_file import default_path

__all__ = ["PlanClock"]

_KINDS = {
    "product": "linear",
    "batch": "product",
    "pass": "pass",
    "walk": "call",
    "step": "call",
}
_DTYPES = ("float32", "float64")
# How far the counts themselves may be off: what only the data decide has a usual value.
_DOUBT = 2.0
_UNMEASURED = "peak rates of a usual core: this machine was never calibrated"


@dataclass(frozen=True)
class PlanClock:
    """What turns counts into seconds.

    Args:
        machine: The machine.
        name: What it is called in the report.
        how: How far it is to be trusted.
    """

    machine: Machine
    name: str
    how: str

    @classmethod
    def of(cls, path: Path | None) -> "PlanClock":
        """Return the clock of a file, of the file in the default place, or of a datasheet.

        Args:
            path: A file of `trivium calibrate`; `None` is the default place. A file there that
                cannot serve is not an error: the report says why it was not used.

        Raises:
            DataError: The file named is not there, or damaged.
            ArgumentError: It is of another number of threads or another dtype than the audit's.
        """
        if path is not None:
            return cls._calibrated(path)
        try:
            place = default_path()
            if place.exists():
                return cls._calibrated(place)
        except OSError as error:
            return cls._datasheet(f"{_UNMEASURED} ({error.strerror or error})")
        except TriviumError as error:
            return cls._datasheet(f"{_UNMEASURED} for the audit ({error})")
        return cls._datasheet(_UNMEASURED)

    @classmethod
    def _calibrated(cls, path: Path) -> "PlanClock":
        machine = Machine.load(path)
        if machine.threads != 1 or machine.dtype not in _DTYPES:
            raise ArgumentError(
                f"audit: machine must be calibrated for 1 thread and {' or '.join(_DTYPES)}; "
                f"got {machine.threads} and {machine.dtype}",
                where=str(path),
                remedy="The audit adds up on one thread: calibrate for one.",
            )
        for kind in _KINDS.values():
            machine.law(kind)
        how = "calibrated" if machine.calibrated else "peak rates, not measured"
        return cls(machine, f"the machine file {path.name}", how)

    @classmethod
    def _datasheet(cls, how: str) -> "PlanClock":
        arm = platform.machine().lower() in ("arm64", "aarch64")
        name = "core-neon" if arm else "core-avx2"
        return cls(Machine.datasheet(name), f"a datasheet ({name})", how)

    def described(self) -> dict[str, Any]:
        """Return the section `plan.machine`."""
        return {"name": self.name, "calibrated": self.machine.calibrated, "how": self.how}

    def seconds(self, works: Iterable[Work]) -> tuple[float, float, float]:
        """Return the lower end, the estimate and the upper end of the seconds of some work.

        The ends are those of the machine, times two either way for the counts themselves.
        """
        low, middle, high = self.machine.seconds([self._operation(work) for work in works])
        return low / _DOUBT, middle, high * _DOUBT

    def _operation(self, work: Work) -> Operation:
        """Numbers of twice the size take twice the operations: half as many fit a vector."""
        flops = 0.0
        if work.kind in ("product", "batch"):
            flops = 2 * work.count * work.size / DTYPES[self.machine.dtype]
        return Operation(_KINDS[work.kind], flops, work.bytes, work.calls)
