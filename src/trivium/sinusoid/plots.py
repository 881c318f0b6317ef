"""Pictures: decay near and far with the place where it stops; H, its form and its offsets."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_number, check_shapes, require
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral import Geometric, Schedule
from trivium.sinusoid.decay import decay, first_zero, noise_floor
from trivium.sinusoid.decay_table import name_schedules
from trivium.sinusoid.relativity import relativity

__all__ = ["plot_decay", "plot_relativity"]

_COLORS = ("#2b6cb0", "#c05621", "#2f855a", "#805ad5", "#b7791f", "#555555")
_CHANCE, _INK = "#e2e2e2", "#555555"
_POINTS = 320
_MOST_HEADS = 8


def plot_decay(
    schedules: Schedule | Sequence[Schedule] | Mapping[str, Schedule] | None = None,
    n_frequencies: int | None = None,
    near: float = 64.0,
    far: float = 1e6,
) -> Any:
    """Draw the decay of schedules up to `near`, and up to `far` on a logarithmic axis.

    A dot marks the first zero, where decay stops, a ring that of the code of n frequencies
    (dotted); the band is ±1/√d, the root mean square of their phases alone.

    Args:
        schedules: One, several, or several by name; `Geometric(10_000)` by default.
        n_frequencies: n; the integral alone by default.
        near: Where the left side ends.
        far: Where the right side ends.

    Returns:
        The two axes.

    Raises:
        ArgumentError: As for `decay`, or ends that do not ascend from 1.
        MissingExtraError: matplotlib is not installed.
    """
    caller = "plot_decay"
    named = name_schedules(caller, Geometric() if schedules is None else schedules)
    close = float(check_number(caller, "near", near, "positive"))
    if not max(1.0, close) < float(check_number(caller, "far", far, "positive")):
        raise ArgumentError(f"{caller}: far must be above near, {close:g}, and 1; got {far!r}")
    pyplot = require("matplotlib.pyplot", "plot", caller)
    _, (left, right) = pyplot.subplots(
        1, 2, figsize=(9.0, 3.4), sharey=True, width_ratios=[2, 3], layout="constrained"
    )
    linear = torch.linspace(0, close, _POINTS, dtype=torch.float64)
    logs = torch.logspace(0, float(torch.tensor(far).log10()), _POINTS, dtype=torch.float64)
    for axes in (left, right):
        axes.axhline(0, color=_INK, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        if n_frequencies is not None:
            floor = noise_floor(n_frequencies)
            axes.axhspan(-floor, floor, color=_CHANCE, linewidth=0, label="±1/√d")
    marks = 0
    for i, (name, plan) in enumerate(named.items()):
        color = _COLORS[i % len(_COLORS)]
        for axes, x in ((left, linear), (right, logs)):
            axes.plot(x, decay(x, plan).detach(), color=color, linewidth=1.5, label=name)
            if n_frequencies is not None:
                finite = decay(x, plan, n_frequencies).detach()
                axes.plot(x, finite, color=color, linewidth=0.7, linestyle=":")
        if n_frequencies is not None:
            soon = first_zero(plan, n_frequencies, limit=far)
            right.plot([soon], [0], "o", color=color, markerfacecolor="white", markersize=5)
        zero = first_zero(plan, limit=far)
        if zero is not None:
            _mark(right, zero, color, -0.3 - 0.07 * (marks % 3), zero > far**0.85)
            marks += 1
    left.set_ylim(-0.5, 1.03)
    left.set_xlabel("distance")
    left.set_ylabel("decay")
    right.set_xscale("log")
    right.set_xlim(1, far)
    right.set_xlabel("distance")
    right.legend(loc="upper right", frameon=False, fontsize="x-small")
    return left, right


def _mark(axes: Any, zero: float, color: str, height: float, late: bool) -> None:
    """Mark a first zero, and say so below where there is room."""
    axes.plot([zero], [0], "o", color=color, markersize=5)
    axes.vlines(zero, height + 0.03, 0, color=color, linewidth=0.8)
    text = f"stops at {zero:,.0f}" if zero >= 100 else f"stops at {zero:.3g}"
    place = {
        "ha": "right" if late else "center",
        "va": "center",
        "fontsize": "x-small",
        "color": color,
    }
    axes.text(zero, height, text, clip_on=True, **place)


def plot_relativity(
    positions: Float[Tensor, "n d"], hessian: Float[Tensor, "*h d d"] | None = None
) -> Any:
    """Draw H, P H Pᵀ, and P H Pᵀ against the offset, with the share that the offset explains.

    Args:
        positions: P, one row for each position in order.
        hessian: H, of one head or of up to 8; the identity by default.

    Returns:
        The axes, heads by three.

    Raises:
        ArgumentError: As for `relativity`, or more than 8 heads.
        ShapeError: As for `relativity`, or heads on more than one axis.
        DataError: As for `relativity`.
        MissingExtraError: matplotlib is not installed.
    """
    caller = "plot_relativity"
    shares = relativity(positions, hessian).reshape(-1)
    P = positions.detach().double().cpu()
    middle = torch.eye(P.shape[1]) if hessian is None else hessian.detach().cpu()
    heads = middle.double()[None] if middle.ndim == 2 else middle.double()
    check_shapes(caller, {"hessian": (heads, "h d d")})
    if len(heads) > _MOST_HEADS:
        raise ArgumentError(f"{caller}: hessian must have at most 8 heads; got {len(heads)}")
    pyplot = require("matplotlib.pyplot", "plot", caller)
    _, grid = pyplot.subplots(
        len(heads), 3, figsize=(9.0, 2.9 * len(heads)), squeeze=False, layout="constrained"
    )
    for i, (one, share) in enumerate(zip(heads, shares.tolist(), strict=True)):
        form = P @ one @ P.mT
        name = "H" if len(heads) == 1 else f"H of head {i}"
        _draw_matrix(grid[i][0], one, name)
        _draw_matrix(grid[i][1], form, "p_mᵀ H p_n")
        _draw_offsets(grid[i][2], form, share)
    return grid


def _draw_matrix(axes: Any, values: Tensor, title: str) -> None:
    bound = float(values.abs().max().clamp_min(1e-30))
    options = {"cmap": "RdBu_r", "vmin": -bound, "vmax": bound, "interpolation": "none"}
    axes.imshow(values.numpy(), **options)
    axes.set_title(f"{title}, from −{bound:.2g} to {bound:.2g}", fontsize="small")
    axes.tick_params(labelsize="x-small")


def _draw_offsets(axes: Any, form: Tensor, share: float) -> None:
    """Draw the mean over each diagonal and the band that its middle 90 % fill."""
    n = len(form)
    offsets = range(-(n - 1), n)
    lines = [form.diagonal(-r) for r in offsets]
    quantiles = torch.tensor([0.05, 0.95], dtype=torch.float64)
    bands = torch.stack([line.quantile(quantiles) for line in lines])
    axes.fill_between(list(offsets), bands[:, 0], bands[:, 1], color=_CHANCE, linewidth=0)
    axes.plot(list(offsets), [float(line.mean()) for line in lines], color=_COLORS[0], linewidth=1)
    axes.set_title(f"{100 * share:.3g} % of the variance is Toeplitz", fontsize="small")
    axes.set_xlabel("offset m − n", fontsize="small")
    axes.tick_params(labelsize="x-small")
    axes.spines[["top", "right"]].set_visible(False)
