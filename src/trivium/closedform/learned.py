"""What a fit has learned, from rows or from moments: the rule, its head, its left-out logits."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.errors import ArgumentError, NumericalError
from trivium.closedform.blend import fit_blend
from trivium.closedform.doors import Labelled
from trivium.closedform.fitting import Rule, Sample, layer_of, loo_logits, loo_loss, resolve
from trivium.closedform.head import Head
from trivium.closedform.leave_one_out import LeftOut
from trivium.closedform.path import Path
from trivium.closedform.reservoir import Reservoir, spectrum_and_sample
from trivium.closedform.spectrum import Spectrum, spectrum_of_rows
from trivium.moment import Moments

__all__ = ["Learned", "learn", "learn_moments", "learn_rows", "left_out_of", "with_rows"]


@dataclass(frozen=True)
class Learned:
    """A solved rule and what it was solved from.

    Args:
        spectrum: Scatter and means.
        sample: Rows of positive weight on which leave-one-out ran, if any.
        rule: Choices.
        path: Resolved ridges, temperatures and weights.
        head: The rule on new rows.
        logits: Left-out logits of all rows of the input.
        loss: Their mean log-loss over the sample.
        accuracy: Their accuracy over the sample.
        kept: Position of each row of the sample in the input.
        n_rows: Rows of the input; 0 when the sample is only a part of what was learned from.
    """

    spectrum: Spectrum
    sample: Sample | None
    rule: Rule
    path: Path
    head: Head
    logits: Float[Tensor, "n c"] | None
    loss: float
    accuracy: float
    kept: Int[np.ndarray, " m"]
    n_rows: int

    @property
    def n_scored(self) -> int:
        """Number of rows on which leave-one-out ran."""
        return 0 if self.sample is None else len(self.sample.weights)

    @property
    def ridge(self) -> float:
        """The heaviest ridge, in squared units of the rows."""
        with np.errstate(over="ignore", under="ignore"):
            ridge = np.float64(self.path.ridges[self.path.best]) * self.path.unit * self.path.unit
        return float(min(ridge, np.finfo(np.float64).max))

    @property
    def temperature(self) -> float:
        """Temperature of the averaged rule."""
        return float(1 / (self.path.sharpness * self.path.scales @ self.path.weights))

    def coefficients(self) -> tuple[np.ndarray, np.ndarray]:
        """Weights and biases on the rows as given; for two classes their difference.

        Raises:
            NumericalError: They leave the range of float64.
        """
        head = self.head
        coef, empty = head.weight / head.unit, torch.isneginf(head.bias)
        floor = head.bias[~empty].min() - np.log(head.total + 1)
        full = torch.where(empty, floor, head.bias) - head.weight @ head.center
        if not bool(torch.isfinite(coef).all() and torch.isfinite(full).all()):
            raise NumericalError(
                "ClosedFormClassifier: coefficients leave the range of float64; the largest "
                f"absolute value of X is about {head.unit:.3g}",
                remedy="Scale the columns.",
            )
        if len(full) == 2:
            coef, full = coef[1:] - coef[:1], full[1:] - full[:1]
        return coef.numpy(), full.numpy()


def learn(
    spectrum: Spectrum,
    sample: Sample | None,
    rule: Rule,
    path: Path | None,
    *,
    whole: bool = True,
) -> Learned:
    """Choose the path by leave-one-out (or take the one given) and solve.

    Args:
        spectrum: Scatter and means.
        sample: Rows for leave-one-out, if any.
        rule: Choices.
        path: A path to keep instead of choosing one.
        whole: Whether the sample has all rows behind the spectrum.
    """
    path = resolve(spectrum, sample, rule) if path is None else path.in_units(spectrum.unit)
    weight, bias = layer_of(spectrum, path, rule)
    head = Head(weight, bias, spectrum.center, spectrum.unit, spectrum.total)
    if sample is None:
        nothing = np.arange(0)
        return Learned(spectrum, None, rule, path, head, None, np.nan, np.nan, nothing, 0)
    logits = loo_logits(spectrum, sample, path, rule)
    if rule.blend:
        blended = fit_blend(spectrum, sample, path, rule, logits)
        path, head, logits = blended.path, blended.upon(head), blended.logits
    n = len(logits)
    loss, accuracy = loo_loss(logits, sample)
    return Learned(
        spectrum, sample, rule, path, head, logits, loss, accuracy, np.arange(n), n * whole
    )


def learn_rows(data: Labelled, rule: Rule, path: Path | None = None) -> Learned:
    """Learn from checked rows; a row without weight is judged but not learned from."""
    n_classes = len(data.classes)
    spectrum, residual = spectrum_of_rows(data.rows, data.codes, data.weights, n_classes)
    left_out = LeftOut(residual, data.codes, data.weights.clamp_max(1.0))
    learned = learn(spectrum, Sample(left_out, data.weights), rule, path)
    if learned.logits is None or len(data.kept) == data.n_rows:
        return learned
    everyone = learned.head.logits(data.everyone)
    everyone[torch.from_numpy(data.kept)] = learned.logits
    return replace(learned, logits=everyone, kept=data.kept, n_rows=data.n_rows)


def learn_moments(
    moments: Moments, stream: Reservoir, rule: Rule, path: Path | None = None
) -> Learned:
    """Learn from moments, leave-one-out on the rows that the reservoir holds."""
    spectrum, sample = spectrum_and_sample(moments, stream)
    whole = sample is not None and len(sample.weights) == int(moments.counts.sum())
    return learn(spectrum, sample, rule, path, whole=whole)


def left_out_of(
    learned: Learned, rows: Float[Tensor, "n d"], codes: Int[Tensor, " n"]
) -> Float[Tensor, "n c"]:
    """Return left-out logits of rows of weight 1 that the moments hold."""
    spectrum, ones = learned.spectrum, torch.ones(len(codes), dtype=torch.float64)
    residual = spectrum.coordinates(rows) - spectrum.means[codes]
    sample = Sample(LeftOut(residual, codes, ones), ones)
    return loo_logits(spectrum, sample, learned.path, learned.rule)


def with_rows(asked: str, learned: Learned | None) -> Learned:
    """Return what was learned, if the rows it was learned from are all at hand.

    Raises:
        ArgumentError: They are not: a fit from moments, a long stream, or a stored state.
    """
    if learned is None or not learned.n_rows:
        raise ArgumentError(
            f"ClosedFormClassifier.{asked} needs the rows of the fit; this one has moments only",
            remedy="Fit with fit(X, y).",
        )
    return learned
