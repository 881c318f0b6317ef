"""Shrinkage of the within-class covariance without leave-one-out: Ledoit-Wolf, OAS, fixed, none.

`(1 - λ) S + λ v I` with S = W/n and v = tr S / d is, up to the factor `1 - λ`, a ridge
`g = λ n v / (1 - λ)` on W; the factor goes into the temperature.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.closedform.spectrum import Spectrum

__all__ = ["floor_of", "ledoit_wolf", "oas", "ridge_of"]

_MOST = 1 - 1e-6


def ledoit_wolf(
    spectrum: Spectrum, residual: Float[Tensor, "n r"], weights: Float[Tensor, " n"]
) -> float:
    """Return λ of Ledoit and Wolf for residuals from class means.

    `λ = min(b, δ) / δ` with `δ = ‖S‖² - d v²` and `b = Σ ‖r_i‖⁴ / n² - ‖S‖² / n`.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance
    matrices, 2004.
    """
    total, d = spectrum.total, len(spectrum.center)
    squares = float((spectrum.values**2).sum()) / total**2
    mean = float(spectrum.values.sum()) / (total * d)
    spread = squares - d * mean**2
    fourth = float((weights * (residual**2).sum(1) ** 2).sum()) / total**2
    noise = fourth - squares / total
    return 0.0 if spread <= 0 else min(max(noise, 0.0), spread) / spread


def oas(spectrum: Spectrum) -> float:
    """Return λ of the oracle approximating shrinkage.

    Source: Chen, Wiesel, Eldar and Hero, Shrinkage algorithms for MMSE covariance estimation,
    2010, equation 23 (in scikit-learn's form).
    """
    total, d = spectrum.total, len(spectrum.center)
    alpha = float((spectrum.values**2).sum()) / total**2 / d**2
    mean2 = (float(spectrum.values.sum()) / (total * d)) ** 2
    bottom = (total + 1) * (alpha - mean2 / d)
    return 1.0 if bottom <= 0 else min((alpha + mean2) / bottom, 1.0)


def ridge_of(spectrum: Spectrum, shrinkage: float) -> tuple[float, float]:
    """Ridge and inverse temperature that equal a shrinkage λ (at most 1 - 1e-6)."""
    share = min(shrinkage, _MOST)
    mean = spectrum.mean_variance * spectrum.freedom
    return share * mean / (1 - share), 1 / (1 - share)


def floor_of(spectrum: Spectrum) -> float:
    """Smallest ridge that rounding lets us see: below it a singular scatter is not inverted."""
    largest = max(float(spectrum.values.max()) if len(spectrum.values) else 0.0, 0.0)
    eps = torch.finfo(spectrum.values.dtype).eps
    tiny = eps * spectrum.mean_variance
    return max(eps * max(len(spectrum.values), 1) * largest, tiny)
