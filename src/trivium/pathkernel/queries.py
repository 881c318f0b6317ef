"""The rows asked about: their value and its gradient anywhere on the path."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium._core.errors import ShapeError
from trivium.kernel.tangent_tape import TangentTape
from trivium.kernel.tangents import Tangents
from trivium.pathkernel.packed import as_call
from trivium.pathkernel.quantity import Quantity, quantity
from trivium.pathkernel.replay import Replay
from trivium.pathkernel.sums import Sums

__all__ = ["Chord", "Queries", "batched"]


@dataclass(frozen=True)
class Chord:
    r"""The gradient that one straight piece of the path saw, $\bar g = h + c\, d$.

    Attributes:
        middle: h, the gradients at its midpoint.
        correction: c, `(q,)`, which makes $\langle \bar g, d \rangle$ the value's exact change.
        displacement: d, `(p,)`.
        through: The layers' parts of $\langle h, d \rangle$, `(l, q)`.
    """

    middle: Tangents
    correction: Tensor
    displacement: Tensor
    through: Tensor

    def dense(self, rows: slice | None = None) -> Tensor:
        """Return the gradients as `(q, p)`, of all rows or some."""
        some = slice(None) if rows is None else rows
        middle = self.middle if rows is None else self.middle.rows(rows)
        found: Tensor = middle.dense()
        return found.addr_(self.correction[some].to(found.dtype), self.displacement)

    def by_layer(self, sums: Sums) -> Tensor:
        """Return the value's change through each layer, `(l, q)`."""
        squares = sums.per_layer(self.displacement.double().square())
        return self.through + torch.outer(squares, self.correction)


class Queries:
    """Rows, and the quantity that is asked about them.

    Args:
        caller: The public name that was called.
        replay: Whose model is used, in evaluation mode.
        x: The rows: a tensor, a tuple of the model's arguments or a dict of named ones.
        of: The quantity, or its name.
        y: Their classes or targets.
        weights: The trained weights.
        buffers: The trained model's buffers.

    Raises:
        ArgumentError: No rows, or as `quantity` says.
        ShapeError: Another number of targets than rows, or as `quantity` says.
    """

    def __init__(
        self,
        caller: str,
        replay: Replay,
        x: Any,
        of: str | Quantity,
        y: Tensor | None,
        weights: Tensor,
        buffers: dict[str, Tensor],
    ) -> None:
        self.caller, self.replay = caller, replay
        self.call, self.rows, self.n_rows = as_call(caller, x)
        self.y = None if y is None else torch.as_tensor(y, device=weights.device)
        if self.y is not None and (self.y.ndim == 0 or len(self.y) != self.n_rows):
            raise ShapeError(
                f"{caller}: y must have one target for each of the {self.n_rows} rows asked about; "
                f"got shape {tuple(self.y.shape)}"
            )
        self._asked = of
        self._set_quantity(weights, buffers)

    def blocks(self, most: int, weights: Tensor, buffers: dict[str, Tensor]) -> Iterator["Queries"]:
        """Give blocks of at most `most` rows."""
        if most >= self.n_rows:
            yield self
            return
        for some in batched(self.n_rows, most):
            block = copy.copy(self)
            block.rows = [leaf[some] for leaf in self.rows]
            block.n_rows = some.stop - some.start
            block.y = None if self.y is None else self.y[some]
            block._set_quantity(weights, buffers)
            yield block

    def _set_quantity(self, weights: Tensor, buffers: dict[str, Tensor]) -> None:
        with torch.no_grad():
            output = self._output(weights, buffers)
        self.of = quantity(self.caller, self._asked, output, self.y, self.replay.loss)

    def value(self, weights: Tensor, buffers: dict[str, Tensor]) -> Tensor:
        """Return the quantity at some weights, `(q,)` in float64."""
        with torch.no_grad():
            return self.of(self._output(weights, buffers)).double()

    def gradient(self, weights: Tensor, buffers: dict[str, Tensor]) -> Tangents:
        """Return the gradients of the quantity at some weights."""
        with torch.enable_grad(), TangentTape(self.replay.model) as tape:
            value = self.of(self._output(weights, buffers))
            self.replay.optimizer.zero_grad(set_to_none=True)
            value.sum().backward()
            return tape.tangents(self.n_rows)

    def chord(
        self, start: Tensor, end: Tensor, change: Tensor, buffers: dict[str, Tensor]
    ) -> Chord:
        """Return the gradient along a straight piece, with its exact change imposed.

        Args:
            start: Weights at its start.
            end: Weights at its end.
            change: The quantity's change along it, `(q,)`.
            buffers: The buffers at its start.
        """
        step = end - start
        middle = self.gradient(start.lerp(end, 0.5), buffers)
        through = middle.products_by_layer(step[None])[:, 0].double()
        length = step.double().square().sum().clamp_min(torch.finfo(torch.float64).tiny)
        return Chord(middle, (change - through.sum(0)) / length, step, through)

    def _output(self, weights: Tensor, buffers: dict[str, Tensor]) -> Any:
        self.replay.weights.write(weights)
        self.replay.write_buffers(buffers)
        self.replay.model.eval()
        args, kwargs = self.call.unpack(self.rows)
        return self.replay.model(*args, **kwargs)


def batched(total: int, most: int) -> list[slice]:
    """Cut `total` rows into blocks of at most `most`."""
    return [slice(a, min(a + most, total)) for a in range(0, total, max(1, most))]
