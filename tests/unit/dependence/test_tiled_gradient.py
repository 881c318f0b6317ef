"""The hand-written gradient of the tiled sums: against plain autograd, twice, in little memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.dependence import hsic
from trivium.dependence.sums import gram_sums
from trivium.kernel import (
    Delta,
    Gaussian,
    Kernel,
    Laplace,
    Linear,
    Matern,
    Polynomial,
    RationalQuadratic,
    Stationary,
)
from trivium.testing.live_bytes import LiveBytes

ESTIMATORS = ("unbiased", "biased", "n-1")
KERNELS = (
    Gaussian(1.1),
    RationalQuadratic(0.9, alpha=0.7),
    Laplace(1.0),
    Matern(1.2),
    Linear(),
    Polynomial(),
    Gaussian(1.0) + Linear(),
    2 * Gaussian(0.7) * RationalQuadratic(1.0),
)


@dataclass(frozen=True)
class Cosine(Kernel):
    """A kernel of a user's own."""

    @classmethod
    def examples(cls):
        return (cls(),)

    def _gram(self, x, y):
        left, right = (torch.nn.functional.normalize(v) for v in (x, x if y is None else y))
        return left @ right.mT

    def _diagonal(self, x):
        return torch.ones(len(x), dtype=x.dtype)


@dataclass(frozen=True)
class Multiquadric(Stationary):
    """A stationary kernel of a user's own, without a slope."""

    @classmethod
    def examples(cls):
        return (cls(),)

    def _profile(self, distance):
        return (distance + 1).rsqrt()


@dataclass(frozen=True, eq=False)
class Learned(Kernel):
    """A kernel with a parameter that is trained."""

    weight: Any = None

    @classmethod
    def examples(cls):
        return (cls(torch.tensor(1.0)),)

    def _gram(self, x, y):
        return Gaussian(1.0)._gram(x * self.weight, None if y is None else y * self.weight)

    def _diagonal(self, x):
        return torch.ones(len(x), dtype=x.dtype)


def plain(x, y, kernel_x, kernel_y, estimator="unbiased", normalize=None):
    """The same number on complete matrices with a complete graph."""
    first, second = kernel_x.gram(x), kernel_y.gram(y)
    value = gram_sums(first, second).estimate(estimator)
    if normalize is None:
        return value
    own = [gram_sums(gram, gram).estimate(estimator) for gram in (first, second)]
    own = own[0] * own[1]
    return value / own.sqrt()


def rows(rng, n=60, columns=5):
    x = torch.from_numpy(rng.normal(size=(n, columns)))
    y = x + torch.from_numpy(rng.normal(size=(n, columns)))
    return x.requires_grad_(), y.requires_grad_()


def gap(found, expected):
    return max(
        float((f - e).abs().max() / e.abs().max()) for f, e in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("kernel", [*KERNELS, Cosine(), Multiquadric(1.3)], ids=repr)
@pytest.mark.parametrize("columns", [1, 5])
def test_equal_to_plain_autograd(rng, kernel, columns):
    x, y = rows(rng, columns=columns)
    if columns == 1 and isinstance(kernel, Cosine):
        pytest.skip("of one column only the sign is left, whose gradient is 0")
    for estimator in ESTIMATORS:
        for normalize in (None, "cka"):
            value = hsic(x, y, kernel, Gaussian(0.9), estimator, normalize, budget=30_000)
            expected = plain(x, y, kernel, Gaussian(0.9), estimator, normalize)
            assert float(value.detach()) == pytest.approx(float(expected.detach()), rel=1e-12)
            found = torch.autograd.grad(value, (x, y))
            assert gap(found, torch.autograd.grad(expected, (x, y))) < 1e-10


def test_equal_to_plain_autograd_over_many_default_tiles(rng):
    x, y = rows(rng, n=1100, columns=8)
    found = torch.autograd.grad(hsic(x, y, Gaussian(3.0), Gaussian(4.0)), (x, y))
    expected = torch.autograd.grad(plain(x, y, Gaussian(3.0), Gaussian(4.0)), (x, y))
    assert gap(found, expected) < 1e-10
    narrow = [v.detach().float().requires_grad_() for v in (x, y)]
    single = torch.autograd.grad(hsic(*narrow, Gaussian(3.0), Gaussian(4.0)), narrow)
    assert all(each.dtype == torch.float32 for each in single)
    assert gap(single, expected) < 1e-4


def test_far_neighbors_keep_their_gradient(rng):
    """One column, a short lengthscale, far from the origin: differences, not products."""
    x = torch.from_numpy(np.sort(rng.uniform(0, 3000, 400)))
    y = torch.from_numpy(rng.normal(size=400))
    exact = x.clone().requires_grad_()
    expected = torch.autograd.grad(hsic(exact, y, Gaussian(4.0), Gaussian(1.0)), exact)
    single = x.float().requires_grad_()
    found = torch.autograd.grad(hsic(single, y.float(), Gaussian(4.0), Gaussian(1.0)), single)
    assert gap(found, expected) < 1e-3


def test_one_side_alone(rng):
    x, y = rows(rng)
    codes = torch.from_numpy(rng.integers(0, 3, 60))
    both = torch.autograd.grad(hsic(x, y, Gaussian(1.0), Gaussian(1.0)), (x, y))
    for which, (a, b) in enumerate(((x, y.detach()), (x.detach(), y))):
        alone = torch.autograd.grad(hsic(a, b, Gaussian(1.0), Gaussian(1.0)), (x, y)[which])[0]
        assert torch.equal(alone, both[which])
    found = torch.autograd.grad(hsic(x, codes, Gaussian(1.0), Delta(), budget=9000), x)
    expected = torch.autograd.grad(plain(x, codes, Gaussian(1.0), Delta()), x)
    assert gap(found, expected) < 1e-10


def test_a_kernel_without_a_gradient_gives_zero(rng):
    x = torch.from_numpy(rng.integers(0, 3, (20, 1)).astype(float)).requires_grad_()
    value = hsic(x, rng.normal(size=20), Delta(), Gaussian(1.0))
    assert torch.equal(torch.autograd.grad(value, x)[0], torch.zeros(20, 1).double())


def test_what_a_kernel_learns_gets_its_gradient(rng):
    x, y = rows(rng, n=30)
    weight = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    inputs = (x, y, weight)
    found = torch.autograd.grad(hsic(x, y, Learned(weight), Gaussian(1.0), budget=9000), inputs)
    expected = torch.autograd.grad(plain(x, y, Learned(weight), Gaussian(1.0)), inputs)
    assert gap(found, expected) < 1e-10


@pytest.mark.parametrize("kernel", [Gaussian(1.1), RationalQuadratic(0.9), Polynomial()], ids=repr)
@pytest.mark.parametrize("normalize", [None, "cka"])
def test_second_derivatives(rng, kernel, normalize):
    x, y = rows(rng, n=5, columns=2)

    def value(a, b):
        return hsic(a, b, kernel, Gaussian(2.0), "unbiased", normalize, budget=1500)

    assert torch.autograd.gradgradcheck(value, (x, y))


def test_second_derivatives_of_one_side(rng):
    x, _ = rows(rng, n=6, columns=2)
    codes = torch.tensor([0, 1, 2, 0, 1, 2])

    def value(a):
        return hsic(a, codes, Gaussian(2.0), Delta(), budget=1500)

    assert torch.autograd.gradgradcheck(value, (x,))


def test_a_third_derivative_is_refused(rng):
    x, y = rows(rng, n=7)
    (first,) = torch.autograd.grad(hsic(x, y.detach()), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
    with pytest.raises(ArgumentError, match="first or the second; got a third"):
        torch.autograd.grad(second.sum(), x)


def test_second_derivatives_of_plain_distances_are_right_or_refused(rng):
    """torch has them from 2.14 on, and refuses them before."""
    x, y = rows(rng, n=7)

    def value(a):
        return hsic(a, y.detach(), Matern(1.0), Gaussian(1.0))

    (first,) = torch.autograd.grad(value(x), x, create_graph=True)
    try:
        torch.autograd.grad(first.square().sum(), x)
    except NotImplementedError:
        return
    assert torch.autograd.gradgradcheck(value, (x,))


def test_the_gradient_of_torch_func(rng):
    x, y = (v.detach() for v in rows(rng, n=20))
    found = torch.func.grad(lambda a: hsic(a, y, Gaussian(1.0), Gaussian(1.0)))(x)
    again = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(hsic(again, y, Gaussian(1.0), Gaussian(1.0)), again)
    assert torch.equal(found, expected)


def peak_of(work, n):
    x, y = (torch.randn(n, 6, dtype=torch.float64, requires_grad=True) for _ in range(2))
    with LiveBytes() as live:
        torch.autograd.grad(work(x, y), (x, y))
    return live.peak


def test_memory_is_rows_and_tiles():
    budget = 2**19

    def tiled(x, y):
        return hsic(x, y, Gaussian(3.0), Gaussian(3.0), budget=budget)

    def bound(n):
        return budget + n * 6 * 8 * 10

    for n in (500, 1000):
        assert peak_of(tiled, n) < bound(n)
    # The check can fail: a complete graph is far beyond.
    assert peak_of(lambda x, y: plain(x, y, Gaussian(3.0), Gaussian(3.0)), 500) > 4 * bound(500)


def test_mixed_precision_around_the_call_changes_nothing(rng):
    x, y = (v.detach().float().requires_grad_() for v in rows(rng))
    expected = torch.autograd.grad(hsic(x, y, Gaussian(1.0), Gaussian(1.0)), x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = hsic(x, y, Gaussian(1.0), Gaussian(1.0))
        found = torch.autograd.grad(value, x)[0]
    assert value.dtype == torch.float32
    assert torch.equal(found, expected)
