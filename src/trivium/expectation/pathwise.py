"""The gradient through the samples: reparameterization."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Size, Tensor

from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.first_order import mean_through
from trivium.expectation.problem import Problem

__all__ = ["Pathwise"]


@dataclass(frozen=True)
class Pathwise(GradientEstimator):
    r"""Differentiate through $z = g_\theta(\varepsilon)$: $E[\nabla_z f \, \nabla_\theta g]$.

    For the normal $z = \mu + \sigma \varepsilon$; for the gamma, beta, Dirichlet and others torch
    has the implicit derivative of its `rsample`, which is right to the first order only.

    f must be a differentiable function of z, without jumps: a step in f has slope zero almost
    everywhere, and this estimator cannot see it.

    Raises:
        ArgumentError: In use, an f whose values have no gradient.

    Cost: one call of f, its backward.

    Example:
        >>> import torch
        >>> from torch.distributions import Normal
        >>> from trivium.expectation import expect
        >>> mean = torch.tensor(2.0, requires_grad=True)
        >>> expect(lambda z: 3 * z, Normal(mean, 1.0), Pathwise(), samples=5).backward()
        >>> mean.grad
        tensor(3.)

    Source:
        Kingma and Welling, Auto-encoding variational Bayes (2014); Figurnov, Mohamed and Mnih,
        Implicit reparameterization gradients (2018).
    """

    differentiates = True

    @classmethod
    def examples(cls) -> Sequence["Pathwise"]:
        """Return an instance."""
        return (cls(),)

    def serves(self, problem: Problem) -> str:
        """Ask for samples with a gradient."""
        if problem.distribution.has_rsample:
            return ""
        return "its samples have no gradient (rsample)"

    def estimate(self, problem: Problem) -> Float[Tensor, "*lead"]:
        """Average f over reparameterized draws; see `GradientEstimator.estimate`."""
        z = problem.distribution.rsample(Size((problem.samples,)))
        return mean_through(problem, z, "Pathwise")
