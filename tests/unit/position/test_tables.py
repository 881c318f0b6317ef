"""Vectors of positions in a table: learned, learned twice, recurrent, on a path; multiplied in."""

import copy

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import Flow, Learned, Multiplicative, NoPosition, Recurrent, Sinusoidal

RUN = torch.arange(20)


def rows(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def test_learned_rows():
    torch.manual_seed(0)
    position = Learned(2000, 64)
    assert position.weight.std().item() == pytest.approx(0.02, rel=0.02)
    at = torch.tensor([[3, 1999, 0], [7, 7, 1]])
    assert torch.equal(position.vectors(at), position.weight[at])


@pytest.mark.parametrize("a", [0.4, 0.7])
def test_hierarchy_by_its_formula(a):
    position = Learned(4, 3, hierarchy=a).double()
    p = position.weight.detach()
    u = [(p[k] - a * p[0]) / (1 - a) for k in range(4)]
    wanted = torch.stack([a * u[k] + (1 - a) * u[j] for k in range(4) for j in range(4)])
    found = position.vectors(torch.arange(16)).detach()
    assert (found - wanted).abs().max() <= 1e-15
    assert (found[:4] - p).abs().max() <= 1e-15
    gaps = torch.cdist(found, found) + torch.eye(16)
    assert gaps.min() > 1e-4  # no two positions are one


@pytest.mark.parametrize("a", [0.5, 0, 1, -0.1, "0.4"])
def test_hierarchy_is_refused(a):
    with pytest.raises(ArgumentError, match="Learned: hierarchy must"):
        Learned(4, 3, hierarchy=a)


@pytest.mark.parametrize(
    ("position", "last"),
    [(Learned(8, 4), 7), (Learned(3, 4, hierarchy=0.4), 8), (Recurrent(8, 4), 7), (Flow(8, 4), 7)],
    ids=lambda value: type(value).__name__,
)
def test_positions_past_the_table(position, last):
    name = type(position).__name__
    message = f"{name}: positions must be from 0 to {last}, the rows of its table; got"
    position.vectors(torch.arange(last + 1))
    for wrong in (last + 1, -1):
        with pytest.raises(ArgumentError, match=f"{message} {wrong}"):
            position.vectors(torch.tensor([[0, wrong]]))
    with pytest.raises(ArgumentError, match=message):
        Attention(4, 2, position=position)(torch.randn(1, last + 2, 4))


@pytest.mark.parametrize("make", [Learned, Recurrent, Flow])
def test_sizes_are_checked(make):
    name = make.__name__
    with pytest.raises(ArgumentError, match=f"{name}: max_length must be an integer, positive"):
        make(0, 4)
    with pytest.raises(ArgumentError, match=f"{name}: d_model must be an integer, positive"):
        make(4, 2.5)
    with pytest.raises(ArgumentError, match=f"{name}: merge must be one of 'add', 'multiply'"):
        make(4, 4, merge="mul")


def test_recurrent_is_a_gated_cell_without_input():
    position = Recurrent(20, 5).double()
    cell = torch.nn.GRUCell(1, 5).double()
    with torch.no_grad():
        cell.weight_hh.copy_(position.hidden.weight)
        cell.bias_hh.copy_(position.hidden.bias)
        cell.bias_ih.zero_()
        cell.bias_ih[10:] = position.drive.normal_()
        p, wanted = position.start, [position.start]
        for _ in range(19):
            p = cell(torch.zeros(1, dtype=p.dtype), p)
            wanted.append(p)
    assert (position.vectors(RUN) - torch.stack(wanted)).abs().max() <= 1e-14


def test_recurrent_positions_differ_before_training():
    torch.manual_seed(0)
    p = Recurrent(512, 64).double().vectors(torch.arange(512)).detach()
    steps = (p[1:] - p[:-1]).norm(dim=1) / p[1:].norm(dim=1)
    assert steps.min() > 1e-4


def slow_flow(position, n, steps):
    """The classical rule as the books print it, several steps a position."""
    w1, b1 = position.inner.weight.detach(), position.inner.bias.detach()
    w2, b2 = position.outer.weight.detach(), position.outer.bias.detach()

    def f(t, p):
        inner = (w1 @ torch.cat((p, torch.tensor([t], dtype=p.dtype))) + b1).tanh()
        return w2 @ torch.cat((inner, torch.tensor([t], dtype=p.dtype))) + b2

    p, h, found = position.start.detach(), position.delta / steps, []
    for k in range(n):
        found.append(p)
        for s in range(steps):
            t = k * position.delta + s * h
            k1 = f(t, p)
            k2 = f(t + h / 2, p + h * k1 / 2)
            k3 = f(t + h / 2, p + h * k2 / 2)
            k4 = f(t + h, p + h * k3)
            p = p + h * (k1 + 2 * k2 + 2 * k3 + k4) / 6
    return torch.stack(found)


def test_flow_follows_its_equation():
    torch.manual_seed(0)
    position = Flow(64, 16).double()
    found = position.vectors(torch.arange(64)).detach()
    assert (found - slow_flow(position, 64, 1)).abs().max() <= 1e-13
    gap = (found - slow_flow(position, 64, 5)).abs().max()
    assert gap <= 1e-5 * found.abs().max()  # one step is as good as five


def test_flow_against_torchdiffeq():
    odeint = pytest.importorskip("torchdiffeq").odeint
    torch.manual_seed(0)
    position = Flow(64, 16, hidden=24).double()
    times = position.delta * torch.arange(64, dtype=torch.float64)
    with torch.no_grad():
        wanted = odeint(position.slope, position.start, times, rtol=1e-11, atol=1e-12)
        found = position.vectors(torch.arange(64))
    assert (found - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_flow_time_must_go_on():
    with pytest.raises(ArgumentError, match="Flow: delta must be a number, positive; got 0"):
        Flow(8, 4, delta=0)


@pytest.mark.parametrize("make", [Recurrent, Flow])
def test_stepped_tables_are_kept_until_a_parameter_changes(make, monkeypatch):
    position, calls = make(20, 4), []
    whole = position.table
    monkeypatch.setattr(position, "table", lambda n: calls.append(n) or whole(n))
    with torch.no_grad():
        first = position.vectors(RUN[:3])
        position.vectors(RUN)
        assert calls == [20]
        position.start.data.add_(1)  # not seen by a version counter
        assert (position.vectors(RUN[:3]) - first).abs().min() > 0.01
        assert calls == [20, 20]
    assert position.vectors(RUN[:3]).requires_grad
    assert calls == [20, 20, 3]
    position.double()
    with torch.no_grad():
        assert position.vectors(RUN).dtype == torch.float64


@pytest.mark.parametrize("of", [Learned(20, 8), Sinusoidal(8), Recurrent(20, 8)], ids=str)
def test_multiplicative_is_one_plus_the_vector(of):
    of = copy.deepcopy(of).double()
    x, p = rows(2, 20, 8), of.vectors(RUN).double()
    merged = copy.deepcopy(of)
    merged.merge = "multiply"
    assert torch.equal(Multiplicative(of).embed(x, RUN), x * (1 + p))
    assert torch.equal(merged.embed(x, RUN), x * (1 + p))
    assert dict(Multiplicative(of).named_parameters()).keys() == {
        f"of.{name}" for name, _ in of.named_parameters()
    }


def test_multiplicative_needs_vectors():
    with pytest.raises(ArgumentError, match="Multiplicative: of must be an encoding that has vec"):
        Multiplicative(NoPosition())
