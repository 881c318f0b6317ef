"""Dependence: is one variable independent of another, without densities (HSIC).

The statistic, its tests with valid p-values, the screen of a mixed table, and layers that are
trained by it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from trivium.dependence.bottleneck import HSICBottleneck
from trivium.dependence.bottleneck_report import BottleneckReport
from trivium.dependence.columns import DependenceColumn
from trivium.dependence.conditional import conditional_test
from trivium.dependence.conditional_result import ConditionalResult
from trivium.dependence.false_discovery import benjamini_hochberg, benjamini_yekutieli
from trivium.dependence.independence import independence_test
from trivium.dependence.joint import JointResult, joint_test
from trivium.dependence.loss import CKALoss, HSICLoss
from trivium.dependence.moments import HSICMoments
from trivium.dependence.pair_screen import screen_pairs
from trivium.dependence.pair_table import PairRow, PairTable
from trivium.dependence.result import TestResult
from trivium.dependence.screen import screen
from trivium.dependence.sequence import AspectTest, SequenceTests, sequence_tests
from trivium.dependence.statistic import hsic
from trivium.dependence.table_result import DependenceRow, DependenceTable

if TYPE_CHECKING:
    from trivium.dependence.selectors import HSICLasso, HSICmRMR, HSICScreen

__all__ = [
    "AspectTest",
    "BottleneckReport",
    "CKALoss",
    "ConditionalResult",
    "DependenceColumn",
    "DependenceRow",
    "DependenceTable",
    "HSICBottleneck",
    "HSICLasso",
    "HSICLoss",
    "HSICMoments",
    "HSICScreen",
    "HSICmRMR",
    "JointResult",
    "PairRow",
    "PairTable",
    "SequenceTests",
    "TestResult",
    "benjamini_hochberg",
    "benjamini_yekutieli",
    "conditional_test",
    "hsic",
    "independence_test",
    "joint_test",
    "screen",
    "screen_pairs",
    "sequence_tests",
]


def __getattr__(name: str) -> Any:
    """Load the selectors, and scikit-learn with them, when they are named."""
    if name in ("HSICLasso", "HSICScreen", "HSICmRMR"):
        return getattr(import_module("trivium.dependence.selectors"), name)
    raise AttributeError(f"module 'trivium.dependence' has no attribute {name!r}")
