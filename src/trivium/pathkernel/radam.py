"""RAdam: Adam that begins as momentum, until its second moment can be trusted."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from torch import Tensor
from torch.optim import Optimizer, RAdam

from trivium.pathkernel.adam import averages, decayed
from trivium.pathkernel.recurrence import Given, Recurrence, State, root

__all__ = ["RAdamRecurrence"]


class RAdamRecurrence(Recurrence):
    r"""Adam, rectified.

    $w' = w - \eta\, r_t\, \hat m' \sqrt{1 - \beta_2^t} / (\sqrt{v'} + \epsilon)$
    where $\rho_t > 5$, else $w' = w - \eta\, \hat m'$.

    Source:
        Liu et al. 2020, "On the variance of the adaptive learning rate and beyond", algorithm 2.
    """

    optimizers: ClassVar[tuple[type[Optimizer], ...]] = (RAdam,)
    states = ("exp_avg", "exp_avg_sq")

    @classmethod
    def examples(cls) -> Sequence[tuple[type[Optimizer], dict[str, Any]]]:
        """Return plain, L2, decoupled decay and ascent; both regimes within ten steps."""
        return (
            (RAdam, {"lr": 0.01}),
            (RAdam, {"lr": 0.01, "weight_decay": 0.01, "betas": (0.8, 0.95)}),
            (RAdam, {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}),
            (RAdam, {"lr": 0.003, "maximize": True}),
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
        """Return one step, as `torch.optim.RAdam` makes it."""
        rate, step = options["lr"], options["step"]
        beta1, beta2 = options["betas"]
        weight, slope = decayed(weight, gradient, pull, options)
        mean, square = averages(slope, state, (beta1, beta2))
        after = {"exp_avg": mean, "exp_avg_sq": square}
        moved = rate * mean / (1 - beta1**step)
        most = 2 / (1 - beta2) - 1
        length = most - 2 * step * beta2**step / (1 - beta2**step)
        if length <= 5:
            return weight - moved, after
        ratio = (length - 4) * (length - 2) * most / ((most - 4) * (most - 2) * length)
        scale = given((ratio * (1 - beta2**step)) ** 0.5 / (root(square) + options["eps"]))
        return weight - moved * scale, after
