"""Schedules against mpmath, their quadrature against their closed forms, and exact angles."""

import math
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from scipy.special import dawsn, expi
from torch import nn

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.kernel import Gaussian, Laplace, Matern, RationalQuadratic
from trivium.kernel.spectral import (
    Geometric,
    Power,
    Quantiles,
    Schedule,
    SinusoidalCode,
    Spectral,
    Trained,
    Uniform,
    cos_sin,
)
from trivium.kernel.spectral.levin import fourier_integral

DISTANCES = [0.0, 1e-9, 1e-3, 0.1, 1.0, 3.9, 4.1, 7.0, 20.0, 49.0, 51.0, 300.0, 6165.0, 1e5, 1e7]
POWERS = (0.02, 0.1, 0.5, 1.0, 1.5, 2.0, 7.0, 50.0)
CLOSED = [
    Geometric(),
    Geometric(2.0),
    Geometric(5e5),
    Geometric(1e300),
    Uniform(),
    Uniform(0.5, 2.0),
]
CLOSED += [Power(a) for a in POWERS]
NARROW = [Geometric(1 + share) for share in (1e-15, 1e-9, 1e-4, 0.009, 0.0101)]


def exact(schedule: Any, x: float) -> complex:
    if x == 0:
        return 1.0 + 0j
    if isinstance(schedule, Power):
        s = 1 / mpmath.mpf(schedule.exponent)
        return complex(mpmath.hyp1f1(s, s + 1, 1j * mpmath.mpf(x)))
    if isinstance(schedule, Geometric):
        b = mpmath.mpf(schedule.base)
        real = mpmath.ci(x) - mpmath.ci(x / b)
        return complex((real + 1j * (mpmath.si(x) - mpmath.si(x / b))) / mpmath.log(b))
    low, high = mpmath.mpf(schedule.low), mpmath.mpf(schedule.high)
    return complex((mpmath.expj(x * high) - mpmath.expj(x * low)) / (1j * x * (high - low)))


def gap(schedule: Schedule, kernel: Any) -> float:
    with mpmath.workdps(30):
        wanted = np.array([exact(schedule, x) for x in DISTANCES])
    return float(
        np.abs(kernel(torch.tensor(DISTANCES, dtype=torch.float64)).numpy() - wanted).max()
    )


@pytest.mark.parametrize("schedule", CLOSED, ids=repr)
def test_closed_forms_are_exact(schedule: Schedule) -> None:
    assert gap(schedule, schedule.kernel) < 1e-14


@pytest.mark.parametrize("schedule", NARROW, ids=repr)
def test_a_base_near_one_loses_nothing(schedule: Schedule) -> None:
    assert gap(schedule, schedule.kernel) < 1e-13
    r = torch.tensor([0.7, -3.0, 200.0, 5e6], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(schedule.cosines(r).sum(), r)
    with mpmath.workdps(40):
        b, x = mpmath.mpf(schedule.base), [mpmath.mpf(each) for each in r.tolist()]
        wanted = [float((mpmath.cos(y) - mpmath.cos(y / b)) / (y * mpmath.log(b))) for y in x]
    assert (slope - torch.tensor(wanted, dtype=torch.float64)).abs().max() < 1e-14
    found = schedule.kernel([2.0, -2.0])
    assert found[1] == found[0].conj()


@pytest.mark.parametrize("schedule", CLOSED, ids=repr)
def test_the_quadrature_serves_any_schedule(schedule: Schedule) -> None:
    assert gap(schedule, lambda r: fourier_integral(schedule.quantile, r)) < 3e-9


@pytest.mark.parametrize(
    "schedule",
    [*CLOSED, *NARROW, *Quantiles.examples()],
    ids=lambda schedule: type(schedule).__name__,  # a repr has the address of a function
)
def test_any_distance_has_a_value(schedule: Schedule) -> None:
    found = schedule.kernel([0.0, 1e-300, 1e-30, 1e15, 1e100])
    assert bool(torch.isfinite(torch.view_as_real(found)).all())
    assert torch.allclose(found[:3], torch.ones(3, dtype=found.dtype), atol=1e-15)
    assert float(found.abs().max()) <= 1
    assert schedule.kernel(torch.zeros(2, 0)).shape == (2, 0)


def test_a_wrong_base_is_seen() -> None:
    assert gap(Geometric(), Geometric(9_990.0).kernel) > 1e-5


def test_left_end_points_are_the_transformers() -> None:
    d = 512
    wanted = [10_000 ** (-2 * t / d) for t in range(d // 2)]
    assert Geometric().frequencies(d // 2).tolist() == pytest.approx(wanted, rel=1e-14)
    middle = [10_000 ** (-(t + 0.5) / 8) for t in range(8)]
    assert Geometric().frequencies(8, "midpoint").tolist() == pytest.approx(middle, rel=1e-14)


def test_a_kernels_schedule_is_that_kernel() -> None:
    r = torch.tensor(DISTANCES, dtype=torch.float64)
    kernels = [Gaussian(0.5), Laplace(2.0), Laplace(2.0, norm="l2"), Matern(1.5, nu=2.5)]
    kernels += [RationalQuadratic(2.0, alpha) for alpha in (0.3, 0.5, 1.0, 30.0)]
    for kernel in kernels:
        found = Quantiles(kernel).kernel(r)
        assert torch.equal(found.real, kernel.gram(r, torch.zeros(1, dtype=r.dtype))[:, 0])
        again = fourier_integral(kernel.spectral_quantiles, r)  # no form of the kernel is used
        assert float((found - again).abs().max()) < 1e-10


def test_sines_of_a_kernel_have_the_known_forms() -> None:
    x = np.array(DISTANCES[1:])
    gaussian = 2 / math.sqrt(math.pi) * dawsn(x / math.sqrt(2))
    assert np.abs(Quantiles(Gaussian(1.0)).kernel(x).imag.numpy() - gaussian).max() < 1e-12
    x = np.array([0.1, 1.0, 5.0, 20.0])
    cauchy = (np.exp(-x) * expi(x) - np.exp(x) * expi(-x)) / math.pi
    assert np.abs(Quantiles(Laplace(1.0)).kernel(x).imag.numpy() - cauchy).max() < 1e-12


def test_32_midpoint_quantiles_are_a_gaussian_within_5_lengthscales() -> None:
    theta = Quantiles(Gaussian(1.0)).frequencies(32, "midpoint")
    r = torch.linspace(0, 5, 5001, dtype=torch.float64)
    off = ((r[:, None] * theta).cos().mean(1) - torch.exp(-r.square() / 2)).abs()
    assert float(off.max()) < 0.014
    left = Quantiles(Gaussian(1.0)).frequencies(32)  # the other rule is worse
    assert (
        float(((r[:, None] * left).cos().mean(1) - torch.exp(-r.square() / 2)).abs().max()) > 0.02
    )


def test_quantiles_of_a_density_and_of_samples() -> None:
    t = torch.linspace(0, 0.999, 100, dtype=torch.float64)
    found = Quantiles(lambda w: 3.0 * torch.exp(-w), support=(0.0, 40.0))
    assert torch.allclose(found.quantile(t), -torch.log1p(-t), atol=1e-13)
    x = np.array(DISTANCES)
    assert np.abs(found.kernel(x).numpy() - 1 / (1 - 1j * x)).max() < 1e-11
    samples = torch.tensor([4.0, 1.0, 2.0])
    assert Quantiles(samples).quantile(t[:1]).item() == 1.0
    halves = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    assert Quantiles(samples).quantile(halves).tolist() == [1.5, 2.0, 3.0]
    wanted = (exact(Uniform(1.0, 2.0), 3.0) + exact(Uniform(2.0, 4.0), 3.0)) / 2
    assert complex(Quantiles(samples).kernel(3.0)) == pytest.approx(wanted, abs=1e-14)


def test_trained_frequencies_train_and_keep_their_type() -> None:
    schedule = Trained(Geometric().frequencies(6).float())
    net = nn.Sequential(schedule)
    cos, _ = cos_sin(torch.arange(5), schedule.frequencies(6))
    cos.sum().backward()
    assert schedule.values.grad is not None
    assert bool(schedule.values.grad.ne(0).any())
    before = schedule.values.detach().clone()
    net.to(torch.bfloat16)
    assert schedule.values.dtype == torch.float32
    assert torch.equal(schedule.values, before)
    assert [name for name, _ in net.named_parameters()] == ["0.values"]
    fixed = Trained(before, trainable=False)
    assert not list(fixed.parameters())
    assert fixed.half().values.dtype == torch.float32
    assert "6 frequencies" in repr(schedule)
    assert torch.equal(fixed(), before.double())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_angles_are_exact_far_out(dtype: torch.dtype) -> None:
    theta = Geometric().frequencies(16)
    places = torch.tensor([0, 1, 255, 4097, 2**20 - 1, 2**20])
    cos, sin = cos_sin(places, theta, dtype)
    assert cos.dtype == sin.dtype == dtype
    with mpmath.workdps(40):
        angles = [[mpmath.mpf(p) * mpmath.mpf(f) for f in theta.tolist()] for p in places.tolist()]
        wanted = [
            torch.tensor([[float(f(a)) for a in row] for row in angles], dtype=torch.float64)
            for f in (mpmath.cos, mpmath.sin)
        ]
    for found, right in zip((cos, sin), wanted, strict=True):
        # All but one unit in the last place of the type itself.
        assert torch.equal(found, right.to(dtype)) or float(
            (found.double() - right.to(dtype).double()).abs().max()
        ) <= max(1e-9, torch.finfo(dtype).eps / 2)
        assert float((found.double() - right).abs().max()) <= max(1e-9, torch.finfo(dtype).eps / 2)
    naive = (places.float()[:, None] * theta.float()).cos().double()
    assert float((naive - wanted[0]).abs().max()) > 1e-3


def test_angles_have_axes_and_gradients() -> None:
    theta = torch.tensor([1.0, 0.5], dtype=torch.float64, requires_grad=True)
    places = torch.rand(3, 4, dtype=torch.float64, requires_grad=True)
    assert cos_sin(places, theta)[0].shape == (3, 4, 2)
    assert torch.autograd.gradcheck(lambda p, f: cos_sin(p, f, torch.float64), (places, theta))


def test_angles_on_meta() -> None:
    cos, _ = cos_sin(torch.arange(7, device="meta"), Geometric().frequencies(4), torch.bfloat16)
    assert cos.device.type == "meta"
    assert cos.shape == (7, 4)


def code(**options: Any) -> SinusoidalCode:
    return SinusoidalCode(kernel=Spectral(Geometric()), **options)


def test_the_code_is_the_transformers_and_its_product_the_decay() -> None:
    places = torch.arange(50.0)
    fitted = code(n_features=16, convention="left").fit(places)
    phi = fitted.transform(places)
    angles = places.double()[:, None] * 10_000 ** (-torch.arange(8).double() / 8)
    wanted = torch.cat((angles.cos(), angles.sin()), 1) / math.sqrt(8)
    assert torch.allclose(phi, wanted.float(), atol=1e-7)
    kernel = Spectral(Geometric())
    wide = code(n_features=4096).fit(places).transform(places)
    assert torch.allclose(wide @ wide.mT, kernel.gram(places), atol=1e-5)
    several = torch.stack((places, places.flip(0)), 1)
    alone = [kernel.gram(each) for each in several.unbind(1)]
    assert torch.allclose(kernel.gram(several), (alone[0] + alone[1]) / 2, atol=1e-6)


CASES: list[tuple[Any, type[Exception], str]] = [
    (lambda: Geometric(1.0), ArgumentError, r"Geometric: base must be above 1; got 1.0"),
    (lambda: Geometric(math.inf), ArgumentError, r"Geometric: base must be a number; got inf"),
    (lambda: Power(0.0), ArgumentError, r"Power: exponent must be a number from 0.02 to 50"),
    (lambda: Uniform(-1.0), ArgumentError, r"Uniform: low must be a number, non-negative"),
    (lambda: Uniform(2.0, 2.0), ArgumentError, r"Uniform: high must be above low, 2; got 2.0"),
    (lambda: Geometric().frequencies(0), ArgumentError, r"Geometric.frequencies: count must be"),
    (lambda: Geometric().frequencies(2, "right"), ArgumentError, r"convention must be one of"),
    (lambda: Geometric().kernel(torch.ones(1) * 1j), ArgumentError, r"r must be real"),
    (lambda: Geometric().kernel(math.nan), DataError, r"Geometric.kernel: r must be finite"),
    (lambda: Quantiles(Gaussian()), ArgumentError, r"lengthscale must be a number here"),
    (lambda: Quantiles(RationalQuadratic(1.0, 31.0)), ArgumentError, r"closed spectral quantiles"),
    (lambda: Quantiles("gaussian"), ArgumentError, r"Quantiles: source must be a stationary"),
    (lambda: Quantiles(torch.exp), ArgumentError, r"Quantiles: support must be \(lowest"),
    (lambda: Quantiles(torch.exp, (1.0, 0.0)), ArgumentError, r"support must ascend"),
    (lambda: Quantiles(Gaussian(1.0), (0.0, 1.0)), ArgumentError, r"support is for a density"),
    (lambda: Quantiles(torch.neg, (0.0, 1.0)), DataError, r"source must be a density"),
    (lambda: Quantiles(torch.ones(1)), DataError, r"source must have two samples"),
    (lambda: Quantiles(torch.ones(2, 2)), ShapeError, r"source must have the axes"),
    (lambda: Trained(torch.arange(3)), ArgumentError, r"Trained: values must be a tensor of"),
    (lambda: Trained(torch.ones(2, 2)), ShapeError, r"Trained: values must have the axes"),
    (lambda: Trained(torch.tensor([math.inf])), DataError, r"Trained: values must be finite"),
    (lambda: Trained(torch.ones(3)).frequencies(4), ArgumentError, r"number of its values, 3"),
    (lambda: Spectral(10_000), ArgumentError, r"Spectral: schedule must be a Schedule; got 10000"),
    (lambda: SinusoidalCode(kernel=Gaussian()), ArgumentError, r"kernel must be Spectral"),
    (lambda: code(n_features=5), ArgumentError, r"n_features must be even; got 5"),
    (lambda: code(convention="right"), ArgumentError, r"convention must be one of"),
    (lambda: code(n_features=4).fit(torch.ones(2, 3)), ShapeError, r"at most 2 columns"),
    (lambda: cos_sin(torch.ones(()), torch.ones(1)), ShapeError, r"positions must have"),
    (lambda: cos_sin(torch.ones(2), torch.ones(1, 1)), ShapeError, r"and frequencies \(f\); got"),
    (lambda: cos_sin(torch.ones(2) * 1j, torch.ones(1)), ArgumentError, r"positions must be real"),
    (lambda: cos_sin(torch.ones(2), torch.ones(1), torch.int64), ArgumentError, r"dtype must be"),
]


@pytest.mark.parametrize(("call", "error", "said"), CASES)
def test_bad_input_is_refused(call: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        call()
