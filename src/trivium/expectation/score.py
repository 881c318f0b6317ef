"""The gradient through the log-probability: f may be anything that can be computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from trivium.expectation.baseline import Baseline, Draws, baseline_of, check_baseline
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.problem import Problem

__all__ = ["Score"]


@dataclass(frozen=True)
class Score(GradientEstimator):
    r"""Score function: $\nabla L = E[(f(z) - b) \nabla \log p(z)]$, any f, any p with a density.

    The value returned is $\frac1s \sum w f + (1 - w) b$ with $w = \exp(l - \mathrm{stop}(l))$ and
    l the log-probability: the mean of f, and derivatives of every order that are right, also with
    respect to what f uses directly.

    Args:
        baseline: b. `"optimal"`: $E[f \lVert \nabla \log p \rVert^2] / E[\lVert \nabla \log p
            \rVert^2]$, pooled over all rows and samples but the one at hand. `"mean"`: the same
            without weights; it can *raise* the variance. `"leave-one-out"`: the mean of the other
            samples of the row. `"mode"`, `"centre"`: f at the mode, at the mean (one more call).
            `"none"`. Or something to call without arguments for a value that fits lead; a module's
            parameters are fitted to f by least squares along with the gradient.

    Raises:
        ArgumentError: An unknown baseline.

    Cost: one call of f; no memory for a graph of f where f has no parameters.

    Example:
        >>> import torch
        >>> from torch.distributions import Bernoulli
        >>> from trivium.expectation import expect
        >>> logits = torch.zeros(1000, requires_grad=True)
        >>> hits = expect(lambda z: (z > 0.5).float(), Bernoulli(logits=logits), Score(), 16)
        >>> hits.sum().backward()
        >>> bool((logits.grad.mean() - 0.25).abs() < 0.02)
        True

    Source:
        Williams, Machine Learning 8 (1992); Greensmith, Bartlett and Baxter, JMLR 5 (2004),
        theorem 8, for the optimal baseline; Foerster et al., DiCE (2018), and Mao et al. (2019) for
        the surrogate.
    """

    baseline: Baseline = "optimal"

    def __post_init__(self) -> None:
        check_baseline("Score", self.baseline)

    @property
    def least_samples(self) -> int:  # type: ignore[override]
        """Two for the mean of the others."""
        return 2 if self.baseline == "leave-one-out" else 1

    @classmethod
    def examples(cls) -> Sequence["Score"]:
        """Return one for each baseline."""
        return tuple(cls(name) for name in ("optimal", "mean", "leave-one-out", "none", "mode"))

    def serves(self, problem: Problem) -> str:
        """Any distribution with a log-probability."""
        return ""

    def estimate(self, problem: Problem) -> Float[Tensor, "*lead"]:
        """Average the surrogate; see `GradientEstimator.estimate`."""
        z = problem.draw()
        values = problem.values(z)
        logs = problem.log_prob(z, values.ndim - 1)
        draws = Draws(problem, z, values.detach())
        base = baseline_of(self.baseline, draws)
        weights = (logs - logs.detach()).exp()
        found = (weights * values + (1 - weights) * base.detach()).mean(0)
        return found + self._fit(base, draws.values) if base.requires_grad else found

    def _fit(self, base: Tensor, values: Tensor) -> Tensor:
        """Zero, with the gradient of the squared error of a learned baseline."""
        error = (base - values).square().mean(0)
        return error - error.detach()
