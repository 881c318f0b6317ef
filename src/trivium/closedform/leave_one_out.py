"""Exact leave-one-out scores of the linear rule at one ridge, by a rank-one change per row.

With B = (W + gI)^-1 and the row's residual r from the mean of its class k (N_k rows),

    W' = W - c r rᵀ,  c = N_k / (N_k - 1),  B' = B + β B r rᵀ B,  β = c / (1 - c rᵀBr),
    μ_k' = μ_k - r / (N_k - 1),  so that x - μ_k' = c r,
    tr(B'W') = tr(BW) - g β ‖Br‖²,

and the score of class j is `-(n-1)/2 · (x - μ_j')ᵀB'(x - μ_j') + (n-1) tr(B'W') / (2 f' n_j')`
with f' the degrees of freedom without the row. This is what a refit on the other rows gives.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium.closedform.lone import NEARLY, lone_rows
from trivium.closedform.pull import Pull
from trivium.closedform.spectrum import Spectrum

__all__ = ["LeftOut", "leave_one_out_scores", "linear_layer"]

_SMALL = 1e-12
_NO_PULL = Pull()
_SCORES = 250_000
"""Scores that are made at once; their arrays then stay in the cache."""


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
        return self.residual.square()

    def forget(self) -> None:
        """Drop what was kept to save time."""
        self.memory.clear()
        self.__dict__.pop("square", None)

    def counts_left(self, spectrum: Spectrum) -> Float[Tensor, "n c"]:
        """Class counts as each row sees them once it is removed (stored class by class)."""
        if "left" not in self.memory:
            self.memory["left"] = self._counts_left(spectrum)
        return self.memory["left"]

    def _counts_left(self, spectrum: Spectrum) -> Float[Tensor, "n c"]:
        counts = spectrum.counts[:, None].repeat(1, len(self.codes))
        index = self.codes[None]
        left = counts.gather(0, index) - self.removed
        left = torch.where(left > _SMALL * spectrum.total, left, 0.0)
        return counts.scatter_(0, index, left).mT

    def alone(self, spectrum: Spectrum) -> Bool[Tensor, " n"]:
        """Rows whose class is empty without them."""
        return self.counts_left(spectrum).gather(1, self.codes[:, None])[:, 0] <= 0

    def scores_at_once(self, spectrum: Spectrum) -> int:
        """Number of ridges whose scores are best made together."""
        return max(_SCORES // max(len(self.codes) * len(spectrum.counts), 1), 1)


def _traces(total: Tensor, counts: Tensor) -> Tensor:
    """`n / (2 f n_j)`, the factor of tr(BW) in the correction; 0 for an empty class (axis 0)."""
    freedom = torch.maximum(total - (counts > 0).sum(0), total.clamp_max(1.0))
    value = total / (2 * freedom) / counts.clamp_min(_SMALL)
    return torch.where(counts > 0, value, 0.0)


def _centered(scores: Tensor, counts: Tensor) -> Tensor:
    """Subtract the mean of the classes with rows, along axis -2; empty classes get zero."""
    present = counts > 0
    if bool(present.all()):
        return scores - scores.mean(-2, keepdim=True)
    kept = torch.where(present, scores, 0.0)
    mean = kept.sum(-2, keepdim=True) / present.sum(-2, keepdim=True).clamp_min(1)
    return torch.where(present, scores - mean, 0.0)


@dataclass(frozen=True)
class _Rows:
    """What does not depend on the ridge: counts and factors of rows without themselves."""

    left: Tensor
    ratio: Tensor
    change: Tensor
    traces: Tensor


def _rows_of(spectrum: Spectrum, rows: LeftOut) -> _Rows:
    if "rows" not in rows.memory:
        left = rows.counts_left(spectrum).mT
        own_left = left.gather(0, rows.codes[None])[0]
        alone = own_left <= 0
        ratio = torch.where(alone, 1.0, spectrum.counts[rows.codes] / own_left.clamp_min(_SMALL))
        change = torch.where(alone, 0.0, rows.removed * ratio)
        traces = _traces(spectrum.total - rows.removed, left)
        rows.memory["rows"] = _Rows(left, ratio, change, traces)
    return rows.memory["rows"]


@dataclass(frozen=True)
class _Products:
    """What every score is made of, at g ridges, for c classes and n rows.

    Args:
        length: rᵀBr of each residual, (g, 1, n).
        length2: rᵀB²r, (g, n).
        cross: rᵀB m_j, (g, c, n).
        own: rᵀB m_k of the own class, (g, 1, n).
        gram: m_iᵀB m_j, (g, c, c).
        beta: β of each row, (g, 1, n).
        slack: 1 - c rᵀBr, (g, 1, n).
        ratio: N_k / (N_k - 1), 1 for a row alone in its class, (n,).
    """

    length: Tensor
    length2: Tensor
    cross: Tensor
    own: Tensor
    gram: Tensor
    beta: Tensor
    slack: Tensor
    ratio: Tensor

    @cached_property
    def norms(self) -> Tensor:
        """m_jᵀB m_j, (g, c, 1)."""
        return self.gram.diagonal(dim1=-2, dim2=-1)[..., None]


def _index(codes: Tensor, like: Tensor) -> Tensor:
    return codes.expand(len(like), 1, -1)


def _products(spectrum: Spectrum, rows: LeftOut, ridge: Tensor, inverse: Tensor) -> _Products:
    fixed, n_ridges = _rows_of(spectrum, rows), len(inverse)
    both = torch.cat((inverse, inverse.square())) @ rows.square.mT
    length = both[:n_ridges, None]
    slack = 1 - fixed.change * length
    if bool((slack < NEARLY).any()):
        lone = lone_rows(spectrum, rows.square, fixed.change, ridge)
        slack = torch.where(lone.rows, fixed.change * (lone.rest @ rows.square.mT)[:, None], slack)
    slack.clamp_min_(torch.finfo(slack.dtype).tiny)
    weighted = spectrum.means * inverse[:, None]
    cross = (weighted.flatten(0, 1) @ rows.residual.mT).unflatten(0, weighted.shape[:2])
    return _Products(
        length=length,
        length2=both[n_ridges:],
        cross=cross,
        own=cross.gather(1, _index(rows.codes, cross)),
        gram=weighted @ spectrum.means.mT,
        beta=fixed.change / slack,
        slack=slack,
        ratio=fixed.ratio,
    )


def _distances(parts: _Products, codes: Tensor) -> Tensor:
    """`(x - m_j')ᵀB'(x - m_j')` for every class and row."""
    gaps = (parts.norms - 2 * parts.gram + parts.norms.mT)[..., codes]
    step = parts.own - parts.cross
    distance = parts.length + 2 * step + gaps + parts.beta * (parts.length + step).square()
    own = parts.ratio.square() * parts.length / parts.slack
    return distance.scatter_(1, _index(codes, distance), own)


def _pulled_scores(
    parts: _Products, codes: Tensor, distance: Tensor, keep: Tensor, t: Tensor
) -> Tensor:
    """Scores with class means pulled to the grand mean of the other rows, m' = -t z.

    With X = (x - m')ᵀB'(x - m') and q_j = (m_j' - m')ᵀB'(m_j' - m'), the distance to the pulled
    mean m' + ρ (m_j' - m') is that of `ρ (X + q_j - D_j) - ρ² q_j`, up to sign, a factor of two
    and what is the same for all classes.
    """
    index, length, beta = _index(codes, distance), parts.length, parts.beta
    row_mean = parts.cross + parts.gram[..., codes]
    own_norm = parts.norms[:, codes].mT
    row_row = length + 2 * parts.own + own_norm
    turned = length + parts.own
    whole = (1 + t).square() * (row_row + beta * turned.square())
    far = t.square() * row_row
    spread = parts.norms + 2 * t * row_mean + far + beta * (parts.cross + t * turned).square()
    back = parts.ratio - 1
    own = own_norm + back.square() * length + far - 2 * back * parts.own
    own = own + 2 * t * row_mean.gather(1, index) - 2 * back * t * turned
    own = own + beta * (parts.own - back * length + t * turned).square()
    spread.scatter_(1, index, own)
    return 0.5 * (keep * (whole + spread - distance) - keep.square() * spread)


def leave_one_out_scores(
    spectrum: Spectrum,
    rows: LeftOut,
    ridges: Sequence[float],
    *,
    corrected: bool = True,
    pull: Pull = _NO_PULL,
) -> Float[Tensor, "g n c"]:
    """Scores of every row by the model that has not seen it, before temperature and prior.

    Args:
        spectrum: Spectrum of the fit.
        rows: Rows of the fit.
        ridges: Ridges g, each kept as it is.
        corrected: Whether the intercept has the trace term.
        pull: How far class means are pulled to the grand mean.

    Returns:
        Scores for each ridge, with mean zero over the classes that remain; zero for a class left
        empty. They are stored class by class, which is how sums over classes are fast.

    Cost: O(n r K) time a ridge, O(n K) memory a ridge beside the residuals.
    """
    ridge = torch.tensor(list(ridges), dtype=spectrum.values.dtype)[:, None]
    inverse = 1 / (spectrum.values + ridge)
    fixed = _rows_of(spectrum, rows)
    if rows.memory.get("ridges") != tuple(ridges):
        # Several pulls are tried at one ridge.
        parts = _products(spectrum, rows, ridge, inverse)
        rows.memory.update(ridges=tuple(ridges), parts=(parts, _distances(parts, rows.codes)))
    parts, distance = rows.memory["parts"]
    total = spectrum.total - rows.removed
    keep = pull.keep(fixed.left)
    if pull.rows > 0:
        scores = _pulled_scores(parts, rows.codes, distance, keep, rows.removed / total)
        scores *= total
    else:
        scores = (-0.5 * total) * distance
    if corrected:
        trace = (spectrum.values * inverse).sum(1, keepdim=True)
        trace = trace - ridge * parts.beta[:, 0] * parts.length2
        scores += (keep**pull.power * fixed.traces) * trace[:, None]
    return _centered(scores, fixed.left).mT


def linear_layer(
    spectrum: Spectrum,
    inverse: Float[Tensor, " r"],
    *,
    corrected: bool = True,
    pull: Pull = _NO_PULL,
) -> tuple[Float[Tensor, "c r"], Float[Tensor, " c"]]:
    """Weights and biases of the linear rule, before temperature and prior.

    They act on coordinates in the eigenbasis; both have mean zero over the classes with rows.
    Both are linear in `inverse`: of an average of rules it is the average.

    Args:
        spectrum: Spectrum of the fit.
        inverse: Diagonal of B, or of an average of several.
        corrected: Whether the intercept has the trace term.
        pull: How far class means are pulled to the grand mean.
    """
    counts = spectrum.counts[:, None]
    total = counts.sum()
    keep = pull.keep(counts)
    means = spectrum.means * keep
    weight = total * means * inverse
    bias = -0.5 * (weight * means).sum(1, keepdim=True)
    if corrected:
        trace = (spectrum.values * inverse).sum()
        bias = bias + keep**pull.power * _traces(total, counts) * trace
    return _centered(weight, counts), _centered(bias, counts)[:, 0]
