"""Straight-through of order 1 and 2 against enumeration: what is unbiased is so to 1e-12."""

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Categorical,
    Distribution,
    Independent,
    Normal,
    OneHotCategorical,
)

from trivium._core.errors import ArgumentError
from trivium.expectation import Exact, Exponential, StraightThrough, expect
from trivium.expectation import straight_through as room


def mean_slope(monkeypatch, f, logits, estimator):
    """Mean of the gradient estimate over all outcomes of the rows, by their probabilities."""
    n, k = logits.shape
    total = torch.zeros_like(logits)
    for outcome in torch.cartesian_prod(*[torch.arange(k)] * n).reshape(-1, n):
        monkeypatch.setattr(room, "gumbel_max", lambda o, shape, z=outcome: z.expand(*shape, n))
        leaf = logits.clone().requires_grad_()
        value = expect(f, OneHotCategorical(logits=leaf), estimator)
        (slope,) = torch.autograd.grad(value, leaf)
        chance = Categorical(logits=logits).log_prob(outcome).sum().exp()
        total += chance * slope
    return total


def exact_slope(f, logits):
    leaf = logits.clone().requires_grad_()
    support = Independent(Categorical(logits=leaf), 0)

    def ints(z):
        return f(torch.nn.functional.one_hot(z.long(), logits.shape[-1]).to(logits.dtype))

    return torch.autograd.grad(expect(ints, support, Exact(10**6)), leaf)[0]


def polynomial(power, n, k):
    """A dense polynomial of that degree in all entries of all rows together."""
    rng = torch.Generator().manual_seed(power + 10 * k)
    weights = torch.randn(n * k, 5, dtype=torch.float64, generator=rng)

    def f(z):
        return ((z.flatten(-2) @ weights) + 0.3).pow(power).sum(-1)

    return f


@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("n", [1, 2])
def test_order_2_is_unbiased_for_coupled_quadratics(monkeypatch, n, k):
    """Heun's rule is exact for them, for any number of categories and of coupled rows."""
    rng = torch.Generator().manual_seed(k)
    logits = torch.randn(n, k, dtype=torch.float64, generator=rng)
    f = polynomial(2, n, k)
    exact = exact_slope(f, logits)
    assert torch.allclose(
        mean_slope(monkeypatch, f, logits, StraightThrough(2)), exact, rtol=1e-12, atol=1e-12
    )
    # The check sees bias where there is some: order 1, another temperature, a softened draw.
    for biased in (StraightThrough(1), StraightThrough(2, 1.3), StraightThrough(2, rao=50)):
        torch.manual_seed(0)
        found = mean_slope(monkeypatch, f, logits, biased)
        assert float((found - exact).norm() / exact.norm()) > 0.01


@pytest.mark.parametrize("k", [2, 3])
def test_order_1_is_unbiased_for_what_is_linear_in_each_row(monkeypatch, k):
    logits = torch.randn(2, k, dtype=torch.float64, generator=torch.Generator().manual_seed(k))
    weights = torch.randn(k, k, dtype=torch.float64, generator=torch.Generator().manual_seed(9))

    def f(z):
        return ((z[..., 0, :] @ weights) * z[..., 1, :]).sum(-1)

    exact = exact_slope(f, logits)
    for estimator in (StraightThrough(1), StraightThrough(2)):
        found = mean_slope(monkeypatch, f, logits, estimator)
        assert torch.allclose(found, exact, rtol=1e-12, atol=1e-12)


def test_cubic_bias_is_that_of_the_trapezoid(monkeypatch):
    """Two categories, f = z³: Heun gives 3/2 for the difference 1, straight-through 3 p."""
    logits = torch.tensor([[0.0, -1.2]], dtype=torch.float64)
    p = float(logits.softmax(-1)[0, 1])

    def f(z):
        return z[..., 0, 1] ** 3

    slope = {order: mean_slope(monkeypatch, f, logits, StraightThrough(order)) for order in (1, 2)}
    exact = exact_slope(f, logits)
    assert float(exact[0, 1]) == pytest.approx(p * (1 - p), rel=1e-12)
    assert float(slope[2][0, 1]) == pytest.approx(1.5 * p * (1 - p), rel=1e-12)
    assert float(slope[1][0, 1]) == pytest.approx(3 * p * p * (1 - p), rel=1e-12)


def test_order_1_has_the_wrong_sign_where_the_documentation_says_so(monkeypatch):
    """f = (z - 0.45)² and p = 0.2: exact 0.016, straight-through -0.080, ReinMax 0.016."""
    logits = torch.tensor([0.8, 0.2], dtype=torch.float64).log()[None]

    def f(z):
        return (z[..., 0, 1] - 0.45) ** 2

    found = [float(exact_slope(f, logits)[0, 1])]
    found += [
        float(mean_slope(monkeypatch, f, logits, StraightThrough(order))[0, 1]) for order in (1, 2)
    ]
    assert found == pytest.approx([0.016, -0.080, 0.016], rel=1e-12)


def test_bernoulli_is_two_categories():
    p = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)
    given = {}
    for name, q in (
        ("one-hot", OneHotCategorical(torch.stack([1 - p, p], -1))),
        ("Bernoulli", Bernoulli(p)),
        ("Independent", Independent(Bernoulli(p), 1)),
    ):
        last = (lambda z: z[..., 1]) if name == "one-hot" else (lambda z: z)
        torch.manual_seed(2)
        value = expect(lambda z, last=last: (last(z) ** 3).sum(-1), q, StraightThrough(2), 4)
        given[name] = (value, torch.autograd.grad(value, p)[0])
    for name in ("Bernoulli", "Independent"):
        for ours, theirs in zip(given[name], given["one-hot"], strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-12)


def test_f_sees_exact_draws():
    seen = []

    def f(z):
        seen.append(z.detach())
        return z[..., 0]

    logits = torch.zeros(50, 4, dtype=torch.bfloat16, requires_grad=True)
    for estimator in StraightThrough.examples():
        expect(f, OneHotCategorical(logits=logits), estimator, 3).sum().backward()
        assert seen[-1].shape == (3, 50, 4)
        assert seen[-1].dtype == torch.bfloat16
        assert bool(((seen[-1] == 0) | (seen[-1] == 1)).all())
        assert bool((seen[-1].sum(-1) == 1).all())
        assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("estimator", StraightThrough.examples(), ids=str)
def test_masks_give_no_nan(estimator):
    logits = torch.tensor([[0.0, -torch.inf, 1.0], [2.0, 0.0, -torch.inf]], requires_grad=True)
    p = torch.tensor([0.0, 1.0, 0.3], requires_grad=True)
    sums = [
        expect(lambda z: (z**3).sum(-1), OneHotCategorical(logits=logits), estimator, 99).sum(),
        expect(lambda z: (z - 0.2) ** 3, Bernoulli(p), estimator, 99).sum(),
    ]
    sum(sums).backward()
    assert torch.isfinite(logits.grad).all()
    assert torch.isfinite(p.grad).all()
    assert logits.grad[0, 1] == logits.grad[1, 2] == 0


def test_rao_lowers_the_variance():
    torch.manual_seed(0)
    weights = torch.randn(8, 8)
    spread = []
    for rao in (0, 8):
        logits = torch.zeros(20_000, 8, requires_grad=True)
        q = OneHotCategorical(logits=logits)
        f = lambda z: ((z @ weights) ** 2).sum(-1)  # noqa: E731
        expect(f, q, StraightThrough(2, rao=rao)).sum().backward()
        spread.append(float(logits.grad.var(0).sum()))
    assert spread[1] < 0.9 * spread[0]


def test_temperature_may_be_a_schedule():
    temperature = Exponential(2.0, 1.0, 10)
    estimator = StraightThrough(1, temperature)
    logits = torch.tensor([0.0, 1.0], requires_grad=True)
    slopes = []
    for _ in range(2):
        value = expect(lambda z: 3 * z[..., 0], OneHotCategorical(logits=logits), estimator)
        slopes.append(torch.autograd.grad(value, logits)[0])
        temperature.place = 10
    for slope, tau in zip(slopes, (2.0, 1.0), strict=True):
        p = (logits.detach() / tau).softmax(-1)
        assert torch.allclose(slope[0], 3 * p[0] * p[1] / tau)


def undrawable():
    """With its checks off, torch itself lets it pass."""
    checks = Distribution._validate_args
    Distribution.set_default_validate_args(False)
    try:
        return OneHotCategorical(logits=torch.tensor([[0.0, 1.0], [-torch.inf] * 2]))
    finally:
        Distribution.set_default_validate_args(checks)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: StraightThrough(3), "StraightThrough: order must be 1 or 2; got 3"),
        (lambda: StraightThrough(True), "order must be 1 or 2; got True"),
        (lambda: StraightThrough(2, 0.0), "temperature must be a positive number"),
        (lambda: StraightThrough(2, rao=-1), "rao must be an integer, non-negative"),
        (lambda: StraightThrough(1, rao=2), r"order=1.*got 2. Relaxed\(temperature, rao=k\)"),
        (
            lambda: expect(lambda z: z, Categorical(logits=torch.zeros(3)), StraightThrough()),
            "cannot serve Categorical: its samples are integers.*use OneHotCategorical",
        ),
        (
            lambda: expect(lambda z: z, Normal(torch.zeros(3), 1.0), StraightThrough()),
            "cannot serve Normal: it relaxes Bernoulli and OneHotCategorical",
        ),
        (
            lambda: expect(
                lambda z: z[..., 0],
                undrawable(),
                StraightThrough(),
            ),
            r"row \(1,\) has NaN \(also: masked",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()
