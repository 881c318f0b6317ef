"""Adadelta: the ratio of the two running means is what accounting takes as given."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Adadelta, Optimizer

from trivium.pathkernel.recurrence import Given, Recurrence, State

__all__ = ["AdadeltaRecurrence"]


class AdadeltaRecurrence(Recurrence):
    r"""Adadelta's step.

    $v' = \rho v + (1 - \rho) g^2$,
    $d = g \sqrt{a + \epsilon} / \sqrt{v' + \epsilon}$, $w' = w - \eta d$.

    Source:
        Zeiler 2012, "ADADELTA: an adaptive learning rate method", algorithm 1.
    """

    optimizers: ClassVar[tuple[type[Optimizer], ...]] = (Adadelta,)
    states = ("square_avg", "acc_delta")

    @classmethod
    def examples(cls) -> Sequence[tuple[type[Optimizer], dict[str, Any]]]:
        """Return plain, decay and ascent."""
        return (
            (Adadelta, {"lr": 1.0}),
            (Adadelta, {"lr": 0.5, "rho": 0.8, "weight_decay": 0.01}),
            (Adadelta, {"lr": 0.2, "maximize": True}),
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
        """Return one step, as `torch.optim.Adadelta` makes it."""
        slope = (-gradient if options["maximize"] else gradient) + pull
        rho, eps, zero = options["rho"], options["eps"], torch.zeros_like(weight)
        square = rho * state.get("square_avg", zero) + (1 - rho) * slope * slope
        moves = state.get("acc_delta", zero)
        delta = slope * given((moves + eps).sqrt() / (square + eps).sqrt())
        after = {"square_avg": square, "acc_delta": rho * moves + (1 - rho) * delta * delta}
        return weight - options["lr"] * delta, after
