"""Linear attention as a layer: projections, heads, positions, decay, state."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.checks import check_choice, check_number, check_shapes
from trivium._core.errors import ArgumentError
from trivium.attention.doors import FLOATS, keep_of, normalized
from trivium.attention.features import AttentionFeatures, features_of
from trivium.attention.layer import AttentionLayer
from trivium.attention.linear import linear_attention
from trivium.attention.linear_state import LinearState, check_alike, empty_state
from trivium.attention.stepping import linear_step

__all__ = ["LinearAttention"]

_SHORTEST, _LONGEST = 8.0, 512.0  # half-lives in tokens, before training
Position = Callable[[Tensor, Tensor], Tensor]


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
        position: `position(x, positions)` for queries and keys `(b, h, s, d)` before φ, and
            positions `(b, s)`: a rotary encoding, for example. A module's parameters are learned.
        n_kv_heads: Heads g of keys and values, of φ, decay and state; h by default. Each serves
            h / g heads of queries.

    Raises:
        ArgumentError: A size that is not positive, heads that do not divide, an unknown map or
            decay, decay without causal, weights of both signs normalized.

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
        position: Position | None = None,
        n_kv_heads: int | None = None,
    ) -> None:
        super().__init__()
        self.d_model, self.n_heads, self.head_dim = _sizes(d_model, n_heads, head_dim)
        self.n_kv_heads = _kv_heads(self.n_heads, n_kv_heads)
        v = self.head_dim if value_dim is None else value_dim
        self.value_dim = _positive("value_dim", v)
        self.chunk: Any = "auto" if chunk == "auto" else _positive("chunk", chunk)
        self.features: AttentionFeatures = features_of(
            "LinearAttention", feature_map, self.n_kv_heads, self.head_dim
        )
        self.width = self.features.width(self.head_dim)
        self.normalize = normalized("LinearAttention", self.features, normalize)
        self.causal, self.decay = bool(causal), _decay(decay, causal)
        if position is not None and not callable(position):
            raise ArgumentError(f"LinearAttention: position must be callable; got {position!r}")
        self.position = position
        self.ordered = self.causal or position is not None
        self._token = object()  # who a state belongs to: a copy of the layer gets its own
        inner = self.n_heads * self.head_dim + self.n_kv_heads * (self.head_dim + self.value_dim)
        self.projection = nn.Linear(self.d_model, inner, bias=False)
        self.output = nn.Linear(self.n_heads * self.value_dim, self.d_model, bias=False)
        self.fading = None if decay is None else self._fading()

    @classmethod
    def examples(cls) -> Sequence["LinearAttention"]:
        """Return a few small instances."""
        causal = [
            cls(8, 2),
            cls(8, 2, value_dim=3, feature_map="taylor2", chunk=2),
            cls(6, 2, head_dim=4, feature_map="hedgehog", decay="scalar"),
            cls(8, 2, feature_map="identity", decay="channel", chunk=3),
            cls(8, 2, feature_map="favor", position=_shifted),
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
        n = int(check_number("start", "batch_size", batch_size, "positive", integer=True))
        at = int(check_number("start", "position", position, "non-negative", integer=True))
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
        self, x: Float[Tensor, "b s m"], positions: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Return queries `(b, h, s, d)`; keys, values and log factors, each `(b, g, s, ...)`."""
        d, v = self.head_dim, self.value_dim
        heads = self.projection(x).unflatten(-1, (self.n_kv_heads, -1)).transpose(1, 2)
        q, k, values = heads.split((heads.shape[-1] - d - v, d, v), -1)
        q = q.unflatten(-1, (-1, d)).transpose(2, 3).flatten(1, 2)
        if self.position is not None:
            q, k = self.position(q, positions), self.position(k, positions)
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
        _check_rows(caller, x, "b s m", self.d_model)
        keep = keep_of(caller, lengths, len(x), x.shape[1], x.device)
        if keep is not None:
            x = x.masked_fill(~keep[..., None], 0)
        begin = self._own(caller, state, len(x), x)
        positions = begin.position[:, None] + torch.arange(x.shape[1], device=x.device)
        q, k, v, log = self._projected(x, positions)
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
        _check_rows(caller, x, "b m", self.d_model)
        begin = self._own(caller, state, len(x), x)
        q, k, v, log = self._projected(x[:, None], begin.position[:, None])
        out, end = linear_step(
            (q, k, v), log, begin, features=self.features, normalize=self.normalize
        )
        return self.output(out.transpose(1, 2).flatten(2))[:, 0], end


def _positive(name: str, value: Any) -> int:
    return int(check_number("LinearAttention", name, value, "positive", integer=True))


def _sizes(d_model: int, n_heads: int, head_dim: int | None) -> tuple[int, int, int]:
    m, h = _positive("d_model", d_model), _positive("n_heads", n_heads)
    if head_dim is not None:
        return m, h, _positive("head_dim", head_dim)
    if m % h:
        raise ArgumentError(
            f"LinearAttention: n_heads must divide d_model, {m}; got {h}",
            remedy="Or give head_dim.",
        )
    return m, h, m // h


def _kv_heads(n_heads: int, n_kv_heads: int | None) -> int:
    found = n_heads if n_kv_heads is None else _positive("n_kv_heads", n_kv_heads)
    if n_heads % found:
        raise ArgumentError(
            f"LinearAttention: n_kv_heads must divide n_heads, {n_heads}; got {found}"
        )
    return found


def _decay(decay: str | None, causal: bool) -> str:
    if decay is None:
        return "none"
    check_choice("LinearAttention", "decay", decay, ("scalar", "channel"))
    if not causal:
        raise ArgumentError(
            f"LinearAttention: decay must be None where causal is False; got {decay!r}"
        )
    return decay


def _check_rows(caller: str, x: Any, axes: str, d_model: int) -> None:
    if not isinstance(x, Tensor) or x.dtype not in FLOATS:
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ArgumentError(f"{caller}: x must be a floating tensor; got {got}")
    check_shapes(caller, {"x": (x, axes.replace("m", str(d_model)))})


def _shifted(x: Tensor, positions: Tensor) -> Tensor:
    """A position encoding for the examples: each coordinate gets its own wave."""
    rate = torch.arange(1, x.shape[-1] + 1, device=x.device)
    return x + (positions[:, None, :, None] / rate).sin().to(x)
