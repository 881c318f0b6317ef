"""Baselines of the score function: what may be taken off f without changing the mean."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.checks import looks_finite
from trivium._core.errors import ArgumentError, ShapeError
from trivium.expectation.groups import group_size, middle
from trivium.expectation.problem import Problem
from trivium.expectation.score_norm import squared_score

__all__ = ["BASELINES", "Baseline", "Draws", "baseline_of", "check_baseline"]

BASELINES = ("optimal", "mean", "leave-one-out", "none", "mode", "centre")
Baseline = str | nn.Module | Callable[[], Any]


@dataclass(frozen=True)
class Draws:
    """Samples with what f made of them.

    Args:
        problem: The expectation.
        z: Samples.
        values: f of each, `(s, *lead)`, without a gradient.
        paired: Whether sample i and sample i + s/2 were drawn together.
    """

    problem: Problem
    z: Any
    values: Float[Tensor, "s *lead"]
    paired: bool = False

    @property
    def n_lead(self) -> int:
        """Number of axes of a value."""
        return self.values.ndim - 1

    def tied(self, found: Float[Tensor, "s *lead"]) -> Float[Tensor, "s *lead"]:
        """Sum over the samples that a baseline for the one at hand must leave out."""
        if self.paired:
            return found + found.roll(len(found) // 2, 0)
        if self.together == 1:
            return found
        return found.unflatten(0, (-1, self.together)).sum(1).repeat_interleave(self.together, 0)

    @property
    def together(self) -> int:
        """How many samples are drawn together."""
        return 2 if self.paired else group_size(self.problem.distribution)


def check_baseline(caller: str, value: Any) -> Baseline:
    """Return a name or something to call.

    Raises:
        ArgumentError: It is neither.
    """
    called = callable(value) and not isinstance(value, type)
    if called or (isinstance(value, str) and value in BASELINES):
        return value
    names = ", ".join(repr(name) for name in BASELINES)
    raise ArgumentError(f"{caller}: baseline must be one of {names} or a module; got {value!r}")


def baseline_of(kind: Baseline, draws: Draws) -> Float[Tensor, "#s *lead"]:
    """Return b for each sample, never depending on that sample or on those drawn with it.

    Raises:
        ArgumentError: `"leave-one-out"` with one sample, a distribution without mode or mean, or
            a module that returns no finite number.
        ShapeError: A module's value does not fit.
    """
    if not isinstance(kind, str):
        return _called(kind, draws)
    if kind == "optimal":
        return _pooled(draws, squared_score(draws.problem, draws.z, draws.n_lead))
    if kind == "mean":
        return _pooled(draws, torch.ones_like(draws.values))
    if kind == "leave-one-out":
        return _own_row(draws)
    if kind in ("mode", "centre"):
        return _at_a_point(kind, draws)
    return torch.zeros_like(draws.values[:1])


def _pooled(draws: Draws, weights: Float[Tensor, "s *lead"]) -> Float[Tensor, "s *lead"]:
    r"""$\sum w f / \sum w$ over the samples of all rows but the one at hand and its pair; else 0.

    One number for the whole batch: from the few samples of one row the ratio is too noisy to help.
    """
    total, products = weights.sum(), (weights * draws.values).sum()
    rest = total - draws.tied(weights)
    found = (products - draws.tied(weights * draws.values)) / rest.clamp_min(
        torch.finfo(rest.dtype).tiny
    )
    # Rounding of a difference of sums is not evidence.
    return torch.where(rest > 1e-6 * total, found, 0.0).to(draws.values.dtype)


def _own_row(draws: Draws) -> Float[Tensor, "s *lead"]:
    count, own = len(draws.values), draws.together
    if count <= own:
        raise ArgumentError(
            f"expect: baseline 'leave-one-out' must have at least {2 * own} samples; got {count}",
            remedy="Raise samples, or pool over rows with baseline='optimal'.",
        )
    return (draws.values.sum(0) - draws.tied(draws.values)) / (count - own)


def _at_a_point(kind: str, draws: Draws) -> Float[Tensor, "1 *lead"]:
    """The value at the likeliest or at the mean sample: one more call of f."""
    name = "mode" if kind == "mode" else "mean"
    try:
        point = middle(draws.problem.distribution, name)
    except NotImplementedError as error:
        raise ArgumentError(
            f"expect: baseline {kind!r} must have a distribution with a {name}; "
            f"got {type(draws.problem.distribution).__name__}"
        ) from error
    if isinstance(point, Tensor) and not looks_finite(point):
        raise ArgumentError(
            f"expect: baseline {kind!r} must have a distribution with a finite {name}; "
            f"got {name} {_first_bad(point)} of {type(draws.problem.distribution).__name__}",
            remedy="Use another baseline, such as 'optimal'.",
        )
    with torch.no_grad():
        return draws.problem.values(point, 1)


def _first_bad(values: Tensor) -> float:
    return float(values[~values.isfinite()][0])


def _called(baseline: Callable[[], Any], draws: Draws) -> Float[Tensor, "#s *lead"]:
    answer = baseline()
    try:
        found = torch.as_tensor(answer)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"expect: baseline must return a number or a tensor; got {type(answer).__name__}"
        ) from error
    if not looks_finite(found):
        raise ArgumentError(f"expect: baseline must return finite numbers; got {_first_bad(found)}")
    try:
        return found.to(draws.values).expand(draws.values.shape[1:])[None]
    except RuntimeError as error:
        raise ShapeError(
            f"expect: baseline must return a value for each of {tuple(draws.values.shape[1:])}; "
            f"got shape {tuple(found.shape)}"
        ) from error
