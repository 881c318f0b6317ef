"""Which position encodings a layer takes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.position.base import NoPosition, Offset, Position
from trivium.position.combined import Combined

Turn = Callable[[Tensor, Tensor], Tensor]


def position_of(caller: str, position: Any, causal: bool) -> Position:
    """Return the encoding of a layer, none by default.

    Raises:
        ArgumentError: Not an encoding, or one that means nothing with this `causal`.
    """
    found = NoPosition() if position is None else position
    if not isinstance(found, Position):
        raise ArgumentError(
            f"{caller}: position must be a trivium.position.Position; got {position!r}"
        )
    if (found.causal_only and not causal) or (found.bidirectional_only and causal):
        name, wanted = type(found).__name__, not causal
        raise ArgumentError(f"{caller}: causal must be {wanted} with {name}; got {causal}")
    return found


def check_sizes(caller: str, position: Any, sizes: dict[str, int]) -> None:
    """Refuse an encoding of tokens, logits or weights that was made for a layer of other sizes.

    Args:
        caller: The layer.
        position: Its encoding; a function is asked nothing.
        sizes: `d_model`, `n_heads`, `d_head` and `d_value` of the layer.

    Raises:
        ArgumentError: A part of it has another; one head of an `Offset` serves all.
    """
    if not isinstance(position, Position):
        return
    parts = list(position.parts) if isinstance(position, Combined) else [position]
    d, whole = sizes["d_head"], position.width(sizes["d_head"])
    for part in parts:
        assert isinstance(part, Position)  # what a `Combined` holds
        after = part.width(d)
        names = ["n_heads", "d_head", "d_value"] if part.scored or part.weighted else []
        names += [] if type(part).embed is Position.embed else ["d_model"]
        # Logits meet queries as all parts have left them.
        wanted = {**sizes, "d_head": whole if after == d else d}
        for name in names:
            size = wanted[name]
            own = getattr(part, name, size)
            shared = name == "n_heads" and own == 1 and isinstance(part, Offset)
            unused = name == "d_value" and not part.weighted
            if own is not None and own != size and not (shared or unused):
                made = type(part).__name__
                raise ArgumentError(
                    f"{caller}: position must have the layer's {name}, {size}; got {made} with "
                    f"{own}"
                )
        d = after


def linear_position(caller: str, position: Any, causal: bool) -> Position | Turn | None:
    """Return the encoding of a layer without logits: it acts on tokens, queries and keys.

    Raises:
        ArgumentError: Neither an encoding nor callable, one that acts elsewhere or changes keys
            again, or as for `position_of`.
    """
    if position is None or (callable(position) and not isinstance(position, Position)):
        turn: Turn | None = position
        return turn
    if not isinstance(position, Position):
        raise ArgumentError(
            f"{caller}: position must be a trivium.position.Position or callable; got {position!r}"
        )
    found, name = position_of(caller, position, causal), type(position).__name__
    if found.scored or found.weighted:
        where = "the logits" if found.scored else "the weights"
        raise ArgumentError(
            f"{caller}: position must act on tokens, queries and keys only; got {name}, which "
            f"needs {where}, and there are none",
            remedy="Take an encoding such as Sinusoidal or Rotary, or the layer Attention.",
        )
    if found.refresh:
        raise ArgumentError(
            f"{caller}: position must leave keys as they are; got {name}, whose keys change with "
            "the length of the row, when they are summed already",
            remedy="Take one whose scaling does not depend on the length.",
        )
    return found


def is_ordered(position: Position | Turn | None) -> bool:
    """Return whether an encoding tells positions apart."""
    return not (position is None or isinstance(position, NoPosition))
