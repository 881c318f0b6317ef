"""Exact leave-one-out scores of the linear rule at one ridge, by a rank-one change per row.

With B = (W + gI)^-1 and the row's residual r from the mean of its class k (N_k rows),

    W' = W - c r rᵀ,  c = N_k / (N_k - 1),  B' = B + β B r rᵀ B,  β = c / (1 - c rᵀBr),
    μ_k' = μ_k - r / (N_k - 1),  so that x - μ_k' = c r,
    tr(B'W') = tr(BW) - g β ‖Br‖²,

and the score of class j is `-(n-1)/2 · (x - μ_j')ᵀB'(x - μ_j') + (n-1) tr(B'W') / (2 f' n_j')`
with f' the degrees of freedom without the row. This is what a refit on the other rows gives.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.closedform.spectrum import Spectrum

__all__ = ["LeftOut", "leave_one_out_scores", "linear_layer"]

_SMALL = 1e-12


@dataclass(frozen=True)
class LeftOut:
    """The rows of a fit as leave-one-out needs them.

    Args:
        residual: Row minus its class mean, in the eigenbasis.
        codes: Class of each row.
        removed: Weight taken away with the row: 1, or the row's whole weight if that is less.
    """

    residual: Float[Tensor, "n r"]
    codes: Int[Tensor, " n"]
    removed: Float[Tensor, " n"]
    memory: dict[str, Tensor] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def square(self) -> Float[Tensor, "n r"]:
        """Squared residuals."""
        return self.residual**2

    def counts_left(self, spectrum: Spectrum) -> Float[Tensor, "n c"]:
        """Class counts as each row sees them once it is removed."""
        if "left" not in self.memory:
            self.memory["left"] = self._counts_left(spectrum)
        return self.memory["left"]

    def _counts_left(self, spectrum: Spectrum) -> Float[Tensor, "n c"]:
        counts = spectrum.counts.repeat(len(self.codes), 1)
        index = self.codes[:, None]
        left = counts.gather(1, index) - self.removed[:, None]
        left = torch.where(left > _SMALL * spectrum.total, left, 0.0)
        return counts.scatter(1, index, left)

    def alone(self, spectrum: Spectrum) -> Bool[Tensor, " n"]:
        """Rows whose class is empty without them."""
        return self.counts_left(spectrum).gather(1, self.codes[:, None])[:, 0] <= 0


def _correction(trace: Tensor, total: Tensor, counts: Tensor) -> Tensor:
    """`n tr(BW) / (2 f n_j)`; nothing for an empty class."""
    n_classes = (counts > 0).sum(-1)
    freedom = torch.maximum(total - n_classes, total.clamp_max(1.0))
    value = (total * trace / (2 * freedom))[..., None] / counts.clamp_min(_SMALL)
    return torch.where(counts > 0, value, 0.0)


def _centered(scores: Tensor, counts: Tensor) -> Tensor:
    """Subtract the mean score of the classes that have rows; empty classes get zero."""
    present = counts > 0
    kept = torch.where(present, scores, 0.0)
    mean = kept.sum(-1, keepdim=True) / present.sum(-1, keepdim=True).clamp_min(1)
    return torch.where(present, scores - mean, 0.0)


def leave_one_out_scores(
    spectrum: Spectrum, rows: LeftOut, ridge: float, *, corrected: bool = True
) -> Float[Tensor, "n c"]:
    """Scores of every row by the model that has not seen it, before temperature and prior.

    Returns:
        Scores with mean zero over the classes that remain; zero for a class left empty.

    Cost: O(n r K) time, O(n K) memory beside the residuals.
    """
    inverse = 1 / (spectrum.values + ridge)
    index = rows.codes[:, None]
    left = rows.counts_left(spectrum)
    own_left = left.gather(1, index)[:, 0]
    own = spectrum.counts[rows.codes]
    alone = own_left <= 0
    ratio = torch.where(alone, 1.0, own / own_left.clamp_min(_SMALL))
    change = torch.where(alone, 0.0, rows.removed * ratio)
    both = rows.square @ torch.stack((inverse, inverse**2), 1)
    length, length2 = both[:, 0], both[:, 1]
    slack = (1 - change * length).clamp_min(_SMALL)
    beta = change / slack
    weighted = spectrum.means * inverse
    cross = rows.residual @ weighted.mT
    gram = weighted @ spectrum.means.mT
    norms = gram.diagonal()
    gaps = (norms[:, None] - 2 * gram + norms[None, :])[rows.codes]
    step = cross.gather(1, index) - cross
    distance = length[:, None] + 2 * step + gaps + beta[:, None] * (length[:, None] + step) ** 2
    distance = distance.scatter(1, index, (ratio**2 * length / slack)[:, None])
    total = spectrum.total - rows.removed
    scores = -0.5 * total[:, None] * distance
    if corrected:
        trace = (spectrum.values * inverse).sum() - ridge * beta * length2
        scores = scores + _correction(trace, total, left)
    return _centered(scores, left)


def linear_layer(
    spectrum: Spectrum, ridge: float, *, corrected: bool = True
) -> tuple[Float[Tensor, "c r"], Float[Tensor, " c"]]:
    """Weights and biases of the linear rule at one ridge, before temperature and prior.

    They act on coordinates in the eigenbasis; both have mean zero over the classes with rows.
    """
    inverse = 1 / (spectrum.values + ridge)
    total = spectrum.counts.sum()
    weight = total * spectrum.means * inverse
    bias = -0.5 * (weight * spectrum.means).sum(1)
    if corrected:
        bias = bias + _correction((spectrum.values * inverse).sum(), total, spectrum.counts)
    present = spectrum.counts.expand(weight.shape[1], -1)
    return _centered(weight.mT, present).mT, _centered(bias, spectrum.counts)
