"""Softened draws: parity with torch, bias by quadrature, Gumbel-Rao, masks, half precision."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Independent, OneHotCategorical
from torch.nn.functional import gumbel_softmax

from trivium._core.errors import ArgumentError
from trivium.expectation import Exponential, Relaxed, expect
from trivium.expectation import relaxed as room


def torch_noise(shape, like):
    return -torch.empty(shape, dtype=like.dtype).exponential_().log()


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("temperature", [0.3, 1.0])
def test_equal_to_torch_with_its_noise(monkeypatch, hard, temperature):
    monkeypatch.setattr(room, "gumbel_noise", torch_noise)
    weights = torch.randn(4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits.requires_grad_()

    def f(z):
        return (z @ weights) ** 2

    torch.manual_seed(7)
    q = OneHotCategorical(logits=logits)
    ours = expect(f, q, Relaxed(temperature, hard), samples=1)
    torch.manual_seed(7)
    theirs = f(gumbel_softmax(logits[None], temperature, hard))[0]
    assert torch.allclose(ours, theirs, rtol=1e-12)
    slopes = [torch.autograd.grad(value.sum(), logits)[0] for value in (ours, theirs)]
    assert torch.allclose(*slopes, rtol=1e-11)


def quadrature(monkeypatch, f, p, estimator, points=400_000):
    """Gradient in the logit of a Bernoulli, exactly: the noise's quantiles instead of draws."""
    u = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    quantiles = torch.stack([torch.zeros_like(u), u.logit()], -1)
    monkeypatch.setattr(room, "gumbel_noise", lambda shape, like: quantiles)
    logit = torch.tensor(p, dtype=torch.float64).logit().requires_grad_()
    value = expect(f, Bernoulli(logits=logit), estimator, points)
    return float(torch.autograd.grad(value, logit)[0])


@pytest.mark.parametrize(
    ("temperature", "soft", "hard"),
    [
        (1.0, -0.023125, -0.050117),
        (0.5, -0.018832, -0.035756),
        (0.1, 0.006553, 0.002858),
        (0.02, 0.014082, 0.013340),
    ],
)
def test_the_bias_is_the_documented_one(monkeypatch, temperature, soft, hard):
    """f = (z - 0.45)² at p = 0.2, exact gradient 0.016: the figures by numerical integration."""

    def f(z):
        return (z - 0.45) ** 2

    found = [quadrature(monkeypatch, f, 0.2, Relaxed(temperature, h)) for h in (False, True)]
    assert found == pytest.approx([soft, hard], abs=2e-6)


def test_the_value_of_a_soft_draw_is_biased_and_that_of_a_hard_one_is_not():
    torch.manual_seed(0)
    q = Bernoulli(torch.tensor([0.2]).expand(200_000))
    soft, hard, rao = (
        float(expect(lambda z: z**2, q, e).mean())
        for e in (Relaxed(1.0), Relaxed(1.0, hard=True), Relaxed(1.0, rao=1))
    )
    error = (0.2 * 0.8 / 200_000) ** 0.5
    assert abs(hard - 0.2) < 4 * error
    assert abs(rao - 0.2) < 4 * error
    assert soft < 0.2 - 20 * error


def test_small_temperatures_reach_the_draw():
    torch.manual_seed(0)
    for temperature in (1e-3, 1e-30, 1e-300):
        logits = torch.tensor([[30.0, -3e4, 1.0]] * 500, requires_grad=True)
        seen = []

        def f(z, seen=seen):
            seen.append(z.detach())
            return z[..., 0]

        expect(f, OneHotCategorical(logits=logits), Relaxed(temperature)).sum().backward()
        assert bool((seen[0].max(-1).values > 0.99).all())
        assert torch.isfinite(logits.grad).all()


def test_rao_keeps_the_mean_and_lowers_the_variance():
    torch.manual_seed(0)
    weights = torch.randn(5, 5)
    rows = torch.randn(5).expand(200_000, 5)

    def slopes(estimator):
        logits = rows.clone().requires_grad_()
        q = OneHotCategorical(logits=logits)
        expect(lambda z: ((z @ weights) ** 2).sum(-1), q, estimator).sum().backward()
        return logits.grad

    plain, rao = slopes(Relaxed(0.5, hard=True)), slopes(Relaxed(0.5, rao=8))
    error = ((plain.var(0) + rao.var(0)) / len(rows)).sqrt()
    assert bool(((plain.mean(0) - rao.mean(0)).abs() < 4 * error).all())
    assert float(rao.var(0).sum()) < 0.8 * float(plain.var(0).sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("estimator", Relaxed.examples(), ids=str)
def test_samples_have_the_form_of_the_distribution(estimator, dtype):
    torch.manual_seed(0)
    logits = torch.tensor([[0.5, -1.0, 2.0]] * 4, dtype=dtype, requires_grad=True)
    shapes = {
        OneHotCategorical(logits=logits): (6, 4, 3),
        Independent(OneHotCategorical(logits=logits), 1): (6, 4, 3),
        Bernoulli(logits=logits): (6, 4, 3),
        Independent(Bernoulli(logits=logits), 1): (6, 4, 3),
    }
    for q, shape in shapes.items():
        seen = []

        def f(z, seen=seen, q=q):
            seen.append(z.detach())
            return z.flatten(1 + len(q.batch_shape)).sum(-1) if q.event_shape else z**2

        expect(f, q, estimator, 6).sum().backward()
        assert seen[0].shape == shape
        assert seen[0].dtype == dtype
        assert bool(((seen[0] >= 0) & (seen[0] <= 1)).all())
        if estimator.hard or estimator.rao:
            assert bool(((seen[0] == 0) | (seen[0] == 1)).all())
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("estimator", Relaxed.examples(), ids=str)
def test_masks_give_no_nan(estimator):
    torch.manual_seed(0)
    logits = torch.tensor([[0.0, -torch.inf, 1.0], [2.0, 0.0, -torch.inf]], requires_grad=True)
    p = torch.tensor([0.0, 1.0, 0.3], requires_grad=True)
    sums = [
        expect(lambda z: (z**3).sum(-1), OneHotCategorical(logits=logits), estimator, 99).sum(),
        expect(lambda z: (z - 0.2) ** 3, Bernoulli(p), estimator, 99).sum(),
        expect(lambda z: z[..., 1], OneHotCategorical(p[None]), estimator, 99).sum(),
    ]
    sum(sums).backward()
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(p.grad).all()
    assert logits.grad[0, 1] == logits.grad[1, 2] == 0


def test_what_has_no_probability_is_never_drawn():
    """Torch clamps it to 1e-7 on the way to the logits."""
    seen = []
    rows = torch.tensor([[1.0, 0.0]]).expand(100_000, 2)

    def f(z):
        seen.append(z.detach())
        return z[..., 1]

    for _ in range(30):
        expect(f, OneHotCategorical(rows.clone().requires_grad_()), Relaxed(0.5, hard=True))
    assert max(float(z[..., 1].max()) for z in seen) == 0


def test_an_annealed_temperature_moves(monkeypatch):
    monkeypatch.setattr(room, "gumbel_noise", lambda shape, like: torch.zeros(shape))
    temperature = Exponential(1.0, 0.01, 2)
    estimator, logits = Relaxed(temperature), torch.tensor([0.0, 0.1], requires_grad=True)
    for tau in (1.0, 0.1, 0.01):
        value = expect(lambda z: z[..., 1], OneHotCategorical(logits=logits), estimator)
        softened = 1 / (1 + math.exp(-0.1 / tau))
        assert float(value.detach()) == pytest.approx(softened, rel=1e-5)
        temperature.step()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Relaxed(0.0), "Relaxed: temperature must be a positive number"),
        (lambda: Relaxed(1.0, hard=1), "Relaxed: hard must be True or False; got 1"),
        (lambda: Relaxed(rao=1.5), "Relaxed: rao must be an integer, non-negative; got 1.5"),
        (
            lambda: expect(lambda z: z, Categorical(logits=torch.zeros(3)), Relaxed()),
            "cannot serve Categorical: its samples are integers.*use OneHotCategorical",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()
