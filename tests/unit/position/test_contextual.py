"""CoPE against loops over queries and keys, its pitfalls, and the refusals."""

import math

import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium.attention import Attention
from trivium.position import Contextual, contextual


@torch.no_grad()
def counted(encoding, q, k, keep):
    """Return the logits of one head as the paper counts them."""
    n, t = keep.shape
    bias = torch.zeros(n, t, dtype=torch.float64)
    for i in range(n):
        count = 0.0
        for j in reversed(range(t)):
            if keep[i, j]:
                count += float(torch.sigmoid(q[i] @ k[j] / math.sqrt(len(q[i]))))
            at = min(count, encoding.n_positions - 1)
            low = math.floor(at)
            high = min(low + 1, encoding.n_positions - 1)
            below, above = (float(q[i] @ encoding.vectors[x]) for x in (low, high))
            bias[i, j] = below + (at - low) * (above - below)
    return bias


@pytest.mark.parametrize("n_positions", [2, 5, 64])
def test_logits_are_the_papers(n_positions):
    torch.manual_seed(0)
    encoding = Contextual(4, n_positions).double()
    torch.nn.init.normal_(encoding.vectors)
    q, k = torch.randn(2, 2, 9, 4).double(), torch.randn(2, 2, 12, 4).double()
    keep = (torch.rand(2, 9, 12) < 0.7).tril(3)
    found = encoding.score(q, k, torch.arange(9), torch.arange(12), keep)
    for row in range(2):
        for head in range(2):
            wanted = counted(encoding, q[row, head], k[row, head], keep[row])
            kept = keep[row]
            assert torch.allclose(found[row, head][kept], wanted[kept], rtol=0, atol=1e-12)


@pytest.mark.parametrize("rows", [None, 1, 2])
def test_tiles_are_the_plain_operations_to_second_derivatives(rows, monkeypatch):
    monkeypatch.setattr(contextual, "_TILE", 60)
    generator = torch.Generator().manual_seed(0)
    shapes = ((2, 2, 5, 3), (2, 2, 7, 3), (4, 3))
    given = [
        torch.randn(*s, generator=generator, dtype=torch.float64, requires_grad=True)
        for s in shapes
    ]
    keep = torch.rand(*((rows,) if rows else ()), 5, 7, generator=generator) < 0.8
    encoding, i, j = Contextual(3, 4).double(), torch.arange(5), torch.arange(7)

    def tiles(q, k, vectors):
        called = torch.func.functional_call
        return called(encoding, {"vectors": vectors}, (q, k, i, j, keep))

    encoding.forward = encoding.score
    plain = contextual._counted(*given, keep[..., None, :, :], 3**-0.5)
    assert torch.equal(tiles(*given), plain)
    slopes = [torch.autograd.grad(y.sin().sum(), given) for y in (tiles(*given), plain)]
    for one, other in zip(*slopes, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-12)
    assert torch.autograd.gradgradcheck(tiles, given, fast_mode=True)


def test_narrow_dtypes_do_not_lose_count():
    # 300 open gates: in bfloat16 a sum of ones stops at 256.
    encoding = Contextual(1, 301).to(torch.bfloat16)
    encoding.vectors.data.copy_(torch.arange(301.0)[:, None] / 301)
    q = torch.full((1, 1, 1, 1), 1.0, dtype=torch.bfloat16)
    k = torch.full((1, 1, 300, 1), 50.0, dtype=torch.bfloat16)
    keep = torch.ones(1, 300, dtype=torch.bool)
    bias = encoding.score(q, k, torch.tensor([299]), torch.arange(300), keep)
    assert float(bias[0, 0, 0, 0].detach()) == pytest.approx(300 / 301, abs=0.01)


def test_a_bidirectional_layer_is_refused():
    with pytest.raises(ArgumentError, match="causal must be True with Contextual; got False"):
        Attention(8, 2, Contextual(4), causal=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0,), "d_head must be"), ((4, 0), "n_positions must be"), ((4, 1), "at least 2; got 1")],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        Contextual(*arguments)
