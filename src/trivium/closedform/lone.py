"""Rows that alone hold a direction of the scatter: what their removal leaves, without cancellation.

Removing such a row makes a singular scatter of a regular one, or of a singular one one of lower
rank: its leverage without a ridge is 1, and with a ridge g

    1 - c rᵀ(W + gI)^-1 r = c Σ_j r_j² g / (λ_j (λ_j + g)),

which the left side loses to rounding when g is small. The limit g → 0 is the rule of least norm.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from trivium.closedform.shrinkage import floor_of
from trivium.closedform.spectrum import Spectrum

__all__ = ["NEARLY", "Lone", "lone_rows"]

NEARLY = 1e-6
"""Slack below which a row may be alone in a direction."""

_ROUNDING = 64.0


@dataclass(frozen=True)
class Lone:
    """Which rows alone hold a direction, and what the ridge leaves of it.

    Args:
        rows: Whether a row is one of them.
        rest: `g / (λ (λ + g))`, that is `1 / λ - 1 / (λ + g)`, for each ridge.
    """

    rows: Bool[Tensor, " n"]
    rest: Float[Tensor, "g r"]


def lone_rows(
    spectrum: Spectrum,
    squares: Float[Tensor, "n r"],
    change: Float[Tensor, " n"],
    ridges: Float[Tensor, "g 1"],
    share: float = 0.0,
) -> Lone:
    """Find the rows whose removal lowers the rank of the scatter.

    Args:
        spectrum: Spectrum of the fit.
        squares: Squared coordinates of the rows (or residuals) in the eigenbasis.
        change: c, what removing a row takes from the scatter along it.
        ridges: Ridges; each counts as the smallest that rounding lets us see, if it is less.
        share: What the intercept adds to the leverage.

    Cost: O(n r).
    """
    floor, values = floor_of(spectrum), spectrum.values
    kept = values > floor
    safe = torch.where(kept, values, 1.0)
    inverse = torch.where(kept, 1 / safe, 0.0)
    eps = torch.finfo(values.dtype).eps
    noise = 1e-12 + _ROUNDING * eps * float(values.max() * inverse.max())
    ridges = ridges.clamp_min(floor)
    rest = torch.where(kept, ridges / safe / (safe + ridges), 0.0)
    return Lone(1 - change * (share + squares @ inverse) < noise, rest)
