"""Adam and AdamW: the preconditioner is what accounting takes as given."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Adam, AdamW, Optimizer

from trivium.pathkernel.recurrence import Given, Recurrence, State, root

__all__ = ["AdamRecurrence"]


class AdamRecurrence(Recurrence):
    r"""$m' = \beta_1 m + (1 - \beta_1) g$, $w' = w - \eta\, \hat m' / (\sqrt{\hat v'} + \epsilon)$.

    Source:
        Kingma and Ba 2015, "Adam", algorithm 1; Loshchilov and Hutter 2019, "Decoupled weight
        decay regularization", algorithm 2; amsgrad: Reddi et al. 2018.
    """

    optimizers: ClassVar[tuple[type[Optimizer], ...]] = (Adam, AdamW)
    states: ClassVar[tuple[str, ...]] = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

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
        slope = -gradient if options["maximize"] else gradient
        if options["decoupled_weight_decay"]:
            weight = weight - rate * pull
        else:
            slope = slope + pull
        zero = torch.zeros_like(weight)
        mean = beta1 * state.get("exp_avg", zero) + (1 - beta1) * slope
        square = beta2 * state.get("exp_avg_sq", zero) + (1 - beta2) * slope * slope
        after = {"exp_avg": mean, "exp_avg_sq": square}
        largest = square
        if options["amsgrad"]:
            largest = torch.maximum(state.get("max_exp_avg_sq", zero), square)
            after["max_exp_avg_sq"] = largest
        scale = given(root(largest) / (1 - beta2**step) ** 0.5 + options["eps"])
        return weight - rate / (1 - beta1**step) * mean / scale, after
