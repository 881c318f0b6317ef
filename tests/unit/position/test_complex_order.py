"""Complex words: the formula in complex numbers, and why the published table aliases."""

import pytest
import torch

from trivium._core.errors import ArgumentError, ShapeError
from trivium.position import ComplexEmbedding, ComplexOrder


def turned(r, omega, k, phase):
    return r * torch.polar(torch.ones_like(omega), omega * k + phase)


def test_order_by_the_formula():
    position = ComplexOrder(8).double()
    x = torch.randn(2, 5, 8, dtype=torch.float64)
    omega = 10_000 ** (-torch.arange(4, dtype=torch.float64) / 4)
    for at in (torch.arange(3, 8), torch.tensor([[0, 1, 2, 2**20, 4], [7, 0, 0, 1, 2]])):
        found = position.embed(x, at)
        for b in range(2):
            for n in range(5):
                k = float(at[b, n] if at.ndim == 2 else at[n])
                z = torch.complex(x[b, n, :4], x[b, n, 4:])
                wanted = turned(z, omega, k, position.phases.detach())
                assert (found[b, n] - torch.cat((wanted.real, wanted.imag))).abs().max() <= 1e-9


def test_embedding_by_the_formula():
    torch.manual_seed(0)
    words = ComplexEmbedding(20, 6).double()
    with torch.no_grad():
        words.shifts.normal_(std=0.1)
    ids = torch.tensor([[3, 19, 3], [0, 1, 2]])
    base = 10_000 ** (-torch.arange(3, dtype=torch.float64) / 3)
    for given in (None, torch.tensor([4, 5, 6]), torch.tensor([[0, 1, 2], [9, 0, 1]])):
        found = words(ids, given)
        at = torch.arange(3).expand(2, 3) if given is None else given.expand(2, 3)
        for b in range(2):
            for n in range(3):
                w = ids[b, n]
                omega = base * (1 + words.shifts[w].detach())
                r, phase = words.amplitudes[w].detach(), words.phases[w].detach()
                wanted = turned(r, omega, float(at[b, n]), phase)
                assert (found[b, n] - torch.cat((wanted.real, wanted.imag))).abs().max() <= 1e-12


def test_every_table_learns_and_far_positions_stay_exact():
    words = ComplexEmbedding(20, 6)
    ids, at = torch.tensor([[3, 19]]), torch.tensor([2**20, 2**20 + 1])
    wanted = words(ids, at)
    wanted.sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in words.parameters())
    narrow = ComplexEmbedding(20, 6).to(torch.bfloat16)
    narrow.load_state_dict(words.state_dict())
    assert narrow(ids, at).dtype == torch.bfloat16
    assert (narrow(ids, at).float() - wanted).abs().max() <= 0.05
    assert not [name for name in words.state_dict() if "theta" in name]


def test_neighbours_are_near_for_every_word_and_not_in_the_published_table():
    """A word's own number times θ turns by many circles a position: neighbors look like strangers.

    Measured over the slow half of the dimensions, where one position should change little.
    """
    torch.manual_seed(0)
    n, d, at = 5000, 64, torch.arange(2)
    words = ComplexEmbedding(n, d).double()
    ids = torch.arange(n)
    ours = words(ids[:, None].expand(n, 2), at).detach()
    theta = 10_000 ** (-torch.arange(d // 2, dtype=torch.float64) / (d // 2))
    angle = ids[:, None, None] * theta * at[:, None] + words.phases.detach()[:, None]
    r = words.amplitudes.detach()[:, None]
    published = torch.cat((r * angle.cos(), r * angle.sin()), -1)
    slow = torch.cat((torch.arange(d // 4, d // 2), torch.arange(3 * d // 4, d)))

    def likeness(found):
        a, b = found[:, 0, slow], found[:, 1, slow]
        return torch.cosine_similarity(a, b, dim=-1)

    assert likeness(ours).min() > 0.999
    assert likeness(published)[1000:].mean() < 0.6


def test_guards():
    with pytest.raises(ArgumentError, match="ComplexOrder: d_model must be even"):
        ComplexOrder(7)
    with pytest.raises(ArgumentError, match="ComplexEmbedding: d_model must be even"):
        ComplexEmbedding(5, 7)
    with pytest.raises(ArgumentError, match="ComplexEmbedding: n_words must be an integer, pos"):
        ComplexEmbedding(0, 8)
    words = ComplexEmbedding(5, 8)
    with pytest.raises(ArgumentError, match=r"words must be whole numbers; got torch\.float32"):
        words(torch.zeros(1, 3))
    with pytest.raises(ShapeError, match=r"positions must have the shape \(3,\) or \(1, 3\)"):
        words(torch.zeros(1, 3, dtype=torch.int64), torch.arange(4))
