"""The contract of a schedule of frequencies: one function, its quantiles."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Complex, Float
from torch import Tensor

from trivium._core.checks import check_choice, check_finite, check_number
from trivium._core.errors import ArgumentError
from trivium.kernel.spectral.levin import fourier_integral

__all__ = ["Schedule"]

_PART = 2**13
_SHIFTS = {"left": 0.0, "midpoint": 0.5}


def as_distances(caller: str, r: Any, name: str = "r") -> Float[Tensor, "..."]:
    """Return distances as a float64 tensor, refusing what is not real and finite."""
    if isinstance(r, Tensor) and r.is_complex():
        raise ArgumentError(f"{caller}: {name} must be real; got {r.dtype}")
    try:
        found = torch.as_tensor(r, dtype=torch.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise ArgumentError(f"{caller}: {name} must be a tensor or numbers; got {r!r}") from error
    check_finite(caller, name, found)
    return found


class Schedule(ABC):
    r"""Frequencies θ(t) for t in [0, 1], the quantile function of a spectral density (Bochner).

    $\kappa(r) = \int_0^1 e^{i r \theta(t)}\,dt$ is what a code with these frequencies does to a
    distance r: the real part is the limit of the inner product of two sinusoidal codes, and of
    the mean rotation of a rotary layer. A member answers `quantile` and `examples`; one with a
    closed form of κ also answers `_kernel`, else an adaptive quadrature does.

    Example:
        >>> class Log(Schedule):
        ...     def quantile(self, t):
        ...         return (1 + t).log()
        ...     @classmethod
        ...     def examples(cls):
        ...         return (cls(),)
        >>> Log().frequencies(3)
        tensor([0.0000, 0.2877, 0.5108], dtype=torch.float64)
        >>> Log().kernel(10.0).real  # of (2 exp(10 i log 2) - 1) / (1 + 10 i)
        tensor(0.1255, dtype=torch.float64)

    Source:
        Rahimi and Recht, Random Features for Large-Scale Kernel Machines (2007), theorem 1.
    """

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence["Schedule"]:
        """Return a few small instances for conformance tests and the catalog."""

    @abstractmethod
    def quantile(self, t: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return θ(t), monotone in t, for float64 t inside [0, 1)."""

    def _kernel(self, r: Float[Tensor, "..."]) -> Complex[Tensor, "..."]:
        """Return κ of finite float64 distances."""
        return fourier_integral(self.quantile, r)

    def _cosines(self, r: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Return the real part of κ; for members that have it for less."""
        return self._kernel(r).real

    def frequencies(self, count: int, convention: str = "left") -> Float[Tensor, " f"]:
        """Return `count` frequencies in float64, radians per position.

        Args:
            count: How many; half the width of a code or of a rotary head.
            convention: `"left"` takes t = 0, 1/n, 2/n, ... (the Transformer's
                $B^{-2t/D}$ with n = D/2); `"midpoint"` takes t = (j + ½)/n, the better rule for
                the kernel's integral.

        Raises:
            ArgumentError: An argument breaks its rule.
        """
        caller = f"{type(self).__name__}.frequencies"
        n = int(check_number(caller, "count", count, "positive", integer=True))
        shift = _SHIFTS[check_choice(caller, "convention", convention, _SHIFTS)]
        return self.quantile((torch.arange(n, dtype=torch.float64) + shift) / n)

    def kernel(self, r: Any) -> Complex[Tensor, "..."]:
        """Return κ(r) in complex128; κ(0) = 1 and κ(−r) is the conjugate.

        Args:
            r: Distances, a tensor or numbers, of any shape.

        Raises:
            ArgumentError: `r` is complex, or not numbers.
            DataError: A distance is not finite.
        """
        return _by_parts(self._kernel, as_distances(f"{type(self).__name__}.kernel", r))

    def cosines(self, r: Any) -> Float[Tensor, "..."]:
        """Return the real part of κ(r), a stationary kernel of positions at distance r.

        Args:
            r: As for `kernel`.

        Raises:
            ArgumentError: As for `kernel`.
            DataError: As for `kernel`.
        """
        return _by_parts(self._cosines, as_distances(f"{type(self).__name__}.cosines", r))


def _by_parts(function: Callable[[Tensor], Tensor], r: Tensor) -> Tensor:
    """Apply a function to a few distances at a time: what it needs does not grow with them."""
    if r.numel() <= _PART:
        return function(r)
    parts = [function(part) for part in r.reshape(-1).split(_PART)]
    return torch.cat(parts).reshape(r.shape)
