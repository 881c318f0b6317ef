"""Every kernel and every feature map of the room keeps the public laws; wrong ones are caught."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from trivium._core.errors import NumericalError
from trivium._core.families import members
from trivium.kernel import (
    Delta,
    Distance,
    FeatureMap,
    Gaussian,
    Kernel,
    Linear,
    Nystroem,
    RandomFourier,
    Stationary,
    String,
)
from trivium.testing.feature_map_laws import check_feature_map
from trivium.testing.kernel_laws import KERNEL_LAWS, check_kernel
from trivium.testing.kernel_rows import kernel_rows

KERNELS = [k for member in members("trivium.kernel", Kernel) for k in member.examples()]
MAPS = [m for member in members("trivium.kernel", FeatureMap) for m in member.examples()]


def _name(member: object) -> str:
    return type(member).__name__


@pytest.mark.parametrize("kernel", KERNELS, ids=_name)
def test_kernel_keeps_the_laws(kernel: Kernel) -> None:
    check_kernel(kernel)


@pytest.mark.parametrize("kernel", KERNELS, ids=_name)
@pytest.mark.parametrize("n_columns", [1, 6])
def test_values_hold_for_other_widths(kernel: Kernel, n_columns: int) -> None:
    """One column and six take other paths through the distances."""
    x = kernel_rows(kernel, 20, n_columns, seed=7)
    for law in KERNEL_LAWS:
        if law.__name__ not in {"tiles_within_budget", "spectrum_agrees", "declared_and_frozen"}:
            law(kernel, x)


@pytest.mark.parametrize("feature_map", MAPS, ids=_name)
def test_feature_map_keeps_the_laws(feature_map: FeatureMap) -> None:
    check_feature_map(feature_map)


def test_every_kind_of_member_is_walked() -> None:
    assert {_name(k) for k in KERNELS} >= {"Gaussian", "Delta", "Linear", "Precomputed", "Sum"}
    assert {k.inputs for k in KERNELS} == {"vectors", "codes", "texts", "matrix"}
    assert {_name(m) for m in MAPS} == {
        "Coordinates",
        "Nystroem",
        "OneHot",
        "OrthogonalFourier",
        "RandomFourier",
        "SinusoidalCode",
    }


# Deliberately wrong members, one for each law that can be broken by a value.


@dataclass(frozen=True)
class Wrong(Linear):
    @classmethod
    def examples(cls) -> Sequence["Wrong"]:
        return (cls(),)


@dataclass(frozen=True)
class Asymmetric(Wrong):
    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        other = x if y is None else y
        return super()._gram(x, y) + 0.01 * (x.sum(1)[:, None] - other.sum(1))


@dataclass(frozen=True)
class NotPSD(Wrong):
    """The negative squared distance plus one: indefinite, with a non-negative diagonal."""

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        other = x if y is None else y
        return 1 - (x[:, None] - other[None]).square().sum(-1)

    def _diagonal(self, x: Tensor) -> Tensor:
        return torch.ones(len(x), dtype=x.dtype)


@dataclass(frozen=True)
class WrongDiagonal(Wrong):
    def _diagonal(self, x: Tensor) -> Tensor:
        return super()._diagonal(x) + 1e-6


@dataclass(frozen=True)
class SeesOrder(Wrong):
    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        gram = super()._gram(x, y)
        if y is None:
            gram[0, 0] += 1
        return gram

    def _diagonal(self, x: Tensor) -> Tensor:
        return super()._diagonal(x) + torch.eye(len(x), dtype=x.dtype)[0]


@dataclass(frozen=True)
class Greedy(Wrong):
    """Holds more buffers than it declares."""

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        gram = super()._gram(x, y)
        copies = [gram.clone() for _ in range(4)]
        return gram + 0 * sum(copies)


@dataclass(frozen=True)
class NoSlope(Wrong):
    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        return super()._gram(x.detach(), y) + 0 * x.sum()


@dataclass(frozen=True)
class UnsafeSlope(Stationary):
    """A root without a guard: its slope at distance zero is NaN."""

    metric = "squared"
    spectral = False

    @classmethod
    def examples(cls) -> Sequence["UnsafeSlope"]:
        return (cls(),)

    def _profile(self, distance: Tensor) -> Tensor:
        return torch.exp(-torch.sqrt(distance))


@dataclass(frozen=True)
class Double(Wrong):
    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        return super()._gram(x, y).double()


@dataclass(frozen=True)
class SaysStationary(Wrong):
    stationary = True


@dataclass(frozen=True)
class WrongSpectrum(Gaussian):
    def _unit_spectrum(self, n: int, d: int, generator: np.random.Generator) -> Tensor:
        return 1.1 * super()._unit_spectrum(n, d, generator)


@dataclass(frozen=True)
class Unscaled(Gaussian):
    def resolve(self, x: Tensor, random_state: object = 0) -> "Unscaled":
        return self if self.lengthscale != "median" else Unscaled(1.0)


@dataclass(frozen=True)
class OffCenter(Gaussian):
    """Squares by products without moving the origin: right in float64, lost in float32."""

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        other = x if y is None else y
        squares = x.square().sum(1)[:, None] + other.square().sum(1) - 2 * x @ other.mT
        return torch.exp(-squares.clamp_min(0) / (2 * self._number() ** 2))


@dataclass(frozen=True)
class TooSteep(Distance):
    """A distance to the power 2.5, which is not of negative type."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "exponent", 2.5)
        object.__setattr__(self, "buffers", 7)

    @classmethod
    def examples(cls) -> Sequence["TooSteep"]:
        return (cls(),)


@dataclass(frozen=True)
class MovingOrigin(Distance):
    """The origin of each call's own rows: no two blocks belong to one matrix."""

    def resolve(self, x: Tensor, random_state: object = 0) -> "MovingOrigin":
        return self

    def _own(self, x: Tensor) -> Tensor:
        return Distance(self.exponent).resolve(x)._own(x)

    @classmethod
    def examples(cls) -> Sequence["MovingOrigin"]:
        return (cls(),)


@dataclass(frozen=True)
class SteepAtZero(Distance):
    """A power without a guard: its slope at distance zero is NaN."""

    def _power(self, distance: Tensor) -> Tensor:
        return distance.pow(self.exponent)

    @classmethod
    def examples(cls) -> Sequence["SteepAtZero"]:
        return (cls(0.5),)


class WrongString(String):
    @classmethod
    def examples(cls) -> Sequence["WrongString"]:
        return (cls(),)


class Unnormalized(WrongString):
    """Counts as they are, with the diagonal of the cosine."""

    def _cosines(self, codes):
        return super()._cosines(codes) * 2.0


class SeesNeighbors(WrongString):
    """Weights by how many rows of the call have an n-gram: a block is not that of the whole."""

    def _cosines(self, codes):
        counts = super()._cosines(codes)
        counts.data *= np.bincount(counts.indices)[counts.indices]
        lengths = np.sqrt(np.asarray(counts.multiply(counts).sum(1)))
        return counts.multiply(1 / lengths).tocsr()


@dataclass(frozen=True)
class Permissive(Delta):
    """Takes whatever it is given."""

    def _checked(self, method: str, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        rows = x if x.ndim == 2 else x[:, None]
        return rows, y if y is None or y.ndim == 2 else y[:, None]


@pytest.mark.parametrize(
    ("kernel", "law"),
    [
        (Asymmetric(), "symmetric"),
        (NotPSD(), "positive_semidefinite"),
        (WrongDiagonal(), "diagonal_agrees"),
        (SeesOrder(), "blocks_agree"),
        (Greedy(), "tiles_within_budget"),
        (NoSlope(), "gradient_agrees"),
        (UnsafeSlope(), "gradient_agrees"),
        (Double(), "dtype_kept"),
        (SaysStationary(), "translation_invariant"),
        (WrongSpectrum(), "spectrum_agrees"),
        (Unscaled(), "resolve_settles"),
        (TooSteep(), "positive_semidefinite"),
        (MovingOrigin(), "diagonal_agrees|blocks_agree"),
        (Unnormalized(), "blocks_agree|diagonal_agrees|positive_semidefinite"),
        (SeesNeighbors(), "blocks_agree"),
        (Permissive(), "bad_rows_refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else _name(value),
)
@pytest.mark.filterwarnings("ignore:Anomaly")
def test_a_wrong_kernel_is_caught(kernel: Kernel, law: str) -> None:
    with pytest.raises(AssertionError, match=f"law ({law}):"):
        check_kernel(kernel)


def test_a_steep_power_is_caught_on_a_line() -> None:
    """With more columns the distance itself has slope zero there and hides it."""
    kernel = SteepAtZero(0.5)
    with pytest.raises(AssertionError, match=r"law gradient_agrees: .*Jacobian"):
        check_kernel(kernel, kernel_rows(kernel, n_columns=1))


@dataclass(frozen=True)
class SeesOthers(Wrong):
    """Values that depend on how many rows stand beside, and on which is first."""

    def _gram(self, x: Tensor, y: Tensor | None) -> Tensor:
        return super()._gram(x, y) + x.shape[0] * 1e-3 + x[0, 0]


@pytest.mark.parametrize(
    ("kernel", "law"),
    [
        (OffCenter(1.0), "single_precision"),
        (SeesOthers(), "order_of_rows"),
        (SeesOthers(), "tiles_agree"),
        (NotPSD(), "factor_honest"),
    ],
    ids=lambda value: value if isinstance(value, str) else _name(value),
)
def test_laws_behind_others_can_fail_too(kernel: Kernel, law: str) -> None:
    held = {found.__name__: found for found in KERNEL_LAWS}[law]
    with pytest.raises((AssertionError, NumericalError)):
        held(kernel, kernel_rows(kernel))


@dataclass(frozen=True, kw_only=True)
class Biased(RandomFourier):
    def _draw(self, kernel: Kernel, n_columns: int, generator: np.random.Generator) -> Tensor:
        return 1.2 * super()._draw(kernel, n_columns, generator)


@dataclass(frozen=True, kw_only=True)
class Stuck(RandomFourier):
    """Always the same few frequencies: unbiased it may be, consistent it is not."""

    def _draw(self, kernel: Kernel, n_columns: int, generator: np.random.Generator) -> Tensor:
        few = kernel.spectral_sample(4, n_columns, generator)
        return few.repeat(self.n_features // 8 + 1, 1)[: self.n_features // 2]


@dataclass(frozen=True, kw_only=True)
class Restless(RandomFourier):
    def _draw(self, kernel: Kernel, n_columns: int, generator: np.random.Generator) -> Tensor:
        return super()._draw(kernel, n_columns, np.random.default_rng())


@dataclass(frozen=True, kw_only=True)
class Crowded(RandomFourier):
    def _features(self, x: Tensor) -> Tensor:
        return super()._features(x - x.mean(0))


@dataclass(frozen=True, kw_only=True)
class Overshooting(Nystroem):
    def _features(self, x: Tensor) -> Tensor:
        return 1.01 * super()._features(x)


@pytest.mark.parametrize(
    ("feature_map", "law"),
    [
        (Biased(kernel=Gaussian(), n_features=64), "unbiased_over_seeds"),
        (Stuck(kernel=Gaussian(), n_features=64), "unbiased_over_seeds|consistent"),
        (Restless(kernel=Gaussian(), n_features=64), "seed_decides"),
        (Crowded(kernel=Gaussian(), n_features=64), "rows_alone"),
        (Overshooting(kernel=Gaussian(), n_features=8), "interpolates"),
    ],
    ids=lambda value: value if isinstance(value, str) else _name(value),
)
def test_a_wrong_feature_map_is_caught(feature_map: FeatureMap, law: str) -> None:
    with pytest.raises(AssertionError, match=f"law ({law}):"):
        check_feature_map(feature_map)


@dataclass(frozen=True)
class Silent(Gaussian):
    """Differentiable, and says that it is not."""

    differentiable = False


@dataclass(frozen=True)
class Steeper(Gaussian):
    """A gradient that is 1e-4 too large."""

    def _profile(self, distance: Tensor) -> Tensor:
        right = super()._profile(distance)
        return right + 1e-4 * (right - right.detach())


@pytest.mark.parametrize("wrong", [Silent(1.0), Steeper(1.0)], ids=_name)
def test_a_wrong_gradient_is_caught(wrong: Kernel) -> None:
    with pytest.raises(AssertionError, match="gradient_agrees"):
        check_kernel(wrong)
