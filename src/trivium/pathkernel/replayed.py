"""One step of a training as a replay found it."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.kernel.tangent_layout import columns_at, put_columns
from trivium.pathkernel.notes import StepNote

__all__ = ["Bucket", "ReplayedStep"]


@dataclass(frozen=True)
class Bucket:
    """Parameters that step alike: one group, the same state, the same count of steps."""

    places: tuple[slice, ...]
    options: dict[str, Any]
    state: dict[str, Tensor]

    def gather(self, flat: Tensor) -> Tensor:
        """Return these weights' part of vectors `(..., p)`."""
        return columns_at(self.places, flat)

    def scatter(self, part: Tensor, into: Tensor) -> None:
        """Put a part back into vectors `(..., p)`."""
        put_columns(self.places, part, into)


@dataclass
class ReplayedStep:
    """One step as it happened.

    Attributes:
        number: Its place in the run.
        before: Weights before it, `(p,)`.
        after: Weights after it.
        buffers: The model's buffers before it, where it changes them.
        gradient: The gradient of the step's losses, `(p,)`, before any clipping.
        factor: What the gradient was multiplied with before the optimizer saw it.
        buckets: How each part of the weights steps.
        note: What the recording noted.
        traces: For each piece what `watch` returned.
    """

    number: int
    before: Tensor
    after: Tensor
    buffers: dict[str, Tensor]
    gradient: Tensor
    factor: float
    buckets: list[Bucket]
    note: StepNote
    traces: list[Any]

    def decay(self) -> Tensor:
        """Return the strength of weight decay of each weight, `(p,)`."""
        strength = torch.zeros_like(self.before)
        for bucket in self.buckets:
            part = torch.full_like(
                bucket.gather(strength), float(bucket.options.get("weight_decay", 0))
            )
            bucket.scatter(part, strength)
        return strength
