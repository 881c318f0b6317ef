"""HSICLoss and CKALoss: values, gradients, half precision, batches that say nothing, bad input."""

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError, TriviumWarning
from trivium.dependence import CKALoss, HSICLoss, hsic
from trivium.kernel import Delta, Gaussian, Linear

LOSSES = (HSICLoss(), HSICLoss(estimator="biased"), CKALoss(), CKALoss(debiased=False))


def batch(rng, n=24):
    x = torch.from_numpy(rng.normal(size=(n, 3))).float().requires_grad_()
    return x, torch.from_numpy(rng.integers(0, 3, n))


def test_values_are_those_of_hsic(rng):
    x, codes = batch(rng)
    y = x.detach() ** 2
    assert float(HSICLoss()(x, y).detach()) == float(hsic(x, y).detach())
    for estimator in ("unbiased", "biased", "n-1"):
        found = HSICLoss(Gaussian(1.3), Delta(), estimator)(x, codes)
        assert torch.equal(found, hsic(x, codes, Gaussian(1.3), Delta(), estimator))
    for debiased, estimator in ((True, "unbiased"), (False, "biased")):
        found = CKALoss(Linear(), Linear(), debiased=debiased)(x, y)
        assert torch.equal(found, hsic(x, y, Linear(), Linear(), estimator, "cka"))


def test_the_default_kernel_does_not_depend_on_the_batch():
    """Six levels in eight rows: labels all the same, where `hsic` may see numbers."""
    codes = torch.tensor([0, 1, 2, 3, 4, 5, 0, 1])
    x = torch.arange(8.0) ** 2
    expected = hsic(x, codes, Gaussian(), Delta())
    assert torch.equal(HSICLoss()(x, codes), expected)
    assert not torch.equal(hsic(x, codes), expected)


def test_the_median_is_held_constant_in_the_gradient(rng):
    x, codes = batch(rng)
    fixed = Gaussian().resolve(x.detach())
    (found,) = torch.autograd.grad(HSICLoss()(x, codes), x)
    (expected,) = torch.autograd.grad(HSICLoss(fixed)(x, codes), x)
    assert torch.equal(found, expected)
    scaled = HSICLoss()(1000 * x.detach(), codes)
    assert float(scaled) == pytest.approx(float(HSICLoss()(x, codes).detach()), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_half_precision_is_computed_in_float32(rng, loss, dtype):
    x, codes = batch(rng)
    half = x.detach().to(dtype).requires_grad_()
    value = loss(half, codes)
    assert value.dtype == torch.float32
    assert torch.equal(value, loss(half.detach().float(), codes))
    (gradient,) = torch.autograd.grad(value, half)
    assert gradient.dtype == dtype
    assert bool(gradient.isfinite().all())
    assert bool(gradient.any())


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_autocast_changes_nothing(rng, loss):
    x, codes = batch(rng)
    expected = torch.autograd.grad(loss(x, codes), x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = loss(x, codes)
    assert value.dtype == torch.float32
    assert torch.equal(torch.autograd.grad(value, x)[0], expected)


NOTHING = [
    ("empty", torch.zeros(0, 3), torch.zeros(0)),
    ("one row", torch.rand(1, 3), torch.rand(1)),
    ("three rows, one of them infinite", torch.full((3, 2), torch.inf), torch.rand(3)),
    ("constant", torch.full((8, 3), 3e38), torch.arange(8.0)),
    ("constant labels", torch.rand(8, 3), torch.ones(8, dtype=torch.int64)),
    ("both constant", torch.zeros(8, 3), torch.zeros(8)),
]


@pytest.mark.parametrize(("x", "y"), [n[1:] for n in NOTHING], ids=[n[0] for n in NOTHING])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_batch_that_says_nothing_is_zero(loss, x, y):
    x = x.clone().requires_grad_()
    value = loss(x, y)
    assert value.shape == ()
    assert float(value.detach()) == 0
    value.backward()
    assert torch.equal(x.grad, torch.zeros_like(x))


def test_two_sides_of_labels_are_a_float(rng):
    codes = torch.from_numpy(rng.integers(0, 2, 3))
    assert HSICLoss()(codes, codes).dtype == torch.float32


@pytest.mark.parametrize("loss", [CKALoss(), CKALoss(debiased=False)], ids=repr)
def test_alignment_where_no_two_labels_agree(loss):
    x = torch.rand(6, 2, requires_grad=True)
    value = loss(x, torch.arange(6))
    value.backward()
    assert bool(value.isfinite())
    assert bool(x.grad.isfinite().all())


def test_axes_after_the_first_make_one_row(rng):
    x = torch.from_numpy(rng.normal(size=(6, 2, 3)))
    y = torch.from_numpy(rng.normal(size=6))
    assert torch.equal(HSICLoss()(x, y), HSICLoss()(x.reshape(6, 6), y))


@pytest.mark.parametrize("loss", [HSICLoss(), CKALoss()], ids=repr)
def test_descent_makes_independent(rng, loss):
    """y = noise + 2 c learns to forget c: 40 steps of Adam on a linear map of two columns."""
    codes = torch.from_numpy(rng.integers(0, 2, 128))
    noise = torch.from_numpy(rng.normal(size=(128, 2))).float()
    rows = torch.cat([noise + 2 * codes[:, None], codes[:, None] + 0.1 * noise[:, :1]], 1)
    layer = torch.nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(2, 3))
    start = float(CKALoss()(layer(rows).detach(), codes))
    adam = torch.optim.Adam(layer.parameters(), lr=0.1)
    for _ in range(40):
        adam.zero_grad()
        loss(layer(rows), codes).backward()
        adam.step()
    assert start > 0.2
    assert abs(float(CKALoss()(layer(rows).detach(), codes))) < 0.02


def test_modules_have_no_state_and_say_their_options():
    assert HSICLoss().state_dict() == {}
    assert repr(CKALoss(Gaussian(2.0))) == (
        "CKALoss(Gaussian(lengthscale=2.0), 'auto', estimator='unbiased')"
    )


def test_repeated_rows_are_named():
    x = torch.tensor([0.0] * 9 + [1.0])
    with pytest.warns(TriviumWarning, match="HSICLoss: x: median_lengthscale: more than half"):
        HSICLoss()(x, torch.arange(10.0))


ROWS = torch.arange(8.0)
BAD = [
    (lambda: HSICLoss("gauss"), ArgumentError, "HSICLoss: kernel_x must be 'auto' or a kernel"),
    (lambda: CKALoss("auto", 3), ArgumentError, "CKALoss: kernel_y must be 'auto' or a kernel"),
    (lambda: HSICLoss(estimator="u"), ArgumentError, "estimator must be one of"),
    (lambda: HSICLoss()(np.ones(8), ROWS), ArgumentError, "x must be a torch tensor; got ndarray"),
    (lambda: HSICLoss()(ROWS, ROWS[0]), ShapeError, "y must have rows; got a scalar"),
    (lambda: CKALoss()(ROWS, ROWS[:7]), ShapeError, "axis n is 8 in x but 7 in y"),
    (lambda: CKALoss()(ROWS[:2], ROWS[:3]), ShapeError, "axis n is 2 in x but 3 in y"),
    (lambda: HSICLoss()(ROWS, ROWS.to("meta")), ArgumentError, "y must be on the device of x, cpu"),
    (lambda: HSICLoss()(ROWS / 0, ROWS), DataError, "HSICLoss: x must be finite; got nan"),
    (lambda: HSICLoss()(ROWS.to(torch.complex64), ROWS), ArgumentError, "got torch.complex64"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
