"""trivium: an expectation, a kernel, a moment.

Names load lazily: `import trivium` imports neither torch nor scikit-learn.

Example:
    >>> import trivium
    >>> "ClosedFormClassifier" in dir(trivium)
    True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from trivium import audit, closedform, dependence, kernel, moment, table
    from trivium._core.errors import (
        ArgumentError,
        DataError,
        ModelError,
        NumericalError,
        OutputError,
        ResourceError,
        TriviumError,
        TriviumWarning,
    )
    from trivium.closedform import ClosedFormClassifier, ClosedFormRegressor, label_flags
    from trivium.dependence import (
        HSICBottleneck,
        conditional_test,
        hsic,
        independence_test,
        joint_test,
        screen,
    )
    from trivium.moment import CrossMoments, Moments
    from trivium.table import read_table

_ERRORS = (
    "ArgumentError",
    "DataError",
    "ModelError",
    "NumericalError",
    "OutputError",
    "ResourceError",
    "TriviumError",
    "TriviumWarning",
)
_HOME = dict.fromkeys(_ERRORS, "_core.errors") | {
    "ClosedFormClassifier": "closedform",
    "ClosedFormRegressor": "closedform",
    "CrossMoments": "moment",
    "HSICBottleneck": "dependence",
    "Moments": "moment",
    "conditional_test": "dependence",
    "hsic": "dependence",
    "independence_test": "dependence",
    "joint_test": "dependence",
    "label_flags": "closedform",
    "read_table": "table",
    "screen": "dependence",
}

_ROOMS = ("audit", "closedform", "dependence", "kernel", "moment", "table")

__all__ = [
    "ArgumentError",
    "ClosedFormClassifier",
    "ClosedFormRegressor",
    "CrossMoments",
    "DataError",
    "HSICBottleneck",
    "ModelError",
    "Moments",
    "NumericalError",
    "OutputError",
    "ResourceError",
    "TriviumError",
    "TriviumWarning",
    "audit",
    "closedform",
    "conditional_test",
    "dependence",
    "hsic",
    "independence_test",
    "joint_test",
    "kernel",
    "label_flags",
    "moment",
    "read_table",
    "screen",
    "table",
]


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"trivium.{name}")
    if name not in _HOME:
        raise AttributeError(f"module 'trivium' has no attribute {name!r}")
    return getattr(import_module(f"trivium.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME, *_ROOMS])
