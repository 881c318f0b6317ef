"""A quadratic rule: each class's own scatter blended with the pooled one, by leave-one-out.

With W_j the scatter of class j, W the sum of all, and a weight ω ≥ 0,

    S_j = W + ω W_j + gI,   N_j = n + ω n_j,   Σ_j = S_j / N_j,
    score_j(x) = -½ (x - m_j)ᵀ Σ_j^-1 (x - m_j) - ½ ln|Σ_j| + tr(S_j^-1 (S_j - gI)) / (2 n_j) n/f.

ω = 0 is the shared rule; a large ω gives each class its own covariance (with equal classes, ω = K
is half and half). Taking row i out of class k changes S_j by -(1 + ω [j = k]) c r rᵀ and N_j by
-(1 + ω [j = k]): rank one in every class, so leave-one-out is exact here too. ω and g are those
with the least leave-one-out log-loss, ω = 0 (the averaged shared rule) among them.

Source: Friedman, Regularized discriminant analysis, 1989, equations 15 to 18 (his λ is 1/(1+ω)).
"""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.closedform.fitting import Rule, Sample, finish_logits, loo_loss
from trivium.closedform.head import Head, Quadratic, add_floor
from trivium.closedform.path import Path
from trivium.closedform.prior import log_prior_of
from trivium.closedform.spectrum import Spectrum
from trivium.closedform.temperature import fit_temperature

__all__ = ["Blended", "fit_blend", "quadratic_scores"]

_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
_FACTORS = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
_START = (2, 3)
_SMALL = 1e-12


@dataclass(frozen=True)
class Blended:
    """A resolved blend: its path entry, leave-one-out logits and quadratic head."""

    path: Path
    logits: Float[Tensor, "n c"]
    layer: tuple[Tensor, Tensor] | None = None
    quadratic: Quadratic | None = None

    def upon(self, head: Head) -> Head:
        """Put the quadratic rule on a linear head; unchanged when the shared rule won."""
        if self.layer is None:
            return head
        return replace(head, weight=self.layer[0], bias=self.layer[1], quadratic=self.quadratic)


def _factors(
    spectrum: Spectrum, sample: Sample, blend: float, ridge: float
) -> tuple[Tensor, Tensor]:
    """Inverse Cholesky factors F_j of S_j (S_j^-1 = F_j F_jᵀ) and ln|S_j|."""
    r, n_classes = len(spectrum.values), len(spectrum.counts)
    base = torch.diag(spectrum.values + ridge)
    eye = torch.eye(r, dtype=base.dtype)
    factors, log_dets = [], []
    for label in range(n_classes):
        member = sample.rows.codes == label
        own = sample.rows.residual[member]
        matrix = base + blend * (own.mT @ (own * sample.weights[member][:, None]))
        lower = torch.linalg.cholesky(matrix)
        factors.append(torch.linalg.solve_triangular(lower, eye, upper=False).mT.contiguous())
        log_dets.append(2 * lower.diagonal().log().sum())
    return torch.stack(factors), torch.stack(log_dets)


def quadratic_scores(
    spectrum: Spectrum, sample: Sample, blend: float, ridge: float, *, corrected: bool = True
) -> Float[Tensor, "n c"]:
    """Exact leave-one-out scores of the blended rule, before temperature and prior.

    Cost: O(n r² K + r³ K).
    """
    factors, log_dets = _factors(spectrum, sample, blend, ridge)
    residual, codes = sample.rows.residual, sample.rows.codes
    left = sample.rows.counts_left(spectrum)
    removed, r = sample.rows.removed, residual.shape[1]
    rows = sample.coordinates(spectrum)
    own_left = left.gather(1, codes[:, None])[:, 0]
    alone = own_left <= 0
    ratio = torch.where(alone, 1.0, spectrum.counts[codes] / own_left.clamp_min(_SMALL))
    total = spectrum.total - removed
    freedom = torch.maximum(total - (left > 0).sum(1), total.clamp_max(1.0))
    columns = []
    for label, factor in enumerate(factors):
        own = codes == label
        change = torch.where(alone, 0.0, removed * ratio) * (1 + blend * own)
        turned = residual @ factor
        away = rows @ factor - spectrum.means[label] @ factor
        length = turned.square().sum(1)
        slack = (1 - change * length).clamp_min(_SMALL)
        beta = change / slack
        distance = away.square().sum(1) + beta * (away * turned).sum(1) ** 2
        distance = torch.where(own, ratio**2 * length / slack, distance)
        multiplicity = total + blend * left[:, label]
        score = -0.5 * multiplicity * distance
        score = score - 0.5 * (log_dets[label] + slack.log() - r * multiplicity.log())
        if corrected:
            trace = r - ridge * (
                factor.square().sum() + beta * (turned @ factor.mT).square().sum(1)
            )
            score = score + total * trace / (2 * freedom * left[:, label].clamp_min(_SMALL))
        columns.append(score)
    scores = torch.stack(columns, 1)
    present = left > 0
    kept = torch.where(present, scores, 0.0)
    return torch.where(present, kept - kept.sum(1, keepdim=True) / present.sum(1)[:, None], 0.0)


def _quadratic_head(spectrum: Spectrum, sample: Sample, path: Path, rule: Rule) -> Quadratic:
    """The rule on new rows, temperature and prior applied."""
    blend, ridge, scale = path.blend or 0.0, path.blend_ridge, path.blend_scale
    factors, log_dets = _factors(spectrum, sample, blend, ridge)
    r, counts = len(spectrum.values), spectrum.counts
    multiplicity = spectrum.total + blend * counts
    bias = -0.5 * (log_dets - r * multiplicity.log())
    if rule.corrected:
        trace = r - ridge * factors.square().sum((1, 2))
        bias = bias + spectrum.total * trace / (2 * spectrum.freedom * counts.clamp_min(_SMALL))
    bias = scale * bias + log_prior_of(counts, rule.prior)
    return Quadratic(
        spectrum.basis.matrix().contiguous(),
        spectrum.means.contiguous(),
        (factors * (scale * multiplicity).sqrt()[:, None, None]).contiguous(),
        bias,
    )


def _projection(quadratic: Quadratic, spectrum: Spectrum, sample: Sample) -> tuple[Tensor, Tensor]:
    """Least-squares linear layer of the quadratic log-odds on the training rows."""
    rows = sample.coordinates(spectrum)
    logits = add_floor(quadratic.logits(spectrum.basis.back(rows)), spectrum.total)
    weights = sample.weights.sqrt()[:, None]
    design = torch.cat((rows, torch.ones(len(rows), 1, dtype=rows.dtype)), 1)
    solved = torch.linalg.lstsq(design * weights, logits * weights, driver="gelsd").solution
    return spectrum.basis.back(solved[:-1].mT), solved[-1].contiguous()


def _search(spectrum: Spectrum, sample: Sample, path: Path, rule: Rule) -> Path:
    """Climb the grid of shares and ridges from its middle."""
    scored = sample.scored(spectrum, rule.prior)
    n_classes, best_ridge = len(spectrum.counts), float(path.ridges[path.best])
    fixed = None if isinstance(rule.temperature, str) else 1 / float(rule.temperature)
    seen: dict[tuple[int, int], tuple[float, Path]] = {}

    def look(at: tuple[int, int]) -> float:
        if not (0 <= at[0] < len(_SHARES) and 0 <= at[1] < len(_FACTORS)):
            return math.inf
        if at not in seen:
            share = _SHARES[at[0]]
            blend = n_classes * share / (1 - share)
            ridge = best_ridge * (1 + blend / n_classes) * _FACTORS[at[1]]
            scores = quadratic_scores(spectrum, sample, blend, ridge, corrected=rule.corrected)
            scale = fixed or fit_temperature(scores, scored)
            found = replace(path, blend=blend, blend_ridge=ridge, blend_scale=scale)
            logits = finish_logits(spectrum, sample, rule, scale * scores)
            loss, accuracy = loo_loss(logits, sample)
            seen[at] = (loss if rule.criterion == "log_loss" else -accuracy, found)
        return seen[at][0]

    here = _START
    while True:
        near = [(here[0] + a, here[1] + b) for a, b in ((0, 0), (0, 1), (0, -1), (1, 0), (-1, 0))]
        there = min(near, key=look)
        if there == here:
            return seen[here][1]
        here = there


def fit_blend(
    spectrum: Spectrum, sample: Sample, path: Path, rule: Rule, shared: Float[Tensor, "n c"]
) -> Blended:
    """Choose the blend (unless `path` has one) and build its rule.

    Args:
        spectrum: Pooled scatter.
        sample: All rows of the fit.
        path: Path of the shared rule.
        rule: Choices.
        shared: Leave-one-out logits of the shared rule, which stays when it does better, and
            when there are no more rows than columns.

    Raises:
        ArgumentError: The rows are only a part of those in the moments.
    """
    if abs(float(sample.weights.sum()) - spectrum.total) > 1e-6 * spectrum.total:
        raise ArgumentError('ClosedFormClassifier: covariance="blend" needs all rows; use fit')
    keep = Blended(replace(path, blend=0.0), shared)
    if path.blend == 0.0 or len(sample.weights) <= len(spectrum.center):
        return keep
    found = path if path.blend is not None else _search(spectrum, sample, path, rule)
    scores = quadratic_scores(
        spectrum, sample, found.blend or 0.0, found.blend_ridge, corrected=rule.corrected
    )
    logits = finish_logits(spectrum, sample, rule, found.blend_scale * scores)
    side = 1 if rule.criterion == "accuracy" else 0
    sign = -1 if side else 1
    better = sign * loo_loss(logits, sample)[side] < sign * loo_loss(shared, sample)[side]
    if path.blend is None and not better:
        return keep
    quadratic = _quadratic_head(spectrum, sample, found, rule)
    return Blended(found, logits, _projection(quadratic, spectrum, sample), quadratic)
