"""`--fail-on RULE`, `--fail-if RULE`: a gate on what was found, for scripts and pipelines."""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from trivium._core.errors import ArgumentError

__all__ = ["DEPEND_QUANTITIES", "QUANTITIES", "Gate", "parse_gate"]

Quantity = Callable[[Mapping[str, Any]], float]

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}


def _score(metric: str) -> Quantity:
    return lambda report: report["scores"]["models"]["closed_form"][metric]["mean"]


def _tests(report: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*report.get("depend", ()), *report.get("pairs", ())]


def _least(key: str) -> Quantity:
    return lambda report: min((row[key] for row in _tests(report)), default=1.0)


def _largest(key: str) -> Quantity:
    return lambda report: max((row[key] for row in _tests(report)), default=0.0)


def _found(report: Mapping[str, Any]) -> float:
    return sum(row["q_value"] <= report["fdr"] for row in _tests(report))


def _least_aspect(name: str) -> Quantity:
    """Smallest q-value of one aspect of the text columns."""
    return lambda report: min(
        (
            aspect["q_value"]
            for row in report.get("depend", ())
            for aspect in row["aspects"]
            if aspect["aspect"] == name
        ),
        default=1.0,
    )


def _checks(prefix: str) -> Quantity:
    return lambda report: sum(w["code"].startswith(prefix) for w in report["warnings"])


QUANTITIES: dict[str, Quantity] = {
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
DEPEND_QUANTITIES: dict[str, Quantity] = {
    "cka": _largest("cka"),
    "found": _found,
    "leaks": _checks("W-LEAK"),
    "order": _least_aspect("order"),
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
    quantities: Mapping[str, Quantity] = field(
        default_factory=lambda: QUANTITIES, repr=False, compare=False
    )

    def value(self, report: Mapping[str, Any]) -> float:
        """The quantity in this report."""
        return float(self.quantities[self.quantity](report))

    def trips(self, report: Mapping[str, Any]) -> bool:
        """Whether the rule holds."""
        return _OPERATORS[self.relation](self.value(report), self.bound)

    def __str__(self) -> str:
        return f"{self.quantity}{self.relation}{self.bound:g}"


def parse_gate(
    rule: str, *, option: str = "--fail-on", quantities: Mapping[str, Quantity] = QUANTITIES
) -> Gate:
    """Read a rule such as `accuracy<0.8`, `flags>20`, `q<.05` or `leaks>0`.

    Args:
        rule: The rule as typed.
        option: The option that it was given to, for the message.
        quantities: What a rule may speak of.

    Raises:
        ArgumentError: It is not of that form; the message lists the quantities.
    """
    match = re.fullmatch(r"\s*(\w+)\s*(<=|>=|<|>|=)\s*([-+0-9.eE]+)\s*", rule)
    try:
        if match and match[1] in quantities:
            return Gate(match[1], match[2], float(match[3]), quantities)
    except ValueError:
        pass
    example = "accuracy<0.8" if "accuracy" in quantities else "q<.05"
    raise ArgumentError(
        f"{option} must be QUANTITY OPERATOR NUMBER, for example {example}, with one of "
        f"{', '.join(sorted(quantities))}; got {rule!r}"
    )
