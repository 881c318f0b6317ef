"""What a gradient estimator is: a frozen choice that turns draws into a value with a gradient."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from trivium.expectation.problem import Problem

__all__ = ["GradientEstimator"]


@dataclass(frozen=True)
class GradientEstimator(ABC):
    """Base of the gradient estimators of an expectation.

    A member answers `estimate`: the Monte-Carlo mean of f over its draws, whose backward is the
    estimate of the gradient. What it is, it declares; the conformance laws hold it to that.

    Attributes:
        unbiased: The mean of the gradient over draws is the gradient.
        orders: Derivatives that are right; a biased member refuses the second.
        differentiates: Whether f must be a differentiable function of its samples.
        least_samples: Fewest samples that it can work with.
    """

    unbiased = True
    orders = 3
    differentiates = False
    least_samples = 1

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence["GradientEstimator"]:
        """Return a few small instances for conformance tests and the catalog."""

    @abstractmethod
    def serves(self, problem: Problem) -> str:
        """Return why it cannot serve the distribution, or an empty string when it can."""

    @abstractmethod
    def estimate(self, problem: Problem) -> Float[Tensor, "*lead"]:
        """Return the value, with the gradient estimate as its backward.

        Raises:
            ArgumentError: f or the distribution does not fit.
            ShapeError: f returned another shape.
            DataError: f returned a value that is not finite.
        """
