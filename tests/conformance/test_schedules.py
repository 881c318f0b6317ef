"""Every schedule of frequencies keeps the laws of a spectral density; wrong ones are caught."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from trivium._core.families import members
from trivium.kernel.spectral import Geometric, Schedule
from trivium.testing.schedule_laws import check_schedule

SCHEDULES = [s for member in members("trivium.kernel", Schedule) for s in member.examples()]


def _name(schedule: Schedule) -> str:
    return type(schedule).__name__


def test_every_schedule_is_walked() -> None:
    names = {_name(s) for s in SCHEDULES}
    assert names == {"Geometric", "Power", "Quantiles", "Trained", "Uniform"}


@pytest.mark.parametrize("schedule", SCHEDULES, ids=_name)
def test_schedule_keeps_the_laws(schedule: Schedule) -> None:
    check_schedule(schedule)


@dataclass(frozen=True)
class Logarithmic(Schedule):
    """A user's own: nothing but quantiles."""

    def quantile(self, t: Tensor) -> Tensor:
        return (1 + t).log()

    @classmethod
    def examples(cls) -> Sequence["Logarithmic"]:
        return (cls(),)


def test_a_schedule_of_ones_own_keeps_them() -> None:
    check_schedule(Logarithmic())


@dataclass(frozen=True)
class Loud(Geometric):
    """Not a characteristic function: too large off zero."""

    @classmethod
    def examples(cls) -> Sequence["Loud"]:
        return (cls(),)

    def _kernel(self, r: Tensor) -> Tensor:
        return super()._kernel(r) * (1 + 0.2 * r.abs())


@dataclass(frozen=True)
class Tilted(Loud):
    def _kernel(self, r: Tensor) -> Tensor:
        return Geometric._kernel(self, r) * torch.exp(0.01j * r.abs())


@dataclass(frozen=True)
class Indefinite(Loud):
    """Within 1, Hermitian, and still no mean of waves."""

    def _kernel(self, r: Tensor) -> Tensor:
        return torch.where(r.abs() < 4, 1.0, 0.0).to(torch.complex128)


@dataclass(frozen=True)
class OtherBase(Loud):
    def _kernel(self, r: Tensor) -> Tensor:
        return Geometric(5_000.0)._kernel(r)


@dataclass(frozen=True)
class Folded(Logarithmic):
    def quantile(self, t: Tensor) -> Tensor:
        return (t - 0.5).abs()


@dataclass(frozen=True)
class Shifted(Logarithmic):
    def frequencies(self, count: int, convention: str = "left") -> Tensor:
        return super().frequencies(count, "midpoint")


@dataclass(frozen=True)
class Lenient(Logarithmic):
    def frequencies(self, count: int, convention: str = "left") -> Tensor:
        return super().frequencies(max(count, 1), convention)


@pytest.mark.parametrize(
    ("schedule", "law"),
    [
        (Loud(), "characteristic_function"),
        (Tilted(), "characteristic_function"),
        (Indefinite(), "characteristic_function"),
        (OtherBase(), "frequencies_approach"),
        (Folded(), "quantiles_ascend"),
        (Shifted(), "quantiles_ascend"),
        (Lenient(), "misuse_refused"),
    ],
    ids=lambda value: value if isinstance(value, str) else _name(value),
)
def test_a_wrong_schedule_is_caught(schedule: Schedule, law: str) -> None:
    with pytest.raises(AssertionError, match=f"law {law}:"):
        check_schedule(schedule)


@dataclass(frozen=True)
class Level(Geometric):
    """Right values over a graph without a slope."""

    def _kernel(self, r: Tensor) -> Tensor:
        return super()._kernel(r.detach()) + 0 * r


@dataclass(frozen=True)
class Steep(Geometric):
    """A slope that is 1e-4 too large."""

    def _slope(self, r: Tensor) -> Tensor:
        return super()._slope(r) * (1 + 1e-4)


@pytest.mark.parametrize("wrong", [Level(), Steep()], ids=_name)
def test_a_wrong_slope_is_caught(wrong: Schedule) -> None:
    with pytest.raises(AssertionError, match="slopes_agree"):
        check_schedule(wrong)
