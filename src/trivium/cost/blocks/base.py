"""The contract of a block: a frozen part of a layer that lists its components."""

from typing import Literal, Protocol, runtime_checkable

from trivium.cost.component import Component
from trivium.cost.design import Design

__all__ = ["Block", "Tokens"]

# Tokens of the model, or of the encoder of an encoder-decoder.
Tokens = Literal["n", "e"]


@runtime_checkable
class Block(Protocol):
    """A part of a layer; hashable, so that equal layers are counted once."""

    def components(self, design: Design) -> tuple[Component, ...]:
        """Return the operators of the block under a design of attention.

        Raises:
            ArgumentError: The block cannot take the design.
        """
        ...
