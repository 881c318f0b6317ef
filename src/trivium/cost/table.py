"""The table of one pass: what each component computes, moves and keeps, in exact integers."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from fractions import Fraction
from functools import partial
from typing import Any

from trivium._core.errors import ArgumentError
from trivium.cost.component import GROUPS, Component
from trivium.cost.design import Design
from trivium.cost.operation import Operation
from trivium.cost.run import operations_of
from trivium.cost.size import Size, evaluate
from trivium.cost.workload import Workload

__all__ = ["QUANTITIES", "SUMS", "CostTable", "Row", "tabulate"]

QUANTITIES = ("macs", "flops", "bytes_read", "bytes_written", "activations", "saved", "cache")
# Names for several groups: "attention" is the whole sublayer, "rest" all that is not quadratic.
SUMS = {
    "attention": ("projections", "quadratic", "state"),
    "rest": tuple(group for group in GROUPS if group != "quadratic"),
    "all": tuple(GROUPS),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One component in one pass, all of its layers together.

    Args:
        stack: The stack that it belongs to.
        name: What it computes.
        group: Where it counts.
        kind: "linear", "product", "convolution" or "elementwise".
        gemm: Its GEMM as a function of the tokens.
        layers: How often it runs.
        macs: Multiply-adds of its GEMMs, the backward ones among them in mode "train".
        flops: Twice that.
        bytes_read: Bytes of activations and weights read, each operand once by each operator.
        bytes_written: Bytes written.
        activations: Bytes of the tensors that the forward pass makes.
        saved: Bytes kept for the backward pass, in mode "train"; else 0.
        cache: Bytes that the cache holds after the pass, in modes "prefill" and "decode"; else 0.
        runs: What returns its operations.
    """

    stack: str
    name: str
    group: str
    kind: str
    gemm: str
    layers: int
    macs: int
    flops: int
    bytes_read: int
    bytes_written: int
    activations: int
    saved: int
    cache: int
    runs: Callable[[], tuple[Operation, ...]] = field(default=tuple, repr=False, compare=False)

    @property
    def operations(self) -> tuple[Operation, ...]:
        """What torch runs of it in the forward pass, for a clock; none in mode "train"."""
        return self.runs()


@dataclass(frozen=True)
class CostTable:
    """What one pass costs.

    Args:
        model: Name of the model.
        work: The pass.
        design: The design of attention.
        rows: One row for each component.
    """

    model: str
    work: Workload
    design: Design
    rows: tuple[Row, ...]

    @property
    def macs(self) -> int:
        """Multiply-adds of the pass."""
        return self.total("macs")

    @property
    def flops(self) -> int:
        """Floating-point operations of the GEMMs of the pass."""
        return self.total("flops")

    @property
    def bytes(self) -> int:
        """Bytes read and written."""
        return self.total("bytes_read") + self.total("bytes_written")

    def total(self, quantity: str = "flops", part: str = "all") -> int:
        """Return a sum over the rows.

        Args:
            quantity: One of `QUANTITIES`, or "bytes" for those read and written.
            part: What to sum over, as in `select`.

        Raises:
            ArgumentError: The quantity or the part is unknown.
        """
        names = ("bytes_read", "bytes_written") if quantity == "bytes" else (quantity,)
        if not set(names) <= set(QUANTITIES):
            raise ArgumentError(
                f"total: quantity must be one of bytes, {', '.join(QUANTITIES)}; got {quantity!r}"
            )
        rows = self.select(part).rows
        return sum(getattr(row, name) for row in rows for name in names)

    def select(self, part: str) -> "CostTable":
        """Return the table of a part.

        Args:
            part: A group ("ffn", "quadratic", ...), one of `SUMS` ("attention", "rest", "all"),
                the name of a component, or several of these joined by "+".

        Raises:
            ArgumentError: There is none of this name.
        """
        names: set[str] = set()
        here = {row.name for row in self.rows}
        for name in part.split("+"):
            if name not in SUMS and name not in GROUPS and name not in here:
                listed = ", ".join([*SUMS, *GROUPS, *dict.fromkeys(row.name for row in self.rows)])
                raise ArgumentError(f"select: part must be one of {listed}; got {name!r}")
            names |= {name, *SUMS.get(name, ())}
        rows = tuple(row for row in self.rows if row.group in names or row.name in names)
        return CostTable(self.model, self.work, self.design, rows)

    def share(self, part: str, quantity: str = "flops") -> Fraction:
        """Return the exact share of a part in the whole.

        Raises:
            ArgumentError: The quantity or the part is unknown, or the whole is 0.
        """
        whole = self.total(quantity)
        if whole == 0:
            raise ArgumentError(f"share: {quantity} must not be 0 in the whole; got 0")
        return Fraction(self.total(quantity, part), whole)

    def groups(self, quantity: str = "flops") -> dict[str, int]:
        """Return the sum of each group that is there, in the order of `GROUPS`.

        Raises:
            ArgumentError: The quantity is unknown.
        """
        present = {row.group for row in self.rows}
        return {group: self.total(quantity, group) for group in GROUPS if group in present}

    def to_dict(self) -> dict[str, Any]:
        """Return the table as a JSON object."""
        work = {field.name: getattr(self.work, field.name) for field in fields(self.work)}
        return {
            "model": self.model,
            "attention": str(self.design),
            **work,
            "total": {quantity: self.total(quantity) for quantity in QUANTITIES},
            "components": [_numbers(row) for row in self.rows],
        }

    def __str__(self) -> str:
        from trivium.cost.text import table_text

        return table_text(self)


def tabulate(
    model: str,
    parts: Iterable[Any],
    work: Workload,
    design: Design,
    prefix: int,
    source: int | None,
) -> CostTable:
    """Put the lengths of a pass into the components.

    Args:
        model: Name of the model.
        parts: Components with their stacks and layers.
        work: The pass.
        design: The design that the components are of.
        prefix: Tokens that the model adds in front of each row.
        source: Tokens of the encoder, where the model fixes them.
    """
    lengths = work.lengths(prefix, source)
    runs = [part for part in parts if work.mode != "decode" or not part.once]
    rows = tuple(_row(part, work, lengths) for part in runs)
    return CostTable(model, work, design, rows)


def _numbers(row: Row) -> dict[str, Any]:
    return {each.name: getattr(row, each.name) for each in fields(row) if each.name != "runs"}


def _row(part: Any, work: Workload, lengths: dict[str, int]) -> Row:
    component: Component = part.component
    runs = partial(operations_of, component, part.layers, work, lengths)
    if component.mask is not None:
        lengths = work.under(component.mask, component.stream, lengths)
    times, item = part.layers, work.itemsize
    train = work.mode == "train"
    macs = evaluate(component.macs, lengths) * times * (1 + component.backward * train)
    read = _elements(component.reads, lengths) * times
    written = _elements(component.writes, lengths) * times
    weights = _weights(component, lengths) * times
    moved_in, moved_out = read + weights, written
    if train:
        # Backward: each gradient comes in once for each factor, each factor once for the other.
        back = component.backward if component.kind != "elementwise" else 1
        moved_in += back * written + read + weights
        moved_out += read + weights
    return Row(
        stack=part.stack,
        name=component.name,
        group=component.group,
        kind=component.kind,
        gemm=component.gemm,
        layers=times,
        macs=macs,
        flops=2 * macs,
        bytes_read=item * moved_in,
        bytes_written=item * moved_out,
        activations=item * written,
        saved=times * sum(kept.nbytes(lengths, item) for kept in component.kept) if train else 0,
        cache=times * _cache(component, work, lengths),
        runs=runs,
    )


def _elements(sizes: tuple[Size, ...], lengths: dict[str, int]) -> int:
    return sum(evaluate(size, lengths) for size in sizes)


def _weights(component: Component, lengths: dict[str, int]) -> int:
    """Numbers of weights that a pass reads: of the experts at most as many as there are."""
    if not component.experts:
        return component.weight
    return component.weight * min(component.experts, evaluate(component.m, lengths))


def _cache(component: Component, work: Workload, lengths: dict[str, int]) -> int:
    """Bytes that a cache holds of a component in one layer."""
    if work.mode not in ("prefill", "decode"):
        return 0
    if component.state:
        return 4 * work.batch * component.state
    if not component.cache or component.mask is None:
        return 0
    own = component.stream[1] == "s"
    tokens = component.mask.held(work.past + lengths["n"]) if own else lengths["e"]
    return work.itemsize * work.batch * tokens * component.cache
