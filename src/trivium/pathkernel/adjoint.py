"""One step of the backward recurrence through an optimizer, for many queries at once."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.pathkernel.recurrence import Diagonals, Recurrence, diagonals
from trivium.pathkernel.replay import Bucket, ReplayedStep

__all__ = ["PulledBack", "Slopes", "pull_back", "slopes_of"]

Slopes = list[tuple[Bucket, Diagonals]]


@dataclass
class PulledBack:
    """Adjoints before a step, from those after it; each `(q, p)`.

    Attributes:
        gradient: Of the gradient that the optimizer saw.
        pull: Of the weight decay's pull; `None` where there is none.
        weight: Of the weights, by the step alone (not through the gradient or the pull).
        state: Of the optimizer's state, by name.
    """

    gradient: Tensor
    pull: Tensor | None
    weight: Tensor
    state: dict[str, Tensor]


def slopes_of(recurrence: Recurrence, step: ReplayedStep, *, frozen: bool) -> Slopes:
    """Return the Jacobians' diagonals of each part of a step."""
    found = []
    for bucket in step.buckets:
        # Where all weights step alike one of them says it all.
        some = slice(0, 1 if recurrence.uniform else None)
        weight = bucket.gather(step.before)[some]
        inputs = {
            "weight": weight,
            "gradient": bucket.gather(step.gradient)[some] * step.factor,
            "pull": bucket.options.get("weight_decay", 0) * weight,
            **{name: value[some] for name, value in bucket.state.items()},
        }
        found.append((bucket, diagonals(recurrence, inputs, bucket.options, frozen=frozen)))
    return found


def pull_back(slopes: Slopes, above: Tensor, state: dict[str, Tensor]) -> PulledBack:
    """Return the adjoints before a step.

    Args:
        slopes: The step's diagonals.
        above: The adjoint of the weights after it, `(q, p)`.
        state: The adjoints of the optimizer's state after it.
    """
    whole = PulledBack(torch.empty(0), None, above, {})
    for bucket, slope in slopes:
        outs = {"weight": bucket.gather(above)}
        outs |= {name: bucket.gather(value) for name, value in state.items()}
        single = outs["weight"].shape == above.shape
        for name in dict.fromkeys(given for _, given in slope):  # in one order in every process
            part = _weighed(slope, outs, name)
            if part is None:
                continue
            if name == "gradient":
                base = whole.gradient if len(whole.gradient) else torch.zeros_like(above)
                whole.gradient = _put(bucket, part, base, single)
            elif name == "weight":
                base = above if single or whole.weight is not above else above.clone()
                whole.weight = _put(bucket, part, base, single)
            elif name == "pull":
                base = whole.pull if whole.pull is not None else torch.zeros_like(above)
                whole.pull = _put(bucket, part, base, single)
            else:
                base = whole.state[name] if name in whole.state else torch.zeros_like(above)
                whole.state[name] = _put(bucket, part, base, single)
    if not len(whole.gradient):
        whole.gradient = torch.zeros_like(above)
    _keep_still(slopes, whole, state)
    return whole


def _keep_still(slopes: Slopes, whole: PulledBack, state: dict[str, Tensor]) -> None:
    """Hand on the state's adjoint of weights that had no gradient at this step."""
    still = torch.ones(whole.gradient.shape[-1], dtype=torch.bool, device=whole.gradient.device)
    for bucket, _ in slopes:
        for place in bucket.places:
            still[place] = False
    if not bool(still.any()):
        return
    for name, above in state.items():
        base = whole.state.get(name, torch.zeros_like(above))
        whole.state[name] = torch.where(still, above, base)


def _put(bucket: Bucket, part: Tensor, into: Tensor, single: bool) -> Tensor:
    if single:
        return part
    bucket.scatter(part, into)
    return into


def _weighed(slope: Diagonals, outs: dict[str, Tensor], name: str) -> Tensor | None:
    found: Tensor | None = None
    for out, above in outs.items():
        weight = slope.get((out, name))
        if weight is not None:
            found = above * weight if found is None else found.addcmul_(above, weight)
    return found
