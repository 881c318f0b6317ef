"""An operation: what a clock is told of one kind of work."""

from collections.abc import Iterable
from dataclasses import dataclass

from trivium._core.errors import ArgumentError

__all__ = ["KINDS", "Operation", "gathered"]

KINDS = {
    "linear": "32 or more vectors times a weight: one GEMM",
    "thin linear": "fewer than 32 vectors times a weight: the weight has to be read",
    "product": "batches of products of activations, such as weights by values",
    "wide product": "the same with a result larger than what it is made of, such as scores",
    "pass": "reading and writing numbers: sums, scaling, copies",
    "softmax": "softmax over rows",
    "activation": "GELU, SiLU and tanh",
    "norm": "LayerNorm in one kernel",
    "attention": "softmax attention in one kernel, every pair, but for its softmax",
    "causal attention": "the same, causal: FLOPs of every pair all the same",
    "linear attention": "features, state and read-out of linear attention",
    "causal linear attention": "the same with a running state",
    "gather": "rows of a table by their ids",
    "convolution": "filters over patches or frames",
    "call": "a call that computes nothing worth counting",
}


@dataclass(frozen=True, slots=True)
class Operation:
    """Work of one kind: `calls` calls of equal size, together.

    Args:
        kind: One of `KINDS`, or a kind that the machine was calibrated for besides.
        flops: Floating-point operations of all calls: two for a multiply-add.
        bytes: Bytes that they read and write.
        calls: How many calls there are.
        fresh: Bytes that they allocate for their results.

    Raises:
        ArgumentError: A number is negative or not finite, or there is work without a call.

    Example:
        >>> Operation("linear", flops=2 * 512 * 768 * 768, bytes=4 * 512 * 768 * 2, calls=1)
        Operation(kind='linear', flops=603979776, bytes=3145728, calls=1, fresh=0)
    """

    kind: str
    flops: int | float = 0
    bytes: int | float = 0
    calls: int | float = 1
    fresh: int | float = 0

    def __post_init__(self) -> None:
        if not isinstance(self.kind, str) or not self.kind:
            raise ArgumentError(f"Operation: kind must be a name; got {self.kind!r}")
        for name in ("flops", "bytes", "calls", "fresh"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 <= value < 1e300
            ):
                raise ArgumentError(f"Operation: {name} must be a number ≥ 0; got {value!r}")
        if self.calls == 0 and (self.flops or self.bytes or self.fresh):
            raise ArgumentError(
                f"Operation: calls must be positive where there is work; got {self}"
            )

    def times(self, factor: int | float) -> "Operation":
        """Return the work done so many times, or a share of it: the size of a call stays.

        Raises:
            ArgumentError: The factor is negative or not finite.
        """
        return Operation(
            self.kind,
            self.flops * factor,
            self.bytes * factor,
            self.calls * factor,
            self.fresh * factor,
        )


def gathered(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """Return operations by their kind, those without a call left out."""
    found: dict[str, list[Operation]] = {}
    for operation in operations:
        if operation.calls:
            found.setdefault(operation.kind, []).append(operation)
    return found
