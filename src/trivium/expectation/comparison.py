"""The result of a comparison of gradient estimators: figures, a table, a plot, a choice."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from trivium._core.checks import check_choice, require
from trivium._core.errors import ArgumentError
from trivium.expectation.estimator import GradientEstimator

__all__ = ["Comparison", "EstimatorFigures"]

_COSTS = ("evaluations", "time")
_INK, _OTHER = "#2f5d8a", "#c0562f"
_LONG = 24
_ROUNDING = 1e-10  # of the largest deviation


@dataclass(frozen=True)
class EstimatorFigures:
    """What one estimator was measured to be.

    Args:
        name: As shown.
        estimator: The estimator.
        unbiased: Whether it declares to be.
        seen_biased: Whether its bias is there beyond chance (p < 1e-4).
        bias: Length of the bias of the gradient, as seen in the direction found on other draws;
            NaN where there is nothing to measure it against.
        bias_error: Its standard error.
        deviation: Square root of the trace of the covariance of the gradient.
        cosine_of_mean: Between the mean gradient and the right one.
        cosine_of_draw: Between a single gradient and the right one, on average.
        evaluations: Rows that f was given in one call.
        seconds: CPU time of one call with its backward.
    """

    name: str
    estimator: GradientEstimator
    unbiased: bool
    seen_biased: bool
    bias: float
    bias_error: float
    deviation: float
    cosine_of_mean: float
    cosine_of_draw: float
    evaluations: float
    seconds: float

    def price(self, cost: str) -> float:
        """Return variance times cost: what an equal precision costs.

        Raises:
            ArgumentError: An unknown cost.
        """
        paid = check_choice("Comparison", "cost", cost, _COSTS)
        return self.deviation**2 * (self.evaluations if paid == "evaluations" else self.seconds)


@dataclass(frozen=True)
class Comparison:
    """Gradient estimators measured on one expectation.

    Args:
        rows: Figures, in the order given.
        samples: Draws of each call.
        repeats: Calls of each.
        seed: Seed of the draws.
        reference: What the gradients were measured against: `"exact"`, or the name of the
            unbiased estimator of least variance, or `""`.
        skipped: Estimators that could not serve, with the reason.
    """

    rows: Sequence[EstimatorFigures]
    samples: int
    repeats: int
    seed: int
    reference: str
    skipped: dict[str, str] = field(default_factory=dict)

    def best(self, cost: str = "evaluations") -> EstimatorFigures:
        """Return the estimator of least variance times cost among the unbiased.

        Unbiased is what declares to be and was not seen to be biased. CPU time is noisy:
        evaluations are the same on every machine. Of estimators whose deviation is 0, or rounding
        beside the largest, the one that costs least is the best.

        Args:
            cost: `"evaluations"` of f, or `"time"`.

        Raises:
            ArgumentError: An unknown cost, or no unbiased estimator.
        """
        check_choice("Comparison.best", "cost", cost, _COSTS)
        fair = [row for row in self.rows if row.unbiased and not row.seen_biased]
        if not fair:
            raise ArgumentError(
                "Comparison.best: an unbiased estimator must be among those compared; none is",
                remedy="Add Score().",
            )
        rounding = _ROUNDING * max(row.deviation for row in self.rows)

        def price(row: EstimatorFigures) -> tuple[float, float]:
            own = row.evaluations if cost == "evaluations" else row.seconds
            return (row.price(cost) if row.deviation > rounding else 0.0), own

        return min(fair, key=price)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a dictionary for each estimator, with both prices; not a number is `None`."""
        found = []
        for row in self.rows:
            plain = {f.name: getattr(row, f.name) for f in fields(row) if f.name != "estimator"}
            plain["variance_times_evaluations"] = row.price("evaluations")
            plain["variance_times_seconds"] = row.price("time")
            found.append(
                {
                    name: None if isinstance(value, float) and math.isnan(value) else value
                    for name, value in plain.items()
                }
            )
        return found

    def table(self) -> str:
        """Return a Markdown table that also reads well as plain text, and below it `notes`."""
        return "\n".join([self.grid(), *(f"\n{note}" for note in self.notes())])

    def notes(self) -> list[str]:
        """Return what the column of biases shows, or why it is empty, a sentence each."""
        if self.reference == "exact":
            found = ["The bias is that against the exact gradient."]
        elif self.reference:
            found = [
                f"The bias is that against the mean of {self.reference}, the unbiased estimator "
                "of least variance, as the exact one could not be had; its own is not shown."
            ]
        else:
            found = [
                "No bias and no cosine are shown: the exact gradient could not be had, and nothing "
                "unbiased is among the estimators. Add Score() to measure against it."
            ]
        if any(row.seen_biased for row in self.rows):
            found.append("*: biased beyond chance (p < 1e-4).")
        return found

    def grid(self) -> str:
        """Return the table alone; a bias that is there beyond chance is marked with `*`."""
        head = (
            "estimator",
            "bias",
            "± se",
            "deviation",
            "cos mean",
            "cos draw",
            "rows of f",
            "ms",
            "var × rows",
            "var × ms",
        )
        lines = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        rules = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
        return "\n".join(
            "| "
            + " | ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(line, widths, strict=True))
            )
            + " |"
            for line in (head, rules, *lines[1:])
        )

    def plot(self, axes: Any = None) -> Any:
        """Draw bias, deviation and time of each estimator; biased ones in another color.

        Args:
            axes: Three matplotlib axes; new ones by default.

        Returns:
            The axes.

        Raises:
            ArgumentError: Not three axes.
            MissingExtraError: matplotlib is not installed (extra `plot`).
        """
        pyplot = require("matplotlib.pyplot", "plot", "Comparison.plot")
        if axes is None:
            height = 1.2 + 0.3 * len(self.rows)
            _, axes = pyplot.subplots(1, 3, figsize=(10, height), sharey=True, layout="constrained")
        if len(axes) != 3:
            raise ArgumentError(f"Comparison.plot: axes must be three; got {len(axes)}")
        places = list(range(len(self.rows)))
        colors = [_OTHER if _is_biased(row) else _INK for row in self.rows]
        against = f"\nagainst {_shortened(self.reference)}"
        _draw_bias(axes[0], self.rows, colors)
        axes[0].set_xlabel(f"bias ± 2 se{against}" if self.reference else "bias: not known")
        _draw_deviation(axes[1], self.rows, colors)
        axes[1].set_xlabel(f"standard deviation,\n{self.samples} samples")
        axes[2].barh(places, [1e3 * row.seconds for row in self.rows], color=colors)
        axes[2].set_xlabel("CPU ms a call")
        axes[0].set_yticks(places, [row.name for row in self.rows])
        axes[0].set_ylim(len(self.rows) - 0.4, -0.6)
        for axis in axes:
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(axis="y", length=0)
            axis.grid(axis="y", color="0.9", linewidth=0.8)
            axis.set_axisbelow(True)
        return axes


def _is_biased(row: EstimatorFigures) -> bool:
    return row.seen_biased or not row.unbiased


def _shortened(name: str) -> str:
    return name if len(name) <= _LONG else name[: _LONG - 1] + "…"


def _draw_bias(axis: Any, rows: Sequence[EstimatorFigures], colors: list[str]) -> None:
    axis.axvline(0, color="0.6", linewidth=0.8)
    for place, (row, color) in enumerate(zip(rows, colors, strict=True)):
        if not math.isnan(row.bias):
            axis.errorbar(row.bias, place, xerr=2 * row.bias_error, fmt="o", color=color, capsize=3)


def _draw_deviation(axis: Any, rows: Sequence[EstimatorFigures], colors: list[str]) -> None:
    """On a logarithmic scale where they differ by a factor of 20; rounding errors by the edge."""
    most = max(row.deviation for row in rows)
    shown = [i for i, row in enumerate(rows) if row.deviation > _ROUNDING * most]
    if shown:
        found = [rows[i].deviation for i in shown]
        if max(found) > 20 * min(found):
            axis.set_xscale("log")
            # Labels at powers of ten alone: those between them would overlap.
            axis.xaxis.set_minor_formatter(lambda *_: "")
        else:
            axis.set_xlim(0, 1.1 * max(found))
        axis.scatter(found, shown, color=[colors[i] for i in shown])
    for place in {*range(len(rows))} - {*shown}:
        at = axis.get_yaxis_transform()
        axis.text(
            0.02,
            place,
            "≈ 0" if rows[place].deviation else "0",
            transform=at,
            va="center",
            color=colors[place],
        )


def _cells(row: EstimatorFigures) -> tuple[str, ...]:
    numbers = (
        row.deviation,
        row.cosine_of_mean,
        row.cosine_of_draw,
        row.evaluations,
        1e3 * row.seconds,
        row.price("evaluations"),
        1e3 * row.price("time"),
    )
    bias = _number(row.bias, ".2g") + ("*" if row.seen_biased else "")
    kinds = (".3g", ".4f", ".3f", ",.0f", ".3g", ".3g", ".3g")
    return (
        row.name.replace("|", "\\|"),
        bias,
        _number(row.bias_error, ".1g"),
        *(_number(value, kind) for value, kind in zip(numbers, kinds, strict=True)),
    )


def _number(value: float, kind: str) -> str:
    return "" if math.isnan(value) else format(value, kind)
