"""Gumbel noise and draws: exact, fine where the maximum is decided, and safe at the extremes."""

import math

import pytest
import torch
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.expectation import gumbel as room
from trivium.expectation import gumbel_given, gumbel_max, gumbel_noise

EULER = 0.5772156649015329
HALVES = (torch.float16, torch.bfloat16)


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32, torch.float64])
def test_noise_is_gumbel_in_float32_at_least(dtype):
    torch.manual_seed(0)
    noise = gumbel_noise((200_000,), torch.zeros(1, dtype=dtype))
    assert noise.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert torch.isfinite(noise).all()
    error = math.pi / 6**0.5 / 200_000**0.5
    assert float(noise.mean()) == pytest.approx(EULER, abs=4 * error)
    # The fourth central moment of a Gumbel is 5.4 times the squared variance.
    variance = math.pi**2 / 6
    assert float(noise.var()) == pytest.approx(variance, abs=4 * variance * (4.4 / 2e5) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("lowest", [True, False])
def test_extreme_uniforms_give_finite_noise(monkeypatch, dtype, lowest):
    def rand(shape, dtype, device):
        return torch.full(shape, 0.0 if lowest else 1 - torch.finfo(dtype).eps / 2, dtype=dtype)

    monkeypatch.setattr(torch, "rand", rand)
    noise = gumbel_noise((3,), torch.zeros(1, dtype=dtype))
    assert torch.isfinite(noise).all()
    assert bool((noise > 30).all()) if lowest else bool((noise < -2.8).all())


def winners_tied(noise: Tensor) -> float:
    first, second = noise.topk(2, dim=-1).values.unbind(-1)
    return float((first == second).double().mean())


@pytest.mark.parametrize("dtype", HALVES)
def test_no_ties_in_half_precision(dtype):
    torch.manual_seed(0)
    logits = torch.zeros(2000, 1000, dtype=dtype)
    assert winners_tied(logits + gumbel_noise(logits.shape, logits)) == 0
    in_half = -torch.rand(logits.shape).clamp(1e-6, 1 - 1e-6).log().neg().to(dtype).log()
    assert winners_tied(in_half) > 0.001  # what the test is able to see


def test_draws_follow_softmax_of_unnormalized_logits():
    torch.manual_seed(0)
    logits = torch.tensor([[3.0, 1.0, -torch.inf, 2.0], [-200.0, -201.0, -200.0, -torch.inf]])
    count = 200_000
    drawn = gumbel_max(logits, (count,))
    assert drawn.shape == (count, 2)
    p = logits.softmax(-1)
    shares = torch.nn.functional.one_hot(drawn, 4).double().mean(0)
    error = (p * (1 - p) / count).sqrt()
    assert bool(((shares - p).abs() <= 4 * error).all())
    assert shares[0, 2] == shares[1, 3] == 0


def test_noise_given_the_draw_is_the_noise_of_the_draw():
    """Draw, then redraw the noise given it: distributed as fresh perturbed logits."""
    torch.manual_seed(0)
    logits = torch.tensor([1.0, -0.5, 0.3, -torch.inf], dtype=torch.float64)
    count = 200_000
    again = gumbel_given(logits, gumbel_max(logits, (count,)))[:, :3]
    fresh = logits[:3] + gumbel_noise((count, 3), logits)
    for change in (lambda z: z, torch.square, lambda z: z * z.roll(1, -1), torch.sigmoid):
        ours, theirs = change(again), change(fresh)
        error = ((ours.var(0) + theirs.var(0)) / count).sqrt()
        assert bool(((ours.mean(0) - theirs.mean(0)).abs() < 4 * error).all())


def test_given_noise_keeps_the_draw_and_the_mask():
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, 8.0, -torch.inf], [-3.0, 0.0, 3.0]], requires_grad=True)
    drawn = torch.tensor([[0, 0], [1, 1]])
    perturbed = gumbel_given(logits, drawn, (500,))
    assert perturbed.shape == (500, 2, 2, 3)
    kept = perturbed.gather(-1, drawn.expand(500, 2, 2)[..., None])
    assert bool((kept >= perturbed).all())
    assert bool((perturbed[..., 0, 2] == -torch.inf).all())
    # The two parts depend on the logits: the maximum by log Z, another one by itself too.
    perturbed[..., :2].sum().backward()
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[0, 2] == 0


def test_given_noise_is_differentiated_in_the_logits():
    logits = torch.tensor([0.4, -0.3, 0.1], dtype=torch.float64, requires_grad=True)

    def redrawn(o):
        torch.manual_seed(3)
        return gumbel_given(o, torch.tensor([0, 1, 2]))

    assert torch.autograd.gradcheck(redrawn, logits)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (torch.tensor([[0.0, 1.0], [-torch.inf] * 2]), r"row \(1,\) has 0 above it"),
        (torch.tensor([[0.0, torch.inf]]), r"row \(0,\) has \+inf"),
        (torch.tensor([0.0, torch.nan]), r"row \(\) has NaN"),
        (torch.tensor([1, 2]), "be a tensor of real numbers; got torch.int64"),
        (torch.zeros(3, 0), r"have shape \(\*batch, n\) with n at least 1; got \(3, 0\)"),
    ],
)
def test_rows_that_cannot_be_drawn_from_are_named(logits, message):
    with pytest.raises(ArgumentError, match="gumbel_max: logits must .*" + message):
        gumbel_max(logits)
    with pytest.raises(ArgumentError, match="gumbel_given: logits must .*" + message):
        gumbel_given(logits, torch.zeros(logits.shape[:-1], dtype=torch.long))


def test_large_logits_are_no_fault():
    """The quick look adds the rows up, which may leave the range."""
    assert gumbel_max(torch.full((3, 2), 3e38)).shape == (3,)
    room.check_logits("f", torch.full((3, 2), 3e38))
