"""The tangent kernel of a network: inner products of its outputs' gradients, row by row."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from trivium._core.checks import check_choice, check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError
from trivium._core.random import RandomState, check_seed, derive
from trivium.kernel.layer import blocks
from trivium.kernel.layer_dense import BesideTangents
from trivium.kernel.tangent_layout import Layout
from trivium.kernel.tangent_tape import TangentTape
from trivium.kernel.tangents import Tangents
from trivium.kernel.tangents_of import called, rows_of

__all__ = ["tangent_kernel"]

_KEPT = 2**28  # bytes of factored gradients that are kept rather than made again
_CALLER = "tangent_kernel"


def tangent_kernel(
    model: nn.Module,
    x: Any,
    y: Any = None,
    *,
    outputs: str = "trace",
    chunk: int = 256,
    sketch: int | None = None,
    random_state: RandomState = 0,
) -> Tensor:
    r"""Return the empirical tangent kernel of a model with c outputs, exact.

    $K_{ij} = \sum_k \langle \nabla_\theta f_k(x_i), \nabla_\theta f_k(x'_j) \rangle$, or all
    $c^2$ pairs of outputs. No Jacobian is written out: each output takes one backward pass, without
    weight gradients, and layers are compared by ghost products. The model runs in evaluation mode,
    and is left as it was.

    Args:
        model: Any module that returns a tensor, one row for each row of its inputs.
        x: A tensor; a tuple of the model's arguments, or a dict of named ones.
        y: Other rows; `x` itself when left out.
        outputs: `"trace"`, the sum over outputs, or `"full"`, every pair of them.
        chunk: Rows that are differentiated at once.
        sketch: Random features in place of the exact product: each row's gradient is kept as that
            many numbers. Unbiased; the standard error of an entry is at most
            $\sqrt{8 / \text{sketch}}$ times $\sqrt{K_{ii} K_{jj}}$, and mostly near
            $\sqrt{1 / \text{sketch}}$ times it.
        random_state: Seed of the sketch.

    Returns:
        `(n, m)`, or `(n, m, c, c)` for `"full"`, in the model's dtype, without a graph.

    Raises:
        ArgumentError: Not a module, nothing to train, an argument that breaks its rule, inputs of
            another dtype than the model's, or a parameter whose gradient cannot be cut into rows.
        ShapeError: Inputs without one leading axis, or an output that does not have it.
        DataError: No rows.

    Cost:
        c backward passes; O(n m Σ T² (d_in + c d_out)) for layers of T tokens, O(n m Σ c² d) for
        `"full"`; memory O(n m) and that of a few chunks. A sketch takes O(n c Σ T (d_in + d_out +
        r log r)) and O(n r) memory.

    Example:
        >>> net = nn.Linear(2, 3)
        >>> tangent_kernel(net, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([[18., 36.],
                [36., 78.]])

    Source:
        Jacot, Gabriel and Hongler, Neural Tangent Kernel, NeurIPS (2018); Novak, Sohl-Dickstein and
        Schoenholz, Fast finite width neural tangent kernel, ICML (2022).
    """
    check_choice(_CALLER, "outputs", outputs, ("trace", "full"))
    size = int(check_number(_CALLER, "chunk", chunk, "positive", integer=True))
    Layout.of(model, _CALLER)
    n, m = rows_of(_CALLER, model, x, "x"), None
    if y is not None:
        m = rows_of(_CALLER, model, y, "y")
    with evaluating(model):
        if sketch is not None:
            width = int(check_number(_CALLER, "sketch", sketch, "positive", integer=True))
            seed = check_seed(random_state)
            sides = [(x, n)] if m is None else [(x, n), (y, m)]
            features = [_features(model, z, k, size, (outputs, width, seed)) for z, k in sides]
            left, right = features[0], features[-1]
            if outputs == "trace":
                return left @ right.mT
            return torch.einsum("ncr,mkr->nmck", left, right)
        rows = _Chunks(model, x, n, size)
        columns = rows if m is None else _Chunks(model, y, m, size)
        return _trace(rows, columns) if outputs == "trace" else _full(rows, columns)


class _Chunks:
    """The gradients of chunks of rows, for each output; kept while there is room."""

    def __init__(self, model: nn.Module, inputs: Any, n_rows: int, size: int) -> None:
        self.model, self.inputs, self.n_rows = model, inputs, n_rows
        self.slices = list(blocks(n_rows, size))
        self._kept: dict[tuple[int, bool], list[Tangents]] = {}
        self._room = _KEPT

    def made(self, number: int, *, together: bool) -> list[Tangents]:
        """Return the gradients of each output of a chunk, or of all outputs side by side."""
        key = (number, together)
        if key not in self._kept:
            found = output_tangents(self.model, _cut(self.inputs, self.slices[number]))
            found = [beside(found)] if together else found
            self._room -= sum(one.nbytes for one in found)
            if self._room < 0:
                return found
            self._kept[key] = found
        return self._kept[key]


def _trace(rows: _Chunks, columns: _Chunks) -> Tensor:
    found: Tensor | None = None
    for i, a in enumerate(rows.slices):
        (left,) = rows.made(i, together=True)
        if found is None:
            found = left.like.new_empty(rows.n_rows, columns.n_rows)
        for j, b in enumerate(columns.slices):
            if rows is columns and j < i:
                found[a, b] = found[b, a].mT
                continue
            found[a, b] = left.gram(columns.made(j, together=True)[0])
    assert found is not None  # there is a row
    return found


def _full(rows: _Chunks, columns: _Chunks) -> Tensor:
    found: Tensor | None = None
    for i, a in enumerate(rows.slices):
        left = rows.made(i, together=False)
        if found is None:
            shape = (rows.n_rows, columns.n_rows, len(left), len(left))
            found = left[0].like.new_empty(shape)
        for j, b in enumerate(columns.slices):
            for k, one in enumerate(left):
                for other, two in enumerate(columns.made(j, together=False)):
                    found[a, b, k, other] = one.gram(two)
    assert found is not None  # there is a row
    return found


def _features(
    model: nn.Module, inputs: Any, n_rows: int, size: int, choice: tuple[str, int, int]
) -> Tensor:
    """Return random features: `(n, r)` for the trace, `(n, c, r)` for all pairs of outputs."""
    outputs, width, seed = choice
    found = []
    for b in blocks(n_rows, size):
        each = [
            one.sketch(width, derive(seed, "output", k if outputs == "trace" else 0))
            for k, one in enumerate(output_tangents(model, _cut(inputs, b)))
        ]
        stacked = torch.stack(each, 1)
        found.append(stacked.sum(1) if outputs == "trace" else stacked)
    return torch.cat(found)


def output_tangents(model: nn.Module, inputs: Any) -> list[Tangents]:
    """Return the gradients of each output of a model, one backward pass each.

    Raises:
        ShapeError: The output is not a tensor with a row for each of the inputs'.
        ArgumentError: A parameter's gradient cannot be cut into rows.
    """
    n_rows = rows_of(_CALLER, model, inputs)
    with torch.enable_grad(), TangentTape(model) as tape:
        out = called(model, inputs)
        if not isinstance(out, Tensor) or out.ndim == 0 or len(out) != n_rows:
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ShapeError(
                f"{_CALLER}: model must return a tensor with the {counted(n_rows, 'row')} of its "
                "inputs; "
                f"got {got}",
                remedy="Wrap a model that returns something else in one that picks a tensor.",
            )
        flat = out.reshape(n_rows, -1)
        n_outputs = flat.shape[1]
        if n_outputs == 0:
            raise ArgumentError(f"{_CALLER}: model must have an output; got {tuple(out.shape)}")
        return [
            tape.pull(flat[:, k], retain_graph=k + 1 < n_outputs, check=k == 0)
            for k in range(n_outputs)
        ]


def beside(each: list[Tangents]) -> Tangents:
    """Put the gradients of several outputs side by side, so that one Gram matrix adds them up."""
    first = each[0]
    if len(each) == 1:
        return first
    maps = [dict(one.parts) for one in each]
    if any(one.keys() != maps[0].keys() for one in maps):
        whole = tuple(range(len(first.layout.names)))
        maps = [{whole: one.written()} for one in each]
    parts = [(key, BesideTangents.of([one[key] for one in maps])) for key in maps[0]]
    return Tangents(first.layout, parts, first.n_rows, first.like)


def _cut(inputs: Any, which: slice) -> Any:
    def cut(leaf: Any) -> Any:
        return leaf[which] if isinstance(leaf, Tensor) else leaf

    return pytree.tree_map(cut, inputs)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode for a while."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
