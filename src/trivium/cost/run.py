"""What torch runs of a component in a forward pass: the operators that a clock knows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trivium._core.errors import ArgumentError
from trivium.cost.operation import Operation
from trivium.cost.size import Size, evaluate
from trivium.cost.workload import Workload

if TYPE_CHECKING:
    from trivium.cost.component import Component

__all__ = ["Run", "operations_of", "rotated"]

# Fewer vectors than this do not fill the GEMM.
_THIN = 32


@dataclass(frozen=True, slots=True)
class Run:
    """Operators of one kind that run beside the GEMM of a component, or in its place.

    Args:
        kind: A kind of `Operation`.
        reads: Elements that all calls read.
        writes: Elements that they write.
        calls: How many calls there are.
        fresh: Whether its result is allocated.
        batched: Whether they run only where a batch has more than one row: copies of heads that
            lie apart in memory.
    """

    kind: str
    reads: Size
    writes: Size
    calls: int = 1
    fresh: bool = True
    batched: bool = False


def rotated(vectors: Size, width: int) -> tuple[Run, ...]:
    """Return what turns vectors by their rotary positions, as transformers writes it.

    Two products and their sum; one half negated, and both halves joined in the other order.

    Args:
        vectors: How many vectors.
        width: Numbers of each that turn; 0 for none.
    """
    if not width:
        return ()
    # Reads: 2 in the products, 2 in the sum, 1/2 in the negation, 1 in the joining.
    return (Run("pass", (*vectors, width // 2, 11), (*vectors, width // 2, 9), 5),)


def operations_of(
    component: "Component", times: int, work: Workload, lengths: Mapping[str, int]
) -> tuple[Operation, ...]:
    """Return the operations of a component in one forward pass, all of its layers together.

    A dense kernel computes every pair whatever the mask, so they do not change with what is
    counted. In mode "train" there are none: the backward pass is not timed.

    Args:
        component: The component.
        times: How often it runs.
        work: The pass.
        lengths: The worth of the symbols, but of s and a.
    """
    if work.mode == "train":
        return ()
    if component.mask is not None:
        dense = replace(work, count="executed")
        lengths = dense.under(component.mask, component.stream, lengths)
    item = work.itemsize

    def elements(size: Size) -> int:
        return evaluate(size, lengths)

    found = []
    if component.kind != "elementwise" and component.calls:
        whole = (component, *component.joined)
        macs = sum(elements(part.macs) for part in whole)
        calls = component.calls
        weights = component.weight
        if component.experts:
            calls = min(component.experts, elements(component.m))
            weights *= calls
        written = sum(elements(size) for part in whole for size in part.writes)
        read = sum(elements(size) for part in whole for size in part.reads)
        moved, fresh = item * (read + written + weights), item * written
        kind = _kind(component, lengths, elements(component.m) // calls, wide=written > read)
        found.append(Operation(kind, 2 * macs * times, moved * times, calls * times, fresh * times))
    for run in component.runs:
        if run.batched and lengths["b"] == 1:
            continue
        written = elements(run.writes)
        moved = elements(run.reads) + written
        calls = run.calls * times
        fresh = item * written * times if run.fresh else 0
        found.append(Operation(run.kind, 0, item * moved * times, calls, fresh))
    return tuple(found)


def _kind(component: "Component", lengths: Mapping[str, int], rows: int, *, wide: bool) -> str:
    if component.operator != "attention":
        kind = component.operator or component.kind
        if kind == "linear" and rows < _THIN:
            return "thin linear"
        return "wide product" if kind == "product" and wide else kind
    mask = component.mask
    if mask is None:
        raise ArgumentError(f"Component: mask must be given for attention; got {mask}")
    whole = lengths[component.stream[0]] == lengths[component.stream[1]] > 1
    causal = mask.kind == "causal" and mask.window is None and whole
    return "causal attention" if causal else "attention"
