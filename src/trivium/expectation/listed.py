"""Distributions over structured objects: what they share, and a support that may be listed."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Size, Tensor
from torch.distributions import Distribution

from trivium._core.errors import ArgumentError, ShapeError
from trivium.expectation.support_size import brief, support_size

__all__ = ["Listed", "checks_values"]

_MOST = 50_000  # objects that one may still list; 8! permutations are fewer


class Listed(Distribution, ABC):
    """Base of the distributions over sets, orders and sequences.

    A member is a `torch.distributions.Distribution` with a finite support, whose size it knows
    without listing it. What is too large to list says so by `has_enumerate_support`, so that an
    exact sum is not tried.

    Attributes:
        event_name: What a value is, for messages.
    """

    has_rsample = False
    event_name = "an event"

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence["Listed"]:
        """Return a few small instances for conformance tests and the catalog."""

    @property
    @abstractmethod
    def support_size(self) -> int:
        """Number of values of one draw."""

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether the support is small enough to be listed."""
        return self.support_size <= _MOST

    def _check_small(self) -> None:
        if not self.has_enumerate_support:
            raise ArgumentError(
                f"{type(self).__name__}: the support must have at most {_MOST:,} values to be "
                f"listed; got {brief(self.support_size)}",
                remedy="Use an estimator that samples, such as Score().",
            )

    def _spread(self, values: Shaped[Tensor, "k *event"], expand: bool) -> Tensor:
        """Put the listed values in the shape that `enumerate_support` promises."""
        ones = (1,) * len(self.batch_shape)
        found = values.reshape(len(values), *ones, *self.event_shape)
        return found.expand(-1, *self.batch_shape, *self.event_shape) if expand else found

    def _check_value(self, value: Any) -> None:
        """Refuse what is no value of this distribution; the entries only where asked to."""
        caller, event = f"{type(self).__name__}.log_prob", tuple(self.event_shape)
        if not isinstance(value, Tensor) or tuple(value.shape[-len(event) :]) != event:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ShapeError(f"{caller}: value must have shape (..., {event[0]}); got {got}")
        try:
            torch.broadcast_shapes(value.shape[: -len(event)], self.batch_shape)
        except RuntimeError as error:
            raise ShapeError(
                f"{caller}: value must fit the batch {tuple(self.batch_shape)}; "
                f"got shape {tuple(value.shape)}"
            ) from error
        if self._validate_args:
            good = self.support.check(value)  # type: ignore[union-attr]
            if not bool(good.all()):
                bad = value[~good].reshape(-1, *event)[0].tolist()
                raise ArgumentError(f"{caller}: value must be {self.event_name}; got {bad}")

    def _size(self, sample_shape: Any) -> Size:
        return Size(sample_shape if isinstance(sample_shape, Sequence) else (sample_shape,))


def checks_values(validate_args: bool | None) -> bool:
    """Return what a constructor's `validate_args` means: torch's own default where it is `None`."""
    return bool(Distribution._validate_args if validate_args is None else validate_args)


@support_size.register(Listed)
def _(distribution: Listed) -> int:
    return distribution.support_size if distribution.has_enumerate_support else 0
