"""Softmax attention as a layer: projections, heads, any position encoding, a cache."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.eager import eager
from trivium._core.errors import ArgumentError
from trivium.attention.cache import KeyValueState, check_same_layer
from trivium.attention.encodings import check_sizes, is_ordered, position_of
from trivium.attention.layer import AttentionLayer
from trivium.attention.rows import Tokens, marked, tokens_of
from trivium.attention.sizes import check_rows, head_sizes, kv_heads, start_sizes
from trivium.attention.softmax import Pairs, attend
from trivium.position.base import Position

__all__ = ["Attention"]


class Attention(AttentionLayer):
    r"""Multi-head softmax attention over `(batch, seq, d_model)`, with any position encoding.

    $y = W_o\,[o^1, \dots, o^h]$, $o^i = \mathrm{softmax}(s\, q k^\top + \mathrm{bias})\, v$; the
    encoding's five hooks act on the tokens, queries, keys, logits and outputs. The layer chooses
    the path: torch's fused kernel without a bias, a table of offsets for an `Offset`, weights
    where the encoding needs them.

    Args:
        d_model: Width m of input and output.
        n_heads: Heads h.
        position: The encoding; none by default. One instance can serve several layers.
        causal: Whether step t attends to steps up to t only.
        n_kv_heads: Heads of keys and values, shared by groups of query heads; h by default.
        head_dim: Dimension d of queries and keys; m / h by default.
        value_dim: Dimension of values; `head_dim` by default.
        bias: Whether the projections have a bias.
        dropout: Probability that a weight is dropped in training.

    Raises:
        ArgumentError: A size that is not positive, heads that do not divide, a position that is
            none, one of other sizes, or one that means nothing with this `causal`.

    Cost:
        O(b s h (m d + t (d + v))) time for t keys.

    Example:
        >>> from trivium.attention import Attention
        >>> layer = Attention(8, n_heads=2)
        >>> x = torch.randn(1, 5, 8)
        >>> out, state = layer(x[:, :4], return_state=True)
        >>> last, state = layer.step(x[:, 4], state)
        >>> torch.allclose(last, layer(x)[:, 4], atol=1e-6), int(state.count)
        (True, 5)

    Source:
        Vaswani et al., Attention Is All You Need, NeurIPS (2017), eq. 1; Ainslie et al., GQA,
        EMNLP (2023), for shared keys and values.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - one layer, its sizes
        self,
        d_model: int,
        n_heads: int,
        position: Position | None = None,
        causal: bool = True,
        n_kv_heads: int | None = None,
        head_dim: int | None = None,
        value_dim: int | None = None,
        bias: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        caller = "Attention"
        self.d_model, self.n_heads, self.head_dim, self.value_dim = head_sizes(
            caller, d_model, n_heads, head_dim, value_dim
        )
        self.n_kv_heads = kv_heads(caller, self.n_heads, n_kv_heads)
        self.causal = bool(causal)
        self.position = position_of(caller, position, self.causal)
        self.ordered = self.causal or is_ordered(self.position)
        self.streaming = not self.position.refresh
        self.dropout = float(check_number(caller, "dropout", dropout, "in [0, 1]"))
        self._token = object()  # who a state belongs to: a copy of the layer gets its own
        inner = self.n_heads * self.head_dim + self.n_kv_heads * (self.head_dim + self.value_dim)
        self.projection = nn.Linear(self.d_model, inner, bias=bias)
        sizes = {"d_model": self.d_model, "n_heads": self.n_heads, "d_head": self.head_dim}
        check_sizes(caller, self.position, {**sizes, "d_value": self.value_dim})
        self.position.join(self.projection, self.n_kv_heads)
        self.output = nn.Linear(self.n_heads * self.value_dim, self.d_model, bias=bias)

    @classmethod
    def examples(cls) -> Sequence["Attention"]:
        """Return a few small instances."""
        return (
            cls(8, 2),
            cls(8, 2, causal=False),
            cls(8, 4, n_kv_heads=2, head_dim=3, value_dim=5, bias=True),
            cls(6, 3, n_kv_heads=1, causal=False),
        )

    def start(self, batch_size: int, position: int = 0) -> KeyValueState:
        """Return the state of no tokens.

        Args:
            batch_size: Rows.
            position: Where the first token will stand.

        Raises:
            ArgumentError: A size that is not positive, or a negative position.
        """
        n, at = start_sizes(batch_size, position)
        return self._empty(n, self.projection.weight.detach(), at)

    def _empty(self, n: int, like: Tensor, at: int = 0) -> KeyValueState:
        count = torch.zeros(n, dtype=torch.int64, device=like.device)
        width = self.head_dim if self.position.refresh else self.position.width(self.head_dim)
        return KeyValueState(
            like.new_zeros(n, self.n_kv_heads, 0, width),
            like.new_zeros(n, self.n_kv_heads, 0, self.value_dim),
            count.new_zeros(0),
            None,
            count,
            count + at,
            self._token,
        )

    def _own(self, caller: str, state: Any, like: Tensor) -> KeyValueState:
        """Return the state given, if it is of this layer, or an empty one."""
        fresh = self._empty(len(like), like.detach())
        if state is None:
            return fresh
        check_same_layer(caller, fresh, state)
        if state.owner is None:  # read from a file
            state = state.copy()
            state.owner = self._token
        return state

    def _projected(self, x: Float[Tensor, "b s m"]) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each `(b, heads, s, ...)`."""
        h, g, d, v = self.n_heads, self.n_kv_heads, self.head_dim, self.value_dim
        q, k, values = self.projection(x).split((h * d, g * d, g * v), -1)
        return (
            q.unflatten(-1, (h, d)).transpose(1, 2),
            k.unflatten(-1, (g, d)).transpose(1, 2),
            values.unflatten(-1, (g, v)).transpose(1, 2),
        )

    def forward(
        self,
        x: Float[Tensor, "*b s m"],
        state: Any = None,
        *,
        lengths: Any = None,
        keep: Any = None,
        positions: Any = None,
        return_state: bool = False,
    ) -> Any:
        """Return the output `(b, s, m)`, with the state after the row where it is asked for.

        Args:
            x: Rows of tokens.
            state: What came before them.
            lengths: Tokens in each row, the rest being padding on the right; the output there is
                zero, and what stands there does not matter.
            keep: Where tokens are and padding is not, `(b, s)`, wherever it stands; or which of
                the s queries attends to which of the t keys (those of the state first),
                `(b, s, t)`: packed documents. A query with no key attends to nothing.
            positions: Positions of the tokens, whole numbers `(s)` or `(b, s)`; by default they
                follow on the state, padding left out.
            return_state: Return `(output, state)`.

        Raises:
            ArgumentError: Not a floating tensor, lengths or positions that are no whole numbers,
                `lengths` and `keep` of tokens together, or a state of another layer.
            ShapeError: Axes that do not fit.
        """
        caller = "Attention"
        check_rows(caller, x, "b s m", self.d_model)
        begin = self._own(caller, state, x)
        tokens = tokens_of(caller, x, begin, lengths, keep, positions)
        if eager() and x.shape[1] == 0:  # no token, and so no offset, to begin from
            none = self.output(x.new_zeros(len(x), 0, self.n_heads * self.value_dim))
            return (none, begin.copy()) if return_state else none
        out, end = self._attended(tokens.filled(x), begin, tokens, state is None)
        return (tokens.filled(out), end) if return_state else tokens.filled(out)

    def _attended(
        self, x: Tensor, begin: KeyValueState, tokens: Tokens, first: bool
    ) -> tuple[Tensor, KeyValueState]:
        position, i = self.position, tokens.places(self.position.refresh, begin)
        at = marked(i, tokens.keep) if position.mixing else i
        q, k, v = self._projected(position.embed(x, at))
        q, k = position.query(q, i), k if position.refresh else position.key(k, i)
        end = begin.extend(k, v, i, tokens.keep)
        k = position.key(end.keys, end.at) if position.refresh else end.keys
        mask = tokens.mask(end, self.causal and first)
        pairs = Pairs(i, i if first else end.at, self.causal, mask, first)
        drop = self.dropout if self.training else 0.0
        out = attend(position, (q, k, end.values), pairs, drop)
        return self.output(out.transpose(1, 2).flatten(2)), end

    def step(
        self, x: Float[Tensor, "*b m"], state: Any = None
    ) -> tuple[Float[Tensor, "b m"], KeyValueState]:
        """Return the output for one more token, and the state after it.

        Args:
            x: One token for each row.
            state: What came before; nothing, when left out.

        Raises:
            ArgumentError: The layer is not causal, or a state of another layer.
            ShapeError: Axes that do not fit.
        """
        caller = "Attention.step"
        if not self.causal:
            raise ArgumentError(f"{caller}: the layer must be causal; got causal=False")
        check_rows(caller, x, "b m", self.d_model)
        out, end = self.forward(x[:, None], state, return_state=True)
        return out[:, 0], end
