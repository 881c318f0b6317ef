r"""Embeddings: a row's gradient has one vector for each of its own tokens, and no other.

The inner product of two rows is $\sum_{t,t'} [i_t = i'_{t'}] \, e_t^\top e'_{t'}$: only tokens
that both have meet. Nothing of the vocabulary's size is made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trivium.kernel.layer import (
    BLOCK_BYTES,
    Call,
    LayerKind,
    LayerTangents,
    blocks,
    by_row,
    inherits,
    joined,
    own,
)
from trivium.kernel.tangent_hash import ColumnHash

__all__ = ["EmbeddingLayer", "SparseTangents"]

_HEAVY = 512  # pairs of rows from which on a token has a product of its own


@dataclass(frozen=True, eq=False)
class SparseTangents(LayerTangents):
    """Gradients that are zero but for a few vectors a row; sorted by token.

    Args:
        vectors: `(s, d)`, the gradient of a token in a row.
        token: `(s,)`, ascending.
        row: `(s,)`.
        shape: n rows, v tokens.
    """

    vectors: Tensor
    token: Tensor
    row: Tensor
    shape: tuple[int, int]

    @property
    def n_rows(self) -> int:
        """Number of rows n."""
        return self.shape[0]

    @property
    def n_columns(self) -> int:
        """Number of columns p."""
        return self.shape[1] * self.vectors.shape[1]

    def rows(self, which: slice) -> "SparseTangents":
        """Return the gradients of some rows."""
        place = torch.full((self.n_rows,), -1, device=self.row.device)
        chosen = range(self.n_rows)[which]
        place[which] = torch.arange(len(chosen), device=place.device)
        row = place[self.row]
        kept = row >= 0
        shape = (len(chosen), self.shape[1])
        return SparseTangents(self.vectors[kept], self.token[kept], row[kept], shape)

    def products(self, directions: Tensor) -> Tensor:
        """Return the inner products with directions `(q, p)`, as `(q, n)`."""
        n_directions, width = len(directions), self.vectors.shape[1]
        table = directions.reshape(n_directions, self.shape[1], width)
        found = directions.new_zeros(n_directions, self.n_rows)
        size = max(1, BLOCK_BYTES // (directions.element_size() * width * max(1, n_directions)))
        for b in blocks(len(self.token), size):
            each = torch.einsum("qsd,sd->qs", table[:, self.token[b]], self.vectors[b])
            found.index_add_(1, self.row[b], each)
        return found

    def combine(self, weights: Tensor) -> Tensor:
        """Return the sums of rows by weights `(r, n)`, as `(r, p)`."""
        total = weights.new_zeros(len(weights), self.shape[1], self.vectors.shape[1])
        size = max(1, BLOCK_BYTES // (weights.element_size() * self.vectors.shape[1]))
        for out, w in zip(total, weights, strict=True):
            for b in blocks(len(self.token), size):
                out.index_add_(0, self.token[b], self.vectors[b] * w[self.row[b], None])
        return total.flatten(1)

    def dense(self) -> Tensor:
        """Return the gradients written out, `(n, p)`."""
        found = self.vectors.new_zeros(*self.shape, self.vectors.shape[1])
        found[self.row, self.token] = self.vectors
        return found.flatten(1)

    def squares(self) -> Tensor:
        """Return the squared length of each row, `(n,)`."""
        found = self.vectors.new_zeros(self.n_rows)
        return found.index_add_(0, self.row, self.vectors.square().sum(1))

    def fused(self, others: Sequence[LayerTangents]) -> LayerTangents | None:
        """Return all outputs' vectors beside each other, for tokens that are matched once."""
        vectors = [self.vectors]
        for other in others:
            if not isinstance(other, SparseTangents) or not torch.equal(other.token, self.token):
                return None
            vectors.append(other.vectors)
        return SparseTangents(torch.cat(vectors, 1), self.token, self.row, self.shape)

    def sketch(self, hashes: Sequence[ColumnHash]) -> Tensor:
        """Return random features `(n, r)`, from the columns that are not zero.

        Args:
            hashes: Of the one parameter.
        """
        (one,) = hashes
        place = (one.left[0][self.token, None] + one.right[0]) % one.width
        values = self.vectors * one.left[1][self.token, None] * one.right[1]
        found = self.vectors.new_zeros(self.n_rows * one.width)
        found.index_add_(0, (self.row[:, None] * one.width + place).flatten(), values.flatten())
        return found.reshape(self.n_rows, one.width)

    def add_gram(self, other: LayerTangents, into: Tensor) -> None:
        """Add the inner products with the rows of `other`, `(n, m)`, in place."""
        if not isinstance(other, SparseTangents):
            return super().add_gram(other, into)
        tokens, mine = torch.unique_consecutive(self.token, return_counts=True)
        theirs, others = torch.unique_consecutive(other.token, return_counts=True)
        both = torch.isin(tokens, theirs), torch.isin(theirs, tokens)
        starts = [
            (counts.cumsum(0) - counts)[kept]
            for counts, kept in zip((mine, others), both, strict=True)
        ]
        counts = mine[both[0]], others[both[1]]
        heavy = counts[0] * counts[1] >= _HEAVY
        listed = torch.stack([*starts, *counts])[:, heavy].T.tolist()
        for start, begin, n, m in listed:
            a, b = slice(start, start + n), slice(begin, begin + m)
            pair = self.vectors[a] @ other.vectors[b].mT
            into.index_put_((self.row[a, None], other.row[None, b]), pair, accumulate=True)
        self._add_pairs(other, starts, counts, ~heavy, into)
        return None

    def _add_pairs(
        self,
        other: "SparseTangents",
        starts: Sequence[Tensor],
        counts: Sequence[Tensor],
        which: Tensor,
        into: Tensor,
    ) -> None:
        """Add the products of all pairs of a token that few rows have."""
        start, begin = starts[0][which], starts[1][which]
        n, m = counts[0][which], counts[1][which]
        pairs = n * m
        if not len(pairs):
            return
        group = torch.repeat_interleave(torch.arange(len(pairs), device=pairs.device), pairs)
        within = torch.arange(len(group), device=pairs.device) - (pairs.cumsum(0) - pairs)[group]
        left = start[group] + within.div(m[group], rounding_mode="floor")
        right = begin[group] + within % m[group]
        size = max(1, BLOCK_BYTES // (into.element_size() * self.vectors.shape[1]))
        for b in blocks(len(group), size):
            dots = torch.einsum("sd,sd->s", self.vectors[left[b]], other.vectors[right[b]])
            where = (self.row[left[b]], other.row[right[b]])
            into.index_put_(where, dots, accumulate=True)


@dataclass(frozen=True)
class EmbeddingLayer(LayerKind):
    """`nn.Embedding`; one with `scale_grad_by_freq` has no gradient of rows and is not claimed.

    Example:
        >>> EmbeddingLayer().claims(nn.Embedding(9, 4))
        ('weight',)
    """

    @classmethod
    def examples(cls) -> Sequence["EmbeddingLayer"]:
        """Return the one instance."""
        return (cls(),)

    def layers(self) -> Sequence[tuple[nn.Module, Tensor]]:
        """Return small layers with an input of a few rows."""
        draw = torch.Generator().manual_seed(0)
        few = torch.randint(0, 5, (40, 6), generator=draw)
        many = torch.randint(0, 50, (5, 3, 2), generator=draw)
        return (
            (nn.Embedding(5, 3, padding_idx=1).double(), few),
            (nn.Embedding(50, 4).double(), many),
            (nn.Embedding(50, 4).double(), many[:, 0, 0]),
        )

    def claims(self, module: nn.Module) -> tuple[str, ...]:
        """Return the module's parameters that this kind explains."""
        plain = inherits(module, nn.Embedding) and not module.scale_grad_by_freq
        return own(module, "weight") if plain else ()

    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        """Return the per-row gradients, summed over the calls.

        Consecutive numbers are positions rather than rows, and cannot be told from them.
        """
        del names
        tokens, gradients = [], []
        for call in calls:
            index, e = by_row(call.kept, n_rows, 0), by_row(call.gradient, n_rows, 1)
            counting = call.kept.ndim == 1 and n_rows > 1 and bool((call.kept.diff() == 1).all())
            if index is None or e is None or counting:
                return None
            tokens.append(index.long())
            gradients.append(e)
        assert isinstance(module, nn.Embedding)  # claimed
        return _sparse(joined(tokens), joined(gradients), module)


def _sparse(index: Tensor, gradients: Tensor, module: nn.Embedding) -> SparseTangents:
    n_rows = len(index)
    row = torch.arange(n_rows, device=index.device)[:, None].expand_as(index).reshape(-1)
    token, vectors = index.reshape(-1), gradients.flatten(0, 1)
    if module.padding_idx is not None:
        kept = token != module.padding_idx
        row, token, vectors = row[kept], token[kept], vectors[kept]
    keys, place = torch.unique(token * n_rows + row, return_inverse=True)
    summed = vectors.new_zeros(len(keys), vectors.shape[1]).index_add_(0, place, vectors)
    token = keys.div(n_rows, rounding_mode="floor")
    return SparseTangents(summed, token, keys % n_rows, (n_rows, module.num_embeddings))
