"""Adamax: the largest gradient so far is what accounting takes as given."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Adamax, Optimizer

from trivium.pathkernel.recurrence import Given, Recurrence, State

__all__ = ["AdamaxRecurrence"]


class AdamaxRecurrence(Recurrence):
    r"""Adamax's step.

    $m' = \beta_1 m + (1 - \beta_1) g$,
    $u' = \max(\beta_2 u, |g| + \epsilon)$, $w' = w - \eta\, \hat m' / u'$.

    Source:
        Kingma and Ba 2015, "Adam", algorithm 2.
    """

    optimizers: ClassVar[tuple[type[Optimizer], ...]] = (Adamax,)
    states = ("exp_avg", "exp_inf")

    @classmethod
    def examples(cls) -> Sequence[tuple[type[Optimizer], dict[str, Any]]]:
        """Return plain, decay and ascent."""
        return (
            (Adamax, {"lr": 0.01}),
            (Adamax, {"lr": 0.01, "betas": (0.8, 0.9), "weight_decay": 0.01}),
            (Adamax, {"lr": 0.003, "maximize": True}),
        )

    def advance(
        self,
        weight: Tensor,
        gradient: Tensor,
        pull: Tensor,
        state: State,
        options: Mapping[str, Any],
        given: Given,
    ) -> tuple[Tensor, State]:
        """Return one step, as `torch.optim.Adamax` makes it."""
        slope = (-gradient if options["maximize"] else gradient) + pull
        beta1, beta2 = options["betas"]
        zero = torch.zeros_like(weight)
        mean = beta1 * state.get("exp_avg", zero) + (1 - beta1) * slope
        largest = torch.maximum(beta2 * state.get("exp_inf", zero), slope.abs() + options["eps"])
        rate = options["lr"] / (1 - beta1 ** options["step"])
        return weight - rate * mean / given(largest), {"exp_avg": mean, "exp_inf": largest}
