"""Skewed products and bands against plain lookups: values, gradients, second derivatives."""

import pytest
import torch

from trivium.position import skew
from trivium.position.bands import collect, spread
from trivium.position.skew import by_row


def slow(q, at_query, k, at_key, n, t):
    """Each pair by itself."""
    found = torch.zeros(2, 3, n, t, dtype=torch.float64)
    for i in range(n):
        for j in range(t):
            r = i - j + t - 1
            if q is not None:
                found[:, :, i, j] += (q[:, :, i] * at_query[:, r]).sum(-1)
            if k is not None:
                found[:, :, i, j] += (k[:, :, j] * at_key[:, r]).sum(-1)
    return found


def drawn(n, t, heads, terms):
    generator = torch.Generator().manual_seed(n + t)
    sizes = ((2, 3, n, 4), (heads, n + t - 1, 4), (2, 3, t, 4), (heads, n + t - 1, 4))
    return [
        torch.randn(*size, generator=generator, dtype=torch.float64, requires_grad=True)
        if name in terms
        else None
        for size, name in zip(sizes, "qqkk", strict=True)
    ]


@pytest.mark.parametrize("terms", ["qk", "q", "k"])
@pytest.mark.parametrize(("n", "t"), [(7, 9), (1, 9), (8, 8), (3, 3)])
@pytest.mark.parametrize(("heads", "causal"), [(3, False), (3, True), (1, True)])
def test_products_are_those_of_each_pair(terms, n, t, heads, causal, monkeypatch):
    monkeypatch.setattr(skew, "_BLOCK", 4)
    given = drawn(n, t, heads, terms)
    keep = torch.ones(n, t, dtype=torch.bool)
    keep = keep.tril(t - n) if causal else keep
    found = by_row(*given, n, keep).where(keep, 0)
    wanted = slow(*given, n, t).where(keep, 0)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-12)
    asked = [x for x in given if x is not None]
    slopes = [torch.autograd.grad(y.sin().sum(), asked) for y in (found, wanted)]
    for one, other in zip(*slopes, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-11)


def test_products_have_second_derivatives():
    given, keep = drawn(2, 3, 3, "qk"), torch.ones(2, 3, dtype=torch.bool).tril(1)

    def kept(*values):
        return by_row(*values, 2, keep).where(keep, 0)

    assert torch.autograd.gradgradcheck(kept, given, fast_mode=True)


def test_products_map_over_a_batch():
    q, table, *_ = drawn(3, 5, 3, "q")
    many = torch.stack((q, q + 1)).detach()
    found = torch.func.vmap(lambda one: by_row(one, table, None, None, 3))(many)
    assert torch.allclose(found[1], by_row(many[1], table, None, None, 3), rtol=0, atol=1e-12)


def test_no_term_is_a_fault():
    with pytest.raises(AssertionError, match="a term must be given"):
        by_row(None, None, None, None, 3)


BANDS = [(70, 75, 5, 3), (5, 7, 100, 2), (5, 7, -100, 2), (66, 66, 0, 80), (130, 9, -50, 3)]


@pytest.mark.parametrize(("n", "t", "start", "k"), BANDS)
def test_bands_are_lookups_of_clipped_offsets(n, t, start, k):
    values = torch.randn(2, 3, n, 2 * k + 1, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, n, t, dtype=torch.float64, requires_grad=True)
    place = (torch.arange(n)[:, None] + start - torch.arange(t)).clamp(-k, k) + k
    place = place.expand(2, 3, n, t)
    assert torch.equal(spread(values, t, start), values.gather(-1, place))
    summed = torch.zeros_like(values).scatter_add(-1, place, weights)
    assert torch.allclose(collect(weights, k, start), summed, rtol=0, atol=1e-12)
    (slope,) = torch.autograd.grad((spread(values, t, start) * weights).sum(), values)
    assert torch.allclose(slope, summed, rtol=0, atol=1e-12)
    (slope,) = torch.autograd.grad((collect(weights, k, start) * values).sum(), weights)
    assert torch.equal(slope, values.gather(-1, place))


def test_bands_have_second_derivatives():
    values = torch.randn(1, 1, 5, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda v: spread(v, 7, 2).sin(), values)
