"""Spectra on positions: a schedule of frequencies is the quantile function of a spectral density.

By Bochner's theorem a stationary kernel is the characteristic function of its spectral density,
κ(r) = ∫₀¹ exp(i r θ(t)) dt with θ the density's quantile function. Sinusoidal codes, rotary
position encodings and date features all choose a θ; what it does to distance is `kernel`.
"""

from trivium.kernel.spectral.angles import cos_sin
from trivium.kernel.spectral.code import SinusoidalCode, Spectral
from trivium.kernel.spectral.geometric import Geometric
from trivium.kernel.spectral.power import Power, Uniform
from trivium.kernel.spectral.quantiles import Quantiles
from trivium.kernel.spectral.schedule import Schedule
from trivium.kernel.spectral.trained import Trained

__all__ = [
    "Geometric",
    "Power",
    "Quantiles",
    "Schedule",
    "SinusoidalCode",
    "Spectral",
    "Trained",
    "Uniform",
    "cos_sin",
]
