"""The average of the rules along the ridge path, weighted by how well each left-out row fares."""

from collections.abc import Mapping

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from trivium.closedform.leave_one_out import LeftOut, leave_one_out_scores, linear_layer
from trivium.closedform.path import Path
from trivium.closedform.spectrum import Spectrum

__all__ = ["averaged_layer", "averaged_scores", "path_weights"]

_NEGLIGIBLE = 1e-6


def path_weights(log_weights: np.ndarray, *, average: bool) -> np.ndarray:
    """Normalize weights given as logarithms; one winner without averaging, none below 1e-6."""
    if not average:
        chosen = np.zeros(len(log_weights))
        chosen[int(np.argmax(log_weights))] = 1.0
        return chosen
    weights = np.exp(log_weights - log_weights.max())
    weights[weights < _NEGLIGIBLE * weights.sum()] = 0.0
    return weights / weights.sum()


def averaged_scores(
    spectrum: Spectrum,
    rows: LeftOut,
    path: Path,
    *,
    corrected: bool,
    known: Mapping[float, Tensor] | None = None,
) -> Float[Tensor, "n c"]:
    """Leave-one-out scores of the averaged rule, temperature applied, prior not yet added.

    Args:
        spectrum: Spectrum of the fit.
        rows: Its rows.
        path: Resolved path.
        corrected: Whether the intercept is corrected.
        known: Scores that are known already, by ridge.
    """
    levels = path.sharpness * path.scales * path.weights
    wanted = [
        (float(ridge), float(level))
        for ridge, level, weight in zip(path.ridges, levels, path.weights, strict=True)
        if weight > 0
    ]
    found = dict(known or {})
    missing = [ridge for ridge, _ in wanted if ridge not in found]
    total = torch.zeros(len(spectrum.counts), len(rows.codes), dtype=spectrum.values.dtype).mT
    size = rows.scores_at_once(spectrum)
    for ridge, level in wanted:
        if ridge not in found:
            now, missing = missing[:size], missing[size:]
            scores = leave_one_out_scores(spectrum, rows, now, corrected=corrected, pull=path.pull)
            found.update(zip(now, scores, strict=True))
        total.add_(found.pop(ridge), alpha=level)
    return total


def averaged_layer(
    spectrum: Spectrum, path: Path, *, corrected: bool
) -> tuple[Float[Tensor, "c d"], Float[Tensor, " c"]]:
    """Weights (on `x / unit - center`) and biases of the averaged rule, prior not yet added."""
    levels = torch.from_numpy(path.sharpness * path.scales * path.weights)
    inverse = levels @ (1 / (spectrum.values + torch.from_numpy(path.ridges)[:, None]))
    weight, bias = linear_layer(spectrum, inverse, corrected=corrected, pull=path.pull)
    return spectrum.basis.back(weight), bias
