"""Small recorded trainings in float64, and the accounting done again by hand."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn import functional

from trivium.pathkernel import record


def data(n=40, d=6, c=3, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=draw, dtype=torch.float64).to(dtype)
    return x, torch.randint(c, (n,), generator=draw)


def mlp(dtype=torch.float64, act=nn.GELU, d=6, c=3):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(d, 12), act(), nn.Linear(12, 8), act(), nn.Linear(8, c)).to(
        dtype
    )


def trained(
    net, optimizer, x, y, *, steps=12, batch=8, clip=None, loss=functional.cross_entropy, **options
):
    """Train on random batches; return the recording and the batches."""
    draw = torch.Generator().manual_seed(1)
    torch.manual_seed(2)
    batches = [torch.randperm(len(y), generator=draw)[:batch] for _ in range(steps)]
    rows = x if isinstance(x, tuple) else (x,)
    with record(net, optimizer, loss, **options) as recording:
        for ids in batches:
            recording.batch(ids)
            optimizer.zero_grad()
            recording.loss(net(*[one[ids] for one in rows]), y[ids]).backward()
            if clip:
                nn.utils.clip_grad_norm_(net.parameters(), clip)
            optimizer.step()
    return recording, batches


def by_id(recording, contributions, n):
    """Put contributions in the order of the data; zero for rows never seen."""
    found = torch.zeros(len(contributions), n, dtype=torch.float64)
    found[:, torch.tensor(recording.ids)] = contributions
    return found


def flat(tensors):
    return torch.cat([one.reshape(len(one), -1) for one in tensors], 1)


class ByHand:
    """Every row's piece of every displacement, forwards, and the gradient on each straight piece.

    Args:
        net: The untrained network.
        options: Learning rate, momentum, Adam's betas.
    """

    def __init__(self, net, x, y, batches, **options):
        self.names = [name for name, _ in net.named_parameters()]
        self.shapes = [p.shape for p in net.parameters()]
        self.net, self.x, self.y, self.batches, self.options = net, x, y, batches, options
        self.theta = torch.cat([p.detach().reshape(-1) for p in net.parameters()])

    def unflat(self, theta):
        parts = theta.split([shape.numel() for shape in self.shapes])
        return {
            name: part.reshape(shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def row_gradients(self, theta, ids):
        def loss(theta, x, y):
            out = functional_call(self.net, self.unflat(theta), (x[None],))
            return functional.cross_entropy(out, y[None])

        return vmap(grad(loss), (None, 0, 0))(theta, self.x[ids], self.y[ids]) / len(ids)

    def contributions(self, quantity):
        """Return `(q, n)`: the quantity is a function of the weights, `(q,)`."""

        def value(theta):
            return quantity(lambda x: functional_call(self.net, self.unflat(theta), (x,)))

        n = len(self.y)
        theta, o = self.theta, self.options
        velocity = torch.zeros(n, len(theta), dtype=theta.dtype)
        second = torch.zeros_like(theta)
        total, self.by_step = 0.0, []
        for t, ids in enumerate(self.batches, 1):
            rows = torch.zeros_like(velocity).index_add(0, ids, self.row_gradients(theta, ids))
            if "betas" in o:
                b1, b2 = o["betas"]
                velocity = b1 * velocity + (1 - b1) * rows
                second = b2 * second + (1 - b2) * rows.sum(0) ** 2
                scale = (second / (1 - b2**t)).sqrt() + 1e-8
                moves = -o["lr"] / (1 - b1**t) * velocity / scale
            else:
                velocity = o.get("momentum", 0) * velocity + rows
                moves = -o["lr"] * velocity
            step = moves.sum(0)
            middle = jacrev(value)(theta + step / 2)
            change = value(theta + step) - value(theta)
            seen = middle + torch.outer((change - middle @ step) / (step @ step), step)
            self.by_step.append(seen @ moves.T)
            total = total + self.by_step[-1]
            theta = theta + step
        self.end = theta
        return total


@pytest.fixture(scope="session")
def lab():
    """Return what small recorded trainings need."""
    return SimpleNamespace(data=data, mlp=mlp, trained=trained, by_id=by_id, ByHand=ByHand)
