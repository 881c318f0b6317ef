"""Rows that share their batch's moments, and models with randomness and buffers."""

import copy

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn import functional
from torch.optim import SGD, Adam

from trivium._core.errors import ArgumentError
from trivium.pathkernel import record


def batch_norm_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 3)
    ).double()


def image_net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
        nn.Linear(8, 3),
    ).double()  # fmt: skip


@pytest.mark.parametrize("make", [batch_norm_net, image_net])
@pytest.mark.parametrize("credit", ["loss", "activation"])
@pytest.mark.parametrize("every", [1, "chord:3"])
def test_batch_norm_is_complete_by_either_credit(lab, make, credit, every):
    x, y = lab.data()
    net = make()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01)
    recording, _ = lab.trained(net, optimizer, x, y, every=every)
    found = recording.made(x[:4], "margin", credit=credit)
    assert found.completeness_error < 1e-12
    assert set(found.remainders) == {"running statistics", "weight decay"}
    assert float(found.remainders["running statistics"].abs().max()) > 1e-3
    torch.testing.assert_close(
        found.contributions.sum(1) + found.remainder, found.after - found.before
    )


def test_credit_by_loss_is_the_derivative_of_the_rows_own_loss(lab):
    """One plain step: the rate times the row's own loss differentiated through the batch."""
    x, y = lab.data()
    net = batch_norm_net()
    start = copy.deepcopy(net)
    recording, (ids,) = lab.trained(net, SGD(net.parameters(), lr=0.3), x, y, steps=1)
    parameters = {name: p.detach() for name, p in start.named_parameters()}
    buffers = dict(start.named_buffers())

    def losses(parameters):
        start.train()
        out = functional_call(start, (parameters, copy.deepcopy(buffers)), (x[ids],))
        return functional.cross_entropy(out, y[ids], reduction="none") / len(ids)

    def value(parameters):
        start.eval()
        out = functional_call(start, (parameters, buffers), (x[:3],))
        return out.gather(1, y[:3, None])[:, 0]

    def joined(tree):
        return torch.cat([tree[name].reshape(len(tree[name]), -1) for name in parameters], 1)

    rows = joined(jacrev(losses)(parameters))
    step = -0.3 * rows.sum(0)
    parts = dict(zip(parameters, step.split([p.numel() for p in parameters.values()]), strict=True))

    def along(share):
        return {name: p + share * parts[name].reshape(p.shape) for name, p in parameters.items()}

    middle = joined(jacrev(value)(along(0.5)))
    change = value(along(1.0)) - value(parameters)
    seen = middle + torch.outer((change - middle @ step) / (step @ step), step)
    found = recording.made(x[:3], "logit", y[:3])
    expected = -0.3 * seen @ rows.T
    torch.testing.assert_close(lab.by_id(recording, found.contributions, 40)[:, ids], expected)
    other = recording.made(x[:3], "logit", y[:3], credit="activation")
    assert float((other.contributions - found.contributions).abs().max()) > 1e-4
    assert found.lengths is None
    with pytest.raises(ArgumentError, match="gradients must be known"):
        found.normalized()
    assert other.normalized().abs().amax(1).tolist() == pytest.approx([1, 1, 1])


def test_the_counterfactual_through_batch_norm(lab):
    """Against real retraining with one row's loss weighed a little more and a little less."""
    x, y = lab.data()

    def make():
        net = batch_norm_net()
        net[1] = nn.BatchNorm1d(8, momentum=0.0).double()  # statistics that do not move
        return net

    def weighed(row, weight):
        w = torch.ones(40, dtype=torch.float64)
        w[row] = weight
        net = make()
        optimizer = SGD(net.parameters(), lr=0.1, momentum=0.5)
        for ids in batches:
            optimizer.zero_grad()
            each = functional.cross_entropy(net(x[ids]), y[ids], reduction="none")
            ((each * w[ids]).sum() / 8).backward()
            optimizer.step()
        with torch.no_grad():
            return net.eval()(x[:3]).gather(1, y[:3, None])[:, 0]

    net = make()
    optimizer = SGD(net.parameters(), lr=0.1, momentum=0.5)
    recording, batches = lab.trained(net, optimizer, x, y, steps=6)
    found = recording.without(x[:3], "logit", y[:3])
    for row in batches[0][:2].tolist():
        expected = (weighed(row, 1 + 1e-5) - weighed(row, 1 - 1e-5)) / 2e-5
        column = found.contributions[:, recording.ids.index(row)]
        torch.testing.assert_close(column, expected, rtol=1e-6, atol=1e-9)


def test_dropout_is_replayed(lab):
    x, y = lab.data()
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(6, 12), nn.ReLU(), nn.Dropout(0.4), nn.Linear(12, 3)
    ).double()  # fmt: skip
    recording, _ = lab.trained(net, Adam(net.parameters(), lr=0.02), x, y)
    state = torch.get_rng_state()
    found = recording.made(x[:4], "margin")
    assert torch.equal(torch.get_rng_state(), state)
    assert found.completeness_error < 1e-13
    torch.testing.assert_close(found.contributions, recording.made(x[:4], "margin").contributions)


def test_questions_leave_the_users_model_alone(lab):
    x, y = lab.data()
    net = batch_norm_net()
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.1), x, y)
    before = copy.deepcopy(net.state_dict())
    recording.made(x[:2])
    recording.without(x[:2])
    assert net.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_rows_asked_about_must_not_depend_on_each_other(lab):
    x, y = lab.data()
    net = batch_norm_net()
    net[1] = nn.BatchNorm1d(8, track_running_stats=False).double()
    recording, _ = lab.trained(net, SGD(net.parameters(), lr=0.1), x, y, steps=2)
    for ask in (recording.made, recording.without):
        with pytest.raises(ArgumentError, match="running statistics in evaluation"):
            ask(x[:2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("credit", ["loss", "activation"])
def test_what_a_preconditioner_makes_of_rounding_is_named(credit: str, dtype: torch.dtype) -> None:
    # A bias before batch normalization has no gradient but rounding; AdamW divides it by itself.
    torch.manual_seed(0)
    x, y = torch.randn(40, 1, 8, 8, dtype=dtype), torch.randint(3, (40,))
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 3),
    ).to(dtype)
    optimizer = torch.optim.AdamW(net.parameters(), 0.01)
    with record(net, optimizer, functional.cross_entropy) as recording:
        for _ in range(25):
            ids = torch.randperm(40)[:8]
            recording.batch(ids)
            optimizer.zero_grad()
            functional.cross_entropy(net(x[ids]), y[ids]).backward()
            optimizer.step()
    made = recording.made(x[:3], of="margin", credit=credit)
    assert made.completeness_error < (1e-12 if dtype == torch.float64 else 1e-5)
    assert "rounding" in made.remainders
