"""Populations: the same numbers as one member at a time, whatever the module; nothing changed."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call

from trivium._core.errors import ArgumentError
from trivium.expectation import FactoredTensor, Perturb, Population, VirtualTensor

FOUR = torch.Size([4])


class Tied(nn.Module):
    """A look-up and a head with one weight."""

    def __init__(self):
        super().__init__()
        self.look, self.head = nn.Embedding(11, 6), nn.Linear(6, 11)
        self.head.weight = self.look.weight

    def forward(self, places):
        return {"logits": self.head(self.look(places)), "pair": (places.float(), self.look(places))}


class Branching(nn.Module):
    """Control flow that depends on values: no vmap can follow it."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(5, 2)

    def forward(self, x):
        out = self.layer(x)
        return -out if out.sum() > 0 else out


def networks():
    torch.manual_seed(0)
    x, image, tokens = torch.randn(7, 5), torch.randn(2, 1, 8, 8), torch.randn(3, 5, 16)
    encoder = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    conv = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(108, 2))
    norm = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
    return {
        "mlp": (nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2)), x),
        "encoder": (encoder, tokens),
        "encoder, not training": (copy.deepcopy(encoder).eval(), tokens),
        "convolution": (conv, image),
        "batch norm": (norm, x),
        "batch norm, not training": (copy.deepcopy(norm).eval(), x),
        "branching": (Branching(), x),
    }


@pytest.mark.parametrize("choice", [{}, {"rank": 1}, {"rank": 2, "antithetic": False}])
@pytest.mark.parametrize("name", networks())
def test_a_population_is_its_members(name, choice):
    module, x = networks()[name]
    before = copy.deepcopy(module.state_dict())
    z = Perturb(module, 0.1, **choice).sample(FOUR)
    together = z(x)
    buffers = dict(module.named_buffers())
    for k in range(4):
        copies = {n: b.clone() for n, b in buffers.items()}
        alone = functional_call(module, copies | z.parameters(k), (x,))
        assert torch.allclose(together[k], alone, atol=1e-5)
    assert torch.allclose(z.each(lambda m: m(x).sum()), together.flatten(1).sum(1), atol=1e-3)
    if name != "branching":
        assert float((together[0] - together[1]).abs().max()) > 1e-3
    assert all(torch.equal(before[n], value) for n, value in module.state_dict().items())


def test_tied_weights_and_nested_outputs():
    torch.manual_seed(0)
    module, places = Tied(), torch.randint(0, 11, (3, 4))
    z = Perturb(module, 0.1, rank=2).sample(FOUR)
    together = z(places)
    assert set(z.tensors) == {"look.weight", "head.bias"}
    assert together["pair"][1].shape == (4, 3, 4, 6)
    for k in range(4):
        alone = functional_call(module, z.parameters(k), (places,))
        assert torch.allclose(together["logits"][k], alone["logits"], atol=1e-5)
        assert torch.allclose(together["pair"][1][k], alone["pair"][1], atol=1e-5)


def test_outputs_that_are_no_tensors():
    torch.manual_seed(0)
    x = torch.randn(2, 3, 8)
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    z = Perturb(attention, 0.1).sample(FOUR)
    found, weights = z(x, x, x, need_weights=False)
    assert weights is None
    assert torch.allclose(found, z(x, x, x)[0], atol=1e-5)


def test_pairs_are_neighbours():
    layer = nn.Linear(3, 2)
    for rank in (None, 1):
        w = Perturb(layer, 0.1, rank=rank).sample(torch.Size([6])).tensor("weight") - layer.weight
        assert torch.allclose(w[0::2], -w[1::2], atol=1e-6)


def test_frozen_parameters_stay():
    layer = nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    z = Perturb(layer, 0.1).sample(FOUR)
    assert set(z.tensors) == {"weight"}
    assert torch.allclose(z(torch.zeros(3)), layer.bias.expand(4, 2))


def test_dropout_differs_between_members():
    module = nn.Sequential(nn.Linear(50, 50), nn.Dropout(0.5))
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.fill_(1.0)
    torch.manual_seed(0)
    kept = Perturb(module, 1e-6).sample(FOUR)(torch.zeros(50)) != 0
    assert 60 < int(kept.sum()) < 140
    assert not torch.equal(kept[0], kept[1])


@pytest.mark.parametrize("name", ["mlp", "batch norm"])
def test_nothing_is_changed_when_f_raises(name):
    module, x = networks()[name]
    before, names = copy.deepcopy(module.state_dict()), list(module.__dict__)
    ids = [id(p) for p in module.parameters()]
    fused = torch.backends.mha.get_fastpath_enabled()
    z = Perturb(module, 0.1).sample(FOUR)

    def fails(m):
        m(x)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        z.each(fails)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        z(torch.ones(2, 9))
    assert all(torch.equal(before[n], value) for n, value in module.state_dict().items())
    assert [id(p) for p in module.parameters()] == ids
    assert all(type(p) is nn.Parameter for p in module.parameters())
    assert list(module.__dict__) == names
    assert module.training
    assert torch.backends.mha.get_fastpath_enabled() is fused
    assert all(p.grad is None for p in module.parameters())


def test_f_outside_torch_and_tensors():
    torch.manual_seed(0)
    module, x = networks()["mlp"]
    z = Perturb(module, 0.1).sample(FOUR)
    found = z.each(lambda m: float(np.asarray(m(x).detach()).max()))
    assert torch.allclose(found, z(x).flatten(1).amax(1), atol=1e-5)
    pair = Perturb({"a": torch.zeros(2), "b": torch.ones(3)}, 0.1).sample(FOUR)
    assert torch.allclose(
        pair.each(lambda t: t["a"].sum() + t["b"].sum()),
        pair.tensor("a").sum(1) + pair.tensor("b").sum(1),
    )
    alone = Perturb(torch.zeros(2), 0.1).sample(FOUR)
    assert torch.allclose(alone.each(lambda t: t.sum()), alone.tensor().sum(1))


def test_the_centre_is_the_module():
    module, x = networks()["mlp"]
    centre = Perturb(module, 0.1).mean
    assert torch.equal(centre(x), module(x)[None])
    assert torch.equal(centre.tensor("0.weight")[0], module[0].weight)
    assert torch.equal(centre.each(lambda m: m(x).sum()), module(x).sum()[None])


def test_a_factored_weight_is_not_made(monkeypatch):
    def made(self):
        raise AssertionError("materialized")

    monkeypatch.setattr(FactoredTensor, "materialized", made)
    module, x = networks()["mlp"]
    assert Perturb(module, 0.1, rank=1).sample(FOUR)(x).shape == (4, 7, 2)


@pytest.mark.parametrize("shape", [(3,), (5, 3), (2, 5, 3), (0, 3)])
@pytest.mark.parametrize("rank", [1, 2])
def test_factors_apply_to_rows_of_any_shape(rank, shape):
    torch.manual_seed(0)
    base, down, up, bias = (torch.randn(*s) for s in ((4, 3), (3, rank), (4, rank), (4,)))
    x, whole = torch.randn(shape), base + up @ down.mT
    for offset in (None, bias):
        found = nn.functional.linear(x, FactoredTensor.of(base, down, up), offset)
        assert found.shape == (*shape[:-1], 4)
        assert torch.allclose(found, nn.functional.linear(x, whole, offset), atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        found = nn.functional.linear(x, FactoredTensor.of(base, down, up), bias)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), nn.functional.linear(x, whole, bias), atol=0.1)


def test_a_virtual_tensor_stands_for_its_sum():
    torch.manual_seed(0)
    base, down, up = torch.randn(4, 3), torch.randn(3, 2), torch.randn(4, 2)
    virtual, whole = FactoredTensor.of(base, down, up), base + up @ down.mT
    x, places = torch.randn(5, 3), torch.tensor([[0, 3], [1, 1]])
    same = {
        "linear": (nn.functional.linear(x, virtual), x @ whole.mT),
        "look-up": (nn.functional.embedding(places, virtual), whole[places]),
        "clipped": (
            nn.functional.embedding(places, virtual, max_norm=1.0),
            nn.functional.embedding(places, whole.clone(), max_norm=1.0),
        ),
        "product": (x @ virtual.T, x @ whole.T),
        "arithmetic": (virtual * 2 + 1, whole * 2 + 1),
        "list": (torch.cat([virtual, virtual]), torch.cat([whole, whole])),
        "bias": (
            nn.functional.linear(x, base, bias=FactoredTensor.of(base, down, up)[:, 0]),
            nn.functional.linear(x, base, whole[:, 0]),
        ),
    }
    for name, (ours, theirs) in same.items():
        assert not isinstance(ours, VirtualTensor), name
        assert torch.allclose(ours, theirs, atol=1e-5), name
    assert virtual.shape == (4, 3)
    assert virtual.dtype == torch.float32
    assert len(virtual) == 4


def test_bad_use_is_named():
    tensors = Perturb([torch.zeros(2), torch.ones(3)], 0.1).sample(FOUR)
    with pytest.raises(ArgumentError, match="a call must have a module to run; got tensors"):
        tensors(torch.ones(2))
    with pytest.raises(ArgumentError, match="name must be one of '0', '1'; got None"):
        tensors.tensor()
    with pytest.raises(ArgumentError, match="k must be from 0 to 3; got 4"):
        tensors.parameters(4)
    with pytest.raises(ArgumentError, match="f must return a number; got 'high'"):
        tensors.each(lambda _: "high")
    with pytest.raises(ArgumentError, match=r"f must return one number; got shape \(2,\)"):
        tensors.each(lambda t: t["0"])
    with pytest.raises(NotImplementedError):
        VirtualTensor().materialized()
    assert len(tensors) == 4
    assert isinstance(tensors, Population)
