"""The accounting against the same sums done by hand, forwards, with torch.func in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW

from trivium._core.errors import ArgumentError, NumericalError, ResourceError, ShapeError
from trivium.pathkernel import record

CASES = {
    "sgd": (SGD, {"lr": 0.2}),
    "momentum": (SGD, {"lr": 0.1, "momentum": 0.9}),
    "adam": (Adam, {"lr": 0.01, "betas": (0.9, 0.99)}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("act", [nn.GELU, nn.ReLU])
def test_contributions_are_those_by_hand(lab, name, act):
    kind, options = CASES[name]
    x, y = lab.data()
    net = lab.mlp(act=act)
    start = copy.deepcopy(net)
    recording, batches = lab.trained(net, kind(net.parameters(), **options), x, y)
    chosen = net(x[:3]).argmax(1)

    def logits(model):
        return model(x[:3]).gather(1, chosen[:, None])[:, 0]

    hand = lab.ByHand(start, x, y, batches, **options)
    expected = hand.contributions(logits)
    end = torch.cat([p.detach().reshape(-1) for p in net.parameters()])
    torch.testing.assert_close(hand.end, end, rtol=0, atol=1e-12)
    found = recording.made(x[:3])
    torch.testing.assert_close(
        lab.by_id(recording, found.contributions, len(y)), expected, rtol=1e-8, atol=1e-11
    )
    assert found.completeness_error < 1e-13
    assert set(found.remainders) == set()


CLIPPED = {
    "nesterov": (SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "dampened": (SGD, {"lr": 0.1, "momentum": 0.8, "dampening": 0.3}),
    "l2": (SGD, {"lr": 0.2, "weight_decay": 0.02}),
    "adam_l2": (Adam, {"lr": 0.02, "weight_decay": 0.02}),
    "adamw": (AdamW, {"lr": 0.02, "weight_decay": 0.2}),
    "amsgrad": (Adam, {"lr": 0.02, "amsgrad": True}),
}


@pytest.mark.parametrize("name", CLIPPED)
@pytest.mark.parametrize("every", [1, "chord:4"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_every_optimizer_is_complete(lab, name, every, dtype):
    kind, options = CLIPPED[name]
    x, y = lab.data(dtype=dtype)
    net = lab.mlp(dtype, nn.ReLU)
    recording, _ = lab.trained(net, kind(net.parameters(), **options), x, y, clip=0.5, every=every)
    bound = 1e-12 if dtype == torch.float64 else 1e-5
    for decay in ("audit", "propagate"):
        found = recording.made(x[:4], "margin", decay=decay)
        change = found.after - found.before
        total = found.contributions.sum(1) + found.remainder
        torch.testing.assert_close(total, change, rtol=0, atol=float(change.norm()) * bound)
        rows = found.contributions.sum(1)
        scale = float(found.absolute.max())
        torch.testing.assert_close(found.timeline().sum(0), rows, rtol=0, atol=bound * scale)
        layers = torch.stack(list(found.by_layer().values())).sum(0)
        torch.testing.assert_close(layers, rows, rtol=0, atol=bound * scale)
        decayed = "weight_decay" in options
        named = {"audit": "weight decay", "propagate": "initial weights"}[decay]
        assert (named in found.remainders) == (decayed or decay == "propagate")


def test_the_fast_road_of_momentum_is_the_general_one(lab, monkeypatch):
    x, y = lab.data()
    for kind, options in (*CASES.values(), *CLIPPED.values()):
        net = lab.mlp()
        recording, _ = lab.trained(net, kind(net.parameters(), **options), x, y, clip=0.5)
        fast = recording.made(x[:4], "margin")
        with monkeypatch.context() as patch:
            patch.setattr("trivium.pathkernel.ledger.Ledger._form", lambda *_: None)
            patch.setattr("trivium.pathkernel.ledger.Ledger._rate", lambda *_: None)
            slow = recording.made(x[:4], "margin")
        for name in ("contributions", "steps", "layer_totals", "remainder"):
            torch.testing.assert_close(
                getattr(fast, name), getattr(slow, name), rtol=1e-9, atol=1e-12
            )


def test_a_long_run_of_one_momentum_does_not_underflow(lab):
    x, y = lab.data()
    net = lab.mlp()
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.05, momentum=0.2), x, y, steps=80)
    assert recording.made(x[:2]).completeness_error < 1e-13  # 0.2 ** 80 is 1e-56


def test_two_groups_of_parameters(lab):
    x, y = lab.data()
    net = lab.mlp()
    groups = [
        {"params": net[0].parameters(), "lr": 0.05},
        {"params": [*net[2].parameters(), *net[4].parameters()], "momentum": 0.9},
    ]
    recording, _ = lab.trained(net, SGD(groups, lr=0.1), x, y)
    assert recording.made(x[:4]).completeness_error < 1e-13
    found = recording.without(x[:4])
    assert found.completeness_error < 1e-12


def test_gradient_accumulation(lab):
    x, y = lab.data()
    net = lab.mlp()
    optimizer = SGD(net.parameters(), lr=0.1)
    with record(net, optimizer, functional.cross_entropy) as recording:
        for _ in range(6):
            optimizer.zero_grad()
            for ids in torch.randperm(len(y))[:12].reshape(2, 6):
                recording.batch(ids)
                (functional.cross_entropy(net(x[ids]), y[ids]) / 2).backward()
            optimizer.step()
    found = recording.made(x[:4])
    assert found.completeness_error < 1e-13
    assert found.lengths is not None
    assert float(found.lengths.min()) > 0


def test_blocks_of_queries_are_the_whole(lab):
    x, y = lab.data()
    net = lab.mlp()
    recording, _ = lab.trained(net, Adam(net.parameters(), lr=0.01, weight_decay=0.1), x, y)
    per_query = 6 * 8 * recording.weights.n_weights
    calls = []
    for ask in (recording.made, recording.without):
        whole = ask(x[:7], "margin", y[:7])
        cut = ask(
            x[:7],
            "margin",
            y[:7],
            budget=3 * per_query + per_query // 2,
            progress=lambda done, total: calls.append((done, total)),
        )
        torch.testing.assert_close(cut.contributions, whole.contributions, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(cut.remainder, whole.remainder, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(cut.lengths, whole.lengths)
        assert calls[-1] == (3 * recording.n_steps, 3 * recording.n_steps)
    with pytest.raises(ResourceError, match="one query needs"):
        recording.made(x[:7], budget=1000)


def test_other_quantities(lab):
    x, y = lab.data()
    net = lab.mlp()
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.2), x, y)
    after = net(x[:5]).detach()
    loss = recording.made(x[:5], "loss", y[:5])
    torch.testing.assert_close(loss.after, functional.cross_entropy(after, y[:5], reduction="none"))
    named = recording.made(x[:5], "logit", y[:5])
    torch.testing.assert_close(named.after, after.gather(1, y[:5, None])[:, 0])
    mine = recording.made(x[:5], lambda out, target: out.gather(1, target[:, None])[:, 0], y[:5])
    torch.testing.assert_close(mine.contributions, named.contributions)
    norm = recording.made(x[:5], lambda out: out.square().sum(1))
    torch.testing.assert_close(norm.after, after.square().sum(1))
    assert max(one.completeness_error for one in (loss, named, norm)) < 1e-12


def test_regression_with_vector_outputs(lab):
    x, _ = lab.data()
    target = torch.stack([x[:, 0], x[:, 1] * x[:, 2]], 1)
    net = lab.mlp(c=2)
    loss = nn.MSELoss()
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.1), x, target, loss=loss)
    found = recording.made(x[:4], "loss", target[:4])
    expected = (net(x[:4]).detach() - target[:4]).square().sum(1)
    assert found.completeness_error < 1e-12
    torch.testing.assert_close(found.after, expected)
    assert recording.made(x[:4], lambda out: out[:, 1]).completeness_error < 1e-12


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(4, 3), nn.Linear(2, 3)
        self.register_buffer("shift", torch.tensor(0.5))

    def forward(self, a, b):
        return {"logits": self.first(a).tanh() + self.second(b) * self.shift}


def test_tuples_and_dicts_of_arguments(lab):
    x, y = lab.data()
    net = TwoInputs().double()
    a, b = x[:, :4], x[:, 4:]
    optimizer = SGD(net.parameters(), lr=0.2)
    with record(net, optimizer, functional.cross_entropy) as recording:
        for ids in torch.randperm(40).reshape(5, 8):
            recording.batch(ids)
            optimizer.zero_grad()
            functional.cross_entropy(net(a[ids], b=b[ids])["logits"], y[ids]).backward()
            optimizer.step()
    one = recording.made((a[:4], b[:4]), "margin")
    two = recording.made({"a": a[:4], "b": b[:4]}, "margin")
    torch.testing.assert_close(one.contributions, two.contributions)
    assert one.completeness_error < 1e-13


def test_a_binary_logit_and_its_margin(lab):
    x, _ = lab.data()
    y = (x[:, :1] > 0).double()
    net = lab.mlp(c=1)
    loss = functional.binary_cross_entropy_with_logits
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.2), x, y, loss=loss)
    logit, margin = recording.made(x[:5]), recording.made(x[:5], "margin", y[:5])
    sign = 2 * y[:5] - 1
    torch.testing.assert_close(margin.contributions, sign * logit.contributions)
    own = recording.made(x[:5], "margin")
    assert bool((own.after >= 0).all())
    with pytest.raises(ArgumentError, match="0 or 1"):
        recording.made(x[:5], "margin", torch.arange(5))


def test_guards(lab):
    x, y = lab.data()
    net = lab.mlp()
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.2), x, y, steps=4)
    with pytest.raises(ArgumentError, match="decay must be one of"):
        recording.made(x[:2], decay="spread")
    with pytest.raises(ArgumentError, match="credit must be one of"):
        recording.made(x[:2], credit="row")
    with pytest.raises(ArgumentError, match="of must be one of"):
        recording.made(x[:2], "probability")
    with pytest.raises(ArgumentError, match="needs y"):
        recording.made(x[:2], "loss")
    with pytest.raises(ArgumentError, match=r"classes in \[0, 3\)"):
        recording.made(x[:2], "logit", torch.tensor([0, 3]))
    with pytest.raises(ShapeError, match="one target for each of the 2 rows"):
        recording.made(x[:2], "logit", y[:3])
    with pytest.raises(ShapeError, match="class numbers"):
        recording.made(x[:2], "logit", torch.ones(2))
    with pytest.raises(ShapeError, match="one number a row"):
        recording.made(x[:2], lambda out: out)
    with pytest.raises(ArgumentError, match="at least one row"):
        recording.made(x[:0])
    with pytest.raises(ArgumentError, match="budget must be"):
        recording.made(x[:2], budget=0)


def test_a_loss_over_several_rows_is_credited_by_output(lab):
    x, y = lab.data()
    net = lab.mlp()

    def spread(output, target):
        return (
            functional.cross_entropy(output, target)
            + (output - output.mean(0)).square().mean().sqrt()
        )

    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.2), x, y, loss=spread)
    assert recording.made(x[:2]).completeness_error < 1e-12


def test_a_wrong_recurrence_is_refused(lab, monkeypatch):
    x, y = lab.data()
    net = lab.mlp()
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.2), x, y)
    right = recording.recurrence.advance

    def wrong(self, weight, gradient, pull, state, options, given):
        return right(weight, 1.01 * gradient, pull, state, options, given)

    monkeypatch.setattr(type(recording.recurrence), "advance", wrong)
    with pytest.raises(NumericalError, match="add up to the change"):
        recording.made(x[:2])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_complete_to_its_own_tolerance(lab, dtype):
    x, y = lab.data(dtype=dtype)
    net = lab.mlp(dtype)
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.2), x, y)
    found = recording.made(x[:4], "margin")
    assert found.completeness_error < found.tolerance
