"""Linear attention as a layer: projections, heads, positions, decay, state."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.checks import check_choice
from trivium._core.errors import ArgumentError
from trivium.attention.doors import keep_of, normalized
from trivium.attention.encodings import Turn, check_sizes, is_ordered, linear_position
from trivium.attention.features import AttentionFeatures, features_of
from trivium.attention.layer import AttentionLayer
from trivium.attention.linear import linear_attention
from trivium.attention.linear_state import LinearState, check_alike, empty_state
from trivium.attention.rows import marked
from trivium.attention.sizes import check_rows, head_sizes, kv_heads, positive, start_sizes
from trivium.attention.stepping import linear_step
from trivium.position.base import Position
from trivium.position.sinusoidal import Sinusoidal

__all__ = ["LinearAttention"]

_SHORTEST, _LONGEST = 8.0, 512.0  # half-lives in tokens, before training


class LinearAttention(AttentionLayer):
    r"""Multi-head linear attention over `(batch, seq, d_model)`.

    $y = W_o\,[o^1, \dots, o^h]$ with $o^i$ from `linear_attention` on $W_q x, W_k x, W_v x$. A
    linear layer needs wider heads than a softmax layer to recall as much, and how much wider
    depends on what is to be recalled: `head_dim` is free of `d_model / n_heads`.

    Args:
        d_model: Width m of input and output.
        n_heads: Heads h.
        head_dim: Dimension d of queries and keys; m / h by default.
        value_dim: Dimension of values; `head_dim` by default.
        feature_map: φ: `"elu1"`, `"relu"`, `"exp"`, `"identity"`, `"hedgehog"`, `"taylor2"`,
            `"favor"`, an `AttentionFeatures`, or a function of `(..., d)`.
        decay: `None`; `"scalar"` for one factor a head and token, `"channel"` for one for each
            feature: σ(W x + b), with half-lives from 8 to 512 tokens before training.
        causal: Whether step t attends to steps up to t only.
        chunk: Most steps at a time; `"auto"` as in `linear_attention`.
        normalize: As in `linear_attention`.
        position: An encoding that acts on tokens, queries and keys, before φ; or a function
            `position(x, positions)` of queries and keys `(b, h, s, d)`, with positions `(b, s)`.
        n_kv_heads: Heads g of keys and values, of φ, decay and state; h by default. Each serves
            h / g heads of queries.

    Raises:
        ArgumentError: A size that is not positive, heads that do not divide, an unknown map or
            decay, decay without causal, weights of both signs normalized, or an encoding that
            needs logits or weights, changes keys again, has another width, or means nothing with
            this `causal`.

    Cost:
        O(b s h (m d + r (v + chunk))) time.

    Example:
        >>> layer = LinearAttention(8, n_heads=2)
        >>> x = torch.randn(1, 5, 8)
        >>> out, state = layer(x[:, :4], return_state=True)
        >>> last, state = layer.step(x[:, 4], state)
        >>> torch.allclose(last, layer(x)[:, 4], atol=1e-6), int(state.count)
        (True, 5)

    Source:
        Katharopoulos et al., Transformers are RNNs, ICML (2020); Yang et al., Gated Linear
        Attention, ICML (2024), for decay.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the contract's signature
        self,
        d_model: int,
        n_heads: int,
        head_dim: int | None = None,
        value_dim: int | None = None,
        feature_map: Any = "elu1",
        decay: str | None = None,
        causal: bool = True,
        chunk: int | str = "auto",
        normalize: bool | None = None,
        position: Position | Turn | None = None,
        n_kv_heads: int | None = None,
    ) -> None:
        super().__init__()
        caller = "LinearAttention"
        self.d_model, self.n_heads, self.head_dim, self.value_dim = head_sizes(
            caller, d_model, n_heads, head_dim, value_dim
        )
        self.n_kv_heads = kv_heads(caller, self.n_heads, n_kv_heads)
        self.chunk: Any = "auto" if chunk == "auto" else positive(caller, "chunk", chunk)
        self.causal, self.decay = bool(causal), _decay(decay, causal)
        self.position = linear_position(caller, position, self.causal)
        self.ordered = self.causal or is_ordered(self.position)
        d = self.head_dim
        sizes = {"d_model": self.d_model, "n_heads": self.n_heads}
        check_sizes(caller, self.position, {**sizes, "d_head": d, "d_value": self.value_dim})
        turned = self.position.width(d) if isinstance(self.position, Position) else d
        self.features: AttentionFeatures = features_of(caller, feature_map, self.n_kv_heads, turned)
        self.width = self.features.width(turned)
        self.normalize = normalized(caller, self.features, normalize)
        self._token = object()  # who a state belongs to: a copy of the layer gets its own
        inner = self.n_heads * self.head_dim + self.n_kv_heads * (self.head_dim + self.value_dim)
        self.projection = nn.Linear(self.d_model, inner, bias=False)
        self.output = nn.Linear(self.n_heads * self.value_dim, self.d_model, bias=False)
        self.fading = None if decay is None else self._fading()

    by_group = True  # rows of `projection`: for each head of keys its queries, itself, its values

    @classmethod
    def examples(cls) -> Sequence["LinearAttention"]:
        """Return a few small instances."""
        causal = [
            cls(8, 2),
            cls(8, 2, value_dim=3, feature_map="taylor2", chunk=2),
            cls(6, 2, head_dim=4, feature_map="hedgehog", decay="scalar"),
            cls(8, 2, feature_map="identity", decay="channel", chunk=3),
            cls(8, 2, feature_map="favor", position=_shifted),
            cls(8, 2, position=Sinusoidal(8)),
            cls(8, 1, feature_map="exp", normalize=False),
            cls(8, 4, feature_map="hedgehog", decay="scalar", n_kv_heads=2),
            cls(8, 4, head_dim=3, feature_map="favor", position=_shifted, n_kv_heads=1),
        ]
        return (*causal, cls(8, 2, causal=False), cls(8, 2, feature_map="favor", causal=False))

    def _fading(self) -> nn.Linear:
        """Return σ's argument: a linear map that begins as a spread of half-lives."""
        n = self.n_kv_heads * (1 if self.decay == "scalar" else self.width)
        made = nn.Linear(self.d_model, n)
        lives = torch.logspace(math.log10(_SHORTEST), math.log10(_LONGEST), n)
        with torch.no_grad():
            made.weight.zero_()
            made.bias.copy_(torch.logit(0.5 ** (1 / lives)))
        return made

    def start(self, batch_size: int, position: int = 0) -> LinearState:
        """Return the state of no tokens.

        Args:
            batch_size: Rows.
            position: Where the first token will stand, for layers with a position encoding.

        Raises:
            ArgumentError: A size that is not positive, or a negative position.
        """
        n, at = start_sizes(batch_size, position)
        weight = self.projection.weight
        work = torch.float64 if weight.dtype == torch.float64 else torch.float32
        state = self._empty(n, weight.new_zeros((), dtype=work))
        state.origin = torch.full_like(state.count, at)
        return state

    def _empty(self, batch_size: int, like: Tensor) -> LinearState:
        size = (batch_size, self.n_kv_heads, self.width, self.value_dim)
        return empty_state(size, self.decay, self.features.key(), like.detach(), self._token)

    def _own(self, caller: str, state: Any, batch_size: int, like: Tensor) -> LinearState:
        """Return the state given, if it is of this layer, or an empty one."""
        work = torch.float64 if like.dtype == torch.float64 else torch.float32
        fresh = self._empty(batch_size, like.new_zeros((), dtype=work))
        if state is None:
            return fresh
        check_alike(caller, fresh, state)
        if state.owner is None:  # read from a file
            state = state.copy()
            state.owner = self._token
        return state

    def _projected(
        self, x: Float[Tensor, "b s m"], i: Tensor, keep: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return queries `(b, h, s, d)`; keys, values and log factors, each `(b, g, s, ...)`."""
        d, v, position = self.head_dim, self.value_dim, self.position
        if isinstance(position, Position):
            x = position.embed(x, marked(i, keep) if position.mixing else i)
        heads = self.projection(x).unflatten(-1, (self.n_kv_heads, -1)).transpose(1, 2)
        q, k, values = heads.split((heads.shape[-1] - d - v, d, v), -1)
        q = q.unflatten(-1, (-1, d)).transpose(2, 3).flatten(1, 2)
        if isinstance(position, Position):
            q, k = position.query(q, i), position.key(k, i)
        elif position is not None:
            rows = i.expand(len(x), -1)
            q, k = position(q, rows), position(k, rows)
        if self.fading is None:
            return q, k, values, None
        log = nn.functional.logsigmoid(self.fading(x)).unflatten(-1, (self.n_kv_heads, -1))
        log = log.transpose(1, 2)
        return q, k, values, log[..., 0] if self.decay == "scalar" else log

    def forward(
        self,
        x: Float[Tensor, "*b s m"],
        state: Any = None,
        *,
        lengths: Any = None,
        return_state: bool = False,
    ) -> Any:
        """Return the output `(b, s, m)`, with the state after the row where it is asked for.

        Args:
            x: Rows of tokens.
            state: What came before them.
            lengths: Tokens in each row, the rest being padding on the right; the output there is
                zero, and what stands there does not matter.
            return_state: Return `(output, state)`.

        Raises:
            ArgumentError: As for `linear_attention`.
            ShapeError: As for `linear_attention`.
            NumericalError: As for `linear_attention`.
        """
        caller = "LinearAttention"
        check_rows(caller, x, "b s m", self.d_model)
        keep = keep_of(caller, lengths, len(x), x.shape[1], x.device)
        if keep is not None:
            x = x.masked_fill(~keep[..., None], 0)
        begin = self._own(caller, state, len(x), x)
        i = torch.arange(x.shape[1], device=x.device)
        i = i if state is None else begin.position[:, None] + i
        q, k, v, log = self._projected(x, i, keep)
        out, end = linear_attention(
            q,
            k,
            v,
            feature_map=self.features,
            log_decay=log,
            causal=self.causal,
            chunk=self.chunk if self.chunk == "auto" else min(self.chunk, x.shape[1]),
            normalize=self.normalize,
            lengths=lengths,
            state=begin,
            return_state=True,
        )
        out = self.output(out.transpose(1, 2).flatten(2))
        if keep is not None:
            out = out.masked_fill(~keep[..., None], 0)
        return (out, end) if return_state else out

    def step(
        self, x: Float[Tensor, "*b m"], state: Any = None
    ) -> tuple[Float[Tensor, "b m"], LinearState]:
        """Return the output for one more token, and the state after it, in time O(b h r v).

        Args:
            x: One token for each row.
            state: What came before; nothing, when left out.

        Raises:
            ArgumentError: The layer is not causal, or as for `linear_attention`.
            ShapeError: As for `linear_attention`.
        """
        caller = "LinearAttention.step"
        if not self.causal:
            raise ArgumentError(f"{caller}: the layer must be causal; got causal=False")
        check_rows(caller, x, "b m", self.d_model)
        begin = self._own(caller, state, len(x), x)
        q, k, v, log = self._projected(x[:, None], begin.position[:, None])
        out, end = linear_step(
            (q, k, v), log, begin, features=self.features, normalize=self.normalize
        )
        return self.output(out.transpose(1, 2).flatten(2))[:, 0], end


def _decay(decay: str | None, causal: bool) -> str:
    if decay is None:
        return "none"
    check_choice("LinearAttention", "decay", decay, ("scalar", "channel"))
    if not causal:
        raise ArgumentError(
            f"LinearAttention: decay must be None where causal is False; got {decay!r}"
        )
    return decay


def _shifted(x: Tensor, positions: Tensor) -> Tensor:
    """A position encoding for the examples: each coordinate gets its own wave."""
    rate = torch.arange(1, x.shape[-1] + 1, device=x.device)
    return x + (positions[:, None, :, None] / rate).sin().to(x)
