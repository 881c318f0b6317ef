"""Machines that nobody measured: peak rates from a datasheet."""

from typing import Any

from trivium._core.errors import ArgumentError
from trivium.cost.law import Law
from trivium.cost.operation import KINDS

__all__ = ["DATASHEETS", "laws_of"]

# Peaks of FLOPs and bytes a second, seconds for a call. Processors: one core, float32, as width
# of the vectors · two fused multiply-adds a cycle · clock; GPUs: the vendors' figures.
DATASHEETS = {
    "core-avx2": (2 * 2 * 8 * 3.0e9, 12e9, 5e-6),
    "core-avx512": (2 * 2 * 16 * 2.6e9, 12e9, 5e-6),
    "core-neon": (2 * 4 * 4 * 3.2e9, 40e9, 5e-6),
    "a100": (19.5e12, 2.0e12, 1e-5),
    "h100": (67e12, 3.35e12, 1e-5),
}
_REACHED = 0.4
_ERROR = 1.5


def laws_of(
    flops_per_second: int | float | str,
    bytes_per_second: int | float | None,
    call_seconds: int | float,
) -> tuple[dict[str, Law], dict[str, Any]]:
    """Return one law for all kinds, and where it is from.

    Raises:
        ArgumentError: A rate is not positive and finite, or the name is unknown.
    """
    about: dict[str, Any] = {"source": "datasheet"}
    if isinstance(flops_per_second, str):
        if flops_per_second not in DATASHEETS:
            raise ArgumentError(
                f"datasheet: flops_per_second must be a rate or one of {', '.join(DATASHEETS)}; "
                f"got {flops_per_second!r}"
            )
        about["name"] = flops_per_second
        flops_per_second, bytes_per_second, call_seconds = DATASHEETS[flops_per_second]
    rates = {
        "flops_per_second": flops_per_second,
        "bytes_per_second": bytes_per_second,
        "call_seconds": call_seconds,
    }
    for name, rate in rates.items():
        number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if not number or not 0 < rate < float("inf"):  # type: ignore[operator]
            raise ArgumentError(f"datasheet: {name} must be a positive finite number; got {rate!r}")
    byte = 1 / (_REACHED * bytes_per_second)  # type: ignore[operator]
    law = Law(1 / (_REACHED * flops_per_second), byte, byte, call_seconds, 0.0, _ERROR)
    return dict.fromkeys(KINDS, law), about | rates
