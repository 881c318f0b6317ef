"""Laws that every gradient estimator keeps; an estimator of your own is held to the same."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from trivium._core.errors import TriviumError
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.exact import Exact
from trivium.expectation.expect import expect

__all__ = ["ESTIMATOR_LAWS", "GradientCase", "check_gradient_estimator", "mean_bound"]

ALARM = 1e-6  # probability that a right estimator is accused by one of the statistical laws


@dataclass(frozen=True)
class GradientCase:
    """An expectation that an estimator is held to.

    Args:
        distribution: Distribution of a parameter `(rows, *p)`, with a batch that begins with rows.
        f: Function of samples `(s, rows, ...)` with values `(s, rows, *lead)` in float64.
        theta: The parameter, `(*p)` in float64: every row has the same.
        exact: E[f] as a differentiable function of `(1, *p)`, `(1, *lead)`; by default by listing
            the support.
        rows: Independent repetitions.
    """

    distribution: Callable[[Tensor], Distribution]
    f: Callable[[Tensor], Tensor]
    theta: Tensor
    exact: Callable[[Tensor], Tensor] | None = None
    rows: int = 4000

    def leaf(self, rows: int) -> Tensor:
        """Return the parameter for so many rows, to be differentiated by."""
        theta = self.theta.detach().double()
        return theta.expand(rows, *theta.shape).clone().requires_grad_()

    def value(
        self,
        estimator: GradientEstimator,
        leaf: Tensor,
        gain: Tensor | float = 1.0,
        samples: int | None = None,
    ) -> Tensor:
        """Estimate with `gain` times f, seeded; by default with 2 samples, or as many it needs."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(20260101)
            count = max(2, estimator.least_samples) if samples is None else samples
            return expect(lambda z: gain * self.f(z), self.distribution(leaf), estimator, count)

    def truth(self, leaf: Tensor) -> Tensor:
        """Return E[f] of one row."""
        if self.exact is not None:
            return self.exact(leaf)
        return expect(self.f, self.distribution(leaf), Exact(budget=1 << 16))


Law = Callable[[GradientEstimator, GradientCase], None]


def check_gradient_estimator(
    estimator: GradientEstimator,
    distribution: Callable[[Tensor], Distribution],
    f: Callable[[Tensor], Tensor],
    theta: Tensor,
    exact: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Hold an estimator to every law.

    Three laws are statistical: means of 4,000 independent estimates against what is exact, by
    `mean_bound` at 1e-6 a law, so that a right estimator is accused with a probability of about
    3e-6. A bias is seen from 0.12 of the standard deviation of one estimate where values are
    bounded, from 0.4 where tails are long. The seed is fixed: the answer is the same each time.

    Args:
        estimator: The estimator.
        distribution: See `GradientCase`.
        f: See `GradientCase`; differentiable where the estimator asks for it.
        theta: See `GradientCase`.
        exact: See `GradientCase`.

    Raises:
        AssertionError: A law is broken; the message says which and by how much.

    Cost: about ten estimates, of 4,000 rows, and their derivatives to the third order.

    Example:
        >>> from torch.distributions import Bernoulli
        >>> from trivium.expectation import Score
        >>> at = torch.tensor([0.3, -1.0])
        >>> by_logits = lambda theta: Bernoulli(logits=theta)
        >>> check_gradient_estimator(Score(), by_logits, lambda z: z.sum(-1) ** 2, at)
    """
    case = GradientCase(distribution, f, theta, exact)
    for law in ESTIMATOR_LAWS:
        law(estimator, case)


def value_is_right(estimator: GradientEstimator, case: GradientCase) -> None:
    """The mean of the value is the expectation."""
    if estimator.unbiased:
        value = case.value(estimator, case.leaf(case.rows)).detach()
        _agrees(estimator, "the value", value, case.truth(case.leaf(1)).detach())


def derivatives_are_right(estimator: GradientEstimator, case: GradientCase) -> None:
    """The mean of each derivative that is declared is that of the expectation."""
    if not estimator.unbiased:
        _holds(estimator.orders == 1, estimator, "a biased estimator must declare orders = 1")
        return
    leaf, one = case.leaf(case.rows), case.leaf(1)
    found = _derivatives(case.value(estimator, leaf), leaf, estimator.orders)
    exact = _derivatives(case.truth(one), one, estimator.orders)
    for order, (ours, theirs) in enumerate(zip(found, exact, strict=True), 1):
        _agrees(estimator, f"derivative {order}", ours, theirs)


def further_derivatives_are_refused(estimator: GradientEstimator, case: GradientCase) -> None:
    """What has one order only raises on the second: it must not return what means nothing."""
    if estimator.orders > 1:
        return
    leaf = case.leaf(2)
    value = case.value(estimator, leaf).sum()
    (slope,) = torch.autograd.grad(value, leaf, create_graph=True)
    try:
        second = torch.autograd.grad(slope.sum(), leaf)
    except TriviumError:
        return
    _holds(False, estimator, f"declares orders = 1 and returns a second derivative, {second}")


def what_f_uses_is_differentiated(estimator: GradientEstimator, case: GradientCase) -> None:
    """The derivative by a factor of f is the expectation of f."""
    rows = case.rows
    leaf = case.leaf(rows)
    shape = case.value(estimator, leaf).shape[1:]
    gain = torch.ones(rows, *shape, dtype=torch.float64, requires_grad=True)
    value = case.value(estimator, leaf, gain)
    try:
        (found,) = torch.autograd.grad(value.sum(), gain)
    except RuntimeError:
        found = torch.zeros_like(gain)
    what = "the derivative by what f uses"
    if estimator.unbiased:
        _agrees(estimator, what, found, case.truth(case.leaf(1)).detach())
    else:
        gap = float((found - value).detach().abs().max())
        _holds(gap < 1e-9, estimator, f"{what} differs from its own value by {gap:.3g}")


def rows_keep_apart(estimator: GradientEstimator, case: GradientCase) -> None:
    """The result has the shape of the expectation, and a row has no slope in another."""
    leaf = case.leaf(3)
    value = case.value(estimator, leaf)
    lead = case.truth(case.leaf(1)).shape[1:]
    _holds(
        value.shape == (3, *lead),
        estimator,
        f"the result must have the shape {(3, *lead)}; got {tuple(value.shape)}",
    )
    (slope,) = torch.autograd.grad(value[0].sum(), leaf)
    leak = float(slope[1:].abs().max())
    _holds(leak == 0, estimator, f"a row has a slope of {leak:.3g} in another")


def same_seed_same_bits(estimator: GradientEstimator, case: GradientCase) -> None:
    """Randomness is torch's own and nothing else."""
    leaf = case.leaf(50)
    values = [case.value(estimator, leaf) for _ in range(2)]
    slopes = [torch.autograd.grad(value.sum(), leaf)[0] for value in values]
    same = torch.equal(values[0], values[1]) and torch.equal(slopes[0], slopes[1])
    _holds(same, estimator, "one seed gave two answers")


def float64_is_kept(estimator: GradientEstimator, case: GradientCase) -> None:
    """A value of a float64 distribution and a float64 f is in float64."""
    leaf = case.leaf(2)
    value = case.value(estimator, leaf)
    _holds(value.dtype == torch.float64, estimator, f"a float64 value came as {value.dtype}")


def least_samples_suffice(estimator: GradientEstimator, case: GradientCase) -> None:
    """With as few samples as it declares, value and gradient are numbers."""
    leaf = case.leaf(2)
    value = case.value(estimator, leaf, samples=estimator.least_samples)
    (slope,) = torch.autograd.grad(value.sum(), leaf)
    fine = bool(torch.isfinite(value).all() and torch.isfinite(slope).all())
    _holds(
        fine,
        estimator,
        f"declares least_samples = {estimator.least_samples}, and with so few the value or its "
        "gradient is not finite",
    )


def _derivatives(value: Tensor, leaf: Tensor, orders: int) -> Iterator[Tensor]:
    """Gradients, and gradients along one direction of the gradient before."""
    direction = torch.linspace(1, 2, leaf[0].numel(), dtype=leaf.dtype).reshape(leaf.shape[1:])
    for order in range(1, orders + 1):
        (slope,) = torch.autograd.grad(value.sum(), leaf, create_graph=order < orders)
        yield slope.detach()
        value = slope * direction


def mean_bound(found: Tensor, alarm: float) -> Tensor:
    r"""Return how far a mean may be from what it estimates, for each coordinate of `(n, *c)`.

    $$\sqrt{2 V \ln(2 / \delta) / n} + 7 R \ln(2 / \delta) / (3 (n - 1))$$

    with V the variance and R the range of what was found, and $\delta$ = `alarm` shared by the
    coordinates. A z-test would accuse the third derivative of a right score function on an
    exponential variable far too often (beyond 2.6 standard errors in 16 % of seeds instead of 1 %):
    its tails are long, and the range tells.

    Args:
        found: Independent estimates.
        alarm: Probability that any coordinate is further away, exact where R is the full range.

    Source: Maurer and Pontil, Empirical Bernstein bounds (2009), theorem 4.
    """
    count = len(found)
    log = math.log(2 * found[0].numel() / alarm)
    span = found.amax(0) - found.amin(0)
    return (2 * found.var(0) * log / count).sqrt() + 7 * span * log / (3 * (count - 1))


def _agrees(estimator: object, what: str, found: Tensor, exact: Tensor) -> None:
    """Compare the means of all coordinates with what is exact, at `ALARM` together."""
    mean = found.mean(0)
    gap = (mean - exact[0]).abs()
    bound = mean_bound(found, ALARM) + 1e-9 * (1 + exact[0].abs())
    worst = (gap / bound).argmax()
    _holds(
        bool((gap <= bound).all()),
        estimator,
        f"{what} has the mean {float(mean.flatten()[worst]):.6g} over {len(found)} estimates; "
        f"exactly it is {float(exact[0].flatten()[worst]):.6g}, and chance explains "
        f"{float(bound.flatten()[worst]):.2g}",
    )


def _holds(condition: bool, estimator: object, message: str) -> None:
    if not condition:
        raise AssertionError(f"{estimator!r}: {message}")


ESTIMATOR_LAWS: tuple[Law, ...] = (
    rows_keep_apart,
    value_is_right,
    derivatives_are_right,
    further_derivatives_are_refused,
    what_f_uses_is_differentiated,
    same_seed_same_bits,
    float64_is_kept,
    least_samples_suffice,
)
