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
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.closedform.pull import Pull
from trivium.closedform.spectrum import Spectrum

__all__ = ["LeftOut", "leave_one_out_scores", "linear_layer"]

_SMALL = 1e-12
_NO_PULL = Pull()


@dataclass(frozen=True)
class LeftOut:
    """The rows of a fit as leave-one-out needs them.

    Args:
        residual: Row minus its class mean, in the eigenbasis.
        codes: Class of each row.
        removed: Weight taken away with the row: 1, or the row's whole weight if that is less.
        memory: What was computed last; the rows belong to one spectrum.
    """

    residual: Float[Tensor, "n r"]
    codes: Int[Tensor, " n"]
    removed: Float[Tensor, " n"]
    memory: dict[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def square(self) -> Float[Tensor, "n r"]:
        """Squared residuals."""
        return self.residual**2

    def forget(self) -> None:
        """Drop what was kept to save time."""
        self.memory.clear()
        self.__dict__.pop("square", None)

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


@dataclass(frozen=True)
class _Products:
    """What every score is made of, at one ridge, for n rows and c classes.

    Args:
        length: rᵀBr of each residual.
        length2: rᵀB²r.
        cross: rᵀB m_j.
        gram: m_iᵀB m_j.
        beta: β of each row.
        slack: 1 - c rᵀBr.
        ratio: N_k / (N_k - 1), 1 for a row alone in its class.
    """

    length: Tensor
    length2: Tensor
    cross: Tensor
    gram: Tensor
    beta: Tensor
    slack: Tensor
    ratio: Tensor


def _products(spectrum: Spectrum, rows: LeftOut, inverse: Tensor) -> _Products:
    own_left = rows.counts_left(spectrum).gather(1, rows.codes[:, None])[:, 0]
    alone = own_left <= 0
    ratio = torch.where(alone, 1.0, spectrum.counts[rows.codes] / own_left.clamp_min(_SMALL))
    change = torch.where(alone, 0.0, rows.removed * ratio)
    both = rows.square @ torch.stack((inverse, inverse**2), 1)
    slack = (1 - change * both[:, 0]).clamp_min(_SMALL)
    weighted = spectrum.means * inverse
    return _Products(
        length=both[:, 0],
        length2=both[:, 1],
        cross=rows.residual @ weighted.mT,
        gram=weighted @ spectrum.means.mT,
        beta=change / slack,
        slack=slack,
        ratio=ratio,
    )


def _distances(parts: _Products, codes: Tensor) -> Tensor:
    """`(x - m_j')ᵀB'(x - m_j')` for every row and class."""
    index, norms = codes[:, None], parts.gram.diagonal()
    gaps = (norms[:, None] - 2 * parts.gram + norms[None, :])[codes]
    step = parts.cross.gather(1, index) - parts.cross
    length = parts.length[:, None]
    distance = length + 2 * step + gaps + parts.beta[:, None] * (length + step) ** 2
    own = parts.ratio**2 * parts.length / parts.slack
    return distance.scatter(1, index, own[:, None])


def _pulled_scores(
    parts: _Products, codes: Tensor, distance: Tensor, keep: Tensor, moved: Tensor
) -> Tensor:
    """Scores with class means pulled to the grand mean of the other rows, m' = -t z.

    With X = (x - m')ᵀB'(x - m') and q_j = (m_j' - m')ᵀB'(m_j' - m'), the distance to the pulled
    mean m' + ρ (m_j' - m') is that of `ρ (X + q_j - D_j) - ρ² q_j`, up to sign, a factor of two
    and what is the same for all classes.
    """
    index, t = codes[:, None], moved[:, None]
    length, beta = parts.length[:, None], parts.beta[:, None]
    cross_own = parts.cross.gather(1, index)
    norms = parts.gram.diagonal()
    row_mean = parts.cross + parts.gram[codes]
    row_row = length + 2 * cross_own + norms[codes][:, None]
    turned = length + cross_own
    whole = (1 + t) ** 2 * (row_row + beta * turned**2)
    spread = norms + 2 * t * row_mean + t**2 * row_row + beta * (parts.cross + t * turned) ** 2
    back = parts.ratio[:, None] - 1
    own = norms[codes][:, None] + back**2 * length + t**2 * row_row - 2 * back * cross_own
    own = own + 2 * t * row_mean.gather(1, index) - 2 * back * t * turned
    own = own + beta * (cross_own - back * length + t * turned) ** 2
    spread = spread.scatter(1, index, own)
    return 0.5 * (keep * (whole + spread - distance) - keep**2 * spread)


def leave_one_out_scores(
    spectrum: Spectrum,
    rows: LeftOut,
    ridge: float,
    *,
    corrected: bool = True,
    pull: Pull = _NO_PULL,
) -> Float[Tensor, "n c"]:
    """Scores of every row by the model that has not seen it, before temperature and prior.

    Args:
        spectrum: Spectrum of the fit.
        rows: Rows of the fit.
        ridge: The ridge g, kept as it is.
        corrected: Whether the intercept has the trace term.
        pull: How far class means are pulled to the grand mean.

    Returns:
        Scores with mean zero over the classes that remain; zero for a class left empty.

    Cost: O(n r K) time, O(n K) memory beside the residuals.
    """
    inverse = 1 / (spectrum.values + ridge)
    left = rows.counts_left(spectrum)
    if rows.memory.get("ridge") != ridge:
        # Several pulls are tried at one ridge.
        parts = _products(spectrum, rows, inverse)
        rows.memory.update(ridge=ridge, parts=(parts, _distances(parts, rows.codes)))
    parts, distance = rows.memory["parts"]
    total = spectrum.total - rows.removed
    keep = pull.keep(left)
    if pull.rows > 0:
        moved = rows.removed / total
        scores = _pulled_scores(parts, rows.codes, distance, keep, moved) * total[:, None]
    else:
        scores = -0.5 * total[:, None] * distance
    if corrected:
        trace = (spectrum.values * inverse).sum() - ridge * parts.beta * parts.length2
        scores = scores + keep**pull.power * _correction(trace, total, left)
    return _centered(scores, left)


def linear_layer(
    spectrum: Spectrum, ridge: float, *, corrected: bool = True, pull: Pull = _NO_PULL
) -> tuple[Float[Tensor, "c r"], Float[Tensor, " c"]]:
    """Weights and biases of the linear rule at one ridge, before temperature and prior.

    They act on coordinates in the eigenbasis; both have mean zero over the classes with rows.
    """
    inverse = 1 / (spectrum.values + ridge)
    total = spectrum.counts.sum()
    keep = pull.keep(spectrum.counts)
    means = spectrum.means * keep[:, None]
    weight = total * means * inverse
    bias = -0.5 * (weight * means).sum(1)
    if corrected:
        trace = (spectrum.values * inverse).sum()
        bias = bias + keep**pull.power * _correction(trace, total, spectrum.counts)
    present = spectrum.counts.expand(weight.shape[1], -1)
    return _centered(weight.mT, present).mT, _centered(bias, spectrum.counts)
