"""A schedule whose frequencies are given, or learned with the model that holds it."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Complex, Float
from torch import Tensor, nn

from trivium._core.checks import check_choice, check_finite, check_number, check_shapes
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral.schedule import Schedule

__all__ = ["Trained"]


class Trained(nn.Module, Schedule):
    r"""The frequencies themselves, as a parameter: $\kappa(r) = \frac1n \sum_j e^{i r \theta_j}$.

    Held by a module, they are its parameters and train with it. `model.to(torch.bfloat16)` leaves
    them in the type that they were given in: a rounded frequency turns by whole circles at far
    positions.

    Args:
        values: The frequencies, radians per position; copied.
        trainable: Whether they are a parameter; else a buffer.

    Raises:
        ArgumentError: Not a tensor of floats.
        ShapeError: Not one axis.
        DataError: No frequency, or one that is not finite.

    Example:
        >>> from trivium.kernel.spectral import Geometric
        >>> start = Trained(Geometric().frequencies(4))
        >>> start.frequencies(4).requires_grad, len(list(start.parameters()))
        (True, 1)
    """

    values: Tensor

    def __init__(self, values: Float[Tensor, " f"], trainable: bool = True) -> None:
        super().__init__()
        if not isinstance(values, Tensor) or not values.is_floating_point() or not values.numel():
            raise ArgumentError(f"Trained: values must be a tensor of floats; got {values!r}")
        check_shapes("Trained", {"values": (values, "f")})
        check_finite("Trained", "values", values)
        kept = values.detach().clone()
        if trainable:
            self.values = nn.Parameter(kept)
        else:
            self.register_buffer("values", kept)

    @classmethod
    def examples(cls) -> Sequence["Trained"]:
        """Return a few small instances."""
        spread = torch.tensor([1.0, 0.3, 0.1, 0.02], dtype=torch.float64)
        return (cls(spread), cls(spread[:1].float(), trainable=False))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Trained":
        """Move as modules do, but keep the type."""
        before = self.values.detach()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if self.values.dtype != before.dtype:
            self.values.data = before.to(self.values.device)
        return self

    def quantile(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the step function over the frequencies in ascending order."""
        ordered = self.values.double().sort().values
        place = (t * len(ordered)).floor().long().clamp(0, len(ordered) - 1)
        return ordered[place.to(ordered.device)]

    def frequencies(self, count: int | None = None, convention: str = "left") -> Tensor:
        """Return the frequencies in float64 with their gradient, in the order given.

        Args:
            count: Their number, where it is asked for; another one is refused.
            convention: Makes no difference here.

        Raises:
            ArgumentError: `count` is not their number, or the convention is unknown.
        """
        check_choice("Trained.frequencies", "convention", convention, ("left", "midpoint"))
        n = len(self.values)
        if count is not None:
            check_number("Trained.frequencies", "count", count, "positive", integer=True)
            if count != n:
                raise ArgumentError(
                    f"Trained.frequencies: count must be the number of its values, {n}; got {count}"
                )
        return self.values.double()

    def forward(self) -> Float[Tensor, " f"]:
        """Return `frequencies()`."""
        return self.frequencies()

    def _kernel(self, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
        angles = r[..., None] * self.values.double().to(r.device)
        return torch.complex(angles.cos().mean(-1), angles.sin().mean(-1))

    def extra_repr(self) -> str:
        """Return the number of frequencies."""
        return f"{counted(len(self.values), 'frequency')}"
