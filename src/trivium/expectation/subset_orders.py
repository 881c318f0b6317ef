"""The probability of a small set, summed over the orders of its draws by sets drawn so far."""

from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

__all__ = ["MOST_BY_ORDERS", "log_sum_of_orders"]

MOST_BY_ORDERS = 8  # from 9 items on the integral is cheaper

Level = tuple[list[list[int]], list[list[int]], list[list[int]]]


def log_sum_of_orders(
    inside: Float[Tensor, "*batch k"], outside: Float[Tensor, "*batch 1"]
) -> Float[Tensor, "*batch"]:
    r"""Return $\log \sum_\pi \prod_i w_{\pi_i} / (W + \sum_{j \ge i} w_{\pi_j})$.

    The k! orders pass through $2^k$ sets of items drawn so far; the probability to pass through
    one is the sum, over the item that came last, of that of the set without it. Sums of weights
    are built upwards, never by taking off, so no digits cancel.

    Args:
        inside: Logarithms of the weights w of the set, finite.
        outside: Logarithm of the weight W of all others, finite.

    Returns:
        The logarithm of the probability.

    Cost: O(k 2^k) time and memory, k calls.
    """
    k = inside.shape[-1]
    # Only ratios count: near 0 a logarithm has the most digits.
    top = torch.cat([inside, outside], -1).detach().amax(-1, keepdim=True)
    inside, outside = inside - top, outside - top
    left = outside  # of all sets of items not drawn yet, by their bits
    for item in range(k):
        left = torch.cat([left, left - logsigmoid(left - inside[..., item : item + 1])], -1)
    found = torch.zeros_like(outside)
    for before, last, remaining in _LEVELS[k]:
        terms = found[..., before] + inside[..., last] - left[..., remaining]
        found = terms.logsumexp(-1)
    return found[..., 0]


def _levels(k: int) -> list[Level]:
    """For each number drawn, and each set of so many: place of the set before, last item, rest."""
    found = []
    places: dict[tuple[int, ...], int] = {(): 0}
    for size in range(1, k + 1):
        sets = list(combinations(range(k), size))
        before, last, remaining = [], [], []
        for drawn in sets:
            without = [tuple(i for i in drawn if i != item) for item in drawn]
            before.append([places[earlier] for earlier in without])
            last.append(list(drawn))
            remaining.append([(1 << k) - 1 - sum(1 << i for i in earlier) for earlier in without])
        places = {drawn: place for place, drawn in enumerate(sets)}
        found.append((before, last, remaining))
    return found


_LEVELS = [_levels(k) for k in range(MOST_BY_ORDERS + 1)]
