"""Several encodings as one: every hook of each, one after the other."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from trivium._core.errors import ArgumentError
from trivium.position.base import NoPosition, Offset, Position
from trivium.position.learned import Learned
from trivium.position.sinusoidal import Sinusoidal
from trivium.position.zero_padding import ZeroPadding

__all__ = ["Combined", "combine"]

_PROBES = (1, 4, 64, 80, 128)  # dimensions at which two factors are compared


class Combined(Position):
    """Several encodings as one; `combine` makes it.

    Tokens, queries and keys go through each in the order given; biases and additions to the
    output are summed. It is causal only, bidirectional only, refreshed and so on where a part is,
    and stationary where all are. A part that sets the scale of the logits sets it for all, and
    stands beside none that adds to the logits by another.

    Args:
        positions: The parts.

    Raises:
        ArgumentError: A part is no encoding, parts need layers of both kinds, or set two scales.

    Cost:
        The sum of the parts'.
    """

    def __init__(self, *positions: Position) -> None:
        super().__init__()
        for part in positions:
            given: Any = part
            if not isinstance(given, Position):
                raise ArgumentError(f"combine: positions must each be a Position; got {part!r}")
        self.parts = nn.ModuleList(_flat(positions))
        parts = self._parts()
        self.refresh = any(part.refresh for part in parts)
        self.causal_only = any(part.causal_only for part in parts)
        self.bidirectional_only = any(part.bidirectional_only for part in parts)
        self.weighted = any(part.weighted for part in parts)
        self.scored = any(part.scored for part in parts)
        self.mixing = any(part.mixing for part in parts)
        self.stationary = all(part.stationary for part in parts)
        if self.causal_only and self.bidirectional_only:
            one = next(type(part).__name__ for part in parts if part.causal_only)
            other = next(type(part).__name__ for part in parts if part.bidirectional_only)
            raise ArgumentError(
                f"combine: positions must fit one layer; got {one} for causal layers only and "
                f"{other} for bidirectional ones"
            )
        self._scaling = _scaling(parts)

    @classmethod
    def examples(cls) -> Sequence[Position]:
        """Return small instances: at the tokens, biases alone, tokens and biases."""
        return (
            combine(Learned(24, 8), Sinusoidal(8)),
            combine(_Slope(0.5), _Slope(0.1), Sinusoidal(8)),
            combine(Learned(24, 8), ZeroPadding(8)),
        )

    def _parts(self) -> list[Position]:
        return [part for part in self.parts if isinstance(part, Position)]

    def join(self, projection: nn.Linear, n_kv_heads: int) -> None:
        """Tell each part of a layer that uses it."""
        for part in self._parts():
            part.join(projection, n_kv_heads)

    def embed(self, x: Float[Tensor, "b n m"], i: Int[Tensor, "*b n"]) -> Float[Tensor, "b n m"]:
        """Return the tokens after each part."""
        for part in self._parts():
            x = part.embed(x, i.clamp(min=0) if self.mixing and not part.mixing else i)
        return x

    def query(
        self, q: Float[Tensor, "b h n d"], i: Int[Tensor, "*b n"]
    ) -> Float[Tensor, "b h n e"]:
        """Return the queries after each part."""
        for part in self._parts():
            q = part.query(q, i)
        return q

    def key(self, k: Float[Tensor, "b h t d"], j: Int[Tensor, "*b t"]) -> Float[Tensor, "b h t e"]:
        """Return the keys after each part."""
        for part in self._parts():
            k = part.key(k, j)
        return k

    def score(
        self,
        q: Float[Tensor, "b h n d"],
        k: Float[Tensor, "b h t d"],
        i: Int[Tensor, "*i n"],
        j: Int[Tensor, "*j t"],
        keep: Bool[Tensor, "*k n t"],
    ) -> Tensor | None:
        """Return the sum of the biases, `None` where there is none."""
        return _sum([part.score(q, k, i, j, keep) for part in self._parts() if part.scored])

    def value(
        self,
        weights: Float[Tensor, "b h n t"],
        i: Int[Tensor, "*i n"],
        j: Int[Tensor, "*j t"],
    ) -> Tensor | None:
        """Return the sum of what is added to the output, `None` where there is nothing."""
        return _sum([part.value(weights, i, j) for part in self._parts() if part.weighted])

    def width(self, d: int) -> int:
        """Return the dimension of keys after each part."""
        for part in self._parts():
            d = part.width(d)
        return d

    def scale(self, d: int) -> float:
        """Return the factor of the part that sets one, else 1/√d."""
        return super().scale(d) if self._scaling is None else self._parts()[self._scaling].scale(d)


class CombinedOffset(Combined, Offset):
    """Parts whose biases are all functions of the offset: so is their sum."""

    def curve(self, r: Int[Tensor, "*r"]) -> Float[Tensor, "*r h"]:
        """Return the sum of the curves."""
        first, *rest = (part.curve(r) for part in self._parts() if isinstance(part, Offset))
        for more in rest:
            first = first + more
        return first

    score = Offset.score


class _Slope(Offset):
    """A bias that falls with the distance, for the examples."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = slope

    def curve(self, r: Int[Tensor, "*r"]) -> Float[Tensor, "*r h"]:
        return -self.slope * r.abs()[..., None].to(torch.get_default_dtype())


def combine(*positions: Position) -> Position:
    """Return one encoding that does what each of these does.

    Args:
        positions: The parts; at tokens, queries and keys they act in this order.

    Returns:
        An encoding that any layer takes. Where all biases are functions of the offset, it is an
        `Offset` and takes the layer's fast path.

    Raises:
        ArgumentError: As for `Combined`.

    Example:
        >>> from trivium.attention import Attention
        >>> from trivium.position import Learned, Linear
        >>> both = combine(Learned(16, 8), Linear(n_heads=2))
        >>> Attention(8, 2, position=both)(torch.randn(1, 5, 8)).shape
        torch.Size([1, 5, 8])
    """
    if len(positions) == 1 and isinstance(positions[0], Position):
        return positions[0]
    found = Combined(*positions)
    if not found.parts:
        return NoPosition()
    scored = [part for part in found._parts() if part.scored]
    by_offset = scored and all(isinstance(part, Offset) for part in scored)
    return CombinedOffset(*positions) if by_offset and not found.weighted else found


def _flat(positions: Sequence[Position]) -> list[Position]:
    """Return the parts, and the parts of parts."""
    found: list[Position] = []
    for part in positions:
        found += part._parts() if isinstance(part, Combined) else [part]
    return found


def _scaling(parts: Sequence[Position]) -> int | None:
    """Return which part sets the scale of the logits; `None` where none does."""
    own = [at for at, part in enumerate(parts) if type(part).scale is not Position.scale]
    if not own:
        return None
    one, *others = own
    for other in (*others, *(at for at, part in enumerate(parts) if part.by_scale)):
        for d in _PROBES:
            a, b = parts[one].scale(d), parts[other].scale(d)
            if abs(a - b) > 1e-12 * abs(a):
                names = [type(parts[at]).__name__ for at in (one, other)]
                raise ArgumentError(
                    "combine: positions must agree on the scale of the logits; got "
                    f"{a:.4g} from {names[0]} and {b:.4g} from {names[1]} at dimension {d}",
                    remedy="Buckets(scaled=True) keeps 1/√d.",
                )
    return one


def _sum(found: Sequence[Tensor | None]) -> Tensor | None:
    total: Tensor | None = None
    for more in found:
        if more is not None:
            total = more if total is None else total + more
    return total
