"""Sets of k items of n, drawn one after another without replacement."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.expectation.gumbel import check_logits, gumbel_keys
from trivium.expectation.listed import Listed, checks_values
from trivium.expectation.score_norm import score_length
from trivium.expectation.subset_orders import MOST_BY_ORDERS, log_sum_of_orders

__all__ = ["Subset"]


class _Chosen(constraints.Constraint):
    """Vectors of k ones among zeros."""

    is_discrete = True
    event_dim = 1

    def __init__(self, k: int) -> None:
        self.k = k
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        return ((value == 0) | (value == 1)).all(-1) & (value.sum(-1) == self.k)


class Subset(Listed):
    r"""k of n items without replacement; a value is the *set*, as a vector of k ones in n.

    Items are drawn one after another, each with probability proportional to $w_i = e^{o_i}$ among
    those left (the Plackett-Luce model), and their order is forgotten. With exponential clocks of
    rates $w_i$ a set S is drawn when all its clocks ring before the first other one, so

    $$p(S) = \int_0^\infty W e^{-W t} \prod_{i \in S} (1 - e^{-w_i t})\, dt,
    \quad W = \sum_{j \notin S} w_j,$$

    which is the sum over all k! orders. Up to k = 8 it is summed over the $2^k$ sets drawn so far;
    beyond, the integral is taken in the logarithm of t by the trapezoid rule, which converges
    geometrically there. Either way the error is rounding, 1e-13 in double precision for any logits,
    and derivatives of every order are right.

    Args:
        logits: o, `(*batch, n)`, unnormalized; -inf is never drawn.
        k: Size of the set, 1 to n.
        validate_args: Whether to check values, as torch has it; shapes always are.

    Raises:
        ArgumentError: k or a logit breaks its rule, or fewer than k items are unmasked.
        ShapeError: No last axis of items.

    Cost:
        Sampling O(n) a draw; `log_prob` O(n + k 2^k) up to k = 8, beyond O(n + m k) with
        m = 93 sqrt(k + 1) nodes.

    Example:
        >>> import torch
        >>> two = Subset(torch.tensor([2.0, 1.0, 1.0]).log(), k=2)
        >>> value = torch.tensor([1.0, 1.0, 0.0])
        >>> round(two.log_prob(value).exp().item(), 4)  # 2/4 * 1/2 + 1/4 * 2/3
        0.4167

    Source: Efraimidis and Spirakis, Inf. Process. Lett. 97 (2006); Kool, van Hoof and Welling,
        Estimating gradients for discrete random variables by sampling without replacement (2020).
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 - torch's own form
    event_name = "a vector of k ones and n - k zeros"

    def __init__(
        self, logits: Float[Tensor, "*batch n"], k: int, validate_args: bool | None = None
    ) -> None:
        self.k = int(check_number("Subset", "k", k, "positive", integer=True))
        check_logits("Subset", logits, values=False)
        if self.k > logits.shape[-1]:
            raise ArgumentError(f"Subset: k must be at most n = {logits.shape[-1]}; got {k}")
        check_logits("Subset", logits, self.k, values=checks_values(validate_args))
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @classmethod
    def examples(cls) -> Sequence["Subset"]:
        """Return a set of rows, one with a mask, and one with everything."""
        logits = torch.tensor([[0.5, -1.0, 2.0, 0.0], [0.0, 3.0, -2.0, 1.0]], dtype=torch.float64)
        masked = torch.tensor([0.3, -math.inf, 1.0, -0.5, 0.0], dtype=torch.float64)
        return cls(logits, 2), cls(masked, 3), cls(logits[0, :3], 3), cls(masked, 1)

    @property
    def support(self) -> constraints.Constraint:
        """Vectors of k ones."""
        return _Chosen(self.k)

    @property
    def support_size(self) -> int:
        """Binomial coefficient of n and k."""
        return math.comb(self.logits.shape[-1], self.k)

    @property
    def mode(self) -> Tensor:
        """The k items of the largest logits."""
        return self._ones(self.logits.topk(self.k).indices)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Subset":
        """Return the same distribution for more rows."""
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        return Subset(logits, self.k, validate_args=self._validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw sets: the k largest of the logits with Gumbel noise."""
        with torch.no_grad():
            keys = gumbel_keys(self.logits, self._size(sample_shape))
            return self._ones(keys.topk(self.k).indices)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the logarithm of the probability of sets, whatever the order of their draws.

        Raises:
            ShapeError: A value has another shape.
            ArgumentError: A value is no set of k items.
        """
        self._check_value(value)
        inside, outside, sure, never = _parts(self.logits, value, self.k)
        if self.k <= MOST_BY_ORDERS:
            found = log_sum_of_orders(inside, outside)
        else:
            found = _log_nodes(inside, outside).logsumexp(-1)
        found = found.masked_fill(sure, 0.0).masked_fill(never, -math.inf)
        return found.to(self.logits.dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """List all sets.

        Raises:
            ArgumentError: There are too many.
        """
        self._check_small()
        picks = list(itertools.combinations(range(self.logits.shape[-1]), self.k))
        return self._spread(self._ones(torch.tensor(picks, device=self.logits.device)), expand)

    def _ones(self, picks: Tensor) -> Tensor:
        shape = (*picks.shape[:-1], self.logits.shape[-1])
        return torch.zeros(shape, dtype=self.logits.dtype, device=picks.device).scatter(
            -1, picks, 1.0
        )


def _nodes(k: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Places x = log(W t) and logarithms of weights of the trapezoid rule.

    In x the integrand is log-concave with its top in [0, log(k + 1)], at least 1/sqrt(k + 1) wide,
    falls at least like e^x to the left and like exp(-e^x) to the right, and is bounded in the strip
    |Im x| < pi/2 whatever the rates are. With s = step the
    rule's relative error is at most about exp(-pi^2 / s + (k + 1)(1 - log((k + 1) s / 2 pi))).
    """
    step = min(0.18, 0.48 / math.sqrt(k + 1))
    x = torch.arange(-38.0, math.log(k + 2) + 4.5, step, dtype=like.dtype, device=like.device)
    return x, x - x.exp() + math.log(step)


def _log_nodes(inside: Tensor, outside: Tensor) -> Tensor:
    """Logarithm of the integrand times the weights, at the nodes."""
    x, weights = _nodes(inside.shape[-1], inside)
    return weights + _log_rung(x + (inside - outside)[..., None]).sum(-2)


def _parts(logits: Tensor, value: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits in the set, log W, sure, never; finite numbers where they do not count."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    logits, value = torch.broadcast_tensors(logits, value)
    chosen = value > 0.5
    inside = logits.gather(-1, value.topk(k).indices)
    never = inside.isneginf().any(-1)
    sure = (chosen | logits.isneginf()).all(-1)
    rest = logits.masked_fill(chosen, -math.inf).masked_fill(sure[..., None], 0.0)
    inside = inside.masked_fill(never[..., None], 0.0)
    return inside, rest.logsumexp(-1, keepdim=True), sure & ~never, never


def _log_rung(z: Tensor) -> Tensor:
    """log(1 - exp(-exp(z))): that a clock has rung, without a digit lost at either end."""
    return torch.where(z < -40, z, (-torch.expm1(-z.clamp(-40.0, 6.0).exp())).log())


@score_length.register(Subset)
def _(distribution: Subset, z: Tensor) -> Tensor:
    # Of the set: the mean of y / (e^y - 1) over the rule; of the others: their share of the rest.
    inside, outside, sure, never = _parts(distribution.logits, z, distribution.k)
    x, _ = _nodes(distribution.k, inside)
    logs = _log_nodes(inside, outside)
    y = (x + (inside - outside)[..., None]).clamp(-40.0, 6.0).exp()
    slopes = (logs.softmax(-1)[..., None, :] * y / torch.expm1(y)).sum(-1)
    shares = (distribution.logits - outside).exp() * (z < 0.5)
    found = slopes.square().sum(-1) + slopes.sum(-1).square() * shares.square().sum(-1)
    return found.masked_fill(sure | never, 0.0)
