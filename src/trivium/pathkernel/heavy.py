r"""The backward recurrence of an optimizer with one momentum, in one pass over memory a step.

With the state's step $s' = r\, s + c\, g$ and the weight's $w' = w + D \odot s'/r + e\, g$, the
adjoint of s' before step t is $y_t = D_t/r \odot \bar g_t + r_{t+1} y_{t+1}$ and that of the
gradient $c\, y_t + e\, \bar g_t$. y is kept as $\sigma \hat y$ with one number σ, so that a step
adds to $\hat y$ once and multiplies nothing.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.pathkernel.adjoint import Slopes
from trivium.pathkernel.recurrence import Diagonals

__all__ = ["Heavy", "HeavySlope", "heavy_slope"]

_SMALLEST = 1e-15  # of σ, before it is multiplied in
_ROUNDING = 32  # units of the last place: diagonals come from differentiation


@dataclass(frozen=True)
class HeavySlope:
    r"""One step, seen through its momentum.

    Attributes:
        name: The state's.
        through: $D/r$: a number or `(p,)`.
        keeps: r.
        gradient: The adjoint of the gradient as multiples of y and of $\bar g$.
        pull: The same of the weight decay's pull.
    """

    name: str
    through: Tensor
    keeps: float
    gradient: tuple[float, float]
    pull: tuple[float, float]


def heavy_slope(slopes: Slopes, n_weights: int) -> HeavySlope | None:
    """Return a step as seen through its momentum, or `None` where it has another form."""
    if len(slopes) != 1:
        return None
    bucket, slope = slopes[0]
    if sum(one.stop - one.start for one in bucket.places) != n_weights:
        return None
    active = {given for out, given in slope if out == "weight"} - {"weight", "gradient", "pull"}
    if len(active) != 1:
        return None
    (name,) = active
    kept = slope.get((name, name))
    mixed = any(out == name and given not in (name, "gradient", "pull") for out, given in slope)
    if kept is None or kept.ndim or mixed or float(kept) == 0:
        return None
    through = slope["weight", name] / kept
    gradient = _parts(slope, name, "gradient", through)
    pull = _parts(slope, name, "pull", through)
    if gradient is None or pull is None:
        return None
    return HeavySlope(name, through, float(kept), gradient, pull)


def _parts(slope: Diagonals, name: str, given: str, through: Tensor) -> tuple[float, float] | None:
    zero = through.new_zeros(())
    on_state, on_weight = slope.get((name, given), zero), slope.get(("weight", given), zero)
    if on_state.ndim:
        return None
    rest = on_weight - on_state * through
    scale = float(on_weight.abs().max()) + float((on_state * through).abs().max())
    direct = float(rest.mean())
    spread = float((rest - direct).abs().max())
    rounding = _ROUNDING * torch.finfo(rest.dtype).eps * scale
    if spread > rounding:
        return None
    return float(on_state), direct if abs(direct) > rounding else 0.0


class Heavy:
    """The adjoint of the momentum for some queries: one number times one `(q, p)` tensor."""

    def __init__(self) -> None:
        self.name = ""
        self.scale = 1.0
        self.held: Tensor | None = None

    def accepts(self, name: str) -> bool:
        """Return whether the adjoint is that of this state, or of none yet."""
        return self.held is None or self.name == name

    def add(self, seen: Tensor, slope: HeavySlope) -> None:
        r"""Go from $r_{t+1} y_{t+1}$ to $y_t$.

        Args:
            seen: $\\bar g_t$, `(q, p)`.
            slope: The step.
        """
        self.name = slope.name
        if self.held is None:
            self.held, self.scale = seen * slope.through, 1.0
            return
        if abs(self.scale) < _SMALLEST:
            self.held.mul_(self.scale)
            self.scale = 1.0
        weight = slope.through / self.scale
        if weight.ndim:
            self.held.addcmul_(seen, weight)
        else:
            self.held.add_(seen, alpha=float(weight))

    def keep(self, slope: HeavySlope) -> None:
        """Go on to the step before: y becomes r y."""
        self.scale *= slope.keeps

    def dense(self) -> Tensor:
        """Return the adjoint itself, `(q, p)`, and let it go."""
        assert self.held is not None  # asked only where there is one
        found, self.held = self.held.mul_(self.scale), None
        return found
