"""Checkpoints alone: the left end point by plain autograd, and an honest error."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev
from torch.nn.functional import cross_entropy
from torch.optim import SGD

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.pathkernel import (
    Accounting,
    IncompleteAccounting,
    Recording,
    from_checkpoints,
    record,
)

N = 12


def trained(rate=0.1, steps=6):
    """Train by full batches; return what is left, and a recording."""
    torch.manual_seed(0)
    x, y = torch.randn(N, 4).double(), torch.randint(3, (N,))
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    optimizer = SGD(net.parameters(), lr=rate)
    kept = []
    with record(net, optimizer, cross_entropy) as recording:
        for _ in range(steps):
            kept.append(({k: v.clone() for k, v in net.state_dict().items()}, rate))
            recording.batch(range(N))
            optimizer.zero_grad()
            cross_entropy(net(x), y).backward()
            optimizer.step()
    kept.append(({k: v.clone() for k, v in net.state_dict().items()}, 0.0))
    return net, kept, recording, x, y


def by_hand(net, kept, x, y, asked, steps):
    """Return the sum over checkpoints of gradient products, dense."""
    total = torch.zeros(len(asked), N).double()
    chosen = functional_call(net, kept[-1][0], (asked,)).argmax(1)

    def flat(function, state):
        found = jacrev(function)(state)
        return torch.cat([one.flatten(1) for one in found.values()], 1)

    for state, rate in kept[:-1]:
        own = flat(
            lambda s: cross_entropy(functional_call(net, s, (x,)), y, reduction="none"), state
        )
        query = flat(
            lambda s: functional_call(net, s, (asked,)).gather(1, chosen[:, None])[:, 0], state
        )
        total -= rate * steps / N * query @ own.T
    return total


def test_it_is_the_left_end_point_and_says_what_it_misses():
    net, kept, recording, x, y = trained()
    found = from_checkpoints(net, kept, cross_entropy, (x, y), x[:3])
    wanted = by_hand(net, kept, x, y, x[:3], 1)
    assert torch.allclose(found.contributions, wanted, rtol=0, atol=1e-13)
    made = recording.made(x[:3])
    assert torch.allclose(found.before, made.before)
    assert torch.allclose(found.after, made.after)
    error = float((wanted.sum(1) - (made.after - made.before)).norm())
    assert found.completeness_error == pytest.approx(
        error / float((made.after - made.before).norm())
    )
    assert found.completeness_error > 1e-4 > made.completeness_error
    assert torch.allclose(found.steps.sum(0), found.contributions.sum(1), atol=1e-13)
    assert torch.allclose(found.layer_totals.sum(0), found.contributions.sum(1), atol=1e-13)
    whole = found.contributions.sum(1) + found.remainder
    assert torch.allclose(whole, found.after - found.before, atol=1e-13)


def test_it_never_raises_for_what_it_misses_but_is_marked():
    net, kept, _, x, y = trained(rate=3.0)
    found = from_checkpoints(net, [kept[0], kept[-1]], cross_entropy, (x, y), x[:3], steps=6)
    assert found.completeness_error > 0.05
    assert isinstance(found, IncompleteAccounting)
    assert not isinstance(found, Accounting)
    assert "INCOMPLETE" in repr(found)
    assert f"{found.completeness_error:.1e}" in repr(found)


def test_vectors_of_weights_ids_and_steps():
    net, kept, _, x, y = trained()
    vectors = [(torch.cat([p.reshape(-1) for p in s.values()]), rate) for s, rate in kept[::2]]
    names = [f"r{i}" for i in range(N)]
    found = Recording.replay(
        net, vectors, nn.CrossEntropyLoss(), (x, y), x[:2], steps=[2, 2, 2], ids=names
    )
    assert found.ids == names
    wanted = by_hand(net, kept[::2], x, y, x[:2], 2)
    assert torch.allclose(found.contributions, wanted, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"checkpoints": []}, ArgumentError, "must be at least two"),
        ({"steps": [1, 2]}, ShapeError, "one number for each of 1 stretches; got 2"),
        ({"steps": 0}, ArgumentError, "steps must be an integer, positive"),
        ({"ids": [1]}, ShapeError, "ids must be one for each of 12 rows; got 1"),
        ({"model": 3}, ArgumentError, "model must be a torch.nn.Module"),
    ],
)
def test_bad_input_is_named(change, kind, message):
    net, kept, _, x, y = trained()
    given = {"model": net, "checkpoints": [kept[0], kept[-1]], "loss": cross_entropy}
    given |= {"rows": (x, y), "x": x[:2]} | change
    with pytest.raises(kind, match=message):
        from_checkpoints(**given)


def test_bad_checkpoints_are_named():
    net, kept, _, x, y = trained()
    rest = (cross_entropy, (x, y), x[:2])
    with pytest.raises(
        ArgumentError, match="checkpoint 0 must have the model's 43 trainable weights"
    ):
        from_checkpoints(net, [(torch.ones(3).double(), 0.1), kept[-1]], *rest)
    with pytest.raises(ArgumentError, match="checkpoint 0 must be a state of the model"):
        from_checkpoints(net, [({}, 0.1), kept[-1]], *rest)
    with pytest.raises(ArgumentError, match="the learning rate must be"):
        from_checkpoints(net, [(kept[0][0], -1.0), kept[-1]], *rest)
    with pytest.raises(DataError, match="weights must be finite"):
        from_checkpoints(net, [(torch.full((43,), torch.nan).double(), 0.1), kept[-1]], *rest)
    with pytest.raises(ShapeError, match="targets must be one for each of 12 rows; got 3"):
        from_checkpoints(net, kept, cross_entropy, (x, y[:3]), x[:2])
    coupled = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    state = (coupled.state_dict(), 0.1)
    with pytest.raises(ArgumentError, match="got batch normalization"):
        from_checkpoints(coupled, [state, state], cross_entropy, (x.float(), y), x[:2].float())
