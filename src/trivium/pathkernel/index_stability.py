r"""Curvature that is held over a stretch, kept where its steps would not explode.

Training at the edge of stability lives with curvatures above $2/\eta$, because they change from
step to step; held for fifty steps the same curvature would multiply a displacement without end.
"""

import torch
from torch import Tensor

from trivium.pathkernel.index_stretch import Profile, Stretch

__all__ = ["stable"]

_MOST = 60  # halvings and doublings
_CRITICAL = 1.0  # of the limit


def stable(curvature: Tensor, one: Stretch) -> Tensor:
    """Cut eigenvalues at the limit of stability of the optimizer's own map.

    A stretch of one step is left as it is: nothing is held there.

    Args:
        curvature: Of one step in the subspace, `(k, k)`.
        one: The stretch that it is held for.
    """
    if len(one.steps) == 1:
        return curvature
    factor = sum(step.factor for step in one.steps) / len(one.steps)
    limit = _CRITICAL * _limit(one.profile, factor)
    if one.profile.shapes.get("gradient") is None:
        values, vectors = torch.linalg.eigh((curvature + curvature.T) / 2)
        return (vectors * values.clamp_max(limit)) @ vectors.T
    values, vectors = torch.linalg.eig(curvature)
    if not bool((values.real > limit).any()):
        return curvature
    cut = torch.complex(values.real.clamp_max(limit), values.imag)
    return torch.linalg.solve(vectors, vectors * cut, left=False).real


def _limit(profile: Profile, factor: float) -> float:
    """Return the largest curvature at which one weight's own steps do not grow."""
    names = ["weight", *dict.fromkeys(n for _, n in profile.ratios if n not in _INPUTS)]

    def radius(curvature: float) -> float:
        back = torch.zeros((len(names), len(names)), dtype=torch.float64)
        for (out, name), ratio in profile.ratios.items():
            if out not in names:
                continue
            size = ratio if isinstance(ratio, float) else float(ratio.double().mean())
            if name in names:
                back[names.index(name), names.index(out)] += size
            elif name == "gradient":
                back[0, names.index(out)] += size * factor * curvature
        return float(torch.linalg.eigvals(back).abs().max())

    low, high = 0.0, 1e-6
    calm = 1 + 1e-9
    for _ in range(_MOST):
        if radius(high) > calm:
            break
        low, high = high, 2 * high
    for _ in range(_MOST):
        middle = (low + high) / 2
        low, high = (middle, high) if radius(middle) <= calm else (low, middle)
    return low


_INPUTS = ("weight", "gradient", "pull")
