"""Derivatives where formulas have holes: equal rows, ties, zero weights, certain events, masks."""

import math

import numpy as np
import pytest
import torch
from torch.autograd import grad
from torch.distributions import Bernoulli, OneHotCategorical

from trivium.attention import linear_attention
from trivium.dependence import CKALoss, HSICLoss, hsic
from trivium.expectation import (
    Subset,
    gumbel_given,
    one_hot_logits,
    set_probabilities,
)
from trivium.kernel import Gaussian, Kernel, Laplace, Matern, distances, squared_distances
from trivium.kernel import distance as distance_module
from trivium.kernel.spectral import Geometric, Power, Quantiles, Uniform
from trivium.objective import CorpusBLEU, FBeta, Jaccard, MatthewsCorrelation, expected_metric
from trivium.pathkernel import KernelMachine
from trivium.sinusoid import decay, relativity, toeplitz_share

INFINITE = math.inf


def leaf(values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def hessian_at_itself(function, x):
    """The second derivative in x of a function of x and a copy of it."""
    there = x.detach().clone()
    return torch.autograd.functional.hessian(lambda at: function(at, there).diagonal().sum(), x)


@pytest.mark.parametrize("d", [1, 3, 4, 8])
def test_equal_rows_have_the_second_derivative_of_a_square(d):
    """Products round a distance of 0 to either side of it; cut off there, the curve was flat."""
    x = 3 * drawn(6, d)
    eye = torch.eye(6 * d).double()
    square = hessian_at_itself(squared_distances, x).reshape(6 * d, -1)
    assert (square - 2 * eye).abs().max() < 1e-12
    gram = hessian_at_itself(Gaussian(1.0).gram, x).reshape(6 * d, -1)
    assert (gram + eye).abs().max() < 1e-12


def test_a_distance_that_is_cut_off_is_seen(monkeypatch):
    made = distance_module._by_products
    monkeypatch.setattr(distance_module, "_by_products", lambda x, y: made(x, y).clamp_min(0))
    test_equal_rows_have_the_second_derivative_of_a_square(3)
    monkeypatch.setattr(
        distance_module,
        "_by_products",
        lambda x, y: (x.square().sum(1)[:, None] + y.square().sum(1) - 2 * x @ y.mT).clamp_min(0),
    )
    with pytest.raises(AssertionError):
        test_equal_rows_have_the_second_derivative_of_a_square(8)


def test_distances_have_no_slope_at_zero():
    x = leaf([[1.0, 2.0], [1.0, 2.0], [1.0, 5.0]])
    (slope,) = grad(distances(x)[0].sum(), x)
    assert torch.equal(slope, torch.tensor([[0.0, -1.0], [0.0, 0.0], [0.0, 1.0]]).double())
    (slope,) = grad(distances(x, norm="l1")[0].sum(), x)
    assert torch.equal(slope, torch.tensor([[0.0, -1.0], [0.0, 0.0], [0.0, 1.0]]).double())


STILL = [Gaussian(1.0), Laplace(1.0), Laplace(1.0, norm="l2"), Matern(1.0), Matern(1.0, nu=2.5)]


@pytest.mark.parametrize("kernel", STILL, ids=repr)
def test_a_kernel_is_level_where_rows_are_equal(kernel: Kernel):
    one = leaf([[1.0, 2.0]])
    (slope,) = grad(kernel.gram(one).sum(), one)
    assert torch.equal(slope, torch.zeros(1, 2).double())
    x = drawn(3, 2)
    twice = torch.cat((x, x)).requires_grad_()
    (slope,) = grad(kernel.gram(twice).sum(), twice)
    alone = x.clone().requires_grad_()
    (wanted,) = grad(4 * kernel.gram(alone).sum(), alone)
    assert (slope[:3] + slope[3:] - wanted).abs().max() < 1e-12


@pytest.mark.parametrize("normalize", [None, "cka"])
@pytest.mark.parametrize("estimator", ["unbiased", "biased"])
@pytest.mark.filterwarnings("ignore::trivium.TriviumWarning")
def test_a_constant_variable_pulls_on_nothing(normalize, estimator):
    still, x = torch.ones(7, 1).double().requires_grad_(), drawn(7, 2).requires_grad_()
    value = hsic(still, x, Gaussian(1.0), Gaussian(1.0), estimator, normalize=normalize)
    assert float(value.detach()) == 0
    slopes = grad(value, (still, x), allow_unused=True, materialize_grads=True)
    assert all(bool(slope.isfinite().all()) for slope in slopes)
    assert float(slopes[1].abs().max()) < 1e-12


@pytest.mark.filterwarnings("ignore::trivium.TriviumWarning")
@pytest.mark.parametrize("loss", [HSICLoss(), CKALoss(), CKALoss(debiased=False)], ids=repr)
def test_losses_of_equal_rows_are_numbers(loss):
    for first in (torch.ones(8, 2), torch.cat((drawn(4, 2), drawn(4, 2)))):
        x = first.double().requires_grad_()
        value = loss(x, torch.arange(8) % 2)
        (slope,) = grad(value, x, allow_unused=True, materialize_grads=True)
        assert bool(value.isfinite())
        assert bool(slope.isfinite().all())


@pytest.mark.parametrize("schedule", [Geometric(), Uniform(), Power(2.0), Power(0.5)], ids=repr)
def test_decay_begins_level_and_bends_by_the_mean_square(schedule):
    """d²/dx² ∫ cos(x θ) = −∫ θ² at 0, and the same to six digits beside it."""
    t = (torch.arange(400_000).double() + 0.5) / 400_000
    wanted = -float(schedule.quantile(t).square().mean())
    for place in (0.0, 1e-9, 1e-4):
        x = leaf(place)
        (slope,) = grad(decay(x, schedule), x, create_graph=True)
        (bend,) = grad(slope, x)
        assert float(slope.detach()) == pytest.approx(wanted * place, rel=1e-6, abs=1e-300)
        assert float(bend) == pytest.approx(wanted, rel=1e-6)


def test_decay_has_kinks_where_the_kernel_has():
    x = leaf(0.0)
    (slope,) = grad(decay(x, Quantiles(Laplace(1.0))), x)
    assert float(slope) == 0  # between -1 and 1


def test_a_constant_form_has_no_slope():
    m = torch.ones(2, 3, 3).double()
    m[1] = drawn(3, 3)
    m.requires_grad_()
    (slope,) = grad(toeplitz_share(m).sum(), m)
    assert torch.equal(slope[0], torch.zeros(3, 3).double())
    assert float(slope[1].abs().max()) > 0.01
    p = torch.zeros(3, 2).double().requires_grad_()
    assert torch.equal(grad(relativity(p), p)[0], torch.zeros(3, 2).double())


def test_a_query_that_meets_nothing_has_a_finite_slope():
    q, k = (-drawn(1, 1, 4, 3, seed=seed).abs() for seed in (1, 2))
    q[..., 2:, 0] = 1.0
    inputs = [q.requires_grad_(), k.requires_grad_(), drawn(1, 1, 4, 3, seed=3).requires_grad_()]
    out = linear_attention(*inputs, feature_map="relu")
    assert torch.equal(out, torch.zeros_like(out))
    assert all(bool(slope.isfinite().all()) for slope in grad(out.sum(), inputs))


def test_masked_logits_take_no_part():
    """Derivatives of what is left are those without what is masked."""
    known, masked = leaf([0.3, -0.2, 1.0]), leaf([0.3, -0.2, -INFINITE, 1.0])
    value = Subset(masked, 2).log_prob(torch.tensor([1.0, 0.0, 0.0, 1.0]).double())
    wanted = Subset(known, 2).log_prob(torch.tensor([1.0, 0.0, 1.0]).double())
    assert float((value - wanted).detach().abs()) < 1e-14
    slope, hoped = grad(value, masked)[0], grad(wanted, known)[0]
    assert (slope[[0, 1, 3]] - hoped).abs().max() < 1e-14
    assert float(slope[2]) == 0


def test_certain_classes_have_a_slope_of_zero_and_not_nan():
    p = leaf([0.0, 0.4, 0.6])
    found = one_hot_logits(OneHotCategorical(probs=p))
    (slope,) = grad(found[1:].sum(), p)
    assert bool(slope.isfinite().all())
    p = leaf([0.0, 1.0, 0.5])
    found = one_hot_logits(Bernoulli(probs=p))
    (slope,) = grad(found[found.isfinite()].sum(), p)
    assert torch.equal(slope, torch.tensor([-1.0, 1.0, 0.0]).double())


def test_sets_of_impossible_classes_are_numbers():
    for inside, outside in (([0.0, 0.3], 0.7), ([0.0, 0.0], 1.0), ([0.4, 0.6], 0.0)):
        chosen, rest = leaf(inside), leaf(outside)
        found = set_probabilities(chosen, rest)
        total = found.whole.sum() + found.without.sum()
        assert all(bool(s.isfinite().all()) for s in grad(total, (chosen, rest)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", [10.0, 100.0, 1000.0, 1e9])
def test_perturbed_logits_far_apart_have_two_derivatives(far, dtype):
    """Of `torch.logaddexp` the second is NaN from 89 on in single precision."""
    for drawn_class in (0, 1):
        z = torch.tensor([far, 0.0, 1.0], dtype=dtype, requires_grad=True)
        found = gumbel_given(z, torch.tensor(drawn_class))
        (slope,) = grad(found.sum(), z, create_graph=True)
        (bend,) = grad(slope.square().sum(), z)
        assert bool(slope.isfinite().all())
        assert bool(bend.isfinite().all())


@pytest.mark.parametrize("metric", [FBeta(), Jaccard(), MatthewsCorrelation()], ids=repr)
def test_certain_labels_leave_the_slopes_of_the_others(metric):
    """An infinite logit is a label that is known: what is left is the limit of large ones."""
    target = np.array([0, 1, 1, 0, 1])
    sure = leaf([INFINITE, -INFINITE, 0.3, -0.2, 0.1])
    large = leaf([60.0, -60.0, 0.3, -0.2, 0.1])
    slopes = [grad(expected_metric(z, target, metric), z)[0] for z in (sure, large)]
    assert (slopes[0] - slopes[1]).abs().max() < 1e-14
    assert float(slopes[0][2:].abs().min()) > 1e-3


@pytest.mark.parametrize("smoothing", ["none", "exp", "floor", "add-k"])
@pytest.mark.parametrize("counts", [[0.0] * 6, [3.0, 0.0, 4.0, 3.0, 4.0, 4.0]])
def test_bleu_without_matches_has_a_finite_slope(smoothing, counts):
    at = leaf(counts)
    value = CorpusBLEU(2, smoothing=smoothing).score(at)
    assert bool(grad(value, at)[0].isfinite().all())


def test_a_kernel_machine_gives_values():
    """The scores of its base network have no graph: a graph of the rest was half of a gradient."""
    x, y = drawn(8, 2), drawn(8, 1)
    machine = KernelMachine(Gaussian(1.0), base=torch.nn.Linear(2, 1).double()).fit(x, y)
    asked = drawn(3, 2).requires_grad_()
    for found in (machine.scores(asked), machine.predict(asked), machine.contributions(asked)):
        assert not found.requires_grad
