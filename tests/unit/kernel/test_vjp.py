"""Pullbacks of Gram matrices against automatic differentiation, for every kernel."""

import pytest
import torch

from trivium._core.families import members
from trivium.kernel import Kernel, squared_distances, squared_distances_vjp
from trivium.kernel.vjp import gram_vjp_by_autograd
from trivium.testing.kernel_rows import kernel_rows

KERNELS = [k for member in members("trivium.kernel", Kernel) for k in member.examples()]


def as_rows(x):
    return x[:, None] if x.ndim == 1 else x


def expected_of(gram, x, y, weights):
    left, right = x.clone().requires_grad_(), y.clone().requires_grad_()
    return torch.autograd.grad(
        gram(left, right), (left, right), weights, allow_unused=True, materialize_grads=True
    )


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
@pytest.mark.parametrize("columns", [1, 5])
def test_pullback_of_every_kernel(kernel, columns):
    x = as_rows(kernel_rows(kernel, 12, columns))
    ready = kernel.resolve(x)
    left, right = x[:7], x[7:]
    weights = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gram, pull = ready._gram_vjp(left, right)
    assert not gram.requires_grad
    assert torch.equal(gram, ready._gram(left, right))
    first, second = pull(weights.clone())
    if not kernel.differentiable:
        assert not first.any()
        assert not second.any()
        return
    for found, wanted in zip(
        (first, second), expected_of(ready._gram, left, right, weights), strict=True
    ):
        assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS, ids=lambda k: type(k).__name__)
def test_pullback_against_itself(kernel):
    x = as_rows(kernel_rows(kernel, 9, 4))
    ready = kernel.resolve(x)
    weights = torch.randn(9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gram, pull = ready._gram_vjp(x, None)
    assert torch.equal(gram, ready._gram(x, None))
    found, nothing = pull(weights.clone())
    assert nothing is None
    if kernel.differentiable:
        rows = x.clone().requires_grad_()
        (wanted,) = torch.autograd.grad(ready._gram(rows, None), rows, weights)
        assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("columns", [2, 6])
def test_squared_distances(columns):
    generator = torch.Generator().manual_seed(1)
    x, y = (torch.randn(n, columns, dtype=torch.float64, generator=generator) for n in (5, 8))
    weights = torch.randn(5, 8, dtype=torch.float64, generator=generator)
    squares, pull = squared_distances_vjp(x, y, scale=1.7)
    assert torch.equal(squares, squared_distances(x, y, scale=1.7))
    wanted = expected_of(lambda a, b: squared_distances(a, b, scale=1.7), x, y, weights)
    for found, each in zip(pull(weights.clone()), wanted, strict=True):
        assert torch.allclose(found, each, rtol=1e-12, atol=1e-13)


def test_a_wrong_pullback_would_be_seen():
    x, y = torch.rand(5, 2, dtype=torch.float64), torch.rand(4, 2, dtype=torch.float64)
    weights = torch.rand(5, 4, dtype=torch.float64)
    wanted = expected_of(squared_distances, x, y, weights)
    _, pull = squared_distances_vjp(x, y, scale=1.001)
    assert not torch.allclose(pull(weights.clone())[0], wanted[0], rtol=1e-10, atol=1e-12)


def test_a_matrix_that_does_not_depend_on_its_rows_pulls_zeros():
    x = torch.rand(3, 2)
    _, pull = gram_vjp_by_autograd(lambda a, _: torch.ones(len(a), len(a)), x, None)
    assert torch.equal(pull(torch.ones(3, 3))[0], torch.zeros(3, 2))
