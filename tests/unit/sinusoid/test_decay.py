"""Decay against quadrature and sums, and where it stops."""

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from trivium._core.errors import ArgumentError, DataError
from trivium.kernel import Gaussian, Laplace
from trivium.kernel.spectral import Geometric, Power, Quantiles, Schedule, Trained, Uniform
from trivium.sinusoid import (
    decay,
    decay_table,
    envelope,
    first_zero,
    logarithmic_law,
    noise_floor,
)

DISTANCES = [0.0, 0.3, 1.0, 5.0, 31.4, 100.0, 700.0, 2500.0]
SCHEDULES = [
    Geometric(),
    Geometric(300.0),
    Power(2.0),
    Power(0.4),
    Uniform(),
    Uniform(0.2, 1.5),
    Quantiles(lambda w: w * (2 - w), support=(0.0, 2.0)),
]


def integral(schedule: Schedule, x: float) -> float:
    """By adaptive quadrature over pieces with one turn or less."""

    def wave(t: float) -> float:
        theta = schedule.quantile(torch.tensor([t], dtype=torch.float64))
        return math.cos(x * float(theta[0]))

    ends = schedule.quantile(torch.tensor([1e-12, 1 - 1e-12], dtype=torch.float64))
    turns = math.ceil(x * abs(float(ends[1] - ends[0])) / math.pi) + 1
    fine = torch.linspace(0, 1, 40 * turns + 1, dtype=torch.float64)
    phase = (x * schedule.quantile(fine.clamp(1e-12, 1 - 1e-12))).numpy()
    marks = np.interp(
        np.linspace(phase.min(), phase.max(), turns + 1),
        np.sort(phase),
        fine.numpy() if phase[-1] >= phase[0] else fine.numpy()[::-1],
    )
    edges = np.unique(np.concatenate(([0.0], np.sort(marks)[1:-1], [1.0])))
    return sum(quad(wave, a, b, epsabs=1e-10, epsrel=1e-9)[0] for a, b in pairwise(edges))


@pytest.mark.parametrize("schedule", SCHEDULES, ids=lambda s: type(s).__name__)
def test_decay_is_the_integral(schedule: Schedule) -> None:
    x = [d for d in DISTANCES if d <= (5 if isinstance(schedule, Quantiles) else 2500)]
    found = decay(x, schedule).tolist()
    assert found == pytest.approx([integral(schedule, each) for each in x], abs=1e-6)


def test_a_wrong_schedule_is_seen() -> None:
    assert abs(float(decay(100.0, Geometric(9_999.0))) - integral(Geometric(), 100.0)) > 1e-6


@pytest.mark.parametrize("convention", ["left", "midpoint"])
def test_the_finite_decay_is_the_codes_inner_product(convention: str) -> None:
    theta = Geometric().frequencies(24, convention)
    places = torch.arange(300, dtype=torch.float64)
    code = torch.cat(((places[:, None] * theta).cos(), (places[:, None] * theta).sin()), 1)
    found = decay(places[:, None] - places, n_frequencies=24, convention=convention)
    assert torch.allclose(found, code @ code.mT / 24, atol=1e-12)
    assert decay(torch.zeros(0), n_frequencies=3).shape == (0,)


def test_many_frequencies_approach_the_integral() -> None:
    x = torch.linspace(0, 1000, 401, dtype=torch.float64)
    gaps = [
        float((decay(x, Geometric(), n, "midpoint") - decay(x)).abs().max()) for n in (512, 4096)
    ]
    assert gaps[1] < 1e-4 < gaps[0]


@pytest.mark.parametrize("base", [1e3, 1e4, 5e5, 1e7])
def test_decay_stops_at_the_known_place(base: float) -> None:
    zero = first_zero(Geometric(base))
    assert zero is not None
    assert zero / base == pytest.approx(0.6165, abs=0.002)
    near = zero * (1 + torch.linspace(-0.02, 0, 10_001, dtype=torch.float64)[:-1])
    assert bool((decay(near, Geometric(base)) > 0).all())  # there is none before
    assert float(decay(zero * (1 + 1e-9), Geometric(base))) <= 0
    x = zero * torch.logspace(0, 3, 4001, dtype=torch.float64)
    allowed = envelope(x, base) + 1 / (x * math.log(base))
    assert bool((decay(x, Geometric(base)).abs() <= allowed).all())
    assert float((decay(x, Geometric(base)).abs() / envelope(x, base)).max()) > 0.98  # and tight


def test_zeros_of_other_schedules() -> None:
    assert first_zero(Uniform()) == pytest.approx(math.pi, abs=1e-9)
    assert first_zero(Uniform(100.0, 101.0)) == pytest.approx(math.pi / 201, abs=1e-12)
    assert first_zero(Trained(torch.tensor([2.0]))) == pytest.approx(math.pi / 4, abs=1e-9)
    assert first_zero(Quantiles(Gaussian(1.0)), limit=1e4) is None
    assert first_zero(Quantiles(Laplace(1.0)), limit=1e4) is None
    assert first_zero(limit=6000.0) is None
    finite = first_zero(n_frequencies=64)  # a code of width 128 stops earlier
    assert finite is not None
    assert finite == pytest.approx(1706.06, abs=0.1)
    x = torch.arange(0, finite - 0.01, 0.01, dtype=torch.float64)
    assert bool((decay(x, n_frequencies=64) > 0).all())


def test_the_law_is_logarithmic() -> None:
    x = torch.logspace(1.5, 2.5, 50, dtype=torch.float64)
    gap = (decay(x, Geometric(1e7)) - logarithmic_law(x, 1e7)).abs()
    # What is left of Ci(x), and of x/B.
    assert bool((gap <= (1 / x + (x / 1e7) ** 2) / math.log(1e7)).all())


def test_the_tail_of_a_finite_code_is_noise() -> None:
    x = torch.linspace(1e6, 2e7, 20_000, dtype=torch.float64)
    for n in (8, 32, 128):
        tail = decay(x, Geometric(), n).square().mean().sqrt()
        assert float(tail) == pytest.approx(noise_floor(n), rel=0.1)


def test_a_table_has_a_row_for_each_schedule_and_distance() -> None:
    plans = {"a": Geometric(), "b": Quantiles(Gaussian(10.0))}
    rows = decay_table(plans, torch.tensor([10.0, 7000.0]), n_frequencies=16)
    assert [(row.schedule, row.distance) for row in rows] == [
        ("a", 10.0), ("a", 7000.0), ("b", 10.0), ("b", 7000.0)
    ]  # fmt: skip
    assert [row.beyond for row in rows] == [False, True, False, False]
    assert rows[0].exact == float(decay(10.0))
    assert rows[0].finite == pytest.approx(float(decay(10.0, n_frequencies=16)))
    assert rows[0].floor == noise_floor(16)
    assert rows[2].first_zero is None
    assert rows[1].as_dict()["beyond"] is True
    plain = decay_table([Geometric(), Uniform()], [1])
    assert [row.schedule for row in plain] == [repr(Geometric()), repr(Uniform())]
    assert plain[0].finite is None
    assert plain[0].floor is None


CASES: list[tuple[Any, type[Exception], str]] = [
    (lambda: decay(1.0, 10_000), ArgumentError, "decay: schedule must be a Schedule; got 10000"),
    (lambda: decay(math.inf), DataError, "decay: x must be finite"),
    (lambda: decay(1j * torch.ones(1)), ArgumentError, "decay: x must be real"),
    (lambda: decay("near"), ArgumentError, "decay: x must be a tensor or numbers; got 'near'"),
    (lambda: decay(None), ArgumentError, "decay: x must be a tensor or numbers; got None"),
    (lambda: decay([[1, 2], [3]]), ArgumentError, "decay: x must be a tensor or numbers"),
    (lambda: decay(10**400), ArgumentError, "decay: x must be a tensor or numbers"),
    (lambda: envelope("far"), ArgumentError, "envelope: x must be a tensor or numbers"),
    (lambda: decay_table(Uniform(), None), ArgumentError, "decay_table: distances must be a tens"),
    (lambda: decay_table(3, [1]), ArgumentError, "decay_table: schedules must be one or more; got"),
    (lambda: decay_table("geo", [1]), ArgumentError, "decay_table: schedules must be one or more"),
    (lambda: Uniform().kernel("a"), ArgumentError, "Uniform.kernel: r must be a tensor or numb"),
    (lambda: decay(1.0, n_frequencies=0), ArgumentError, "count must be an integer, positive"),
    (lambda: decay(1.0, None, 3, "right"), ArgumentError, "convention must be one of"),
    (lambda: first_zero(limit=0.0), ArgumentError, "first_zero: limit must be a number, positive"),
    (lambda: envelope(0.0), ArgumentError, "envelope: x must be positive; got 0.0"),
    (lambda: logarithmic_law([1.0, -2.0]), ArgumentError, "logarithmic_law: x must be positive"),
    (lambda: logarithmic_law(1.0, 1.0), ArgumentError, "base must be above 1; got 1.0"),
    (lambda: noise_floor(0), ArgumentError, "noise_floor: n_frequencies must be an integer"),
    (lambda: decay_table([], [1]), ArgumentError, "decay_table: schedules must be one or more"),
    (lambda: decay_table([Uniform()] * 2, [1]), ArgumentError, "no two alike"),
    (lambda: decay_table([3], [1]), ArgumentError, "decay_table: schedule must be a Schedule"),
]


@pytest.mark.parametrize(("call", "error", "said"), CASES)
def test_bad_input_is_refused(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
