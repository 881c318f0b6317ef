"""RMSprop: the running mean of squares is what accounting takes as given."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer, RMSprop

from trivium.pathkernel.recurrence import Given, Recurrence, State, root

__all__ = ["RMSpropRecurrence"]


class RMSpropRecurrence(Recurrence):
    r"""Each weight's rate falls with its running mean of squares.

    $v' = \alpha v + (1 - \alpha) g^2$, $b' = \mu b + g / (\sqrt{v'} + \epsilon)$,
    $w' = w - \eta b'$.

    Source:
        Tieleman and Hinton 2012, "Lecture 6.5: RMSProp"; centered: Graves 2013, arXiv:1308.0850,
        eq. 38 to 45, in the form of `torch.optim.RMSprop`.
    """

    optimizers: ClassVar[tuple[type[Optimizer], ...]] = (RMSprop,)
    states = ("square_avg", "momentum_buffer", "grad_avg")

    @classmethod
    def examples(cls) -> Sequence[tuple[type[Optimizer], dict[str, Any]]]:
        """Return plain, momentum, centered, decay and ascent."""
        return (
            (RMSprop, {"lr": 0.01}),
            (RMSprop, {"lr": 0.003, "momentum": 0.9}),
            (RMSprop, {"lr": 0.003, "centered": True, "alpha": 0.9}),
            (RMSprop, {"lr": 0.01, "weight_decay": 0.01, "momentum": 0.5, "centered": True}),
            (RMSprop, {"lr": 0.002, "maximize": True}),
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
        """Return one step, as `torch.optim.RMSprop` makes it."""
        slope = (-gradient if options["maximize"] else gradient) + pull
        alpha, zero = options["alpha"], torch.zeros_like(weight)
        square = alpha * state.get("square_avg", zero) + (1 - alpha) * slope * slope
        after, spread = {"square_avg": square}, square
        if options["centered"]:
            mean = alpha * state.get("grad_avg", zero) + (1 - alpha) * slope
            after["grad_avg"] = mean
            spread = square - mean * mean
        moved = slope / given(root(spread) + options["eps"])
        if options["momentum"] > 0:
            moved = options["momentum"] * state.get("momentum_buffer", zero) + moved
            after["momentum_buffer"] = moved
        return weight - options["lr"] * moved, after
