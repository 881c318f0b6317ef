"""The kernel of a distance: HSIC with it is the squared distance covariance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.checks import check_finite, check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium._core.random import RandomState
from trivium.kernel.base import Kernel
from trivium.kernel.distance import distances

__all__ = ["Distance"]


@dataclass(frozen=True)
class Distance(Kernel):
    r"""Distance kernel $(\|x - o\|^a + \|x' - o\|^a - \|x - x'\|^a) / 2$.

    Biased HSIC of two of them is a quarter of the squared distance covariance (V-statistic), the
    unbiased one a quarter of its U-statistic, and `normalize="cka"` the bias-corrected squared
    distance correlation. It has no lengthscale: a change of unit multiplies it by a constant,
    which no alignment and no p-value feels. At a = 1 and one column, with o at zero, it is the
    covariance of Brownian motion, and at a = 2 the linear kernel around o.

    HSIC does not depend on the origin: it adds a term of x alone and one of x′ alone, which
    centering takes off. The median of each column keeps the numbers small, so that a far
    origin costs no precision.

    Args:
        exponent: a, in (0, 2]; characteristic below 2 (where the a-th moments are finite).
        origin: o: `"median"`, learned from the rows; a number for every column; or one number for
            each. Left out of the repr, for it may be long.

    Raises:
        ArgumentError: An argument breaks its rule.

    Cost:
        A Gram matrix takes O(n m d) time, two n × m buffers, four with an exponent other than 1.

    Example:
        >>> import torch
        >>> Distance(origin=0.0).gram(torch.tensor([1.0, 3.0]))
        tensor([[1., 1.],
                [1., 3.]])

    Source:
        Sejdinovic et al., Equivalence of distance-based and RKHS-based statistics in hypothesis
        testing, Annals of Statistics 41 (2013), definition 13 and theorem 24.
    """

    exponent: float = 1.0
    origin: float | tuple[float, ...] | Literal["median"] = field(default="median", repr=False)

    def __post_init__(self) -> None:
        power = check_number("Distance", "exponent", self.exponent, "positive")
        if power > 2:
            raise ArgumentError(
                f"Distance: exponent must be in (0, 2]; got {self.exponent!r}",
                remedy="Above 2 the kernel is not positive semi-definite.",
            )
        object.__setattr__(self, "characteristic", power < 2)
        object.__setattr__(self, "buffers", 4 if power == 1 else 7)
        if isinstance(self.origin, str):
            if self.origin != "median":
                raise ArgumentError(
                    "Distance: origin must be 'median', a number or one for each column; "
                    f"got {self.origin!r}"
                )
        elif isinstance(self.origin, Sequence):
            numbers = tuple(float(check_number("Distance", "origin", o)) for o in self.origin)
            object.__setattr__(self, "origin", numbers)
        else:
            check_number("Distance", "origin", self.origin)

    @classmethod
    def examples(cls) -> Sequence["Distance"]:
        """Return a few small instances."""
        return (cls(), cls(0.5), cls(1.5, origin=0.0), cls(2.0))

    def resolve(self, x: Shaped[Tensor, "n *d"], random_state: RandomState = 0) -> "Distance":
        """Turn `origin="median"` into the (lower) median of each column.

        Raises:
            DataError: No rows, or a value that is not finite.
        """
        if self.origin != "median":
            return self
        if x.shape[0] == 0:
            raise DataError(f"Distance: x must have at least one row; got shape {tuple(x.shape)}")
        check_finite("Distance", "x", x)
        middle = x.detach().reshape(len(x), -1).median(0).values
        return replace(self, origin=tuple(middle.tolist()))

    def of_differences(self, difference: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return $-|x - x'|^a / 2$ for rows of one column; may overwrite its input.

        With half the `diagonal` of x and half that of x′ it is the kernel.
        """
        distance = difference.abs_()
        return (distance if self.exponent == 1 else distance.pow_(self.exponent)).mul_(-0.5)

    def _origin(self, x: Tensor) -> Tensor:
        if isinstance(self.origin, str):
            raise ArgumentError(
                f"Distance: origin must be numbers here; got {self.origin!r}",
                remedy="Call kernel.resolve(x) first.",
            )
        place = torch.tensor(self.origin, dtype=x.dtype, device=x.device).reshape(1, -1)
        if place.shape[1] not in (1, x.shape[1]):
            raise ShapeError(
                "Distance: origin must have one number for each of "
                f"{counted(x.shape[1], 'column')}; "
                f"got {place.shape[1]}"
            )
        return place.expand(1, x.shape[1])

    def _power(self, distance: Tensor) -> Tensor:
        """Return the power, whose slope at zero is zero for every exponent."""
        if self.exponent == 1:
            return distance
        zero = distance == 0
        return distance.masked_fill(zero, 1.0).pow(self.exponent).masked_fill(zero, 0.0)

    def _unit(self, *parts: Tensor) -> float:
        """Return a power of two near the largest coordinate, so that no square overflows."""
        largest = max(float(part.detach().abs().max()) for part in parts)
        return math.ldexp(1.0, math.frexp(largest)[1]) if 0 < largest < math.inf else 1.0

    def _distances(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, float]:
        """Return distances in some unit, and the unit."""
        if x.shape[1] == 1:
            return (x - (x if y is None else y).mT).abs(), 1.0
        unit = self._unit(x) if y is None else self._unit(x, y)
        return distances(x, y, scale=unit), unit

    def _own(self, x: Tensor) -> Tensor:
        """Return the power of the distance to the origin."""
        distance, unit = self._distances(x - self._origin(x), x.new_zeros(1, x.shape[1]))
        return self._power(distance[:, 0]) * unit**self.exponent

    def _diagonal(self, x: Tensor) -> Tensor:
        return self.resolve(x)._own(x)

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        left = self._own(x) * 0.5
        right = left if y is None else self._own(y) * 0.5
        distance, unit = self._distances(x, y)
        total = left[:, None] + right[None, :]
        return total.sub_(self._power(distance), alpha=0.5 * unit**self.exponent)
