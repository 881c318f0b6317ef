"""Adagrad: the sum of squares is what accounting takes as given."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Adagrad, Optimizer

from trivium.pathkernel.recurrence import Given, Recurrence, State, root

__all__ = ["AdagradRecurrence"]


class AdagradRecurrence(Recurrence):
    r"""Adagrad's step.

    $s' = s + g^2$,
    $w' = w - \eta_t\, g / (\sqrt{s'} + \epsilon)$, $\eta_t = \eta / (1 + (t - 1) \delta)$.

    Source:
        Duchi, Hazan and Singer 2011, "Adaptive subgradient methods", in the form of
        `torch.optim.Adagrad`.
    """

    optimizers: ClassVar[tuple[type[Optimizer], ...]] = (Adagrad,)
    states = ("sum",)

    @classmethod
    def examples(cls) -> Sequence[tuple[type[Optimizer], dict[str, Any]]]:
        """Return plain, a falling rate, decay and ascent."""
        return (
            (Adagrad, {"lr": 0.02}),
            (Adagrad, {"lr": 0.02, "lr_decay": 0.01, "initial_accumulator_value": 0.1}),
            (Adagrad, {"lr": 0.01, "weight_decay": 0.01}),
            (Adagrad, {"lr": 0.01, "maximize": True}),
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
        """Return one step, as `torch.optim.Adagrad` makes it."""
        slope = (-gradient if options["maximize"] else gradient) + pull
        total = state.get("sum", torch.zeros_like(weight)) + slope * slope
        rate = options["lr"] / (1 + (options["step"] - 1) * options["lr_decay"])
        return weight - rate * slope / given(root(total) + options["eps"]), {"sum": total}
