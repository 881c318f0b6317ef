"""The one entry: the value of an expectation, and its gradient by the estimator chosen."""

from collections.abc import Callable
from typing import Any

from jaxtyping import Float
from torch import Tensor
from torch.distributions import Distribution

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium._core.families import members
from trivium.expectation.automatic import Automatic
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.problem import Problem

__all__ = ["expect"]


def expect(
    f: Callable[[Any], Any],
    distribution: Distribution,
    estimator: GradientEstimator | str = "auto",
    samples: int = 1,
) -> Float[Tensor, "*lead"]:
    r"""Return $E_{z \sim p}[f(z)]$ by Monte Carlo; its backward is an estimate of the gradient.

    Differentiable with respect to the parameters of the distribution, by the estimator, *and*
    whatever else f uses, directly.

    Args:
        f: Takes samples `(samples, *batch, *event)` and returns `(samples, *lead)`, with `lead` a
            prefix of the batch: one value for each row it has not mixed with others. What it
            reduces is taken to be coupled, and its log-probabilities are added up. For score
            estimators it may leave torch and return numbers of any library.
        distribution: p, any of `torch.distributions` or of `trivium.expectation`.
        estimator: A gradient estimator, or `"auto"`: exact where the support has at most 64
            combinations; through the samples where p is reparameterizable and f a differentiable
            function of them; else the score function with the pooled optimal baseline.
        samples: Draws, at least 1. Randomness is torch's own: seed it with `torch.manual_seed`.

    Returns:
        The estimate, of shape `lead`.

    Raises:
        ArgumentError: An argument breaks its rule, or the estimator cannot serve the distribution.
        ShapeError: f returned another shape.
        DataError: f returned NaN or infinity.

    Cost: `samples` evaluations of f in one call, and the estimator's own.

    Example:
        >>> import torch
        >>> from torch.distributions import Categorical
        >>> logits = torch.zeros(3, requires_grad=True)
        >>> value = expect(lambda z: (z == 2).float(), Categorical(logits=logits))
        >>> value.backward()
        >>> [round(g, 4) for g in logits.grad.tolist()]
        [-0.1111, -0.1111, 0.2222]

    Source: Mohamed, Rosca, Figurnov and Mnih, Monte Carlo gradient estimation in machine learning,
    JMLR 21 (2020).
    """
    if not callable(f):
        raise ArgumentError(f"expect: f must be a function of samples; got {f!r}")
    if not isinstance(distribution, Distribution):
        raise ArgumentError(
            "expect: distribution must be a torch.distributions.Distribution; "
            f"got {type(distribution).__name__}"
        )
    count = int(check_number("expect", "samples", samples, "positive", integer=True))
    # A string first: the compiler of old torch cannot compare a dataclass with one.
    chosen = Automatic() if isinstance(estimator, str) and estimator == "auto" else estimator
    if not isinstance(chosen, GradientEstimator):
        raise ArgumentError(
            f"expect: estimator must be 'auto' or a gradient estimator; got {estimator!r}",
            remedy="Pass an instance, such as Score().",
        )
    problem = Problem(f, distribution, count)
    why = chosen.serves(problem)
    if why:
        raise ArgumentError(
            f"expect: {type(chosen).__name__} cannot serve {type(distribution).__name__}: {why}",
            remedy=f"These can: {', '.join(_serving(problem))}.",
        )
    if count < chosen.least_samples:
        raise ArgumentError(
            f"expect: samples must be at least {chosen.least_samples} for {chosen!r}; got {count}"
        )
    return chosen.estimate(problem)


def _serving(problem: Problem) -> list[str]:
    """Name the estimators of the family that can serve, `"auto"` first."""
    family = members("trivium.expectation", GradientEstimator)  # type: ignore[type-abstract]
    serving = (kind for kind in family if any(not one.serves(problem) for one in kind.examples()))
    return ["'auto'", *(f"{kind.__name__}()" for kind in serving if kind is not Automatic)]
