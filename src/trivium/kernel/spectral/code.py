"""The kernel of a schedule on positions, and the sinusoidal code, which is its feature map."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.checks import check_choice
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ShapeError
from trivium.kernel.base import Kernel
from trivium.kernel.feature_map import FeatureMap
from trivium.kernel.gaussian import Gaussian
from trivium.kernel.spectral.angles import cos_sin
from trivium.kernel.spectral.geometric import Geometric
from trivium.kernel.spectral.power import Uniform
from trivium.kernel.spectral.quantiles import Quantiles
from trivium.kernel.spectral.schedule import Schedule

__all__ = ["SinusoidalCode", "Spectral"]


@dataclass(frozen=True)
class Spectral(Kernel):
    r"""The kernel of a schedule: $\mathrm{Re}\,\kappa(x - x')$, its mean over columns.

    On one column, a position, it is what sinusoidal codes of the schedule have for an inner
    product as their width grows. It is positive semi-definite by Bochner's theorem.

    Args:
        schedule: The frequencies.

    Raises:
        ArgumentError: Not a schedule.

    Cost:
        O(n m d) values of κ, made in float64.

    Example:
        >>> Spectral(Geometric()).gram(torch.tensor([0.0, 100.0]))
        tensor([[1.0000, 0.4368],
                [0.4368, 1.0000]])

    Source:
        Rahimi and Recht, Random Features for Large-Scale Kernel Machines (2007), theorem 1.
    """

    schedule: Schedule = field(default_factory=Geometric)

    stationary = True
    spectral = True
    buffers = 8

    def __post_init__(self) -> None:
        if not isinstance(self.schedule, Schedule):
            raise ArgumentError(f"Spectral: schedule must be a Schedule; got {self.schedule!r}")

    @classmethod
    def examples(cls) -> Sequence["Spectral"]:
        """Return a few small instances."""
        return (cls(), cls(Uniform(0.0, 3.0)), cls(Quantiles(Gaussian(0.7))))

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        other = x if y is None else y
        total = x.new_zeros(len(x), len(other))
        for left, right in zip(x.unbind(1), other.unbind(1), strict=True):
            total += self.schedule.cosines(left.double()[:, None] - right.double()).to(x)
        return total / x.shape[1]

    def _diagonal(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), dtype=x.dtype, device=x.device)

    def spectral_sample(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Float[Tensor, "r d"]:
        """Draw frequencies, each along one column; see `Kernel.spectral_sample`."""
        shares = torch.from_numpy(generator.random(n_frequencies))
        found = torch.zeros(n_frequencies, n_columns, dtype=torch.float64)
        columns = torch.from_numpy(generator.integers(n_columns, size=n_frequencies))
        found[torch.arange(n_frequencies), columns] = self.schedule.quantile(shares).detach()
        return found


@dataclass(frozen=True, kw_only=True)
class SinusoidalCode(FeatureMap):
    r"""$\varphi(x) = n^{-1/2} [\cos(x\,\theta_j), \sin(x\,\theta_j)]_j$, codes of positions.

    The inner product of two codes is $\frac1n \sum_j \cos((x - x')\,\theta_j)$, a quadrature of the
    kernel; with left end points of a geometric schedule it is the Transformer's code over √n.
    Several columns have each a share of the features.

    Args:
        kernel: `Spectral(schedule)`.
        n_features: r, even; two for each frequency of each column.
        convention: As for `Schedule.frequencies`.
        frequencies: θ; learned from the schedule and the number of columns.

    Raises:
        ArgumentError: Another kernel, an odd number of features or an unknown convention.
        ShapeError: In `fit`: more columns than pairs of features.

    Cost:
        O(n r) time and memory.

    Example:
        >>> places = torch.arange(4.0)
        >>> code = SinusoidalCode(kernel=Spectral(Geometric()), n_features=512).fit(places)
        >>> phi = code.transform(places)
        >>> bool(((phi @ phi.T - code.kernel.gram(places)).abs() < 1e-4).all())
        True

    Source:
        Vaswani et al., Attention Is All You Need, NeurIPS (2017), section 3.5.
    """

    convention: str = "midpoint"
    frequencies: Float[Tensor, " f"] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("SinusoidalCode", "convention", self.convention, ("left", "midpoint"))
        if not isinstance(self.kernel, Spectral):
            raise ArgumentError(
                f"SinusoidalCode: kernel must be Spectral(schedule); got {self.kernel!r}",
                remedy="Spectral(Quantiles(kernel)) is a stationary kernel on the line.",
            )
        if self.n_features % 2:
            raise ArgumentError(f"SinusoidalCode: n_features must be even; got {self.n_features}")

    @classmethod
    def examples(cls) -> Sequence["SinusoidalCode"]:
        """Return a few small instances."""
        plain = cls(kernel=Spectral(Geometric()), n_features=48, convention="left")
        return (plain, cls(kernel=Spectral(Quantiles(Gaussian(0.7))), n_features=64))

    def _learn(self, kernel: Kernel, x: Shaped[Tensor, "n d"], seed: int) -> dict[str, Any]:
        n_columns = x.shape[1]
        count = self.n_features // (2 * n_columns)
        if count == 0:
            raise ShapeError(
                "SinusoidalCode.fit: x must have at most "
                f"{counted(self.n_features // 2, 'column')}, one for "
                f"each pair of features; got {n_columns}"
            )
        assert isinstance(kernel, Spectral)  # checked when built
        theta = kernel.schedule.frequencies(count, self.convention)
        return {"frequencies": theta, "n_features": 2 * count * n_columns}

    def _features(self, x: Shaped[Tensor, "n d"]) -> Float[Tensor, "n r"]:
        if self.frequencies is None:
            raise ArgumentError("SinusoidalCode: frequencies must be learned by fit first")
        waves = torch.cat(cos_sin(x, self.frequencies, x.dtype), -1)
        return waves.flatten(1) * (len(self.frequencies) * x.shape[1]) ** -0.5
