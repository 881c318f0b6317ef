"""Dependence: is one variable independent of another, without densities (HSIC).

The statistic, its tests with valid p-values, and the screen of a mixed table.
"""

from trivium.dependence.columns import DependenceColumn
from trivium.dependence.false_discovery import benjamini_hochberg, benjamini_yekutieli
from trivium.dependence.independence import independence_test
from trivium.dependence.result import DependenceRow, DependenceTable, TestResult
from trivium.dependence.screen import screen
from trivium.dependence.statistic import hsic

__all__ = [
    "DependenceColumn",
    "DependenceRow",
    "DependenceTable",
    "TestResult",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "hsic",
    "independence_test",
    "screen",
]
