"""The tangent kernel as a kernel among the others: for HSIC, the closed form, and factors."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError
from trivium.kernel.base import Block, Kernel
from trivium.kernel.layer import blocks
from trivium.kernel.tangent import beside, evaluating, output_tangents
from trivium.kernel.tangent_layout import Layout
from trivium.kernel.tangents import Tangents

__all__ = ["TangentKernel"]


@dataclass(frozen=True, eq=False)
class TangentKernel(Kernel):
    r"""How alike two rows are to a network: inner products of the gradients of its outputs.

    $k(x, x') = \sum_k \langle \nabla_\theta f_k(x), \nabla_\theta f_k(x') \rangle$, exact.
    The model is asked in evaluation mode, with the weights that it has at the time of the call.
    Rows of another floating type are served by a copy of the model in that type.

    Args:
        model: A module from `(n, d)`, or `(n, *shape)`, to a tensor of n rows.
        shape: Shape of one row of the model's input; d numbers in all.
        chunk: Rows that are differentiated at once.

    Raises:
        ArgumentError: Not a module, nothing to train, or an argument that breaks its rule.

    Cost:
        c backward passes a row; then O(Σ T² (d_in + c d_out)) for each pair of rows. The factored
        gradients of all rows, O(n Σ T (d_in + c d_out)), are held beside any budget of tiles.

    Example:
        >>> TangentKernel(nn.Linear(2, 3)).gram(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
        tensor([[18., 36.],
                [36., 78.]])

    Source:
        Jacot, Gabriel and Hongler, Neural Tangent Kernel, NeurIPS (2018).
    """

    model: nn.Module
    shape: tuple[int, ...] | None = None
    chunk: int = 256

    differentiable = False
    frugal = False

    def __post_init__(self) -> None:
        Layout.of(self.model, "TangentKernel")
        check_number("TangentKernel", "chunk", self.chunk, "positive", integer=True)
        if self.shape is not None:
            shape = tuple(self.shape)
            for size in shape:
                check_number("TangentKernel", "shape", size, "positive", integer=True)
            object.__setattr__(self, "shape", shape)

    @classmethod
    def examples(cls) -> Sequence["TangentKernel"]:
        """Return a few small instances, for rows of any width."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            smooth = nn.Sequential(
                nn.Unflatten(1, (1, -1)),
                nn.Conv1d(1, 5, 1),
                nn.Tanh(),
                nn.AdaptiveAvgPool1d(1),
                nn.Flatten(),
                nn.Linear(5, 2),
            )
            kinked = nn.Sequential(
                nn.Unflatten(1, (-1, 1)), nn.Linear(1, 4), nn.ReLU(), nn.Linear(4, 1), nn.Flatten()
            )
        return (cls(smooth.double()), cls(kinked.double(), chunk=7))

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self._blocks(x, y)(slice(None), slice(None))

    def _diagonal(self, x: Tensor) -> Tensor:
        return torch.cat([one.squares() for one in self._made(x)])

    def _blocks(self, x: Tensor, y: Tensor | None) -> Block:
        left = self._made(x)
        right = left if y is None else self._made(y)

        def block(rows: slice, columns: slice) -> Tensor:
            a, b = _chosen(left, rows, self.chunk), _chosen(right, columns, self.chunk)
            return torch.cat([torch.cat([one.gram(two) for two in b], 1) for one in a])

        return block

    def _made(self, x: Tensor) -> list[Tangents]:
        """Return the gradients of all outputs, chunk by chunk."""
        rows = x
        if self.shape is not None:
            if math.prod(self.shape) != x.shape[1]:
                raise ShapeError(
                    f"TangentKernel: x must have the {counted(math.prod(self.shape), 'column')} "
                    "of shape "
                    f"{self.shape}; got {x.shape[1]}"
                )
            rows = x.reshape(len(x), *self.shape)
        model = self.model
        like = next(p for p in model.parameters() if p.requires_grad)
        if like.device != x.device:
            raise ArgumentError(
                f"TangentKernel: x must be on the model's device, {like.device}; got {x.device}"
            )
        if like.dtype != x.dtype:
            model = copy.deepcopy(model).to(x.dtype)
        with evaluating(model):
            return [beside(output_tangents(model, rows[b])) for b in blocks(len(x), self.chunk)]


def _chosen(chunks: Sequence[Tangents], which: slice, size: int) -> list[Tangents]:
    """Return the parts of each chunk that a slice of all rows meets."""
    total = sum(one.n_rows for one in chunks)
    start, stop, step = which.indices(total)
    found = []
    for number, one in enumerate(chunks):
        first = number * size
        begin = max(start, first + (start - first) % step)
        end = min(stop, first + one.n_rows)
        if begin < end:
            found.append(one.rows(slice(begin - first, end - first, step)))
    return found
