"""Orders of n items, drawn one after another without replacement."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributions import constraints
from torch.nn.functional import logsigmoid

from trivium.expectation.gumbel import check_logits, gumbel_keys
from trivium.expectation.listed import Listed, checks_values
from trivium.expectation.score_norm import score_length

__all__ = ["Permutation"]

_NOTHING = 800.0  # exp of minus this is 0 in double precision


class _Orders(constraints.Constraint):
    """Each of 0 to n - 1 once."""

    is_discrete = True
    event_dim = 1

    def check(self, value: Tensor) -> Tensor:
        return (value.sort(-1).values == torch.arange(value.shape[-1], device=value.device)).all(-1)


class Permutation(Listed):
    r"""The Plackett-Luce model of orders; a value is the items from the first to the last.

    $$\log p(\pi) = \sum_{i=1}^n \Big( o_{\pi_i} - \log \sum_{j \ge i} e^{o_{\pi_j}} \Big).$$

    Masked items (-inf) come last, in the order of their numbers.

    Args:
        logits: o, `(*batch, n)`, unnormalized.
        validate_args: Whether to check values, as torch has it; shapes always are.

    Raises:
        ArgumentError: A logit breaks its rule.
        ShapeError: No last axis of items.

    Cost: sampling O(n log n) a draw, `log_prob` O(n log n) in O(log n) calls.

    Example:
        >>> import torch
        >>> order = Permutation(torch.tensor([2.0, 1.0, 1.0]).log())
        >>> round(order.log_prob(torch.tensor([0, 2, 1])).exp().item(), 4)  # 2/4 * 1/2
        0.25

    Source: Plackett, Applied Statistics 24 (1975).
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 - torch's own form
    support = _Orders()
    event_name = "an order of the numbers 0 to n - 1"

    def __init__(
        self, logits: Float[Tensor, "*batch n"], validate_args: bool | None = None
    ) -> None:
        check_logits("Permutation", logits, values=checks_values(validate_args))
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @classmethod
    def examples(cls) -> Sequence["Permutation"]:
        """Return orders of rows, and one with a mask."""
        logits = torch.tensor([[0.5, -1.0, 2.0], [0.0, 3.0, -2.0]], dtype=torch.float64)
        masked = torch.tensor([-math.inf, 0.3, -math.inf, 1.0], dtype=torch.float64)
        return cls(logits), cls(masked)

    @property
    def support_size(self) -> int:
        """Factorial of n."""
        return math.factorial(self.logits.shape[-1])

    @property
    def mode(self) -> Tensor:
        """The items from the largest logit to the smallest."""
        return self.logits.argsort(dim=-1, descending=True, stable=True)

    def expand(self, batch_shape: Any, _instance: Any = None) -> "Permutation":
        """Return the same distribution for more rows."""
        logits = self.logits.expand(*batch_shape, self.logits.shape[-1])
        return Permutation(logits, validate_args=self._validate_args)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw orders: the logits with Gumbel noise, sorted."""
        with torch.no_grad():
            keys = gumbel_keys(self.logits, self._size(sample_shape))
            return keys.argsort(dim=-1, descending=True, stable=True)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the logarithm of the probability of orders.

        Raises:
            ShapeError: A value has another shape.
            ArgumentError: A value is no order.
        """
        self._check_value(value)
        terms, _, _, never = self._terms(value)
        return terms.sum(-1).masked_fill(never, -math.inf)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """List all orders.

        Raises:
            ArgumentError: There are too many.
        """
        self._check_small()
        orders = list(itertools.permutations(range(self.logits.shape[-1])))
        return self._spread(torch.tensor(orders, device=self.logits.device), expand)

    def _terms(self, value: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Log-probability of each place; the logits in order; which are masked; which rows never.

        Logits that do not count are finite numbers that weigh nothing: slopes of infinities are
        not numbers.
        """
        logits, value = torch.broadcast_tensors(self.logits, value)
        ordered = logits.gather(-1, value)
        masked = ordered.isneginf()
        # A masked item is followed by masked items only, with larger numbers.
        wrong = masked[..., :-1] & (~masked[..., 1:] | (value[..., 1:] < value[..., :-1]))
        never = wrong.any(-1)
        least = ordered.detach().masked_fill(masked, math.inf).amin(-1, keepdim=True)
        ordered = torch.where(masked, least - _NOTHING, ordered)
        terms = (ordered - _log_suffix_sums(ordered)).masked_fill(masked, 0.0)
        return terms, ordered, masked, never


def _log_suffix_sums(logits: Tensor) -> Tensor:
    """Logarithm of the sum of exp from each place to the last, by doubling.

    Not by `logcumsumexp`: where a slope that comes back is 0, its second derivative is NaN.
    """
    found, reach = logits, 1
    while reach < logits.shape[-1]:
        near, far = found[..., :-reach], found[..., reach:]
        found = torch.cat([near - logsigmoid(near - far), found[..., -reach:]], -1)
        reach *= 2
    return found


@score_length.register(Permutation)
def _(distribution: Permutation, z: Tensor) -> Tensor:
    terms, ordered, masked, never = distribution._terms(z)
    # log of the sum of 1 / (what was left) up to each place
    passed = (terms - ordered).logcumsumexp(-1)
    slopes = (1 - (ordered + passed).exp()).masked_fill(masked, 0.0)
    return slopes.square().sum(-1).masked_fill(never, 0.0)
