"""The decoder of the study: small, the same for every encoding, with as many parameters."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu

from trivium.attention import Attention
from trivium.position import Position

__all__ = ["Decoder", "build_encoding"]


def build_encoding(
    member: type[Position], sizes: Mapping[str, int], options: Mapping[str, Any] | None = None
) -> Position:
    """Make an encoding from a model's sizes, by the names of its arguments.

    Args:
        member: A class of `trivium.position`.
        sizes: `d_model`, `n_heads`, `d_head`, `max_length`.
        options: Its other arguments.
    """
    given = dict(options or {})
    wanted = inspect.signature(member.__init__).parameters
    return member(**{k: v for k, v in sizes.items() if k in wanted and k not in given}, **given)


class Decoder(nn.Module):
    """Causal pre-norm Transformer over symbols.

    An encoding that acts on tokens does so once, below all layers; any other serves every layer.

    Args:
        n_symbols: Kinds of symbols.
        position: The encoding.
        d_model: Width.
        n_heads: Heads.
        n_layers: Layers.
        d_feed: Width of the feed-forward part.
    """

    def __init__(
        self,
        n_symbols: int,
        position: Position,
        *,
        d_model: int,
        n_heads: int,
        n_layers: int,
        d_feed: int,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(n_symbols, d_model)
        below = type(position).embed is not Position.embed
        self.below = position if below else None
        inside = None if below else position
        self.layers = nn.ModuleList(
            _Layer(d_model, n_heads, inside, d_feed) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, n_symbols)

    def forward(self, tokens: Int[Tensor, "b n"]) -> Float[Tensor, "b n s"]:
        """Return the logits of the symbol after each."""
        x = self.embedding(tokens)
        if self.below is not None:
            x = self.below.embed(x, torch.arange(tokens.shape[1]))
        for layer in self.layers:
            x = layer(x)
        return self.head(self.norm(x))


class _Layer(nn.Module):
    def __init__(self, d_model: int, n_heads: int, position: Position | None, d_feed: int) -> None:
        super().__init__()
        self.before = nn.LayerNorm(d_model)
        self.attention = Attention(d_model, n_heads, position)
        self.between = nn.LayerNorm(d_model)
        self.feed = nn.Linear(d_model, d_feed)
        self.back = nn.Linear(d_feed, d_model)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.before(x))
        return x + self.back(gelu(self.feed(self.between(x))))


def count(module: nn.Module) -> int:
    """Return the number of parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def equal_decoder(n_symbols: int, position: Position, sizes: Mapping[str, int]) -> Decoder:
    """Return a decoder whose feed-forward part gives back what the encoding's parameters take."""
    d, layers = sizes["d_model"], sizes["n_layers"]
    unit = layers * (2 * d + 1)
    d_feed = max(1, 4 * d - round(count(position) / unit))
    return Decoder(
        n_symbols,
        position,
        d_model=d,
        n_heads=sizes["n_heads"],
        n_layers=layers,
        d_feed=d_feed,
    )
