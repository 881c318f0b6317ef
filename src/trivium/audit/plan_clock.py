"""Temporary."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trivium.audit.plan_work import Work

__all__ = ["PlanClock"]


@dataclass(frozen=True)
class PlanClock:
    name: str
    how: str

    @classmethod
    def of(cls, path: Path | None) -> "PlanClock":
        return cls("a datasheet", "never calibrated")

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "how": self.how, "calibrated": False}

    def seconds(self, works: Iterable[Work]) -> tuple[float, float, float]:
        t = 0.0
        for w in works:
            t += w.bytes / 1e10 + w.calls * 2e-6 + (w.count / 1.5e10 if w.kind == "product" else 0)
        return t / 3, t, t * 3
