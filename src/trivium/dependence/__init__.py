"""Dependence: is one variable independent of another, without densities (HSIC).

The statistic, its tests with valid p-values, and the screen of a mixed table.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trivium.dependence.columns import DependenceColumn
from trivium.dependence.false_discovery import benjamini_hochberg, benjamini_yekutieli
from trivium.dependence.independence import independence_test
from trivium.dependence.result import DependenceRow, DependenceTable, TestResult
from trivium.dependence.screen import screen
from trivium.dependence.statistic import hsic

if TYPE_CHECKING:
    from trivium.dependence.selectors import HSICLasso, HSICmRMR, HSICScreen

__all__ = [
    "DependenceColumn",
    "DependenceRow",
    "DependenceTable",
    "HSICLasso",
    "HSICScreen",
    "HSICmRMR",
    "TestResult",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "hsic",
    "independence_test",
    "screen",
]


def __getattr__(name: str) -> Any:
    """Load the selectors, and scikit-learn with them, when they are named."""
    if name in ("HSICLasso", "HSICScreen", "HSICmRMR"):
        return getattr(import_module("trivium.dependence.selectors"), name)
    raise AttributeError(f"module 'trivium.dependence' has no attribute {name!r}")
