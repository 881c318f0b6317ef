"""NAdam: Adam with Nesterov's momentum on a schedule."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import NAdam, Optimizer

from trivium.pathkernel.adam import averages, decayed
from trivium.pathkernel.recurrence import Given, Recurrence, State, root

__all__ = ["NAdamRecurrence"]


class NAdamRecurrence(Recurrence):
    r"""Adam with Nesterov's momentum.

    $w' = w - \eta\, [(1 - \mu_t)\, g / (1 - \bar\mu_t) + \mu_{t+1} m' / (1 - \bar\mu_{t+1})]
    / (\sqrt{\hat v'} + \epsilon)$, with $\bar\mu_t$ the product of the schedule's $\mu_s$.

    Source:
        Dozat 2016, "Incorporating Nesterov momentum into Adam", in the form of
        `torch.optim.NAdam`.
    """

    optimizers: ClassVar[tuple[type[Optimizer], ...]] = (NAdam,)
    states = ("exp_avg", "exp_avg_sq")

    @classmethod
    def examples(cls) -> Sequence[tuple[type[Optimizer], dict[str, Any]]]:
        """Return plain, L2, decoupled decay and ascent."""
        return (
            (NAdam, {"lr": 0.01}),
            (NAdam, {"lr": 0.01, "weight_decay": 0.01, "betas": (0.8, 0.95)}),
            (NAdam, {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
            (NAdam, {"lr": 0.003, "maximize": True}),
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
        """Return one step, as `torch.optim.NAdam` makes it."""
        rate, step = options["lr"], options["step"]
        beta1, beta2 = options["betas"]
        weight, slope = decayed(weight, gradient, pull, options)
        mean, square = averages(slope, state, (beta1, beta2))
        now, then = (
            beta1 * (1 - 0.5 * 0.96 ** (t * options["momentum_decay"])) for t in (step, step + 1)
        )
        # The product so far is the optimizer's own number: it rounds it as it goes.
        product = float(torch.as_tensor(options.get("mu_product", 1.0)) * now)
        scale = given(root(square / (1 - beta2**step)) + options["eps"])
        moved = slope * (1 - now) / (1 - product) + mean * then / (1 - product * then)
        return weight - rate * moved / scale, {"exp_avg": mean, "exp_avg_sq": square}
