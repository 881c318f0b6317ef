"""Stochastic gradient descent, with momentum, dampening, Nesterov's step and weight decay."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import SGD, Optimizer

from trivium.pathkernel.recurrence import Given, Recurrence, State

__all__ = ["SGDRecurrence"]


class SGDRecurrence(Recurrence):
    r"""$b' = \mu b + (1 - d)(g + \lambda w)$, $w' = w - \eta b'$, or $g + \mu b'$ for Nesterov.

    Source:
        Sutskever et al. 2013, "On the importance of initialization and momentum in deep learning",
        in the form of `torch.optim.SGD` (the rate outside the velocity).
    """

    uniform: ClassVar[bool] = True
    optimizers: ClassVar[tuple[type[Optimizer], ...]] = (SGD,)
    states = ("momentum_buffer",)

    @classmethod
    def examples(cls) -> Sequence[tuple[type[Optimizer], dict[str, Any]]]:
        """Return plain, momentum, dampening, Nesterov, decay and ascent."""
        return (
            (SGD, {"lr": 0.1}),
            (SGD, {"lr": 0.05, "momentum": 0.9}),
            (SGD, {"lr": 0.05, "momentum": 0.8, "dampening": 0.3}),
            (SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
            (SGD, {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}),
            (SGD, {"lr": 0.01, "maximize": True}),
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
        """Return one step, as `torch.optim.SGD` makes it."""
        step = (-gradient if options["maximize"] else gradient) + pull
        momentum = options["momentum"]
        if momentum == 0:
            return weight - options["lr"] * step, {}
        before = state.get("momentum_buffer")
        velocity = step if before is None else momentum * before + (1 - options["dampening"]) * step
        moved = step + momentum * velocity if options["nesterov"] else velocity
        return weight - options["lr"] * moved, {"momentum_buffer": velocity}
