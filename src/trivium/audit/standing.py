"""Where the closed form stands beside the other models, by paired differences."""

from collections.abc import Mapping
from typing import Any

__all__ = ["learns", "standing"]


def standing(report: Mapping[str, Any], metric: str) -> dict[str, int]:
    """Return for each rival 1 where the closed form is ahead, -1 where behind, 0 where untold.

    Args:
        report: The report with its section `scores`.
        metric: One of the metrics; ahead means that the 95 % interval lies on the good side of 0.

    Example:
        >>> worse = {"b": "logistic", "metric": "log_loss", "low": 0.1, "high": 0.2}
        >>> standing({"scores": {"differences": [worse]}}, "log_loss")
        {'logistic': -1}
    """
    sign = -1 if metric == "log_loss" else 1
    return {
        d["b"]: sign * (int(d["low"] > 0) - int(d["high"] < 0))
        for d in report["scores"]["differences"]
        if d["metric"] == metric
    }


def learns(report: Mapping[str, Any]) -> bool:
    """Whether the columns predict the label better than the majority class does."""
    return any(standing(report, metric)["majority"] > 0 for metric in ("accuracy", "log_loss"))
