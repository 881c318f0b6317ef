"""The entry: shapes, choices, the hybrid gradient, derivatives of every order, bad input."""

import itertools

import numpy as np
import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Binomial,
    Categorical,
    Gamma,
    Independent,
    Normal,
    OneHotCategorical,
    Poisson,
    Uniform,
)

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.expectation import (
    Exact,
    MeasureValued,
    Pathwise,
    Permutation,
    Relaxed,
    Score,
    StraightThrough,
    expect,
    support_size,
)


def bernoulli_sum(logits, f):
    """E[f] over independent Bernoulli draws by the definition, differentiable."""
    total = 0.0
    for bits in itertools.product((0.0, 1.0), repeat=len(logits)):
        z = torch.tensor(bits, dtype=logits.dtype)
        p = (z * logits.sigmoid() + (1 - z) * (-logits).sigmoid()).prod()
        total = total + p * f(z)
    return total


def coupled(z):
    return (z @ torch.tensor([1.0, -2.0, 0.5], dtype=z.dtype) + z[..., 0] * z[..., 2]) ** 2


def derivatives(value, theta, order):
    found = []
    for _ in range(order):
        (slope,) = torch.autograd.grad(value, theta, create_graph=True)
        found.append(slope.detach())
        value = (slope * torch.arange(1.0, len(theta) + 1, dtype=theta.dtype)).sum()
    return found


def test_exact_lists_every_combination():
    logits = torch.tensor([0.3, -1.0, 0.8], dtype=torch.float64, requires_grad=True)
    value = expect(coupled, Bernoulli(logits=logits), Exact())
    expected = bernoulli_sum(logits, coupled)
    assert torch.allclose(value, expected, rtol=1e-12)
    ours, theirs = derivatives(value, logits, 3), derivatives(expected, logits, 3)
    assert all(torch.allclose(a, b, rtol=1e-10) for a, b in zip(ours, theirs, strict=True))


def test_exact_of_rows_needs_no_combinations():
    logits = torch.zeros(500, 4, requires_grad=True)
    calls = []

    def f(z):
        calls.append(z.shape)
        return z.float().square()

    value = expect(f, Categorical(logits=logits), Exact(budget=4))
    assert value.shape == (500,)
    assert torch.allclose(value, torch.full((500,), 3.5))
    assert calls == [(4, 500)]


def test_lead_in_front_and_coupled_behind():
    """Rows of three coupled draws each: a value for each row, combinations within rows only."""
    logits = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    value = expect(coupled, Bernoulli(logits=logits), Exact())
    expected = torch.stack([bernoulli_sum(row, coupled) for row in logits])
    assert torch.allclose(value, expected, rtol=1e-12)
    torch.manual_seed(0)
    sampled = expect(coupled, Bernoulli(logits=logits), Score(), samples=20_000)
    assert sampled.shape == (7,)
    assert torch.allclose(sampled, expected, atol=0.15)


def test_events_are_no_rows():
    logits = torch.zeros(5, 3, requires_grad=True)
    value = expect(lambda z: z[..., 2], OneHotCategorical(logits=logits), "auto")
    assert torch.allclose(value, torch.full((5,), 1 / 3))
    value.sum().backward()
    assert torch.allclose(logits.grad[:, 2], torch.full((5,), 2 / 9))
    joint = Independent(Normal(torch.zeros(4, 6), 1.0), 1)
    assert expect(lambda z: z.square().sum(-1), joint, samples=3).shape == (4,)


@pytest.mark.parametrize("order", [1, 2, 3])
def test_score_has_derivatives_of_every_order(order):
    """Weighted by the true probabilities, the surrogate's derivatives are those of the sum."""
    theta = torch.tensor([0.4, -0.7], dtype=torch.float64, requires_grad=True)
    scale = theta[1].exp()
    count = 400_000
    torch.manual_seed(order)

    def f(z):
        return (scale * z - 0.5) ** 2  # used directly and through the distribution

    exact = derivatives(expect(f, Bernoulli(logits=theta[0]), Exact()), theta, order)
    drawn = derivatives(
        expect(f, Bernoulli(logits=theta[0]), Score("none"), samples=count), theta, order
    )
    # The largest standard deviation of one draw's third derivative is about 6; 4.5 of its errors.
    assert torch.allclose(drawn[-1], exact[-1], atol=4.5 * 6 / count**0.5)


def test_auto_chooses_by_variance():
    def name_of(value):
        names, waiting = set(), [value.grad_fn]
        while waiting:
            node = waiting.pop()
            names.add(node.name())
            waiting += [parent for parent, _ in node.next_functions if parent is not None]
        return names

    mean = torch.zeros(3, requires_grad=True)
    through = expect(lambda z: z.square(), Normal(mean, 1.0), samples=2)
    assert not any("Exp" in name for name in name_of(through))
    stepped = expect(lambda z: (z > 0).float(), Normal(mean, 1.0), samples=2)
    assert any("Exp" in name for name in name_of(stepped))
    gate = torch.ones((), requires_grad=True)
    beside = expect(lambda z: (z > 0) * gate, Normal(mean, 1.0), samples=2)
    assert any("Exp" in name for name in name_of(beside))
    many = expect(lambda z: z.float(), Poisson(mean.exp()), samples=2)
    assert any("Exp" in name for name in name_of(many))


def test_auto_is_exact_where_few_combinations_exist():
    logits = torch.zeros(1000, 2, requires_grad=True)
    calls = []

    def f(z):
        calls.append(len(z))
        return (z.sum(-1) - 1).square()

    value = expect(f, Bernoulli(logits=logits))
    assert torch.allclose(value, torch.full((1000,), 0.5))
    assert calls == [2, 4]
    calls.clear()
    assert expect(lambda z: f(z).mean(-1), Bernoulli(logits=logits), samples=3).shape == ()
    assert calls == [2, 3]


def test_f_outside_torch():
    logits = torch.zeros(4, requires_grad=True)

    def f(z):
        return np.asarray(z).sum(-1)

    torch.manual_seed(0)
    value = expect(f, Bernoulli(logits=logits), Score(), samples=4000)
    value.backward()
    assert float(value.detach()) == pytest.approx(2, abs=0.1)
    assert torch.allclose(logits.grad, torch.full((4,), 0.25), atol=0.05)


def test_implicit_reparameterization():
    shape = torch.tensor(2.0, requires_grad=True)
    torch.manual_seed(0)
    expect(lambda z: z, Gamma(shape, 1.0), Pathwise(), samples=50_000).backward()
    assert float(shape.grad) == pytest.approx(1, abs=0.02)


def test_seeded_by_torch():
    mean = torch.zeros((), requires_grad=True)
    values = []
    for _ in range(2):
        torch.manual_seed(5)
        values.append(float(expect(lambda z: z, Normal(mean, 1.0)).detach()))
    assert values[0] == values[1]


NORMAL = Normal(torch.zeros(3, requires_grad=True), 1.0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"distribution": torch.zeros(3)}, ArgumentError, "distribution must be a torch"),
        ({"f": 3}, ArgumentError, "f must be a function of samples; got 3"),
        ({"estimator": Score}, ArgumentError, r"Pass an instance, such as Score\(\)"),
        ({"samples": 0}, ArgumentError, "samples must be an integer, positive"),
        ({"estimator": "reinforce"}, ArgumentError, "estimator must be 'auto' or a gradient"),
        ({"estimator": Exact()}, ArgumentError, "Exact cannot serve Normal: its support cannot"),
        (
            {"estimator": Pathwise(), "distribution": Poisson(torch.ones(3))},
            ArgumentError,
            r"Pathwise cannot serve Poisson: its samples have no gradient \(rsample\)\. "
            r"These can: 'auto', MeasureValued\(\), Score\(\)\.",
        ),
        (
            {"estimator": Score("leave-one-out")},
            ArgumentError,
            "samples must be at least 2 for Score",
        ),
        ({"f": lambda z: z.sum()}, ShapeError, r"f must return \(1, \*lead\)"),
        ({"f": lambda z: z.mT}, ShapeError, "reduce axes from the right"),
        ({"f": lambda z: "much"}, ArgumentError, "f must return a tensor or numbers; got str"),
        (
            {"estimator": Pathwise(), "f": lambda z: (z > 0).float()},
            ArgumentError,
            "f must be a differentiable function of its samples for Pathwise",
        ),
        (
            {
                "estimator": Score(),
                "distribution": Uniform(torch.zeros(3, requires_grad=True), torch.ones(3)),
            },
            ArgumentError,
            r"Score cannot serve Uniform: its parameters move the support.* Pathwise\(\)",
        ),
        (
            {
                "f": lambda z: (z > 0).float(),
                "distribution": Uniform(torch.zeros(3, requires_grad=True), torch.ones(3)),
            },
            ArgumentError,
            "f must be a differentiable function of the samples of Uniform, as Score cannot",
        ),
        ({"f": lambda z: z + 1j}, ArgumentError, "f must return real numbers"),
    ],
)
def test_bad_input_is_named(change, error, message):
    arguments = {"f": lambda z: z, "distribution": NORMAL} | change
    with pytest.raises(error, match=message):
        expect(**arguments)


def test_too_many_combinations_are_refused_with_the_figure():
    many = Bernoulli(logits=torch.zeros(40))
    with pytest.raises(ArgumentError, match=r"40 draws of 2 values, 1.1e\+12 in all"):
        expect(lambda z: z.sum(-1), many, Exact())
    with pytest.raises(ArgumentError, match="budget must be an integer, positive"):
        Exact(budget=0)


def test_a_support_over_budget_is_named_with_its_size_before_f_is_called():
    def never(z):
        raise AssertionError

    with pytest.raises(ArgumentError, match=r"a draw of Categorical has 5000 values. Reduce"):
        expect(never, Categorical(logits=torch.zeros(5000)), Exact())
    joint = Independent(Bernoulli(logits=torch.zeros(2, 40)), 1)
    with pytest.raises(ArgumentError, match=r"f couples 40 draws of 2 values, 1.1e[+]12 in all"):
        expect(never, joint, Exact())
    with pytest.raises(ArgumentError, match=r"it has 2.65e[+]32 values"):
        expect(never, Permutation(torch.zeros(30)), Exact())
    beyond = Permutation(torch.zeros(200))  # more than a float can be
    with pytest.raises(ArgumentError, match=r"it has 7.88e[+]374 values"):
        expect(never, beyond, Exact())
    with pytest.raises(ArgumentError, match=r"got 7.88e[+]374"):
        beyond.enumerate_support()


def test_sizes_of_supports():
    wide = OneHotCategorical(logits=torch.zeros(3, 7))
    assert [support_size(law) for law in (wide, Independent(wide, 1))] == [7, 7]
    assert support_size(Binomial(4, torch.ones(2) / 2)) == 5
    assert support_size(Binomial(torch.tensor([4.0, 3.0]), torch.ones(2) / 2)) == 0
    assert support_size(Normal(0.0, 1.0)) == support_size(Poisson(1.0)) == 0


def test_rows_of_unequal_counts_are_sampled():
    """torch cannot list their supports together, which is no fault of the user."""
    logits = torch.tensor([0.2, -0.4], dtype=torch.float64, requires_grad=True)
    counts = torch.tensor([3.0, 5.0], dtype=torch.float64)
    torch.manual_seed(0)
    value = expect(lambda z: z, Binomial(counts, logits=logits), samples=20_000)
    assert torch.allclose(value, counts * logits.sigmoid(), atol=0.05)
    with pytest.raises(ArgumentError, match=r"its support cannot be listed. These can: 'auto', S"):
        expect(lambda z: z, Binomial(counts, logits=logits), Exact())


@pytest.mark.parametrize("estimator", ["auto", Exact()])
def test_events_of_independent_draws_are_listed(estimator):
    logits = torch.tensor([[0.3, -1.0, 0.8]] * 2, dtype=torch.float64, requires_grad=True)
    value = expect(coupled, Independent(Bernoulli(logits=logits), 1), estimator)
    expected = torch.stack([bernoulli_sum(row, coupled) for row in logits])
    assert torch.allclose(value, expected, rtol=1e-12)
    ours, theirs = (torch.autograd.grad(v.sum(), logits)[0] for v in (value, expected))
    assert torch.allclose(ours, theirs, rtol=1e-12)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "estimator",
    [
        "auto",
        Exact(),
        MeasureValued(),
        Relaxed(0.5),
        StraightThrough(),
        Score(),
        Score(coupling="antithetic"),
        Score(control=Relaxed(0.5)),
        Score(local=True),
    ],
    ids=str,
)
def test_rewards_that_are_not_finite_are_refused(estimator, bad):
    logits = torch.zeros(3, requires_grad=True)

    def f(z):
        return z + torch.tensor([0.0, bad, 0.0])

    with pytest.raises(
        DataError, match=r"f must return finite numbers; got .* at \(0, 1\)"
    ) as error:
        expect(f, Bernoulli(logits=logits), estimator, 4)
    assert error.value.code == "E-NOT-FINITE"
    assert logits.grad is None


def test_large_rewards_are_no_fault():
    """Their sum, the quick look, leaves the range."""
    big = torch.finfo(torch.float32).max
    value = expect(lambda z: 0 * z + big, Bernoulli(logits=torch.zeros(3)), Exact())
    assert torch.isfinite(value).all()
