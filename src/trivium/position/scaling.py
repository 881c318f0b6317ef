"""How a rotary encoding is stretched to rows longer than those it was trained on."""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral import Geometric, Schedule

__all__ = ["NTK", "LinearScaling", "Llama3", "Proportional", "Scaling", "YaRN"]


class Scaling(ABC):
    """What changes the frequencies of a rotary encoding.

    A member answers `frequencies`; where they depend on the length of a row it sets `refresh` and
    answers `at_length`, too.

    Attributes:
        refresh: Whether frequencies change with the length of the row.
        attention_factor: What rotated queries and keys are multiplied by.
    """

    refresh = False
    attention_factor = 1.0

    @abstractmethod
    def frequencies(self, schedule: Schedule, count: int) -> Float[Tensor, " f"]:
        """Return the frequencies of `count` pairs, in float64.

        Args:
            schedule: Frequencies before scaling.
            count: Half of the features that are turned.
        """

    def at_length(self, theta: Float[Tensor, " f"], length: Int[Tensor, "*l"]) -> Tensor:
        """Return the frequencies in rows of these lengths, `(..., f)`.

        Args:
            theta: What `frequencies` returned.
            length: Tokens of each row.
        """
        return theta

    def __repr__(self) -> str:
        """Say what it was made from."""
        given = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({given})"


def at_least_one(scaling: Scaling, name: str, value: Any) -> float:
    """Return a factor by which rows grow.

    Raises:
        ArgumentError: It is not a number of at least 1.
    """
    caller = type(scaling).__name__
    if check_number(caller, name, value) < 1:
        raise ArgumentError(f"{caller}: {name} must be at least 1; got {value!r}")
    return float(value)


def length_of(scaling: Scaling, name: str, value: Any) -> int:
    """Return a number of tokens.

    Raises:
        ArgumentError: It is not a positive whole number.
    """
    return int(check_number(type(scaling).__name__, name, value, "positive", integer=True))


def stretched(
    theta: Float[Tensor, " f"], growth: Float[Tensor, "*l"] | float
) -> Float[Tensor, "*l f"]:
    """Return θ_t s^(−2t/(d−2)), as a base s^(d/(d−2)) B gives it: the lowest is divided by s.

    Raises:
        ArgumentError: One pair alone, which is the highest and the lowest.
    """
    f = theta.shape[-1]
    if f < 2:
        raise ArgumentError("NTK: two pairs of features at least must be turned; got 1")
    share = torch.arange(f, dtype=torch.float64, device=theta.device) / (f - 1)
    size = torch.as_tensor(growth, dtype=torch.float64, device=theta.device)
    return theta * size[..., None] ** -share


class LinearScaling(Scaling):
    """Positions divided by a factor: θ_t / s.

    Args:
        factor: s, at least 1.

    Raises:
        ArgumentError: A factor below 1.

    Source:
        Chen et al., Extending Context Window of Large Language Models via Positional
        Interpolation (2023), eq. 4.
    """

    def __init__(self, factor: float) -> None:
        self.factor = at_least_one(self, "factor", factor)

    def frequencies(self, schedule: Schedule, count: int) -> Float[Tensor, " f"]:
        """Return θ / s."""
        return schedule.frequencies(count) / self.factor


class NTK(Scaling):
    """A larger base, s^(d/(d−2)) B: the highest frequency stays and the lowest is divided by s.

    Args:
        factor: s, at least 1.

    Raises:
        ArgumentError: A factor below 1; in `frequencies`, one pair alone.

    Source:
        bloc97, NTK-Aware Scaled RoPE (2023); Peng et al., YaRN, ICLR (2024), section 3.1.
    """

    def __init__(self, factor: float) -> None:
        self.factor = at_least_one(self, "factor", factor)

    def frequencies(self, schedule: Schedule, count: int) -> Float[Tensor, " f"]:
        """Return θ_t s^(−2t/(d−2))."""
        return stretched(schedule.frequencies(count), self.factor)


class YaRN(Scaling):
    """High frequencies kept, low ones divided by s, a ramp between, and sharper attention.

    The ramp lies between the pairs that turn `fast` and `slow` times over the original length;
    queries and keys are multiplied by 0.1 ln s + 1, unless a factor is given.

    Args:
        factor: s, at least 1.
        original_length: Tokens of the rows trained on.
        fast: Turns above which a pair is kept.
        slow: Turns below which a pair is divided.
        attention_factor: Instead of 0.1 ln s + 1.
        truncate: Whether the ramp's ends are whole pairs.

    Raises:
        ArgumentError: A factor below 1, lengths or turns that are not positive, turns out of
            order; in `frequencies`, a schedule that is not geometric.

    Source:
        Peng et al., YaRN: Efficient Context Window Extension of Large Language Models, ICLR
        (2024), definition 3 and eq. 22.
    """

    def __init__(
        self,
        factor: float,
        original_length: int,
        *,
        fast: float = 32.0,
        slow: float = 1.0,
        attention_factor: float | None = None,
        truncate: bool = True,
    ) -> None:
        self.factor = at_least_one(self, "factor", factor)
        self.original_length = length_of(self, "original_length", original_length)
        self.fast = float(check_number("YaRN", "fast", fast, "positive"))
        self.slow = float(check_number("YaRN", "slow", slow, "positive"))
        if self.fast <= self.slow:
            raise ArgumentError(f"YaRN: fast must be above slow, {slow}; got {fast}")
        self.truncate = bool(truncate)
        usual = 0.1 * math.log(self.factor) + 1.0
        given = usual if attention_factor is None else attention_factor
        self.attention_factor = float(check_number("YaRN", "attention_factor", given, "positive"))

    def frequencies(self, schedule: Schedule, count: int) -> Float[Tensor, " f"]:
        """Return θ between θ and θ / s."""
        if not isinstance(schedule, Geometric):
            raise ArgumentError(f"YaRN: schedule must be Geometric; got {schedule!r}")
        low, high = (self._pair(turns, schedule.base, count) for turns in (self.fast, self.slow))
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, 2 * count - 1)
        high = high + 0.001 if low == high else high
        pairs = torch.arange(count, dtype=torch.float64)
        ramp = ((pairs - low) / (high - low)).clamp(0, 1)
        theta = schedule.frequencies(count)
        return theta * (1 - ramp) + theta / self.factor * ramp

    def _pair(self, turns: float, base: float, count: int) -> float:
        """Return which pair turns so many times over the original length, between pairs too."""
        return count * math.log(self.original_length / (turns * 2 * math.pi)) / math.log(base)


class Llama3(Scaling):
    """Wavelengths beyond the original length divided by s, short ones kept, smooth between.

    Args:
        factor: s, at least 1.
        original_length: L, tokens of the rows trained on.
        low: Wavelengths above L / low are divided.
        high: Wavelengths below L / high are kept.

    Raises:
        ArgumentError: A factor below 1, sizes that are not positive, or low not below high.

    Source:
        Llama 3.1, Meta (2024), `apply_scaling` of its reference code.
    """

    def __init__(
        self, factor: float, original_length: int = 8192, *, low: float = 1.0, high: float = 4.0
    ) -> None:
        self.factor = at_least_one(self, "factor", factor)
        self.original_length = length_of(self, "original_length", original_length)
        self.low = float(check_number("Llama3", "low", low, "positive"))
        self.high = float(check_number("Llama3", "high", high, "positive"))
        if self.low >= self.high:
            raise ArgumentError(f"Llama3: low must be below high, {high}; got {low}")

    def frequencies(self, schedule: Schedule, count: int) -> Float[Tensor, " f"]:
        """Return θ between θ / s and θ."""
        theta = schedule.frequencies(count)
        turns = self.original_length * theta / (2 * math.pi)
        kept = ((turns - self.low) / (self.high - self.low)).clamp(0, 1)
        return (1 - kept) * theta / self.factor + kept * theta


class Proportional(Scaling):
    """The first share of the pairs turns as in the whole head, the rest not at all.

    Unlike a `share` of the features, pairs are those of the whole head and so are frequencies.

    Args:
        share: Of the pairs, in [0, 1].
        factor: s, at least 1, that divides all frequencies.

    Raises:
        ArgumentError: A share outside [0, 1] or a factor below 1.

    Source:
        Gemma 4, Google (2026), as in transformers' rope utilities.
    """

    def __init__(self, share: float, factor: float = 1.0) -> None:
        self.share = float(check_number("Proportional", "share", share, "in [0, 1]"))
        self.factor = at_least_one(self, "factor", factor)

    def frequencies(self, schedule: Schedule, count: int) -> Float[Tensor, " f"]:
        """Return θ / s, and 0 past the share."""
        theta = schedule.frequencies(count) / self.factor
        turning = torch.arange(count) < int(self.share * 2 * count // 2)
        return theta.where(turning, 0.0)
