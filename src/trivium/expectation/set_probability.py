"""How likely a set is to be what comes first when drawing without replacement."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["LARGEST_SET", "SetProbabilities", "set_probabilities"]

LARGEST_SET = 12
_TINY = 1e-25  # stands for 0 where nothing else is left: its twelfth power is still a number


@dataclass(frozen=True)
class SetProbabilities:
    r"""Probabilities of a set S of k classes, of S without one and without two of them.

    Args:
        whole: p(S).
        without: $p^{D \setminus s}(S \setminus s)$: drawing from the other classes gives the rest.
        without_two: $p^{D \setminus \{s, t\}}(S \setminus \{s, t\})$, symmetric; on the diagonal
            that of `without`.
    """

    whole: Float[Tensor, "*rows"]
    without: Float[Tensor, "*rows k"]
    without_two: Float[Tensor, "*rows k k"]


def set_probabilities(
    chosen: Float[Tensor, "*rows k"], rest: Float[Tensor, "*rows"]
) -> SetProbabilities:
    r"""Sum over all orders at once.

    What is drawn after a class has gone does not depend on how it went, so with H(A) the
    probability that the next |A| draws are the set A when the classes S \ A are gone,

    $$H(A) = \sum_{a \in A} \frac{p_a}{r + \sum_{b \in A} p_b} H(A \setminus a), \quad
    H(\{\}) = 1,$$

    r being the probability of all classes outside S; and H(S), H(S \ s), H(S \ {s, t}) are what is
    asked. All terms are positive: no cancellation, whatever the probabilities, where inclusion and
    exclusion loses every digit once p(S) is small.

    Args:
        chosen: Probabilities of the classes in S.
        rest: r, summed over the other classes, not 1 minus the sum.

    Cost: time $O(2^k k)$ for each row; memory $\binom{k}{k/2} k / 2$ numbers: 44 KB at k = 12.

    Source: Kool, van Hoof and Welling (2020) for p(S) as a sum over orders; the recursion is ours.
    """
    p = chosen.double().clamp_min(_TINY).movedim(-1, 0).contiguous()  # rows last: whole rows move
    rest = rest.double()
    size = chosen.shape[-1]
    layers = [torch.ones_like(p[:1])]
    for members in range(1, size + 1):
        taken, left = _kept(_tables, size, members)
        weights = p[taken.to(p.device)]
        below = layers[-1][left.to(p.device)]
        layers.append((weights * below).sum(1) / (rest + weights.sum(1)))
    # Combinations come in lexical order: the one without class s is number k - 1 - s from the top.
    whole, without = layers[-1][0], layers[-2].flip(0).movedim(0, -1)
    if size == 1:
        return SetProbabilities(whole, without, without[..., None])
    pairs = _kept(_pair_table, size).to(p.device)
    two = layers[-3].flip(0)[pairs].movedim((0, 1), (-2, -1))
    eye = torch.eye(size, dtype=torch.bool, device=p.device)
    return SetProbabilities(whole, without, torch.where(eye, without[..., None, :], two))


def _kept(table: Callable[..., Any], *sizes: int) -> Any:
    """A table, made once; `torch.compile` traces no cache and keeps it in the graph instead."""
    return table(*sizes) if torch.compiler.is_compiling() else _cached(table, *sizes)


@lru_cache(maxsize=128)
def _cached(table: Callable[..., Any], *sizes: int) -> Any:
    return table(*sizes)


def _tables(size: int, members: int) -> tuple[Int[Tensor, "c m"], Int[Tensor, "c m"]]:
    """The members of each subset, and the place of the subset that lacks each of them."""
    subsets = list(combinations(range(size), members))
    place = {subset: i for i, subset in enumerate(combinations(range(size), members - 1))}
    left = [[place[s[:i] + s[i + 1 :]] for i in range(members)] for s in subsets]
    return torch.tensor(subsets), torch.tensor(left)


def _pair_table(size: int) -> Int[Tensor, "k k"]:
    """Which of the pairs, in lexical order, (s, t) is; 0 on the diagonal."""
    place = {pair: i for i, pair in enumerate(combinations(range(size), 2))}
    return torch.tensor(
        [[place.get((min(s, t), max(s, t)), 0) for t in range(size)] for s in range(size)]
    )
