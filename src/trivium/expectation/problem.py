"""One expectation to estimate: f, the distribution, and how their shapes fit together."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Size, Tensor
from torch.distributions import Distribution

from trivium._core.checks import looks_finite
from trivium._core.errors import ArgumentError, DataError, ShapeError

__all__ = ["Problem"]


@dataclass(frozen=True)
class Problem:
    r"""$E_{z \sim p}[f(z)]$ with shapes: samples `(s, *batch, *event)`, values `(s, *lead)`.

    `lead` is a prefix of the batch. What f has reduced, it has coupled: the log-probability that
    goes with a value is the sum over the batch axes behind `lead`.

    Args:
        f: The function.
        distribution: p.
        samples: Draws.
    """

    f: Callable[[Any], Any]
    distribution: Distribution
    samples: int

    @property
    def batch(self) -> Size:
        """Shape of the independent draws in one sample."""
        return self.distribution.batch_shape

    def draw(self) -> Any:
        """Draw without a gradient: `(s, *batch, *event)`."""
        with torch.no_grad():
            return self.distribution.sample(Size((self.samples,)))

    def values(self, z: Any, samples: int | None = None) -> Float[Tensor, "s *lead"]:
        """Evaluate f, and check what it returns.

        Args:
            z: Samples.
            samples: Their number, where it is not that of the problem.

        Raises:
            ArgumentError: f returned something that is no number.
            ShapeError: Not `(s, *lead)` with a lead that the batch begins with.
            DataError: NaN or infinity; not seen inside `torch.func.vmap` and `torch.compile`.
        """
        count = self.samples if samples is None else samples
        found = self._as_tensor(self.f(z), z)
        lead = found.shape[1:]
        if not found.ndim or found.shape[0] != count or lead != self.batch[: len(lead)]:
            raise ShapeError(
                f"expect: f must return ({count}, *lead) with a lead that the batch "
                f"{tuple(self.batch)} begins with; got shape {tuple(found.shape)}",
                remedy="Keep the first axis, of the samples, and reduce axes from the right.",
            )
        if not looks_finite(found):
            _refuse_not_finite(found.detach())
        return found

    def _as_tensor(self, found: Any, z: Any) -> Tensor:
        if not isinstance(found, Tensor):
            try:
                found = torch.as_tensor(found)
            except (TypeError, ValueError, RuntimeError) as error:
                raise ArgumentError(
                    f"expect: f must return a tensor or numbers; got {type(found).__name__}"
                ) from error
            found = found.to(z.device) if isinstance(z, Tensor) else found
        if found.is_complex():
            raise ArgumentError(f"expect: f must return real numbers; got {found.dtype}")
        return found if found.is_floating_point() else found.to(torch.get_default_dtype())

    def log_prob(self, z: Any, n_lead: int) -> Float[Tensor, "s *lead"]:
        """Return log p(z), summed over the batch axes behind the first `n_lead`."""
        return self.summed(self.distribution.log_prob(z), n_lead)

    def summed(self, found: Float[Tensor, "s *batch"], n_lead: int) -> Float[Tensor, "s *lead"]:
        """Sum over the batch axes behind the first `n_lead`."""
        behind = len(self.batch) - n_lead
        return found.sum(tuple(range(-behind, 0))) if behind else found

    def reduced(self, n_lead: int) -> int:
        """Return how many independent draws each value depends on."""
        return self.batch[n_lead:].numel()


def _refuse_not_finite(values: Float[Tensor, "s *lead"]) -> None:
    """Name the first value that is NaN or infinite; there may be none: sums overflow."""
    bad = (~values.isfinite()).nonzero()
    if len(bad):
        place = tuple(int(i) for i in bad[0])
        raise DataError(
            f"expect: f must return finite numbers; got {float(values[place])} at {place} of shape "
            f"{tuple(values.shape)}, {len(bad)} such in all",
            remedy="Clamp f, or return a large number for what must not happen.",
            code="E-NOT-FINITE",
        )
