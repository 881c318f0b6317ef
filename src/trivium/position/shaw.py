"""Relative vectors in the keys and in the values: Shaw et al., BERT's variants, NEZHA."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trivium._core.checks import check_choice, check_number
from trivium._core.eager import eager
from trivium._core.errors import ArgumentError
from trivium.position.bands import collect, spread
from trivium.position.base import Position
from trivium.position.offsets import is_run, offset_matrix, run_of_offsets
from trivium.position.skew import by_row, looked_up

__all__ = ["Shaw"]


class Shaw(Position):
    r"""Vectors of the offset, added to the keys and to the values.

    Logits $q_i^\top (k_j + a_r) / \sqrt d$ and outputs $\sum_j w_{ij} (v_j + c_r)$, with
    $r = i - j$ clipped to −K … K. Tables are shared by the heads.

    BERT's `relative_key` is `values=False` with a clip of its longest row less one;
    `relative_key_query` has `keys=True` too; NEZHA is `table="sinusoidal"` with a clip of 64.

    Args:
        d_head: Dimension d of queries and keys.
        clip: Offset K from which on all share a vector.
        values: Whether outputs have vectors c; without, the layer need not form the weights.
        keys: Whether keys meet the vectors too: $(q_i^\top k_j + q_i^\top a_r + k_j^\top a_r)$.
        table: `"learned"`, one for keys and one for values; `"sinusoidal"`, one for both, fixed.
        d_value: Dimension of values; `d_head` by default.

    Raises:
        ArgumentError: A size that is not positive, an unknown table, or a sinusoidal one of odd
            dimension or with two dimensions.

    Cost:
        O(b h n (K d + t)) beyond attention for consecutive positions and K below t / 4,
        O(b h n t d) else; no vector for each pair.

    Example:
        >>> from trivium.attention import Attention
        >>> layer = Attention(8, 2, position=Shaw(d_head=4, clip=3))
        >>> layer(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])

    Source:
        Shaw et al., Self-Attention with Relative Position Representations, NAACL (2018), eqs.
        3-4; Huang et al., Improve Transformer Models with Better Relative Position Embeddings,
        EMNLP Findings (2020), eq. 14, for `keys`; Wei et al., NEZHA (2019), eq. 3.
    """

    stationary = True
    by_scale = True

    def __init__(
        self,
        d_head: int,
        clip: int = 16,
        *,
        values: bool = True,
        keys: bool = False,
        table: str = "learned",
        d_value: int | None = None,
    ) -> None:
        super().__init__()
        wide = d_head if d_value is None else d_value
        sizes = {"d_head": d_head, "clip": clip, "d_value": wide}
        d, k, v = (
            int(check_number("Shaw", name, value, "positive", integer=True))
            for name, value in sizes.items()
        )
        self.d_head, self.clip, self.d_value = d, k, v
        self.weighted, self.keys = bool(values), bool(keys)
        self.table = check_choice("Shaw", "table", table, ("learned", "sinusoidal"))
        if self.table == "sinusoidal":
            _check_sinusoidal(d, v if self.weighted else d)
        else:
            self.key_vectors = nn.Parameter(_glorot(2 * k + 1, d))
            if self.weighted:
                self.value_vectors = nn.Parameter(_glorot(2 * k + 1, v))

    @classmethod
    def examples(cls) -> Sequence["Shaw"]:
        """Return small instances: as published, of BERT's two kinds, of NEZHA's."""
        return (
            cls(4, 3),
            cls(4, 23, values=False),
            cls(4, 5, values=False, keys=True),
            cls(4, 2, table="sinusoidal"),
        )

    def vectors(self, of: str, like: Tensor) -> Float[Tensor, "r d"]:
        """Return the table of offsets −K … K.

        Args:
            of: `"key"` or `"value"`.
            like: Whose dtype and device a fixed table takes.
        """
        if self.table == "learned":
            return self.key_vectors if of == "key" else self.value_vectors
        # NEZHA numbers the rows by j − i + K, from 0.
        at = torch.arange(2 * self.clip, -1, -1, dtype=torch.float64, device=like.device)
        even = torch.arange(0, self.d_head, 2, dtype=torch.float64, device=like.device)
        angles = at[:, None] * 10_000 ** (-even / self.d_head)
        return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2).to(like.dtype)

    def score(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h t d"],
        i: Int[Tensor, "*i n"],
        j: Int[Tensor, "*j t"],
        keep: Bool[Tensor, "*k n t"],
    ) -> Tensor | None:
        """Return q_i · a_r, and k_j · a_r where keys meet the vectors too, scaled."""
        table = self.vectors("key", q) * self.scale(q.shape[-1])
        if not is_run(i, j):
            index = self._places(offset_matrix(i, j))
            found = looked_up(q @ table.mT, index)
            return found + looked_up(k @ table.mT, index.mT).mT if self.keys else found
        t = j.shape[-1]
        if self._narrow(q, t):
            return spread(q @ table.mT, t, int(i[0] - j[0]))
        run = table[self._places(run_of_offsets(i, j))][None]
        also = k if self.keys else None
        return by_row(q, run, also, None if also is None else run, i.shape[-1], keep)

    def value(
        self, weights: Float[Tensor, "b h n t"], i: Int[Tensor, "*i n"], j: Int[Tensor, "*j t"]
    ) -> Tensor | None:
        """Return the sum of the vectors c of the offsets, each with its weight."""
        if not self.weighted:
            return None
        table = self.vectors("value", weights)
        if is_run(i, j) and eager() and weights.device.type == "cpu":
            return collect(weights, self.clip, int(i[0] - j[0])) @ table
        index = self._places(offset_matrix(i, j))
        places: Any = index if index.ndim == 2 else index[:, None]
        sums = weights.new_zeros(*weights.shape[:-1], 2 * self.clip + 1)
        return sums.scatter_add(-1, places.expand(weights.shape), weights) @ table

    def _places(self, r: Tensor) -> Tensor:
        return r.clamp(-self.clip, self.clip) + self.clip

    def _narrow(self, q: Tensor, t: int) -> bool:
        """Return whether the band of offsets that are not clipped is narrow among t keys."""
        return not self.keys and eager() and q.device.type == "cpu" and 4 * self.clip < t

    def extra_repr(self) -> str:
        """Say the sizes."""
        kinds = f"values={self.weighted}, keys={self.keys}, table={self.table!r}"
        return f"d_head={self.d_head}, clip={self.clip}, {kinds}"


def _glorot(rows: int, d: int) -> Tensor:
    return nn.init.xavier_uniform_(torch.empty(rows, d))


def _check_sinusoidal(d: int, v: int) -> None:
    if d != v:
        raise ArgumentError(
            f"Shaw: d_value must be d_head, {d}, with a sinusoidal table; got {v}",
            remedy="One table serves keys and values: give values=False, or learn them.",
        )
    if d % 2:
        raise ArgumentError(
            f"Shaw: d_head must be even with a sinusoidal table; got {d}",
            remedy='Or take table="learned".',
        )
