"""`--fail-on RULE`: a gate on the finished report, for scripts and pipelines."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trivium._core.errors import ArgumentError

__all__ = ["QUANTITIES", "Gate", "parse_gate"]

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}


def _score(metric: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda report: report["scores"]["models"]["closed_form"][metric]["mean"]


def _least(key: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda report: min((row[key] for row in report["depend"]), default=1.0)


def _checks(prefix: str) -> Callable[[Mapping[str, Any]], float]:
    return lambda report: sum(w["code"].startswith(prefix) for w in report["warnings"])


QUANTITIES: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "accuracy": _score("accuracy"),
    "macro_f1": _score("macro_f1"),
    "log_loss": _score("log_loss"),
    "expected_wrong": lambda report: report["flags"]["expected_wrong"],
    "flags": lambda report: report["flags"]["listed"],
    "leaks": _checks("W-LEAK"),
    "p": _least("p_value"),
    "q": _least("q_value"),
    "warnings": _checks(""),
}


@dataclass(frozen=True)
class Gate:
    """One rule: it trips when `quantity operator bound` holds."""

    quantity: str
    relation: str
    bound: float

    def value(self, report: Mapping[str, Any]) -> float:
        """The quantity in this report."""
        return float(QUANTITIES[self.quantity](report))

    def trips(self, report: Mapping[str, Any]) -> bool:
        """Whether the rule holds."""
        return _OPERATORS[self.relation](self.value(report), self.bound)

    def __str__(self) -> str:
        return f"{self.quantity}{self.relation}{self.bound:g}"


def parse_gate(rule: str) -> Gate:
    """Read a rule such as `accuracy<0.8`, `flags>20`, `q>0.05` or `leaks>0`.

    Raises:
        ArgumentError: It is not of that form; the message lists the quantities.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(<=|>=|<|>|=)\s*([-+0-9.eE]+)\s*", rule)
    try:
        if match and match[1] in QUANTITIES:
            return Gate(match[1], match[2], float(match[3]))
    except ValueError:
        pass
    names = ", ".join(sorted(QUANTITIES))
    raise ArgumentError(
        f"--fail-on must be QUANTITY OPERATOR NUMBER, for example accuracy<0.8, with one of "
        f"{names}; got {rule!r}"
    )
