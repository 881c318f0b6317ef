"""Whether a recording will fit its memory, told before the training begins."""

import math

import torch
from torch import nn
from torch.optim import Optimizer

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ResourceError
from trivium.pathkernel.recurrence import recurrence_of
from trivium.pathkernel.settings import Settings
from trivium.pathkernel.weights import Weights, uncompiled

__all__ = ["check_plan", "checkpoint_bytes"]


def checkpoint_bytes(model: nn.Module, optimizer: Optimizer) -> int:
    """Return the size of one checkpoint: weights, buffers and what the optimizer will remember."""
    model = uncompiled(model)
    weights, recurrence = Weights(model, "record"), recurrence_of(optimizer)
    total = sum(value.nbytes for value in model.buffers())
    own = {id(p) for p in weights.tensors}
    for group in optimizer.param_groups:
        size = sum(p.nbytes for p in group["params"] if id(p) in own)
        zero = torch.zeros(1)
        options = {**recurrence.options(optimizer, group), "step": 1}
        _, state = recurrence.advance(zero, zero, zero, {}, options, torch.Tensor.detach)
        total += size * len(state)
    return total + sum(p.nbytes for p in weights.tensors)


def check_plan(
    model: nn.Module, optimizer: Optimizer, settings: Settings, steps: int | None
) -> None:
    """Refuse what would not fit, with the figure and the way out.

    Raises:
        ResourceError: Two checkpoints, or those of all steps where their number is told, would
            pass the budget.
    """
    size, budget = checkpoint_bytes(model, optimizer), settings.budget
    if 2 * size > budget:
        raise ResourceError(
            f"record: two checkpoints of {size / 1e6:.1f} MB each must fit the budget of "
            f"{budget / 1e6:.1f} MB",
            remedy="Raise budget, or keep them on disk: record(..., store=FOLDER).",
        )
    if steps is None:
        return
    check_number("record", "steps", steps, "positive", integer=True)
    count = math.ceil(steps / settings.stride) + 1
    if count * size > budget:
        chord = math.ceil(steps / (budget // size - 1))
        raise ResourceError(
            f"record: the checkpoints of {counted(steps, 'step')} must fit the budget of "
            f"{budget / 1e6:.1f} MB; {count} of {size / 1e6:.1f} MB each take "
            f"{count * size / 1e6:.1f} MB",
            remedy=f'Record with every="chord:{chord}" or stride={chord}, raise budget, or keep '
            "them on disk: record(..., store=FOLDER). Without steps= they are thinned as they "
            "come.",
        )
