"""The gradient through the log-probability: f may be anything that can be computed."""

from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Distribution,
    Exponential,
    HalfCauchy,
    HalfNormal,
    Pareto,
    TransformedDistribution,
    Uniform,
)

from trivium._core.checks import check_choice
from trivium._core.errors import ArgumentError
from trivium.expectation.antithetic import antithetic_score, cannot_oppose
from trivium.expectation.baseline import Baseline, Draws, baseline_of, check_baseline
from trivium.expectation.control import (
    Control,
    Rebar,
    cannot_be_controlled,
    check_control,
    controlled_score,
)
from trivium.expectation.distinct import cannot_be_distinct, distinct_score
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.factors import factor_of
from trivium.expectation.local_score import cannot_be_local, local_score
from trivium.expectation.problem import Problem
from trivium.expectation.relaxed import Relaxed
from trivium.expectation.surrogate import surrogate

__all__ = ["Score"]

_OWN_BASELINE = ("coupling='distinct'", "local=True")


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
            parameters are fitted to f by least squares along with the gradient. With pairs it
            leaves out both members, with a control it is that of what the control leaves of f.
        coupling: How the samples hang together. `"independent"`. `"antithetic"`: opposed pairs,
            for Bernoulli (DisARM) and what is symmetric about a location. `"distinct"`: without
            replacement, for classes; exact where samples reach the number of classes; its baseline
            is built in.
        control: A control variate for Bernoulli and one-hot classes: `Relaxed(temperature)`, f at a
            softened draw (REBAR); `Rebar()`, the same with scale and temperature learned; a module
            of the perturbed logits (RELAX), `(s, *batch)` for Bernoulli, `(s, *batch, classes)`
            else, that returns the shape of f. What learns gets the gradient of the variance.
        local: Whether each coupled draw is summed over all its values, given the others: for
            Bernoulli and classes, far less variance. It needs no baseline.

    Raises:
        ArgumentError: An unknown choice, or two that exclude each other.

    Cost:
        One call of f; no memory for a graph of f where f has no parameters. control=Relaxed: three
        calls, two with a backward. local: 1 + K r evaluations where f couples r draws of K values.

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
        the surrogate. For coupling, control and local: `antithetic_score`, `distinct_score`,
        `controlled_score`, `local_score`.
    """

    baseline: Baseline = "optimal"
    coupling: str = "independent"
    control: Control | None = None
    local: bool = False

    def __post_init__(self) -> None:
        check_baseline("Score", self.baseline)
        check_choice("Score", "coupling", self.coupling, ("independent", "antithetic", "distinct"))
        check_control("Score", self.control)
        if not isinstance(self.local, bool):
            raise ArgumentError(f"Score: local must be True or False; got {self.local!r}")
        means = [name for name, used in self._means().items() if used]
        if len(means) > 1:
            raise ArgumentError(f"Score: only one of {' and '.join(means)} must be chosen")
        if means and means[0] in _OWN_BASELINE and self.baseline not in ("optimal", "none"):
            raise ArgumentError(
                f"Score: baseline must be left out with {means[0]}, which has its own; "
                f"got {self.baseline!r}"
            )

    def _means(self) -> dict[str, bool]:
        return {
            "coupling='antithetic'": self.coupling == "antithetic",
            "coupling='distinct'": self.coupling == "distinct",
            "control": self.control is not None,
            "local=True": self.local,
        }

    @property
    def least_samples(self) -> int:  # type: ignore[override]
        """Two for the mean of the others, for a pair, for a set; four for the other pairs."""
        others = 2 if self.baseline == "leave-one-out" else 1
        return others if self.coupling == "independent" else 2 * others

    @property
    def differentiates(self) -> bool:  # type: ignore[override]
        """Where f at a softened draw is the control."""
        return isinstance(self.control, (Relaxed, Rebar))

    @classmethod
    def examples(cls) -> Sequence["Score"]:
        """Return one for each baseline, coupling and control."""
        baselines = ("optimal", "mean", "leave-one-out", "none", "mode")
        return (
            *(cls(name) for name in baselines),
            cls(coupling="antithetic"),
            cls("leave-one-out", coupling="antithetic"),
            cls(coupling="distinct"),
            cls(control=Relaxed(0.5)),
            cls(control=Rebar(0.5)),
            cls(local=True),
        )

    def serves(self, problem: Problem) -> str:
        """Any distribution with a log-probability; fewer with a coupling, a control or local."""
        if self.local:
            return cannot_be_local(problem.distribution)
        if self.control is not None:
            return cannot_be_controlled(problem.distribution)
        if self.coupling == "antithetic":
            return cannot_oppose(problem.distribution)
        if self.coupling == "distinct":
            return cannot_be_distinct(problem.distribution)
        return _moves_its_support(problem.distribution)

    def estimate(self, problem: Problem) -> Float[Tensor, "*lead"]:
        """Average the surrogate; see `GradientEstimator.estimate`."""
        if self.local:
            return local_score(problem)
        if self.control is not None:
            return controlled_score(problem, self.control, self.baseline)
        if self.coupling == "antithetic":
            return antithetic_score(problem, self.baseline)
        if self.coupling == "distinct":
            return distinct_score(problem)
        z = problem.draw()
        values = problem.values(z)
        logs = problem.log_prob(z, values.ndim - 1)
        return surrogate(
            values, logs, baseline_of(self.baseline, Draws(problem, z, values.detach()))
        )


def _moves_its_support(distribution: Distribution) -> str:
    """Say so where a parameter shifts what has a density: its score knows nothing of that."""
    base = factor_of(distribution)
    moved = False
    if isinstance(base, (Uniform, Pareto)):
        bounds = vars(base.support).values()
        moved = any(isinstance(bound, Tensor) and bound.requires_grad for bound in bounds)
    elif type(base) is TransformedDistribution:
        moved = _moved_by_transforms(base)
    return "its parameters move the support, which its log-probability does not show" * moved


def _moved_by_transforms(distribution: TransformedDistribution) -> bool:
    """Whether an edge with a density is shifted, or is away from 0 and scaled, with a gradient."""
    base = factor_of(distribution.base_dist)
    moved = bool(_moves_its_support(base))
    if not isinstance(base, (Uniform, Exponential, HalfNormal, HalfCauchy)):
        return moved
    at_zero = not isinstance(base, Uniform)
    for each in distribution.transforms:
        if not isinstance(each, AffineTransform):  # it may send the edge to infinity
            break
        moved |= bool(getattr(each.loc, "requires_grad", False))
        moved |= bool(getattr(each.scale, "requires_grad", False)) and not at_zero
        at_zero &= not isinstance(each.loc, Tensor) and each.loc == 0
    return moved
