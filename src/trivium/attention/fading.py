"""What decay does inside a chunk: to the state, to queries and keys, and to their products.

With G_t the sum of the log factors of a chunk up to step t (its own included), step s weighs
exp(G_t − G_s) at step t ≥ s. Every exponent that is formed here is ≤ 0, whatever the decay:
nothing overflows, and what underflows is zero in truth. Sums of logarithms are float64, since a
strong factor would otherwise cost the weak ones after it their digits.
"""

import torch
from torch import Tensor

from trivium._core.eager import eager

# Tensors are (rows, steps, ...), a row for each head of each batch entry. `log` is None without
# decay, (rows, steps) for one factor a step, (rows, steps, r) for one for each feature.


def summed(log: Tensor | None) -> Tensor | None:
    """Return G, in float64."""
    return None if log is None else log.double().cumsum(1)


def entering(queries: Tensor, G: Tensor | None) -> Tensor:
    """Return queries as the state before the chunk meets them: φ(q_t) exp(G_t)."""
    return queries if G is None else queries * _wide(G, queries).exp()


def leaving(keys: Tensor, G: Tensor | None) -> Tensor:
    """Return keys as the state after the chunk keeps them: φ(k_s) exp(G_end − G_s)."""
    return keys if G is None else keys * _wide(G[:, -1:] - G, keys).exp()


def factor(G: Tensor | None, like: Tensor) -> Tensor | None:
    """Return what the whole chunk does to the state, to be broadcast over (rows, r, v)."""
    if G is None:
        return None
    whole = G[:, -1].to(like.dtype).exp()
    return whole[:, None, None] if G.ndim == 2 else whole[:, :, None]


def scores(queries: Tensor, keys: Tensor, G: Tensor | None) -> Tensor:
    """Return the weights of a chunk's steps on each other, zero above the diagonal."""
    if G is not None and G.ndim == 3:
        return _scores_by_halves(queries, keys, G)
    products = torch.bmm(queries, keys.mT)
    return _lower(products, G)


def scores_pull(
    slope: Tensor, queries: Tensor, keys: Tensor, G: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the gradients of `scores` with respect to queries and keys; `slope` is used up."""
    if G is not None and G.ndim == 3:
        return _pull_by_halves(slope, queries, keys, G)
    inner = _lower(slope, G)
    return torch.bmm(inner, keys), torch.bmm(inner.mT, queries)


def _lower(square: Tensor, G: Tensor | None) -> Tensor:
    """Return a square that nobody else needs, faded, without what is above its diagonal.

    Above it exponents may be large; in place that is overwritten, else it must not arise, since
    its slope would be zero times infinity.
    """
    if eager() and not torch.is_grad_enabled():
        if G is not None:
            square *= (G[:, :, None] - G[:, None, :]).to(square.dtype).exp_()
        return square.tril_()
    return square.tril() if G is None else square * _between(G, square)


def _wide(G: Tensor, like: Tensor) -> Tensor:
    wide = G.to(like.dtype)
    return wide[:, :, None] if G.ndim == 2 else wide


def _between(G: Tensor, like: Tensor) -> Tensor:
    """Return exp(G_t − G_s) on and below the diagonal, zero above it."""
    above = torch.ones(G.shape[1], G.shape[1], dtype=torch.bool, device=G.device).triu(1)
    gap = (G[:, :, None] - G[:, None, :]).masked_fill(above, -torch.inf)
    return gap.to(like.dtype).exp()


def _padded(value: Tensor, size: int) -> Tensor:
    short = size - value.shape[1]
    return value if short == 0 else torch.cat((value, value[:, -1:].expand(-1, short, -1)), 1)


def _halves(queries: Tensor, keys: Tensor, G: Tensor, size: int) -> tuple[Tensor, ...]:
    """Cut the chunk into blocks of two halves of `size`; refer both to the end of the first.

    Later queries see earlier keys across that boundary only, and on either side of it the
    exponents are ≤ 0: that is what makes a product of two tensors possible without overflow.
    """
    rows, steps, r = queries.shape
    cut = (rows, steps // (2 * size), 2, size, r)
    q, k, g = queries.reshape(cut), keys.reshape(cut), G.reshape(cut)
    border = g[:, :, 0, -1:]
    later = (g[:, :, 1] - border).to(q.dtype).exp()
    earlier = (border - g[:, :, 0]).to(k.dtype).exp()
    return q[:, :, 1] * later, k[:, :, 0] * earlier, later, earlier


def _block(square: Tensor, size: int) -> Tensor:
    """View the blocks (later half, earlier half) of a square: (rows, blocks, size, size)."""
    rows, steps, _ = square.shape
    n = steps // (2 * size)
    cut = square.view(rows, n, 2, size, n, 2, size)[:, :, 1, :, :, 0]
    return cut.diagonal(dim1=1, dim2=3).movedim(-1, 1)


def _scores_by_halves(queries: Tensor, keys: Tensor, G: Tensor) -> Tensor:
    rows, steps, _ = queries.shape
    full = 1 << (steps - 1).bit_length()
    own = (queries * keys).sum(-1)
    queries, keys, G = (_padded(value, full) for value in (queries, keys, G))
    square = queries.new_zeros(rows, full, full)
    size = 1
    while size < full:
        q, k, _, _ = _halves(queries, keys, G, size)
        _block(square, size).copy_(q @ k.mT)
        size *= 2
    return square[:, :steps, :steps] + torch.diag_embed(own)


def _pull_by_halves(
    slope: Tensor, queries: Tensor, keys: Tensor, G: Tensor
) -> tuple[Tensor, Tensor]:
    rows, steps, r = queries.shape
    full = 1 << (steps - 1).bit_length()
    square = slope.new_zeros(rows, full, full)
    square[:, :steps, :steps] = slope
    own = square.diagonal(dim1=1, dim2=2)[..., None]
    queries, keys, G = (_padded(value, full) for value in (queries, keys, G))
    to_queries, to_keys = own * keys, own * queries
    size = 1
    while size < full:
        q, k, later, earlier = _halves(queries, keys, G, size)
        inner = _block(square, size)
        cut = (rows, full // (2 * size), 2, size, r)
        to_queries.view(cut)[:, :, 1] += (inner @ k) * later
        to_keys.view(cut)[:, :, 0] += (inner.mT @ q) * earlier
        size *= 2
    return to_queries[:, :steps], to_keys[:, :steps]
