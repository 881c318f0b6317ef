"""Objective: what has no gradient (accuracy, F1, BLEU) maximized as an expectation.

Each idea is one file; its names are gathered from that file's `__all__`.
"""

from typing import Any

from trivium._core.families import gather

_NAMES = gather(__name__)
__all__ = sorted(_NAMES)  # noqa: PLE0605 - gathered, so that a new member stays one file
globals().update(_NAMES)


def __getattr__(name: str) -> Any:  # the names above, for readers that do not run the module
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
