"""A report held against the truth of the demonstration table."""

from collections.abc import Mapping
from typing import Any

from trivium._core.counted import counted

__all__ = ["grade"]

_LEVEL = 0.01
_TOP = 0.05
_ENOUGH = 0.8


def grade(report: Mapping[str, Any], truth: Mapping[str, Any]) -> list[dict[str, str]]:
    """Compare a report with what was planted.

    Args:
        report: The object of `report.json`.
        truth: `Demo.truth`.

    Returns:
        For each planted effect `what, planted, found, grade`; the grade is `"found"` or
        `"missed"`. A column counts as seen when its q-value is at most 0.01, the order of its
        words when that aspect's is.
    """
    seen = {row["column"]: row for row in report.get("depend", [])}
    entries = [_graded_column(name, what, seen) for name, what in truth["informative"].items()]
    return [
        *entries,
        _graded_nulls(truth["null"], seen),
        _graded_order(truth["order_only"], seen),
        _graded_flips(report, truth),
        _graded_left_out(report, truth),
        _graded_duplicates(report, truth),
    ]


def _entry(what: str, planted: str, found: str, *, good: bool) -> dict[str, str]:
    grade = "found" if good else "missed"
    return {"what": what, "planted": planted, "found": found, "grade": grade}


def _graded_column(name: str, what: str, seen: Mapping[str, Any]) -> dict[str, str]:
    q_value = seen[name]["q_value"] if name in seen else 1.0
    found = f"q = {q_value:.2g}" if name in seen else "not tested"
    return _entry(f"column {name}", what, found, good=q_value <= _LEVEL)


def _graded_nulls(nulls: Mapping[str, str], seen: Mapping[str, Any]) -> dict[str, str]:
    wrong = [name for name in nulls if name in seen and seen[name]["q_value"] <= _LEVEL]
    tested = sum(name in seen for name in nulls)
    found = f"{tested} tested, {len(wrong)} taken for a signal" + ": " * bool(wrong)
    return _entry(
        "columns without effect",
        f"{len(nulls)}: {', '.join(nulls)}",
        found + ", ".join(wrong),
        good=not wrong and tested > 0,
    )


def _graded_order(name: str, seen: Mapping[str, Any]) -> dict[str, str]:
    """Order found, and not mistaken for words: which words occur says nothing here."""
    planted = "a text that acts by the order of its words alone"
    aspects = seen[name].get("aspects", []) if name in seen else []
    tests = {item["aspect"]: item["q_value"] for item in aspects}
    if "order" not in tests:
        return _entry(f"column {name}", planted, "order was not tested", good=False)
    words = f"; its words: q = {tests['presence']:.2g}" if "presence" in tests else ""
    found = f"order beyond words: q = {tests['order']:.2g}{words}"
    return _entry(f"column {name}", planted, found, good=tests["order"] <= _LEVEL)


def _graded_flips(report: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, str]:
    flipped = set(truth["flipped_rows"])
    top = round(_TOP * truth["rows"])
    items = (report.get("flags") or {}).get("items", [])
    first = {item["row"] for item in items if item["rank"] <= top}
    hits = len(first & flipped)
    return _entry(
        "wrong labels",
        f"{len(flipped)} of {counted(truth['rows'], 'label')} flipped",
        f"{hits} of them among the first {counted(top, 'flag')}",
        good=hits >= _ENOUGH * len(flipped),
    )


def _graded_left_out(report: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, str]:
    wanted = [truth["identifier"], truth["constant"]]
    schema = (report.get("data") or {}).get("schema", [])
    unused = [row["column"] for row in schema if not row["used"]]
    found = f"left out: {', '.join(unused) or 'none'}"
    planted = f"{wanted[0]} (an identifier), {wanted[1]} (constant)"
    return _entry("columns to leave out", planted, found, good=sorted(unused) == sorted(wanted))


def _graded_duplicates(report: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, str]:
    checks = (report.get("data") or {}).get("checks", [])
    named = [check["message"] for check in checks if "DUPLICATE" in check["code"]]
    planted = f"{counted(len(truth['duplicate_rows']) // 2, 'row')} are there twice"
    return _entry("duplicate rows", planted, "; ".join(named) or "none named", good=bool(named))
