"""Why sinusoids: what frequencies do to distance, and how much of a model is relative position."""

from trivium.sinusoid.curvature import LossHessian
from trivium.sinusoid.decay import decay, envelope, first_zero, logarithmic_law, noise_floor
from trivium.sinusoid.decay_table import DecayRow, decay_table
from trivium.sinusoid.fit import FittedDecay, fit
from trivium.sinusoid.heads import head_hessian
from trivium.sinusoid.hessian import hessian
from trivium.sinusoid.plots import plot_decay, plot_relativity
from trivium.sinusoid.relativity import relativity, toeplitz_share
from trivium.sinusoid.series import FittedSeries, fit_series

__all__ = [
    "DecayRow",
    "FittedDecay",
    "FittedSeries",
    "LossHessian",
    "decay",
    "decay_table",
    "envelope",
    "first_zero",
    "fit",
    "fit_series",
    "head_hessian",
    "hessian",
    "logarithmic_law",
    "noise_floor",
    "plot_decay",
    "plot_relativity",
    "relativity",
    "toeplitz_share",
]
