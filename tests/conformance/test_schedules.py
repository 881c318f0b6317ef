"""Every schedule of frequencies keeps the laws of a spectral density; wrong ones are caught."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from trivium._core.families import members
from trivium.kernel.spectral import Geometric, Schedule, Trained

SCHEDULES = [s for member in members("trivium.kernel", Schedule) for s in member.examples()]


def _name(schedule: Schedule) -> str:
    return type(schedule).__name__


def test_every_schedule_is_walked() -> None:
    assert {_name(s) for s in SCHEDULES} == {
        "Geometric",
        "Power",
        "Quantiles",
        "Trained",
        "Uniform",
    }


def characteristic_function(schedule: Schedule) -> None:
    r = torch.linspace(-8, 8, 33, dtype=torch.float64)
    found = schedule.kernel(r).detach()
    assert found.dtype == torch.complex128
    assert found.shape == r.shape
    assert torch.allclose(found[16], torch.ones((), dtype=torch.complex128), atol=1e-14)
    assert torch.allclose(found.flip(0), found.conj(), atol=1e-14)
    assert float(found.abs().max()) <= 1 + 1e-12
    gram = schedule.kernel(r[:, None] - r).detach()
    assert float(torch.linalg.eigvalsh(gram)[0]) > -1e-11  # Bochner


def frequencies_approach(schedule: Schedule) -> None:
    count = len(schedule.values) if isinstance(schedule, Trained) else 4096
    theta = schedule.frequencies(count, "midpoint").detach()
    assert theta.dtype == torch.float64
    r = torch.linspace(0, 3, 31, dtype=torch.float64)
    found = torch.exp(1j * r[:, None] * theta).mean(1)
    # The last cell of a heavy tail turns many times.
    assert float((found - schedule.kernel(r).detach()).abs().max()) < 5e-3
    ends = schedule.quantile(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)).detach().diff()
    assert bool((ends >= 0).all() or (ends <= 0).all())


@pytest.mark.parametrize("schedule", SCHEDULES, ids=_name)
@pytest.mark.parametrize("law", [characteristic_function, frequencies_approach])
def test_schedule_keeps_the_laws(schedule: Schedule, law: Callable[[Schedule], None]) -> None:
    law(schedule)


@dataclass(frozen=True)
class Loud(Geometric):
    """Not a characteristic function: too large off zero."""

    @classmethod
    def examples(cls) -> Sequence["Loud"]:
        return (cls(),)

    def _kernel(self, r: Tensor) -> Tensor:
        return super()._kernel(r) * (1 + 0.2 * r.abs())


@dataclass(frozen=True)
class OtherBase(Loud):
    def _kernel(self, r: Tensor) -> Tensor:
        return Geometric(5_000.0)._kernel(r)


@pytest.mark.parametrize(
    ("schedule", "law"), [(Loud(), characteristic_function), (OtherBase(), frequencies_approach)]
)
def test_a_wrong_schedule_is_caught(schedule: Schedule, law: Callable[[Schedule], None]) -> None:
    with pytest.raises(AssertionError):
        law(schedule)
