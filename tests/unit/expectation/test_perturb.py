"""Zeroth-order gradients: exact where moments are exact, calibrated at any rank, guards."""

import itertools

import pytest
import torch
from torch import nn

from trivium._core.errors import ArgumentError, ShapeError
from trivium.expectation import (
    BASELINES,
    Exact,
    Pathwise,
    Perturb,
    Score,
    baseline,
    directions,
    expect,
)

SIGNS = (-1.0, 1.0)


def deal(monkeypatch, *draws):
    """Give the directions of the next population instead of drawing them."""
    waiting = list(draws)
    monkeypatch.setattr(directions, "_normal", lambda like, *shape: waiting.pop(0).reshape(shape))


def corners(p):
    """All sign vectors: mean 0, covariance I and symmetric, exactly, as a normal vector is."""
    return torch.tensor(list(itertools.product(SIGNS, repeat=p)), dtype=torch.float64)


def curved(theta):
    a = torch.tensor([[2.0, 0.5, -1.0], [0.5, 1.0, 0.3], [-1.0, 0.3, -0.7]], dtype=theta.dtype)
    slope = torch.tensor([1.0, -3.0, 0.2], dtype=theta.dtype)
    return 7.0 + theta @ slope + ((theta @ a) * theta).sum(-1) / 2


def gradient(f, at):
    leaf = at.clone().requires_grad_()
    return torch.autograd.grad(f(leaf), leaf)[0]


THETA = torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64)


@pytest.mark.parametrize("std", [1e-3, 0.5, 20.0])
@pytest.mark.parametrize("antithetic", [True, False])
def test_full_directions_are_exact_for_quadratics(monkeypatch, std, antithetic):
    u = corners(3)
    deal(monkeypatch, u)
    theta = THETA.clone().requires_grad_()
    samples = 16 if antithetic else 8
    value = expect(
        lambda z: curved(z.tensor()),
        Perturb(theta, std, antithetic=antithetic),
        Score("none"),
        samples,
    )
    value.backward()
    assert torch.allclose(theta.grad, gradient(curved, THETA), rtol=1e-9)
    # The mean of f at the perturbed points, trace and all.
    smooth = curved(THETA) + std**2 * (2.0 + 1.0 - 0.7) / 2
    assert torch.allclose(value.detach(), smooth, rtol=1e-9)


@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("antithetic", [True, False])
def test_factored_directions_are_exact_for_quadratics(monkeypatch, rank, antithetic):
    """Every pair of sign factors: the moments of A Bᵀ / √r that a quadratic asks for."""
    all_signs = corners(2 * rank + 2 * rank)
    deal(monkeypatch, all_signs[:, : 2 * rank], all_signs[:, 2 * rank :])
    weight = torch.tensor([[0.2, -1.0], [0.7, 0.4]], dtype=torch.float64, requires_grad=True)
    across = torch.tensor([[1.0, 2.0], [-0.5, 3.0]], dtype=torch.float64)

    def f(w):
        return (across * w).sum((-2, -1)) + (w @ w.mT).sum((-2, -1)) + w[..., 0, 0] * w[..., 1, 1]

    expect(
        lambda z: f(z.tensor()),
        Perturb(weight, 0.3, rank=rank, antithetic=antithetic),
        Score("none"),
        len(all_signs) * (2 if antithetic else 1),
    ).backward()
    assert torch.allclose(weight.grad, gradient(f, weight.detach()), rtol=1e-9)


def test_a_rank_without_its_root_is_seen(monkeypatch):
    """The check above can fail: factors that lack 1/√r are off by r."""
    all_signs = corners(8)
    deal(monkeypatch, all_signs[:, :4] * 2**0.25, all_signs[:, 4:] * 2**0.25)
    weight = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    across = torch.tensor([[1.0, 2.0], [-0.5, 3.0]], dtype=torch.float64)
    target = Perturb(weight, 0.3, rank=2, antithetic=False)
    expect(lambda z: (across * z.tensor()).sum((-2, -1)), target, Score("none"), 256).backward()
    assert torch.allclose(weight.grad, 2 * across, rtol=1e-9)


def estimates(baseline, samples, **choice):
    """All populations of sign directions of one parameter vector, with equal weights."""
    count = samples // 2 if choice.get("antithetic", True) else samples
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for signs in itertools.product(corners(2), repeat=count):
            deal(patch, torch.stack(signs))
            theta = THETA[:2].clone().requires_grad_()
            value = expect(
                lambda z: (z.tensor() + 1).pow(2).sum(-1),
                Perturb(theta, 0.5, **choice),
                Score(baseline),
                samples,
            )
            value.backward()
            found.append(theta.grad)
    return torch.stack(found).mean(0)


@pytest.mark.parametrize("antithetic", [True, False])
@pytest.mark.parametrize("baseline", BASELINES)
def test_no_baseline_biases_a_population(baseline, antithetic):
    found = estimates(baseline, 4, antithetic=antithetic)
    assert torch.allclose(found, 2 * (THETA[:2] + 1), rtol=1e-12)


def test_a_baseline_that_saw_the_partner_is_biased(monkeypatch):
    """What leaving out the whole pair avoids: the same check fails without it."""
    monkeypatch.setattr(baseline, "group_size", lambda _: 1)
    found = estimates("leave-one-out", 4)
    assert torch.allclose(found, 2 * (THETA[:2] + 1) * 4 / 3, rtol=1e-12)


def test_pairs_need_no_baseline():
    theta = THETA.float()
    found = []
    for name in BASELINES:
        leaf = theta.clone().requires_grad_()
        torch.manual_seed(0)
        expect(lambda z: curved(z.tensor()), Perturb(leaf, 0.1), Score(name), 8).backward()
        found.append(leaf.grad)
    assert all(torch.allclose(found[0], other, rtol=1e-3) for other in found[1:])


@pytest.mark.parametrize(
    "choice",
    [
        {},
        {"antithetic": False},
        {"rank": 1},
        {"rank": 2},
        {"rank": 2, "antithetic": False},
        {"orthogonal": True},
        {"orthogonal": True, "antithetic": False},
    ],
)
def test_calibrated(choice):
    """f linear: mean estimate over the true gradient is 1, at 4 standard errors.

    200,000 evaluations; the bias that it sees is 4 errors of the mean, at most 0.03.
    """
    torch.manual_seed(11)
    weight = torch.randn(3, 4, dtype=torch.float64)
    slope = torch.randn(3, 4, dtype=torch.float64)
    ratios = []
    per = 12 if choice.get("orthogonal") else 500
    for _ in range(600 if choice.get("orthogonal") else 400):
        leaf = weight.clone().requires_grad_()
        value = expect(
            lambda z: (z.tensor() * slope).sum((-2, -1)), Perturb(leaf, 0.7, **choice), samples=per
        )
        value.backward()
        ratios.append((leaf.grad * slope).sum() / slope.square().sum())
    ratios = torch.stack(ratios)
    error = ratios.std() / len(ratios) ** 0.5
    assert error < 0.02
    assert abs(ratios.mean() - 1) < max(4 * error, 1e-9)


def test_orthogonal_directions():
    tensors = [torch.zeros(2, 3, requires_grad=True), torch.zeros(4, requires_grad=True)]
    torch.manual_seed(0)
    z = Perturb(tensors, 1.0, antithetic=False, orthogonal=True).sample(torch.Size([25]))
    u = torch.cat([z.tensor("0").flatten(1), z.tensor("1")], 1)
    for block in (u[:10], u[10:20], u[20:]):
        gram = block @ block.mT
        assert torch.allclose(gram, gram.diagonal().diag(), atol=1e-5)
    lengths = torch.stack(
        [
            torch.cat(
                [
                    Perturb(tensors, 1.0, antithetic=False, orthogonal=True)
                    .sample(torch.Size([10]))
                    .tensor(n)
                    .flatten(1)
                    for n in ("0", "1")
                ],
                1,
            )
            for _ in range(2000)
        ]
    ).flatten(0, 1)
    # Each direction alone is standard normal: 20,000 of them, 4 errors of a variance.
    assert torch.allclose(lengths.mT @ lengths / len(lengths), torch.eye(10), atol=0.06)
    assert abs(float(lengths.square().sum(1).var()) / 20 - 1) < 0.08


def test_log_prob_is_that_of_the_normal():
    theta = THETA.clone().requires_grad_()
    target = Perturb(theta, 0.4, antithetic=False)
    z = target.sample(torch.Size([5]))
    ours = target.log_prob(z)
    theirs = torch.distributions.Normal(theta, 0.4).log_prob(z.tensor()).sum(-1)
    assert torch.allclose(ours, theirs, rtol=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        g, h = (torch.autograd.grad(v, theta, create_graph=True)[0] for v in (a, b))
        assert torch.allclose(g, h, rtol=1e-12)
        second = [torch.autograd.grad(v.sum(), theta, retain_graph=True)[0] for v in (g, h)]
        assert torch.allclose(*second, rtol=1e-12)


def test_second_derivatives_of_full_directions(monkeypatch):
    """E[f (u uᵀ − I)] / std² on an exact design of fourth moments is the Hessian."""
    node = 3**0.5  # Gauss–Hermite of three points: moments of a normal up to the fifth
    grid = torch.cartesian_prod(*[torch.tensor([-node, 0.0, node], dtype=torch.float64)] * 2)
    weights = torch.where(grid == 0, 2 / 3, 1 / 6).double().prod(1)
    deal(monkeypatch, grid)
    theta = THETA[:2].clone().requires_grad_()

    def f(t):
        return t[..., 0] ** 2 * 3 + t[..., 0] * t[..., 1] - t[..., 1]

    value = expect(
        lambda z: f(z.tensor()) * weights * 9,
        Perturb(theta, 0.3, antithetic=False),
        Score("none"),
        9,
    )
    (g,) = torch.autograd.grad(value, theta, create_graph=True)
    rows = torch.stack([torch.autograd.grad(v, theta, retain_graph=True)[0] for v in g])
    hessian = torch.tensor([[6.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    assert torch.allclose(rows, hessian, atol=1e-9)


def test_a_factored_perturbation_refuses_the_second():
    weight = torch.zeros(3, 3, requires_grad=True)
    value = expect(
        lambda z: z.tensor().pow(2).sum((-2, -1)), Perturb(weight, 0.1, rank=1), samples=4
    )
    (g,) = torch.autograd.grad(value, weight, create_graph=True)
    with pytest.raises(ArgumentError, match=r"only once; it is no score\. Pass rank=None"):
        torch.autograd.grad(g.sum(), weight)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forward mode, torch's own
@pytest.mark.parametrize("inner", [torch.func.jacrev, torch.func.jacfwd])
@pytest.mark.parametrize("outer", [torch.func.jacrev, torch.func.jacfwd])
def test_transforms_refuse_the_second_too(outer, inner):
    def value(weight):
        return expect(lambda z: z.tensor().sum((1, 2)), Perturb(weight, 0.1, rank=1), samples=4)

    def mode(transform):
        draws = {"randomness": "same"} if transform is torch.func.jacfwd else {}
        return lambda f: transform(f, **draws)

    with pytest.raises(ArgumentError, match="a factored perturbation must be differentiated only"):
        mode(outer)(mode(inner)(value))(torch.zeros(3, 3))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of forward mode, torch's own
@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("rank", [1, 3])
def test_slope_is_the_direction(paired, rank):
    """Zeros, and u / std by reverse mode, forward mode and in batches; in float64, exactly."""
    torch.manual_seed(0)
    weight = torch.randn(4, 3, dtype=torch.float64)
    drawn = directions.draw_directions({"w": weight}, 6, {"w": rank}, paired, False)["w"]
    u = drawn.stacked(torch.zeros_like(weight), 1.0) / 0.2
    by_member = torch.func.jacrev(lambda w: drawn.slope(w, 0.2))(weight)
    assert not drawn.slope(weight, 0.2).any()
    assert torch.allclose(by_member, u, rtol=1e-12)
    assert torch.allclose(torch.func.jacfwd(lambda w: drawn.slope(w, 0.2))(weight), u, rtol=1e-12)
    several = torch.randn(2, 6, dtype=torch.float64)
    rows = torch.func.vmap(torch.func.grad(lambda w, g: drawn.slope(w, 0.2) @ g))
    wanted = torch.einsum("kn,nod->kod", several, u)
    assert torch.allclose(rows(weight.expand(2, 4, 3), several), wanted, rtol=1e-12)


def test_slope_of_half_precision():
    weight = torch.zeros(4, 3, dtype=torch.bfloat16, requires_grad=True)
    drawn = directions.draw_directions({"w": weight}, 6, {"w": 1}, True, False)["w"]
    drawn.slope(weight, 0.2)[3].backward()
    assert weight.grad.dtype == torch.bfloat16
    assert torch.equal(weight.grad, (drawn.stacked(torch.zeros(4, 3), 1.0)[3] / 0.2).bfloat16())


def test_any_optimizer_and_the_hybrid():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    head = nn.Linear(1, 1)
    x = torch.randn(64, 4)
    y = (x[:, :1] > 0).float()

    def wrong(m):
        return ((head(m(x)) > 0).float() - y).abs().mean((1, 2))

    optimizer = torch.optim.Adam([*model.parameters(), *head.parameters()], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        blind = expect(wrong, Perturb(model, 0.2, rank=1), samples=16)
        smooth = (head(model(x).detach()) - 2 * y + 1).square().mean()  # trains the head alone
        (smooth + blind).backward()
        optimizer.step()
    assert float(((head(model(x)) > 0).float() - y).abs().mean()) < 0.1
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_what_f_uses_besides_has_its_own_gradient():
    theta, other = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    expect(lambda z: (z.tensor() + other).sum(-1), Perturb(theta, 1e-3), samples=4).backward()
    assert torch.equal(other.grad, torch.ones(3))


def test_half_precision():
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).bfloat16()
    before = layer.weight.detach().clone()
    expect(
        lambda z: z(torch.ones(2, 4).bfloat16()).float().mean((1, 2)),
        Perturb(layer, 0.5),
        samples=4000,
    ).backward()
    assert layer.weight.grad.dtype == torch.bfloat16
    # Deviation of an entry: |gradient| = 1.29 over the root of 2,000 directions; 4 of them.
    assert torch.allclose(layer.weight.grad.float(), torch.full((3, 4), 1 / 3), atol=0.12)
    assert torch.equal(layer.weight, before)


@pytest.mark.parametrize("choice", [{}, {"antithetic": False}])
def test_transforms(choice):
    def slope(t):
        target = Perturb(t, 0.1, **choice)
        return expect(lambda z: curved(z.tensor()), target, Score(), samples=4000)

    torch.manual_seed(0)
    many = torch.func.vmap(torch.func.grad(slope), randomness="different")(THETA.expand(8, 3))
    assert torch.allclose(many.mean(0), gradient(curved, THETA), atol=0.4)
    assert float((many[0] - many[1]).abs().min()) > 0  # not the same draws


def test_compiles_to_one_graph():
    theta = THETA.clone().requires_grad_()

    def f(t):
        return expect(lambda z: curved(z.tensor()), Perturb(t, 0.1), Score(), samples=2000)

    torch.manual_seed(0)
    value = torch.compile(f, fullgraph=True, backend="aot_eager")(theta)
    value.backward()
    assert torch.allclose(theta.grad, gradient(curved, THETA), atol=0.5)


@pytest.mark.parametrize("antithetic", [True, False])
def test_factored_in_one_graph_and_in_batches(antithetic):
    """The gradient of eager mode, draw by draw; and slopes of a batch of weights."""
    weight = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(2, 3)

    def value(w):
        target = Perturb(w, 0.1, rank=1, antithetic=antithetic)
        return expect(lambda z: z.tensor().pow(3).sum((1, 2)), target, Score(), samples=400)

    torch._dynamo.reset()
    found = []
    for call in (value, torch.compile(value, fullgraph=True, backend="aot_eager")):
        torch.manual_seed(0)
        leaf = weight.clone().requires_grad_()
        found.append(torch.autograd.grad(call(leaf), leaf)[0])
    assert torch.allclose(*found, rtol=1e-9)
    many = torch.func.vmap(torch.func.grad(value), randomness="different")(weight.expand(50, 2, 3))
    error = (many.mean(0) - 3 * weight.square()).abs()
    assert (error < 4.5 * many.std(0) / 50**0.5 + 0.1).all()  # 3 std² · E[u²] and more: a bias


LAYER = nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Perturb(LAYER, 0.0), "std must be a number, positive; got 0.0"),
        (lambda: Perturb(LAYER, float("nan")), "std must be a number, positive"),
        (
            lambda: Perturb(LAYER, 0.1, rank=3),
            r"rank must be at most 2, the smaller side of weight",
        ),
        (lambda: Perturb(LAYER, 0.1, rank=0), "rank must be an integer, positive; got 0"),
        (
            lambda: Perturb(nn.LayerNorm(3), 0.1, rank=1),
            "a matrix to apply to; got none in LayerNorm",
        ),
        (lambda: Perturb(torch.zeros(3), 0.1, rank=1), "a matrix to apply to; got none in tensors"),
        (
            lambda: Perturb(LAYER, 0.1, rank=1, orthogonal=True),
            "rank must be None where directions",
        ),
        (
            lambda: Perturb(LAYER, 0.1, antithetic="no"),
            "antithetic must be True or False; got 'no'",
        ),
        (lambda: Perturb(LAYER, 0.1, orthogonal=1), "orthogonal must be True or False; got 1"),
        (lambda: Perturb(nn.ReLU(), 0.1), "something to perturb; got no parameter that requires"),
        (lambda: Perturb(nn.Linear(2, 2).requires_grad_(False), 0.1), "something to perturb"),
        (lambda: Perturb([], 0.1), "something to perturb"),
        (lambda: Perturb("theta", 0.1), "target must be a module or tensors; got 'theta'"),
        (lambda: Perturb([1.0], 0.1), "0 must be a floating-point tensor; got float"),
        (lambda: Perturb(torch.zeros(2, dtype=torch.long), 0.1), "got torch.int64"),
        (lambda: Perturb(nn.LazyLinear(2), 0.1), "got a lazy parameter. Run the module once first"),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"samples": 3}, ArgumentError, "samples must be even for antithetic pairs; got 3"),
        ({"estimator": Exact()}, ArgumentError, "Exact cannot serve Perturb"),
        ({"estimator": Pathwise()}, ArgumentError, "Pathwise cannot serve Perturb"),
        (
            {"estimator": Score("leave-one-out")},
            ArgumentError,
            "must have at least 4 samples; got 2",
        ),
        ({"f": lambda z: z(torch.ones(5, 3)).sum(1)}, ShapeError, r"f must return \(2, \*lead\)"),
    ],
)
def test_bad_use_is_named(change, error, message):
    arguments = {"f": lambda z: z(torch.ones(5, 3)).sum((1, 2)), "samples": 2} | change
    with pytest.raises(error, match=message):
        expect(distribution=Perturb(LAYER, 0.1), **arguments)


def test_says_what_it_is():
    assert repr(Perturb(LAYER, 0.1, rank=1)) == "Perturb(Linear of 8, std=0.1, rank=1)"
    assert repr(Perturb(LAYER, 0.1).sample(torch.Size([2]))) == "Population(2 of Linear, std=0.1)"
