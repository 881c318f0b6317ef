"""Control variates: derivatives of every order are right, the variance falls, and c learns it."""

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, Independent, Normal, OneHotCategorical

from trivium._core.errors import ArgumentError, ShapeError
from trivium.expectation import Exact, Rebar, Relaxed, Score, expect


class Wave(nn.Module):
    """A control for one-hot draws of 3 classes in pairs, or pairs of Bernoulli draws."""

    def __init__(self, axes):
        super().__init__()
        self.axes = axes
        self.gain = nn.Parameter(torch.tensor([0.5, -0.3, 0.8], dtype=torch.float64))

    def forward(self, z):
        size = z.shape[-1]
        return (self.gain[:size] * (z / 3).tanh()).sum(tuple(range(-self.axes, 0)))


def f(z):
    """Of two coupled draws, Bernoulli `(..., 2)` or one-hot `(..., 2, 3)`; theirs to soften."""
    score = z if z.shape[-1] == 2 else z @ torch.tensor([0.2, -1.0, 1.5], dtype=z.dtype)
    return (score[..., 0] - 0.45) ** 2 + score[..., 0] * score[..., 1]


def laws(kind, theta):
    if kind == "joint":
        return Independent(Bernoulli(logits=theta), 1)
    return Bernoulli(logits=theta) if kind == "bernoulli" else OneHotCategorical(logits=theta)


CONTROLS = {
    "rebar": lambda kind: Relaxed(0.7),
    "scaled": lambda kind: Rebar(0.4, scale=0.6),
    "module": lambda kind: Wave(2 if kind == "one-hot" else 1),
}


@pytest.mark.parametrize(
    ("name", "kind", "rows"),
    [
        ("rebar", "bernoulli", 10_000),
        ("rebar", "one-hot", 5000),
        ("scaled", "joint", 4000),
        ("scaled", "one-hot", 5_000),
        ("module", "bernoulli", 10_000),
        ("module", "one-hot", 5_000),
    ],
)
def test_derivatives_of_every_order(name, kind, rows):
    """z-tests at 4 standard errors over 4 draws a row, in every direction, orders 1 to 3."""
    start = torch.tensor([[0.4, -0.8, 0.1], [0.3, 0.9, -0.5]], dtype=torch.float64)
    start = start if kind == "one-hot" else start[0, :2]
    direction = torch.linspace(1, 2, start.numel(), dtype=torch.float64).reshape(start.shape)

    def derivatives(value, theta):
        for _ in range(3):
            (slope,) = torch.autograd.grad(value.sum(), theta, create_graph=True)
            yield slope.detach()
            value = slope * direction

    def scaled(theta, dim):
        gain = theta.sum(dim).exp()  # f uses the parameters directly too
        return lambda z: gain * f(z)

    exact = start.clone().requires_grad_()
    axes = tuple(range(-start.ndim, 0))
    plain = laws("bernoulli" if kind == "joint" else kind, exact)
    wanted = list(derivatives(expect(scaled(exact, axes), plain, Exact()), exact))
    theta = start.expand(rows, *start.shape).clone().requires_grad_()
    torch.manual_seed(0)
    estimator = Score(control=CONTROLS[name](kind))
    value = expect(scaled(theta, axes), laws(kind, theta), estimator, samples=4)
    for found, right in zip(derivatives(value, theta), wanted, strict=True):
        bound = 4 * found.std(0) / rows**0.5
        assert ((found.mean(0) - right).abs() < bound).all()


def slopes(control, rows):
    logits = torch.full((rows,), 0.3, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(1)
    value = expect(
        lambda z: (z - 0.45).square(), Bernoulli(logits=logits), Score("none", control=control)
    )
    return torch.autograd.grad(value.sum(), logits)[0]


def test_rebar_has_less_variance():
    """Eight coupled draws."""

    def variance(score):
        logits = torch.full((4000, 8), 0.3, requires_grad=True)
        torch.manual_seed(1)
        value = expect(lambda z: (z.sum(-1) - 1) ** 2, Bernoulli(logits=logits), score)
        return torch.autograd.grad(value.sum(), logits)[0].var(0).mean()

    rebar = variance(Score("none", control=Relaxed(0.5)))
    assert rebar < variance(Score("none")) / 5
    assert rebar < variance(Score("optimal")) / 2


def test_the_value_is_the_mean_of_f():
    logits = torch.zeros(3, requires_grad=True)
    seen = []

    def f(z):
        seen.append(z)
        return z.square() + 1

    value = expect(f, Bernoulli(logits=logits), Score(control=Relaxed(0.5)), samples=5)
    assert torch.allclose(value, (seen[0].square() + 1).mean(0))
    assert set(seen[0].unique().tolist()) <= {0.0, 1.0}


def test_what_learns_gets_the_gradient_of_the_variance():
    """The variance is a parabola in the scale: central differences of it are exact."""
    rows = 40_000
    control = Rebar(0.5, scale=0.7)
    logits = torch.full((rows,), 0.3, dtype=torch.float64, requires_grad=True)

    def g(z):
        return (z - 0.45).square()

    torch.manual_seed(0)
    value = expect(g, Bernoulli(logits=logits), Score("none", control=control))
    value.mean().backward()
    found = float(control.scale.grad)
    # The logits of both outcomes have opposite slopes: twice the square of that of the one logit.
    spread = [2 * float(slopes(Rebar(0.5, s), rows).square().mean()) for s in (0.6, 0.8)]
    assert found == pytest.approx((spread[1] - spread[0]) / 0.2, rel=0.05)
    assert abs(found) > 0.01
    hot, cold = (2 * float(slopes(Rebar(t, 0.7), rows).square().mean()) for t in (0.51, 0.49))
    exact = (hot - cold) / (0.51 / 0.5 - 0.49 / 0.5)
    assert float(control.log_temperature.grad) == pytest.approx(exact, rel=0.15)


def test_what_f_uses_learns_nothing_from_the_variance():
    """Its gradient is that of the mean alone, for each draw, whatever the control learns."""
    gain = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    logits = torch.full((50,), 0.3, dtype=torch.float64)

    def slope(control):
        torch.manual_seed(2)
        law, score = Bernoulli(logits=logits), Score("none", control=control)
        value = expect(lambda z: (gain * z - 0.45).square(), law, score, samples=3)
        return torch.autograd.grad(value.sum(), gain)[0]

    assert torch.allclose(slope(Rebar(0.5)), slope(Relaxed(0.5)), rtol=1e-6)


def test_a_module_learns_to_take_the_variance_away():
    """RELAX on an f that cannot be softened."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(1, 10), nn.Tanh(), nn.Linear(10, 1)).double()

        def forward(self, z):
            return self.layers(z[..., None])[..., 0]

    torch.manual_seed(0)
    control = Net()
    optimizer = torch.optim.Adam(control.parameters(), lr=0.02)
    score = Score("none", control=control)
    logits = torch.full((200,), 0.3, dtype=torch.float64, requires_grad=True)

    def g(z):
        return torch.as_tensor(((z.numpy() - 0.45) ** 2) * 4)  # leaves the graph

    def slope():
        value = expect(g, Bernoulli(logits=logits), score)
        return value, torch.autograd.grad(value.sum(), logits, retain_graph=True)[0]

    def variance():
        torch.manual_seed(9)
        return torch.cat([slope()[1] for _ in range(20)]).var()

    before = variance()
    for _ in range(100):
        optimizer.zero_grad()
        value, _ = slope()
        value.mean().backward()
        optimizer.step()
    assert variance() < before / 4


def test_no_gradient_wanted():
    with torch.no_grad():
        value = expect(lambda z: z, Bernoulli(logits=torch.zeros(3)), Score(control=Rebar()))
    assert value.shape == (3,)


def test_bad_input_is_named():
    two = Bernoulli(logits=torch.zeros(2, requires_grad=True))
    rebar = Score(control=Relaxed(0.5))
    with pytest.raises(ArgumentError, match="control must be None, Relaxed"):
        Score(control="rebar")
    with pytest.raises(ArgumentError, match="hard=False and rao=0"):
        Score(control=Relaxed(0.5, hard=True))
    with pytest.raises(ArgumentError, match="temperature must be a number, positive"):
        Rebar(0.0)
    with pytest.raises(ArgumentError, match="scale must be a number"):
        Rebar(0.5, scale=float("nan"))
    with pytest.raises(ArgumentError, match="control must be a differentiable function of the s"):
        expect(lambda z: (z > 0.5).float(), two, rebar)
    with pytest.raises(ShapeError, match=r"control must return the shape of f, \(1,\); got \(1, 2"):
        expect(lambda z: z.sum(-1), two, Score(control=nn.Tanh()))
    with pytest.raises(ArgumentError, match="cannot serve Categorical: its samples are integers"):
        expect(lambda z: z, Categorical(logits=torch.zeros(3)), rebar)
    with pytest.raises(ArgumentError, match="cannot serve Normal: it relaxes"):
        expect(lambda z: z, Normal(torch.zeros(3), 1.0), rebar)
