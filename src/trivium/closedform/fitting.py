"""From rows or moments to a resolved rule: ridge path, temperatures, weights, layer."""

from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trivium.closedform.average import averaged_layer, averaged_scores, path_weights
from trivium.closedform.head import add_floor
from trivium.closedform.leave_one_out import LeftOut, leave_one_out_scores
from trivium.closedform.path import Path, Point, log_prior, walk
from trivium.closedform.prior import log_prior_of
from trivium.closedform.pull import PULLS, SMALL_CLASS, Pull
from trivium.closedform.shrinkage import floor_of, ledoit_wolf, oas, ridge_of
from trivium.closedform.spectrum import Spectrum
from trivium.closedform.temperature import Scored, fit_temperature, log_loss

__all__ = ["Rule", "Sample", "finish_logits", "layer_of", "loo_logits", "loo_loss", "resolve"]

REMEMBERED = 500_000


@dataclass(frozen=True)
class Rule:
    """Checked choices of a classifier, see `ClosedFormClassifier`."""

    ridge: str | float | None
    corrected: bool
    prior: str | Tensor
    temperature: str | float
    average: bool
    criterion: str
    blend: bool = False


@dataclass(frozen=True)
class Sample:
    """Rows on which leave-one-out runs: all of them, or a reservoir; with their weights."""

    rows: LeftOut
    weights: Float[Tensor, " n"]
    known: dict[float, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def coordinates(self, spectrum: Spectrum) -> Float[Tensor, "n r"]:
        """Return the rows, not their residuals, in the eigenbasis."""
        return self.rows.residual + spectrum.means[self.rows.codes]

    def remember(self, ridge: float, scores: Tensor) -> None:
        """Keep the scores of a ridge while the average is made, if they are small."""
        if scores.numel() <= REMEMBERED:
            self.known[ridge] = scores

    def scored(self, spectrum: Spectrum, prior: str | Tensor) -> Scored:
        """Offsets and weights for the temperature; rows alone in their class are set aside."""
        offset = log_prior_of(self.rows.counts_left(spectrum), prior)
        weights = torch.where(self.rows.alone(spectrum), 0.0, self.weights)
        return Scored(offset, self.rows.codes, weights)


def _error_count(scores: Tensor, scored: Scored, scale: float) -> float:
    wrong = (scale * scores + scored.offset).argmax(1) != scored.codes
    return float((scored.weights * wrong).sum())


@dataclass(frozen=True)
class _Trial:
    """One way to score left-out rows, tried at many ridges."""

    spectrum: Spectrum
    sample: Sample
    scored: Scored
    rule: Rule
    pull: Pull

    def at(self, ridges: list[float], scale: float) -> list[Point]:
        """Score the left-out rows at some ridges.

        Args:
            ridges: Ridges, each starting from the temperature of the one before it.
            scale: First guess of 1/T; or 1/T itself if it is fixed.
        """
        points = []
        size = self.sample.rows.scores_at_once(self.spectrum)
        for start in range(0, len(ridges), size):
            some = ridges[start : start + size]
            corrected = self.rule.corrected
            scores = leave_one_out_scores(
                self.spectrum, self.sample.rows, some, corrected=corrected, pull=self.pull
            )
            for ridge, one in zip(some, scores, strict=True):
                points.append(self._point(ridge, one, scale))
                scale = points[-1].scale
        return points

    def _point(self, ridge: float, scores: Tensor, scale: float) -> Point:
        rule, scored = self.rule, self.scored
        self.sample.remember(ridge, scores)
        if rule.temperature == "loo":
            scale = fit_temperature(scores, scored, start=scale)
        loss = log_loss(scores, scored, scale)
        if rule.criterion == "accuracy":
            # The log-loss, shrunk to less than one error, only breaks ties.
            loss = _error_count(scores, scored, scale) + loss / (1 + loss)
        total = max(float(scored.weights.sum()), 1e-300)
        weight = log_prior(ridge, self.spectrum.mean_variance) - loss
        return Point(ridge, scale, loss / total, weight)


def _trial(spectrum: Spectrum, sample: Sample, rule: Rule, start: float) -> _Trial:
    """Choose the pull of the class means at the middle of the path, when classes are small."""
    scored = sample.scored(spectrum, rule.prior)
    plain = _Trial(spectrum, sample, scored, rule, Pull())
    smallest = float(spectrum.counts[spectrum.present].min())
    if not rule.corrected or rule.ridge != "loo" or smallest > SMALL_CLASS:
        return plain
    trials = [replace(plain, pull=pull) for pull in PULLS]
    middle = 10 * spectrum.mean_variance
    losses = []
    for trial in trials:
        point = trial.at([middle], start)[0]
        start = point.scale
        losses.append(point.loss)
    sample.known.clear()
    return trials[int(np.argmin(losses))]


def _start(spectrum: Spectrum, sample: Sample | None, rule: Rule) -> tuple[float, float]:
    """The one ridge that was asked for, and its inverse temperature."""
    floor = floor_of(spectrum)
    if rule.ridge == "lw" and sample is not None:
        weights = sample.weights * (spectrum.total / float(sample.weights.sum()))
        ridge, scale = ridge_of(spectrum, ledoit_wolf(spectrum, sample.rows.residual, weights))
    elif rule.ridge == "oas":
        ridge, scale = ridge_of(spectrum, oas(spectrum))
    elif isinstance(rule.ridge, str):
        ridge, scale = 10 * spectrum.mean_variance, 1.0
    else:
        ridge, scale = float(rule.ridge or 0.0) / spectrum.unit / spectrum.unit, 1.0
    smallest = float(spectrum.values.min()) if len(spectrum.values) else 0.0
    return (ridge if smallest + ridge > floor else floor), scale


def resolve(spectrum: Spectrum, sample: Sample | None, rule: Rule) -> Path:
    """Choose ridges, temperatures and weights by leave-one-out on `sample`.

    Without a sample the ridge is ten times the mean variance and the temperature one.

    Cost: O(n r K) per ridge, 13 ridges or a few more.
    """
    fixed = 1.0 if isinstance(rule.temperature, str) else 1 / float(rule.temperature)
    trial = None if sample is None else _trial(spectrum, sample, rule, fixed)
    if trial is None or rule.ridge != "loo":
        ridge, factor = _start(spectrum, sample, rule)
        points = [Point(ridge, fixed * factor, np.nan, 0.0)]
        if trial is not None:
            points = trial.at([ridge], fixed * factor)
    else:
        scale = [fixed]

        def evaluate(ridges: list[float]) -> list[Point]:
            points = trial.at(ridges, scale[0])
            scale[0] = points[-1].scale
            return points

        points = walk(evaluate, spectrum.mean_variance, floor_of(spectrum))
    path = Path(
        ridges=np.array([point.ridge for point in points]),
        scales=np.array([point.scale for point in points]),
        losses=np.array([point.loss for point in points]),
        weights=path_weights(
            np.array([point.log_weight for point in points]), average=rule.average
        ),
        sharpness=1.0,
        unit=spectrum.unit,
        pull=Pull() if trial is None else trial.pull,
    )
    if (
        sample is None
        or trial is None
        or rule.temperature != "loo"
        or int((path.weights > 0).sum()) < 2
    ):
        return path
    scores = averaged_scores(
        spectrum, sample.rows, path, corrected=rule.corrected, known=sample.known
    )
    return replace(path, sharpness=fit_temperature(scores, trial.scored))


def _gauge(logits: Tensor) -> Tensor:
    return logits - logits.mean(1, keepdim=True)


def finish_logits(
    spectrum: Spectrum, sample: Sample, rule: Rule, scores: Float[Tensor, "n c"]
) -> Float[Tensor, "n c"]:
    """Add the prior as each left-out row sees it, and the floor of empty classes."""
    offset = log_prior_of(sample.rows.counts_left(spectrum), rule.prior)
    return _gauge(add_floor(scores + offset, spectrum.total - 1))


def loo_logits(spectrum: Spectrum, sample: Sample, path: Path, rule: Rule) -> Float[Tensor, "n c"]:
    """Leave-one-out logits of the averaged rule: prior added, empty classes at the floor."""
    scores = averaged_scores(
        spectrum, sample.rows, path, corrected=rule.corrected, known=sample.known
    )
    logits = finish_logits(spectrum, sample, rule, scores)
    sample.known.clear()
    sample.rows.forget()
    return logits


def loo_loss(logits: Tensor, sample: Sample) -> tuple[float, float]:
    """Weighted mean log-loss and accuracy of leave-one-out logits."""
    own = logits.gather(1, sample.rows.codes[:, None])[:, 0]
    share = sample.weights / sample.weights.sum()
    right = (logits.argmax(1) == sample.rows.codes).to(share.dtype)
    return float(share @ (logits.logsumexp(1) - own)), float(share @ right)


def layer_of(spectrum: Spectrum, path: Path, rule: Rule) -> tuple[Tensor, Tensor]:
    """Weights on `x / unit - center` and biases with the prior; -inf for an empty class.

    Both have mean zero over the classes with rows.
    """
    weight, bias = averaged_layer(spectrum, path, corrected=rule.corrected)
    logits = bias + log_prior_of(spectrum.counts, rule.prior)
    return weight, logits - logits[spectrum.present].mean()
