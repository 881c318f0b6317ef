"""What a recording notes: for each step its rows, its rates and how its gradient was scaled."""

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from trivium.pathkernel.loss_call import LossCall
from trivium.pathkernel.packed import Packed

__all__ = ["Checkpoint", "Piece", "StepNote"]


@dataclass
class Piece:
    """One forward and one loss; a step with gradient accumulation has several.

    Attributes:
        places: The rows' places in the row store, `(b,)`.
        inputs: The call of the model.
        call: The call of the loss.
        leaves: The step's own copy of its rows, where the recording keeps one.
        modes: The training flag of each module.
        autocast: The autocast dtype by device type, where it was on.
        upstream: What the loss was multiplied with before `backward`.
        random: The generators' states before the forward, where it drew from them.
    """

    places: Tensor
    inputs: Packed | None = None
    call: LossCall | None = None
    leaves: list[Tensor] | None = None
    modes: tuple[bool, ...] = ()
    autocast: dict[str, torch.dtype] = field(default_factory=dict)
    upstream: Tensor | None = None
    random: dict[str, Tensor] = field(default_factory=dict)


@dataclass
class StepNote:
    """One optimizer step.

    Attributes:
        pieces: Its forwards.
        options: The numbers of each parameter group.
        norms: Euclidean norm of each parameter's gradient as the optimizer saw it, `(parameters,)`;
            where nothing was seen to touch them, that of the smallest parameter alone, `(1,)`.
        moved: Which parameters had a gradient.
        dropped: Forwards and losses before it whose gradients were thrown away: steps that a
            gradient scaler skipped. They moved nothing; running statistics may have seen them.
    """

    pieces: list[Piece]
    options: list[dict[str, Any]]
    norms: Tensor
    moved: tuple[bool, ...]
    dropped: list[Piece] = field(default_factory=list)


@dataclass
class Checkpoint:
    """The model and its optimizer before a step.

    Attributes:
        step: The step that comes next.
        weights: The trainable weights, `(p,)`.
        buffers: The model's buffers by name.
        state: The optimizer's state of each trainable parameter.
        going_on: What a resumed training needs beside them; see `going_on`.
    """

    step: int
    weights: Tensor
    buffers: dict[str, Tensor]
    state: list[dict[str, Any]]
    going_on: dict[str, Any] = field(default_factory=dict)

    @property
    def form(self) -> tuple[Any, ...]:
        """What those of one training have in common: sizes, dtypes, buffers, parameters."""
        held = {"": self.weights, **self.buffers}
        sizes = {name: (value.shape, value.dtype) for name, value in held.items()}
        return sizes, [type(one) for one in self.state]

    @property
    def n_bytes(self) -> int:
        """Memory of its tensors."""
        held = [self.weights, *self.buffers.values()]
        held += [v for one in self.state for v in one.values() if isinstance(v, Tensor)]
        return sum(value.nbytes for value in held)
