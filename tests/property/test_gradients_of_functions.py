"""Gradients of differentiable functions against differences in float64, first and second.

Members of families (kernels, feature maps, attentions, estimators) are held to the same by the
laws of `trivium.testing`.
"""

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from trivium.attention import linear_attention
from trivium.dependence import hsic
from trivium.expectation import log_sum_of_orders, softmax_at
from trivium.kernel import Gaussian, distances, squared_distances
from trivium.objective import FBeta, class_mean, expected_metric, poisson_binomial
from trivium.position import toeplitz
from trivium.sinusoid import envelope

TARGET = np.array([0, 1, 1, 0, 1])


def draw(*shape, seed=0, low=None):
    made = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()
    return (made if low is None else low + made.sigmoid() * (1 - 2 * low)).requires_grad_()


def attention(feature_map, decayed, causal):
    def call(q, k, v, *fade):
        options = {"log_decay": -fade[0].exp()} if decayed else {}
        return linear_attention(q, k, v, feature_map=feature_map, causal=causal, **options)

    return call


def ratio(counts):
    return 2 * counts.tp / (2 * counts.tp + counts.fp + counts.fn + 1)


QKV = tuple(draw(1, 2, 5, 3, seed=seed) for seed in (1, 2, 3))
XY = (draw(7, 2, seed=1), draw(7, 1, seed=2))
CASES = {
    # name: (function, inputs, whether second derivatives are claimed)
    "squared_distances": (squared_distances, (draw(4, 3), draw(5, 3, seed=1)), True),
    "squared_distances of itself": (squared_distances, (draw(4, 3),), True),
    "distances": (distances, (draw(4, 3), draw(5, 3, seed=1)), False),
    "distances, l1": (
        lambda x, y: distances(x, y, norm="l1"), (draw(4, 3), draw(5, 3, seed=1)), False
    ),
    "hsic, unbiased": (lambda x, y: hsic(x, y, Gaussian(1.0), Gaussian(1.0)), XY, True),
    "hsic, biased": (lambda x, y: hsic(x, y, Gaussian(1.0), Gaussian(2.0), "biased"), XY, True),
    "hsic, normalized": (
        lambda x, y: hsic(x, y, Gaussian(1.0), Gaussian(1.0), "biased", normalize="cka"), XY, True
    ),
    "linear_attention": (attention("elu1", False, True), QKV, True),
    "linear_attention, both ways": (attention("elu1", False, False), QKV, True),
    "linear_attention, decayed": (
        attention("elu1", True, True), (*QKV, draw(1, 2, 5, seed=4)), True
    ),
    "linear_attention, taylor2": (attention("taylor2", False, True), QKV, True),
    "poisson_binomial": (poisson_binomial, (draw(5, low=0.1),), True),
    "class_mean": (
        lambda p: class_mean(p, torch.tensor([True, False, True, True]), ratio),
        (draw(4, low=0.1),),
        True,
    ),
    "expected_metric": (lambda z: expected_metric(z, TARGET, FBeta()), (draw(5),), True),
    "softmax_at": (lambda z: softmax_at(z, 0.7), (draw(3, 4),), True),
    "log_sum_of_orders": (log_sum_of_orders, (draw(2, 3), draw(2, 1, seed=1) + 3), True),
    "toeplitz": (lambda table: toeplitz(table, 4), (draw(7),), True),
    "envelope": (envelope, (draw(5, low=0.1),), False),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(CASES))
def test_first_and_second(name):
    function, inputs, second = CASES[name]
    assert gradcheck(function, inputs)
    if second:
        assert gradgradcheck(function, inputs)


class Crooked(torch.autograd.Function):
    """Wrong on purpose: a gradient one part in a hundred too large."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.square()

    @staticmethod
    def backward(ctx, up):
        return 2.02 * ctx.saved_tensors[0] * up


def test_a_planted_fault_is_seen():
    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradcheck(Crooked.apply, (draw(3),))
