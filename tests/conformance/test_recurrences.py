"""Every optimizer's recurrence keeps the laws, on three kinds of nets; wrong ones are caught."""

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from trivium._core.families import members
from trivium.pathkernel import Recurrence, recurrence_of, register_recurrence
from trivium.testing.recurrence_laws import (
    RECURRENCE_LAWS,
    RecurrenceCase,
    accounting_is_complete,
    check_recurrence,
)

EXAMPLES = [
    (optimizer, settings)
    for member in members("trivium.pathkernel", Recurrence)
    for optimizer, settings in member.examples()
]
NAMES = [f"{kind.__name__}-{n}" for n, (kind, _) in enumerate(EXAMPLES)]


class Encoder(nn.Module):
    """A small Transformer over six tokens, with a class token of its own."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(9, 8)
        self.first = nn.Parameter(torch.randn(1, 1, 8))
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.1, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, tokens):
        inner = torch.cat([self.first.expand(len(tokens), -1, -1), self.embed(tokens)], 1)
        return self.head(self.layer(inner)[:, 0])


def conv():
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.GroupNorm(2, 4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    )


NETS = {
    "conv": (conv, torch.randn(20, 2, 5, 5, generator=torch.Generator().manual_seed(4))),
    "transformer": (
        Encoder,
        torch.randint(9, (20, 6), generator=torch.Generator().manual_seed(5)),
    ),
}


@pytest.mark.parametrize(("optimizer", "settings"), EXAMPLES, ids=NAMES)
@pytest.mark.parametrize("law", RECURRENCE_LAWS)
def test_a_recurrence_keeps(law, optimizer, settings):
    case = RecurrenceCase(optimizer, settings)
    law(recurrence_of(case.built()[1]), case)


@pytest.mark.parametrize(("optimizer", "settings"), EXAMPLES, ids=NAMES)
def test_single_precision_keeps(optimizer, settings):
    check_recurrence(optimizer, settings, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(("optimizer", "settings"), EXAMPLES, ids=NAMES)
def test_accounting_is_complete_on(net, optimizer, settings, dtype):
    model, x = NETS[net]
    case = RecurrenceCase(optimizer, settings, model, x, dtype)
    accounting_is_complete(recurrence_of(case.built()[1]), case)


# ---- planted wrong ones ----------------------------------------------------------------------


def momentum(weight, gradient, pull, state, options, given):
    before = state.get("momentum_buffer")
    step = gradient + pull
    velocity = step if before is None else options["momentum"] * before + step
    return weight - options["lr"] * velocity, {"momentum_buffer": velocity}


def wrong_momentum(weight, gradient, pull, state, options, given):
    return momentum(weight, gradient, pull, state, {**options, "momentum": 0.8}, given)


def no_decay(weight, gradient, pull, state, options, given):
    return momentum(weight, gradient, 0 * pull, state, options, given)


def adam(weight, gradient, pull, state, options, given):
    (b1, b2), t, zero = options["betas"], options["step"], torch.zeros_like(weight)
    mean = b1 * state.get("exp_avg", zero) + (1 - b1) * gradient
    square = b2 * state.get("exp_avg_sq", zero) + (1 - b2) * gradient**2
    scale = given((square / (1 - b2**t)).sqrt() + options["eps"])
    after = {"exp_avg": mean, "exp_avg_sq": square}
    return weight - options["lr"] / (1 - b1**t) * mean / scale, after


def unmarked(weight, gradient, pull, state, options, given):
    return adam(weight, gradient, pull, state, options, lambda value: value)


def all_marked(weight, gradient, pull, state, options, given):
    return adam(weight, gradient, pull, state, options, torch.Tensor.detach)


KEYS = ("momentum_buffer",)
ADAM = ("exp_avg", "exp_avg_sq")
OF_SGD = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}
PLANTED = {
    "a wrong momentum": (SGD, OF_SGD, wrong_momentum, KEYS, "optimizer's weights"),
    "a forgotten decay": (SGD, OF_SGD, no_decay, KEYS, "optimizer's weights"),
    "a missing state": (SGD, OF_SGD, momentum, (), "optimizer's weights"),
    "an unmarked preconditioner": (Adam, {"lr": 0.01}, unmarked, ADAM, "marked as given"),
    "a frozen derivative": (Adam, {"lr": 0.01}, all_marked, ADAM, "unrolled derivative"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_the_laws_catch(what):
    base, settings, advance, keys, said = PLANTED[what]
    planted = type("Planted", (base,), {})
    register_recurrence(planted, advance, keys)
    with pytest.raises(AssertionError, match=said):
        check_recurrence(planted, settings)


@pytest.mark.parametrize(
    ("base", "settings", "advance", "keys"),
    [(SGD, OF_SGD, momentum, KEYS), (Adam, {"lr": 0.01}, adam, ADAM)],
)
def test_a_described_optimizer_keeps_them(base, settings, advance, keys):
    described = type("Described", (base,), {})
    register_recurrence(described, advance, keys)
    check_recurrence(described, settings)
