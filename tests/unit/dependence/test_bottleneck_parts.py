"""The objective, the layers and the readout against independent formulas and scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from torch import nn

from trivium._core.errors import NumericalError
from trivium.dependence import hsic
from trivium.dependence.bottleneck_layers import (
    Centered,
    dense,
    one_hot,
    outputs_of,
    standard_rows,
    untrained,
)
from trivium.dependence.bottleneck_objective import Course, align, local_loss, train
from trivium.dependence.bottleneck_readout import Readout
from trivium.dependence.bottleneck_report import alignments
from trivium.kernel import Delta, Gaussian, Linear

KERNELS = {"linear": Linear(), "gaussian": Gaussian("median")}


def rows_and_labels(n=40, d=5, classes=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    y[:classes] = np.arange(classes)
    return torch.from_numpy(rng.normal(size=(n, d)) + y[:, None] * np.cos(np.arange(d))), y


def traces(K, L):
    """Alignment by its definition, tr(KHLH) over the square roots of tr(KHKH) and tr(LHLH)."""
    n = len(K)
    H = np.eye(n) - 1 / n
    both, first, second = (np.trace(a @ H @ b @ H) for a, b in ((K, L), (K, K), (L, L)))
    return both / np.sqrt(first * second)


# ---- the objective ----------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", KERNELS)
def test_align_is_the_ratio_of_traces_and_the_alignment_of_hsic(kernel):
    z, y = rows_and_labels()
    gram, same = KERNELS[kernel].gram(z), one_hot(y).double() @ one_hot(y).double().mT
    found = float(align(gram, same))
    assert found == pytest.approx(traces(gram.numpy(), same.numpy()), abs=1e-13)
    named = hsic(z, y, KERNELS[kernel], Delta(), estimator="biased", normalize="cka")
    assert found == pytest.approx(float(named), abs=1e-13)
    assert float(align(gram, gram)) == pytest.approx(1, abs=1e-13)
    assert abs(found - traces(gram.numpy() ** 2, same.numpy())) > 1e-3  # another kernel is seen


@pytest.mark.parametrize("value", [0.0, 1.0, 1e6, 0.1])
def test_align_is_zero_with_gradient_zero_where_rows_are_equal(value):
    z = torch.full((8, 3), value, requires_grad=True)
    found = align(z @ z.mT, torch.eye(8))
    found.backward()
    assert float(found.detach()) == 0
    assert torch.equal(z.grad, torch.zeros(8, 3))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("penalty", [0.0, 0.4])
def test_local_loss_is_its_formula(kernel, penalty):
    x, y = rows_and_labels()
    torch.manual_seed(0)
    layer = nn.Linear(5, 4).double()
    loss = local_loss(layer, x, one_hot(y).double(), kernel, penalty)
    z, same = layer(x).detach(), (y[:, None] == y).astype(float)
    gram = KERNELS[kernel].gram(z).numpy()
    expected = penalty * traces(gram, KERNELS[kernel].gram(x).numpy()) - traces(gram, same)
    assert float(loss.detach()) == pytest.approx(expected, abs=1e-13)


def test_gradient_equals_differences():
    """In float64; the median lengthscale is held, so the Gaussian kernel gets a fixed one."""
    x, y = rows_and_labels(n=12)
    layer, targets = nn.Linear(5, 3).double(), one_hot(y).double()

    def loss(weight):
        z = nn.functional.linear(x, weight)
        return -align(Gaussian(2.0).gram(z), targets @ targets.mT) + 0.3 * align(z @ z.mT, x @ x.mT)

    def linear_loss(weight):
        class Given(nn.Module):
            def forward(self, rows):
                return torch.relu(nn.functional.linear(rows, weight))

        return local_loss(Given(), x, targets, "linear", 0.3)

    weight = layer.weight.detach().clone().requires_grad_()
    assert torch.autograd.gradcheck(loss, (weight,), atol=1e-8, rtol=1e-6)
    assert torch.autograd.gradcheck(linear_loss, (weight,), atol=1e-8, rtol=1e-6)


def test_gaussian_gradient_holds_the_median():
    x, y = rows_and_labels(n=20)
    torch.manual_seed(0)
    layer, targets = nn.Linear(5, 3).double(), one_hot(y).double()
    local_loss(layer, x, targets, "gaussian").backward()
    found = layer.weight.grad.clone()
    layer.zero_grad()
    z = layer(x)
    held = float(torch.pdist(z.detach()).quantile(0.5))
    squares = (z[:, None] - z[None]).square().sum(2)
    (-align(torch.exp(-squares / (2 * held**2)), targets @ targets.mT)).backward()
    assert torch.allclose(found, layer.weight.grad, atol=1e-12)


# ---- training ---------------------------------------------------------------------------------


def test_training_counts_steps_and_ends_at_rest():
    """23 rows in batches of 8: two steps an epoch, none of them with a row twice."""
    seen = []
    module = nn.Linear(1, 1)
    rows = torch.arange(23.0)[:, None]

    def loss(layer, x, _):
        seen.append(x[:, 0].tolist())
        return layer(x).square().mean()

    train(module, rows, rows, loss, Course(epochs=3, batch_size=8, learning_rate=1e-3, seed=0))
    assert [len(batch) for batch in seen] == [8] * 6
    for epoch in range(3):
        joined = seen[2 * epoch] + seen[2 * epoch + 1]
        assert len(set(joined)) == 16
    assert seen[0] != seen[2]
    assert not module.training
    assert module.weight.grad is None


def test_a_loss_that_is_not_finite_is_named():
    rows = torch.ones(8, 2)
    course = Course(epochs=1, batch_size=4, learning_rate=1e-3, seed=0)
    with pytest.raises(NumericalError, match="Lower learning_rate"):
        train(nn.Linear(2, 1), rows, rows, lambda m, x, _: m(x).sum() / 0, course)


def test_frozen_weights_stay():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    before = layer.bias.clone()
    x, y = rows_and_labels(d=3)
    course = Course(epochs=2, batch_size=8, learning_rate=1e-2, seed=0)
    train(layer, x.float(), one_hot(y), local_loss, course)
    assert torch.equal(layer.bias, before)


# ---- layers -----------------------------------------------------------------------------------


def test_centered_has_mean_zero_and_one_scale():
    x = rows_and_labels(n=200)[0].float() * torch.tensor([1, 2, 3, 4, 5.0]) + 50
    found = Centered.of(x)(x).double()
    assert found.mean(0).abs().max() < 1e-5
    assert float(found.var(0, correction=0).mean()) == pytest.approx(1, abs=1e-5)
    ratio = found.std(0) / x.double().std(0)
    assert torch.allclose(ratio, ratio[0].expand(5), rtol=1e-4)


def test_initial_weights_keep_the_variance():
    layer = dense(nn.Identity(), 400, 500, torch.Generator().manual_seed(0))
    out = layer[1](standard_rows(torch.randn(300, 400, generator=torch.Generator().manual_seed(1))))
    assert float(out.detach().var()) == pytest.approx(2, rel=0.05)


def test_a_layer_is_the_same_whoever_makes_it():
    x = torch.rand(9, 4)
    made = [untrained(6, 1, x, seed) for seed in (3, 3, 4)]
    assert torch.equal(made[0][1].weight, made[1][1].weight)
    assert not torch.equal(made[0][1].weight, made[2][1].weight)
    assert not torch.equal(made[0][1].weight, untrained(6, 2, x, 3)[1].weight)


def test_blocks_of_rows_change_nothing():
    rows = torch.rand(4096 + 50, 3)
    layer = nn.Linear(3, 2)
    assert torch.allclose(outputs_of([layer], rows), layer(rows), atol=1e-6)
    assert not outputs_of([layer], rows).requires_grad


def test_alignments_of_rows_sorted_by_label():
    """Of 3,000 sorted rows the sample has every label, not the first ones alone."""
    y = np.repeat(np.arange(3), 1000)
    found = alignments([nn.Identity()], one_hot(y), y)
    assert found[0] == pytest.approx(1, abs=1e-12)
    mixed = alignments([nn.Linear(3, 1)], one_hot(y), y)
    assert 0 < mixed[0] < 0.8


# ---- the readout ------------------------------------------------------------------------------


@pytest.fixture(params=[(300, 8), (30, 60)], ids=["tall", "wide"])
def features(request):
    n, d = request.param
    rows, y = rows_and_labels(n, d)
    return (rows + torch.randn(n, d, generator=torch.Generator().manual_seed(0)) * 2).float(), y


def test_ridge_is_that_of_sklearn(features):
    outputs, y = features
    found = Readout.fit("ridge", outputs, one_hot(y))
    rows = standard_rows(outputs).double().numpy()
    peer = Ridge(alpha=found.ridge, solver="svd").fit(rows, one_hot(y).double().numpy())
    assert np.allclose(found.weight.numpy(), peer.coef_, atol=1e-9)
    assert np.allclose(found.bias.numpy(), peer.intercept_, atol=1e-9)
    scores = found.logits(outputs) / found.sharpness
    assert np.allclose(scores.numpy(), peer.predict(rows), atol=1e-9)


def test_ridge_has_the_least_generalized_cross_validation(features):
    outputs, y = features
    found = Readout.fit("ridge", outputs, one_hot(y))
    rows, targets = standard_rows(outputs).double().numpy(), one_hot(y).double().numpy()
    centered, goal, n = rows - rows.mean(0), targets - targets.mean(0), len(rows)

    def expected(ridge):
        gram = centered.T @ centered + ridge * np.eye(rows.shape[1])
        hat = centered @ np.linalg.solve(gram, centered.T)
        left = n - 1 - np.trace(hat)
        return n * ((goal - hat @ goal) ** 2).sum() / left**2

    best = expected(found.ridge)
    assert best <= min(expected(found.ridge * f) for f in (0.1, 10**-0.5, 10**0.5, 10))
    assert found.sharpness == pytest.approx(targets.shape[1] / best, rel=1e-6)


def test_labels_that_outputs_do_not_tell_get_a_strong_ridge():
    rng = torch.Generator().manual_seed(0)
    outputs, y = torch.randn(40, 60, generator=rng), np.arange(40) % 2
    found = Readout.fit("ridge", outputs, one_hot(y))
    proba = torch.softmax(found.logits(torch.randn(200, 60, generator=rng)), 1)
    assert float(proba.amax(1).mean()) < 0.9
    told = Readout.fit(
        "ridge", outputs + 3 * one_hot(y) @ torch.randn(2, 60, generator=rng), one_hot(y)
    )
    assert told.sharpness > 3 * found.sharpness


def test_softmax_is_that_of_sklearn(features):
    outputs, y = features
    found = Readout.fit("softmax", outputs, one_hot(y))
    rows = standard_rows(outputs).double().numpy()
    peer = LogisticRegression(C=1 / found.ridge, tol=1e-10, max_iter=5000).fit(rows, y)
    proba = torch.softmax(found.logits(outputs), 1).numpy()
    assert np.abs(proba - peer.predict_proba(rows)).max() < 1e-4
    assert np.allclose(found.weight.numpy(), peer.coef_, atol=1e-4)


def test_constant_outputs_give_shares():
    outputs, y = torch.ones(40, 3), np.array([0] * 30 + [1] * 10)
    for kind in ("ridge", "softmax"):
        found = Readout.fit(kind, outputs, one_hot(y))
        assert torch.isfinite(found.logits(outputs)).all()
        assert found.bias.argmax() == 0
    assert Readout.fit("ridge", outputs, one_hot(y)).bias.tolist() == pytest.approx([0.75, 0.25])
