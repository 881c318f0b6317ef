"""Sets, orders and sequences: against definitions, at the edges, compiled, and refused."""

import itertools
import math

import pytest
import torch
from torch import nn
from torch.distributions import Distribution

from trivium._core.errors import ArgumentError, ShapeError
from trivium.expectation import (
    Exact,
    Permutation,
    Score,
    Sequence,
    Subset,
    expect,
    gumbel_keys,
)
from trivium.expectation.score_norm import score_length

INF = math.inf


@pytest.fixture(autouse=True)
def _checked():
    """Compiling anything turns torch's checks of values off for the whole process."""
    before = Distribution._validate_args
    Distribution.set_default_validate_args(True)
    yield
    Distribution.set_default_validate_args(before)


def by_orders(logits, items):
    """log p(S) as the sum over all orders of the draws."""
    weights, total = logits.exp(), 0.0
    for order in itertools.permutations(items):
        left, p = list(range(len(logits))), 1.0
        for i in order:
            p = p * weights[i] / weights[left].sum()
            left.remove(i)
        total = total + p
    return total.log()


@pytest.mark.parametrize("integral", [False, True], ids=["sum", "integral"])
@pytest.mark.parametrize("scale", [1.0, 20.0])
@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_set_is_the_sum_over_its_orders(k, scale, integral, monkeypatch):
    if integral:
        monkeypatch.setattr("trivium.expectation.subset.MOST_BY_ORDERS", 0)
    rng = torch.Generator().manual_seed(k)
    logits = (scale * torch.randn(6, dtype=torch.float64, generator=rng)).requires_grad_()
    support = Subset(logits, k).enumerate_support()
    ours = Subset(logits, k).log_prob(support)
    theirs = torch.stack([by_orders(logits, z.nonzero()[:, 0].tolist()) for z in support])
    assert torch.allclose(ours, theirs, rtol=1e-13, atol=1e-13)
    for _ in range(2):  # first and second derivatives
        weights = torch.arange(1.0, 1 + ours.numel(), dtype=torch.float64).cos()
        ours, theirs = (
            torch.autograd.grad((v.flatten() * weights).sum(), logits, create_graph=True)[0]
            for v in (ours, theirs)
        )
        assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(("n", "k"), [(20, 10), (200, 100), (1000, 300), (50, 49), (7, 7)])
def test_equal_items_give_equal_sets(n, k):
    value = torch.zeros(n, dtype=torch.float64)
    value[-k:] = 1
    found = Subset(torch.full((n,), 3.0, dtype=torch.float64), k).log_prob(value)
    assert float(found) == pytest.approx(-math.log(math.comb(n, k)), rel=1e-13, abs=1e-13)


@pytest.mark.parametrize("k", [5, 8])
def test_the_sum_and_the_integral_agree(k, monkeypatch):
    rng = torch.Generator().manual_seed(k)
    logits = 8 * torch.randn(20, 12, dtype=torch.float64, generator=rng).requires_grad_()
    torch.manual_seed(k)
    value = Subset(logits, k).sample()
    found = []
    for most in (8, 0):
        monkeypatch.setattr("trivium.expectation.subset.MOST_BY_ORDERS", most)
        log = Subset(logits, k).log_prob(value)
        found.append((log, torch.autograd.grad(log.sum(), logits)[0]))
    (one, slope), (other, other_slope) = found
    assert torch.allclose(one, other, rtol=1e-13, atol=1e-13)
    assert torch.allclose(slope, other_slope, rtol=1e-11, atol=1e-13)


def test_a_set_has_digits_at_both_ends():
    """One item so heavy, one so light, that sums of weights lose the others."""
    logits = torch.tensor([400.0, 0.0, -400.0, 1.0], dtype=torch.float64)
    value = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    # The heavy one first, then the light one against the two others.
    expected = -400 - math.log(1 + math.e)
    assert float(Subset(logits, 2).log_prob(value)) == pytest.approx(expected, rel=1e-13)
    half = Subset(torch.tensor([1.0, 2.0, 3.0], dtype=torch.bfloat16), 2)
    assert half.log_prob(half.sample((4,))).dtype == torch.bfloat16
    assert half.log_prob(half.sample((4,))).isfinite().all()


def test_masks_of_sets_and_orders():
    logits = torch.tensor([0.0, -INF, 1.0], dtype=torch.float64, requires_grad=True)
    both = Subset(logits, 2)
    assert both.sample((50,))[:, 1].sum() == 0
    values = both.enumerate_support()
    assert both.log_prob(values).exp().tolist() == [0.0, 1.0, 0.0]
    order = Permutation(logits)
    assert (order.sample((50,))[:, 2] == 1).all()
    logs = order.log_prob(order.enumerate_support())
    assert int(logs.isfinite().sum()) == 2
    for distribution in (Subset(logits, 1), order):
        value = expect(lambda z: z[..., 0].double() ** 2, distribution, Exact())
        (slope,) = torch.autograd.grad(value, logits, create_graph=True)
        (second,) = torch.autograd.grad(slope[0], logits)
        assert slope.isfinite().all()
        assert second.isfinite().all()
        assert slope[1] == 0


def test_orders_keep_far_tails():
    logits = torch.tensor([900.0, 0.0, -900.0], dtype=torch.float64)
    found = Permutation(logits).log_prob(torch.tensor([2, 1, 0]))
    assert float(found) == pytest.approx(-1800 - 900, rel=1e-13)
    assert Permutation(torch.zeros(1)).log_prob(torch.tensor([0])) == 0


@pytest.mark.parametrize("distribution", [lambda t: Subset(t, 2), Permutation])
def test_lengths_of_scores_are_those_of_autograd(distribution):
    logits = torch.randn(4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    support = distribution(logits).enumerate_support()
    logs = distribution(logits).log_prob(support)
    slopes = [torch.autograd.grad(log, logits, retain_graph=True)[0] for log in logs]
    lengths = torch.stack(slopes).square().sum(-1)
    assert torch.allclose(score_length(distribution(logits.detach()), support), lengths, rtol=1e-11)


def test_keys_do_not_tie():
    """The noise is double, whatever the logits are."""
    torch.manual_seed(0)
    keys = gumbel_keys(torch.zeros(100, 100_000, dtype=torch.float16))
    assert keys.dtype == torch.float64
    top = keys.topk(2).values
    assert (top[:, 0] > top[:, 1]).all()
    # The largest of n standard Gumbel numbers has mean log n + 0.5772 and deviation 1.2825.
    away = top[:, 0].mean() - math.log(100_000) - 0.5772
    assert abs(float(away)) < 4.5 * 1.2825 / 10


def tokens(logits):
    return Sequence(
        lambda prefix, state: (logits + prefix.sum(-1, keepdim=True).cos(), state),
        2,
        eos=0,
        validate_args=False,
    )


@pytest.mark.parametrize(
    "distribution",
    [lambda t: Subset(t, 2, validate_args=False), lambda t: Permutation(t, False), tokens],
    ids=["subset", "permutation", "sequence"],
)
def test_full_graph_and_per_row_gradients(distribution):
    def loss(t):
        score = Score("leave-one-out")
        return expect(lambda z: z[..., 0] * 2.0 + z[..., 1], distribution(t), score, 64)

    theta = torch.tensor([[0.5, -1.0, 2.0, 0.0], [0.0, 3.0, -2.0, 1.0]], dtype=torch.float64)
    torch.manual_seed(0)
    rows = torch.func.vmap(torch.func.grad(loss), randomness="different")(theta)
    assert rows.isfinite().all()
    assert rows.abs().min() > 0
    compiled = torch.compile(lambda t: loss(t).sum(), backend="aot_eager", fullgraph=True)
    leaf = theta.clone().requires_grad_()
    compiled(leaf).backward()
    assert leaf.grad.isfinite().all()


class Recurrent(nn.Module):
    """Carries a state, as models do."""

    def __init__(self):
        super().__init__()
        self.embed, self.cell, self.head = nn.Embedding(4, 5), nn.GRUCell(5, 6), nn.Linear(6, 4)
        self.calls = 0

    def forward(self, prefix, state):
        self.calls += 1
        if not prefix.shape[-1]:
            return self.head(torch.zeros(6)), None
        tokens = self.embed(prefix[..., -1]).reshape(-1, 5)
        state = self.cell(tokens, state)
        return self.head(state).reshape(*prefix.shape[:-1], 4), state

    def score(self, sequence):
        flat, state = sequence.reshape(-1, sequence.shape[-1]), None
        found = [self.head(torch.zeros(len(flat), 6))]
        for t in range(flat.shape[1] - 1):
            state = self.cell(self.embed(flat[:, t]), state)
            found.append(self.head(state))
        return torch.stack(found, 1).reshape(*sequence.shape, 4)


def test_sequences_of_a_recurrent_model():
    torch.manual_seed(0)
    model = Recurrent()
    plain = Sequence(model, 5, eos=3)
    forced = Sequence(model, 5, eos=3, score=model.score)
    drawn = plain.sample((200,))
    ended = (drawn == 3).int()
    assert (ended[:, 1:] >= ended[:, :-1]).all()
    assert torch.allclose(plain.log_prob(drawn), forced.log_prob(drawn), atol=1e-5)
    model.calls = 0
    forced.log_prob(drawn)
    assert model.calls == 0
    # What a policy gradient is for: longer sequences become likelier.
    optimizer = torch.optim.Adam(model.parameters(), 0.05)
    before = float((plain.sample((500,)) != 3).sum(-1).float().mean())
    for _ in range(30):
        optimizer.zero_grad()
        (-expect(lambda z: (z != 3).sum(-1), forced, Score(), samples=64)).backward()
        optimizer.step()
    assert float((plain.sample((500,)) != 3).sum(-1).float().mean()) > before + 1


def test_sampling_stops_when_all_have_ended():
    calls = []

    def step(prefix, state):
        calls.append(prefix.shape[-1])
        return torch.tensor([0.0, -INF]), state

    short = Sequence(step, 50, eos=0)
    calls.clear()
    assert (short.sample((7,)) == 0).all()
    assert calls == [0]


def test_what_a_step_says_behind_the_end_does_not_matter():
    level = torch.tensor(0.3, requires_grad=True)

    def step(prefix, state):
        logits = torch.stack([level, torch.zeros(())]).expand(*prefix.shape[:-1], 2)
        ended = (prefix == 0).any(-1, keepdim=True)
        return logits.masked_fill(ended, math.nan), state

    value = Sequence(step, 3, eos=0).log_prob(torch.tensor([[0, 0, 0], [1, 0, 0]])).sum()
    (slope,) = torch.autograd.grad(value, level)
    p = torch.sigmoid(torch.tensor(0.3))
    assert torch.allclose(slope, 2 - 3 * p)


def test_auto_does_not_list_what_is_large():
    huge = Subset(torch.zeros(200, requires_grad=True), 100)
    assert not huge.has_enumerate_support
    torch.manual_seed(0)
    assert expect(lambda z: z[..., 0], huge, samples=3).requires_grad
    with pytest.raises(ArgumentError, match="its support cannot be listed"):
        expect(lambda z: z[..., 0], huge, Exact())
    small = expect(lambda z: z[..., 0], Subset(torch.zeros(4), 2))
    assert float(small) == pytest.approx(0.5)


def test_more_rows():
    rows = Subset(torch.zeros(3), 2).expand((5,))
    assert rows.batch_shape == (5,)
    assert rows.sample((2,)).shape == (2, 5, 3)
    assert Permutation(torch.zeros(3)).expand((5,)).sample().shape == (5, 3)


def steps(logits):
    return lambda prefix, state: (logits, state)


LOGITS = torch.zeros(3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Subset(LOGITS, 0), ArgumentError, "Subset: k must be an integer, positive"),
        (lambda: Subset(LOGITS, 4), ArgumentError, "k must be at most n = 3; got 4"),
        (lambda: Subset([1.0], 1), ArgumentError, "logits must be a tensor of real numbers"),
        (lambda: Subset(torch.tensor(1.0), 1), ShapeError, r"must have shape \(\*batch, n\)"),
        (
            lambda: Subset(torch.tensor([0.0, math.nan]), 1),
            ArgumentError,
            r"no NaN or \+inf, in each row; row \(\) has NaN",
        ),
        (
            lambda: Subset(torch.tensor([0.0, -INF]), 2),
            ArgumentError,
            "at least 2 of 2 entries above -inf",
        ),
        (
            lambda: Permutation(torch.tensor([-INF, -INF])),
            ArgumentError,
            "at least 1 of 2 entries above -inf",
        ),
        (
            lambda: Subset(LOGITS, 2).log_prob(torch.tensor([1.0, 1.0, 1.0])),
            ArgumentError,
            r"value must be a vector of k ones .*; got \[1.0, 1.0, 1.0\]",
        ),
        (
            lambda: Permutation(LOGITS).log_prob(torch.tensor([0, 1, 1])),
            ArgumentError,
            "value must be an order of the numbers",
        ),
        (
            lambda: Permutation(LOGITS).log_prob(torch.tensor([0, 1])),
            ShapeError,
            r"value must have shape \(..., 3\); got \(2,\)",
        ),
        (
            lambda: Permutation(torch.zeros(2, 3)).log_prob(torch.zeros(5, 3).long()),
            ShapeError,
            r"value must fit the batch \(2,\)",
        ),
        (
            lambda: Permutation(torch.zeros(9)).enumerate_support(),
            ArgumentError,
            "must have at most 50,000 values to be listed; got 3.63e",
        ),
        (lambda: Sequence(3, 2), ArgumentError, "step must be a function; got 3"),
        (lambda: Sequence(steps(LOGITS), 2, score=1), ArgumentError, "score must be a function"),
        (lambda: Sequence(steps(LOGITS), 0), ArgumentError, "length must be an integer, positive"),
        (
            lambda: Sequence(steps(LOGITS), 2, eos=3),
            ArgumentError,
            "eos must be a token of the vocabulary, below 3; got 3",
        ),
        (
            lambda: Sequence(lambda prefix, state: LOGITS, 2),
            ArgumentError,
            r"step must return \(logits, state\); got Tensor",
        ),
        (lambda: Sequence(steps(torch.zeros(0)), 2), ShapeError, "got an empty last axis"),
        (
            lambda: Sequence(steps(LOGITS), 2, score=lambda z: z).log_prob(torch.tensor([0, 1])),
            ShapeError,
            r"score must return logits that expand to \(2, 3\)",
        ),
        (
            lambda: Sequence(steps(LOGITS), 2, eos=0).log_prob(torch.tensor([0, 1])),
            ArgumentError,
            "nothing but eos behind the first eos",
        ),
        (
            lambda: Sequence(steps(torch.full((3,), -INF)), 2).sample(),
            ArgumentError,
            "must leave a token unmasked",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()
