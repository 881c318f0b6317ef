"""trivium: an expectation, a kernel, a moment.

Names load lazily: `import trivium` imports neither torch nor scikit-learn.

Example:
    >>> import trivium
    >>> "ClosedFormClassifier" in dir(trivium)
    True
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from trivium import (
        attention,
        audit,
        closedform,
        cost,
        dependence,
        expectation,
        kernel,
        moment,
        objective,
        pathkernel,
        position,
        sinusoid,
        table,
    )
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
    from trivium.expectation import (
        Comparison,
        Exact,
        Exponential,
        Linear,
        MeasureValued,
        Pathwise,
        Permutation,
        Perturb,
        Rebar,
        Relaxed,
        Schedule,
        Score,
        Sequence,
        StraightThrough,
        Subset,
        compare,
        expect,
    )
    from trivium.moment import CrossMoments, Moments
    from trivium.objective import expected_metric
    from trivium.pathkernel import KernelMachine, label_issues, record
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
    "Comparison": "expectation",
    "Exact": "expectation",
    "Exponential": "expectation",
    "Linear": "expectation",
    "MeasureValued": "expectation",
    "Pathwise": "expectation",
    "Permutation": "expectation",
    "Perturb": "expectation",
    "Rebar": "expectation",
    "Relaxed": "expectation",
    "Schedule": "expectation",
    "Score": "expectation",
    "Sequence": "expectation",
    "StraightThrough": "expectation",
    "Subset": "expectation",
    "compare": "expectation",
    "expect": "expectation",
    "expected_metric": "objective",
    "KernelMachine": "pathkernel",
    "label_issues": "pathkernel",
    "record": "pathkernel",
}

_ROOMS = (
    "attention",
    "audit",
    "closedform",
    "cost",
    "dependence",
    "expectation",
    "kernel",
    "moment",
    "objective",
    "pathkernel",
    "position",
    "sinusoid",
    "table",
)

__all__ = [
    "ArgumentError",
    "ClosedFormClassifier",
    "ClosedFormRegressor",
    "Comparison",
    "CrossMoments",
    "DataError",
    "Exact",
    "Exponential",
    "HSICBottleneck",
    "KernelMachine",
    "Linear",
    "MeasureValued",
    "ModelError",
    "Moments",
    "NumericalError",
    "OutputError",
    "Pathwise",
    "Permutation",
    "Perturb",
    "Rebar",
    "Relaxed",
    "ResourceError",
    "Schedule",
    "Score",
    "Sequence",
    "StraightThrough",
    "Subset",
    "TriviumError",
    "TriviumWarning",
    "attention",
    "audit",
    "closedform",
    "compare",
    "conditional_test",
    "cost",
    "dependence",
    "expect",
    "expectation",
    "expected_metric",
    "hsic",
    "independence_test",
    "joint_test",
    "kernel",
    "label_flags",
    "label_issues",
    "moment",
    "objective",
    "pathkernel",
    "position",
    "read_table",
    "record",
    "screen",
    "sinusoid",
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
