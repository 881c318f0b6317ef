"""The rows asked about: their value and its gradient anywhere on the path."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.kernel.tangent_tape import TangentTape
from trivium.kernel.tangents import Tangents
from trivium.pathkernel.packed import as_call
from trivium.pathkernel.quantity import Quantity, quantity
from trivium.pathkernel.replay import Replay

__all__ = ["Chord", "Queries"]


@dataclass(frozen=True)
class Chord:
    r"""The gradient that one straight piece of the path saw, $\bar g = h + c\, d$.

    Attributes:
        middle: h, the gradients at its midpoint.
        correction: c, `(q,)`, which makes $\langle \bar g, d \rangle$ the value's exact change.
        displacement: d, `(p,)`.
    """

    middle: Tangents
    correction: Tensor
    displacement: Tensor

    def dense(self) -> Tensor:
        """Return the gradients as `(q, p)`."""
        found = self.middle.dense()
        return found.addr_(self.correction.to(found.dtype), self.displacement)


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
        self.replay = replay
        self.call, self.rows, self.n_rows = as_call(caller, x)
        self.y = y
        with torch.no_grad():
            output = self._output(weights, buffers)
        self.of = quantity(caller, of, output, y, replay.loss)

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
        seen = middle.products(step[None])[0].double()
        length = step.double().square().sum().clamp_min(torch.finfo(torch.float64).tiny)
        return Chord(middle, (change - seen) / length, step)

    def _output(self, weights: Tensor, buffers: dict[str, Tensor]) -> Any:
        self.replay.weights.write(weights)
        self.replay.write_buffers(buffers)
        self.replay.model.eval()
        args, kwargs = self.call.unpack(self.rows)
        return self.replay.model(*args, **kwargs)


def batched(total: int, most: int) -> list[slice]:
    """Cut `total` rows into blocks of at most `most`."""
    return [slice(a, min(a + most, total)) for a in range(0, total, max(1, most))]


Progress = Callable[[int, int], None]
