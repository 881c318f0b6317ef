"""The rows asked about: their value and its gradient anywhere on the path."""

import contextlib
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError
from trivium.kernel.tangent_tape import TangentTape
from trivium.kernel.tangents import Tangents
from trivium.pathkernel.packed import as_call
from trivium.pathkernel.quantity import Quantity, quantity
from trivium.pathkernel.replay import Replay

__all__ = ["Queries", "batched"]


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
        ArgumentError: No rows, rows that share their moments, or as `quantity` says.
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
        if any(
            isinstance(one, _BatchNorm) and one.running_mean is None
            for one in replay.model.modules()
        ):
            raise ArgumentError(
                f"{caller}: rows asked about must not depend on each other; this model's batch "
                "normalization keeps no running statistics in evaluation",
                remedy="Train with track_running_stats=True.",
            )
        self.call, self.rows, self.n_rows = as_call(caller, x)
        self.y = None if y is None else torch.as_tensor(y, device=weights.device)
        if self.y is not None and (self.y.ndim == 0 or len(self.y) != self.n_rows):
            raise ShapeError(
                f"{caller}: y must have one target for each of the {counted(self.n_rows, 'row')} "
                "asked about; "
                f"got shape {tuple(self.y.shape)}"
            )
        self._asked = of
        self._set_quantity(weights, buffers)

    def blocks(self, most: int, weights: Tensor, buffers: dict[str, Tensor]) -> Iterator["Queries"]:
        """Give blocks of at most `most` rows."""
        for some in batched(self.n_rows, most):
            yield self.take(some, weights, buffers)

    def take(self, some: slice, weights: Tensor, buffers: dict[str, Tensor]) -> "Queries":
        """Return some of the rows."""
        if some.stop - some.start >= self.n_rows:
            return self
        block = copy.copy(self)
        block.rows = [leaf[some] for leaf in self.rows]
        block.n_rows = some.stop - some.start
        block.y = None if self.y is None else self.y[some]
        block._set_quantity(weights, buffers)
        return block

    def _set_quantity(self, weights: Tensor, buffers: dict[str, Tensor]) -> None:
        with torch.no_grad():
            output = self.output(weights, buffers)
        self.of = quantity(self.caller, self._asked, output, self.y, self.replay.loss)

    def value(self, weights: Tensor, buffers: dict[str, Tensor]) -> Tensor:
        """Return the quantity at some weights, `(q,)` in float64."""
        with torch.no_grad():
            return self.of(self.output(weights, buffers)).double()

    def gradient(
        self, weights: Tensor, buffers: dict[str, Tensor], tape: TangentTape | None = None
    ) -> Tangents:
        """Return the gradients of the quantity at some weights.

        Args:
            weights: Where, `(p,)`.
            buffers: The model's buffers.
            tape: An open tape on the replay's model; by default one of its own.
        """
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            heard = tape or stack.enter_context(TangentTape(self.replay.model))
            heard.forget()
            return heard.pull(self.of(self.output(weights, buffers)))

    def output(self, weights: Tensor, buffers: dict[str, Tensor]) -> Any:
        """Return the model's output at some weights."""
        self.replay.weights.write(weights)
        self.replay.write_buffers(buffers)
        self.replay.model.eval()
        args, kwargs = self.call.unpack(self.rows)
        return self.replay.model(*args, **kwargs)


def batched(total: int, most: int) -> list[slice]:
    """Cut `total` rows into blocks of at most `most`."""
    return [slice(a, min(a + most, total)) for a in range(0, total, max(1, most))]
