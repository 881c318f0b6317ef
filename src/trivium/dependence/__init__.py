"""Dependence: is one variable independent of another, without densities (HSIC).

The statistic, its tests with valid p-values, and the screen of a mixed table.
"""

from trivium.dependence.columns import DependenceColumn
from trivium.dependence.false_discovery import benjamini_hochberg, benjamini_yekutieli
from trivium.dependence.result import DependenceRow, DependenceTable, TestResult
from trivium.dependence.screen import screen

__all__ = [
    "DependenceColumn",
    "DependenceRow",
    "DependenceTable",
    "TestResult",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "screen",
]
