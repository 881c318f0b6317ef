"""Adam and AdamW: the preconditioner is what accounting takes as given."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from trivium.pathkernel.recurrence import Given, Recurrence, State, root

__all__ = ["AdamRecurrence", "averages", "decayed"]


class AdamRecurrence(Recurrence):
    r"""$m' = \beta_1 m + (1 - \beta_1) g$, $w' = w - \eta\, \hat m' / (\sqrt{\hat v'} + \epsilon)$.

    Source:
        Kingma and Ba 2015, "Adam", algorithm 1; Loshchilov and Hutter 2019, "Decoupled weight
        decay regularization", algorithm 2; amsgrad: Reddi et al. 2018.
    """

    optimizers: ClassVar[tuple[type[Optimizer], ...]] = (Adam, AdamW)
    states = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    @classmethod
    def examples(cls) -> Sequence[tuple[type[Optimizer], dict[str, Any]]]:
        """Return both, with L2, decoupled decay, amsgrad and ascent."""
        return (
            (Adam, {"lr": 0.01}),
            (Adam, {"lr": 0.01, "weight_decay": 0.01}),
            (Adam, {"lr": 0.01, "amsgrad": True, "betas": (0.8, 0.95)}),
            (Adam, {"lr": 0.003, "maximize": True}),
            (AdamW, {"lr": 0.01, "weight_decay": 0.1}),
        )

    def options(self, optimizer: Optimizer, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return the group's numbers; before torch 2.8 AdamW does not say that it decouples."""
        decoupled = isinstance(optimizer, AdamW)
        return {"decoupled_weight_decay": decoupled, **super().options(optimizer, group)}

    def advance(
        self,
        weight: Tensor,
        gradient: Tensor,
        pull: Tensor,
        state: State,
        options: Mapping[str, Any],
        given: Given,
    ) -> tuple[Tensor, State]:
        """Return one step, as `torch.optim.Adam` and `AdamW` make it."""
        rate, step = options["lr"], options["step"]
        beta1, beta2 = options["betas"]
        weight, slope = decayed(weight, gradient, pull, options)
        mean, square = averages(slope, state, (beta1, beta2))
        after = {"exp_avg": mean, "exp_avg_sq": square}
        largest = square
        if options["amsgrad"]:
            before = state.get("max_exp_avg_sq", torch.zeros_like(weight))
            largest = torch.maximum(before, square)
            after["max_exp_avg_sq"] = largest
        scale = given(root(largest) / (1 - beta2**step) ** 0.5 + options["eps"])
        return weight - rate / (1 - beta1**step) * mean / scale, after


def decayed(
    weight: Tensor, gradient: Tensor, pull: Tensor, options: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """Return the weight after decoupled decay, and the slope with the other kind in it."""
    slope = -gradient if options.get("maximize") else gradient
    if options.get("decoupled_weight_decay"):
        return weight - options["lr"] * pull, slope
    return weight, slope + pull


def averages(slope: Tensor, state: State, betas: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Return the running means of the slope and of its square."""
    zero = torch.zeros_like(slope)
    mean = betas[0] * state.get("exp_avg", zero) + (1 - betas[0]) * slope
    square = betas[1] * state.get("exp_avg_sq", zero) + (1 - betas[1]) * slope * slope
    return mean, square
