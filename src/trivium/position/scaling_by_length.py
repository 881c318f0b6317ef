"""Scalings that depend on the length of the row: dynamic NTK and LongRoPE."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError
from trivium.kernel.spectral import Schedule
from trivium.position.scaling import Scaling, at_least_one, length_of, stretched

__all__ = ["DynamicNTK", "LongRoPE", "document_lengths"]


def document_lengths(i: Int[Tensor, "*b n"]) -> Int[Tensor, "*b l"]:
    """Return for each token how long its document is: its largest position plus one.

    A document goes on until a position falls: there the next begins, as where documents are packed
    into a row. Padding repeats a position. `(n)`, one run by contract, has one length, `(1)`.

    Example:
        >>> document_lengths(torch.tensor([[0, 1, 2, 0, 1]])).tolist()
        [[3, 3, 3, 2, 2]]
    """
    if i.ndim == 1:
        return i[-1:] + 1
    ends = torch.nn.functional.pad(i.diff() < 0, (0, 1), value=True)
    places = torch.arange(i.shape[-1], device=i.device).expand(i.shape)
    last = places.masked_fill(~ends, i.shape[-1] - 1).flip(-1).cummin(-1).values.flip(-1)
    return i.gather(-1, last) + 1


class DynamicNTK(Scaling):
    """NTK scaling by what a row is too long: s = a n / L − (a − 1) for n tokens beyond L.

    Args:
        factor: a, at least 1.
        original_length: L, tokens up to which nothing changes.

    Raises:
        ArgumentError: A factor below 1 or a length that is not positive; with one pair alone.

    Source:
        emozilla, Dynamically Scaled RoPE (2023); Peng et al., YaRN, ICLR (2024), section 3.3.
    """

    refresh = True

    def __init__(self, factor: float, original_length: int) -> None:
        self.factor = at_least_one(self, "factor", factor)
        self.original_length = length_of(self, "original_length", original_length)

    def frequencies(self, schedule: Schedule, count: int) -> Float[Tensor, " f"]:
        """Return θ, as up to L tokens."""
        theta = schedule.frequencies(count)
        return stretched(theta, 1.0)

    def at_length(self, theta: Float[Tensor, " f"], length: Int[Tensor, "*l"]) -> Tensor:
        """Return θ_t s^(−2t/(d−2)) of each length."""
        n = length.double().clamp_min(self.original_length)
        return stretched(theta, self.factor * n / self.original_length - (self.factor - 1))


class LongRoPE(Scaling):
    """Each frequency divided by a factor of its own, of one list up to L tokens, else another.

    Queries and keys are multiplied by √(1 + ln s / ln L), unless a factor is given.

    Args:
        short: Factors of the pairs up to L tokens.
        long: Factors beyond.
        original_length: L, at least 2.
        factor: s, the longest length over L.
        attention_factor: Instead of √(1 + ln s / ln L).

    Raises:
        ArgumentError: Factors that are not positive, a length below 2.
        ShapeError: Lists of different lengths; in `frequencies`, other than one for each pair.

    Source:
        Ding et al., LongRoPE: Extending LLM Context Window Beyond 2 Million Tokens, ICML (2024).
    """

    refresh = True

    def __init__(
        self,
        short: Sequence[float],
        long: Sequence[float],
        original_length: int,
        *,
        factor: float = 1.0,
        attention_factor: float | None = None,
    ) -> None:
        self.short, self.long = _factors("short", short), _factors("long", long)
        if len(self.short) != len(self.long):
            raise ShapeError(
                f"LongRoPE: long must have as many factors as short, {len(self.short)}; "
                f"got {len(self.long)}"
            )
        self.original_length = length_of(self, "original_length", original_length)
        if self.original_length < 2:
            raise ArgumentError("LongRoPE: original_length must be at least 2; got 1")
        self.factor = at_least_one(self, "factor", factor)
        usual = math.sqrt(1 + math.log(self.factor) / math.log(self.original_length))
        given = usual if attention_factor is None else attention_factor
        found = check_number("LongRoPE", "attention_factor", given, "positive")
        self.attention_factor = float(found)

    def frequencies(self, schedule: Schedule, count: int) -> Float[Tensor, " f"]:
        """Return θ, before any factor."""
        if count != len(self.short):
            raise ShapeError(
                f"LongRoPE: short must have a factor for each of {counted(count, 'pair')}; "
                f"got {len(self.short)}"
            )
        return schedule.frequencies(count)

    def at_length(self, theta: Float[Tensor, " f"], length: Int[Tensor, "*l"]) -> Tensor:
        """Return θ over the short or the long factors."""
        short, long = (theta.new_tensor(factors) for factors in (self.short, self.long))
        beyond = (length > self.original_length)[..., None]
        return theta / torch.where(beyond, long, short)


def _factors(name: str, values: Any) -> tuple[float, ...]:
    if isinstance(values, str) or not isinstance(values, Sequence) or not values:
        raise ArgumentError(f"LongRoPE: {name} must be a list of factors; got {values!r}")
    return tuple(float(check_number("LongRoPE", name, value, "positive")) for value in values)
