"""What tests of whole runs share."""

from collections.abc import Callable
from typing import Any

import pytest

CLOCK = {"created", "seconds", "bytes", "command", "milliseconds"}
CLOCK |= {"predicted_seconds", "predicted_low", "predicted_high", "machine"}


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_clock(v) for k, v in value.items() if k not in CLOCK}
    return [_without_clock(v) for v in value] if isinstance(value, list) else value


@pytest.fixture
def without_clock() -> Callable[[Any], Any]:
    """The report without what a clock or a memory gauge wrote."""
    return _without_clock
