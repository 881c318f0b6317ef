"""The interface of an attention layer: one row in, one row out, and a state between calls."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor, nn

__all__ = ["AttentionLayer", "AttentionState"]


@runtime_checkable
class AttentionState(Protocol):
    """What a layer keeps of the tokens so far.

    Attributes:
        count: Tokens seen, for each row of the batch.
        position: Position of the next token.
    """

    count: Int[Tensor, " b"]

    @property
    def position(self) -> Int[Tensor, " b"]:
        """Position of the next token."""
        ...

    def merge(self, other: Any) -> Any:
        """Add the tokens of `other`, which come after these; return the state itself."""
        ...

    def copy(self) -> Any:
        """Return a state that can be merged into without changing this one."""
        ...


class AttentionLayer(nn.Module, ABC):
    """Self-attention over `(batch, seq, d_model)`; any layer can stand where another stands.

    A member answers `forward`, `step`, `start` and `examples`, keeps the laws of
    `trivium.testing.check_attention`, and declares:

    Attributes:
        d_model: Width of the input and of the output.
        causal: Whether step t attends to steps up to t only.
        ordered: Whether the output depends on the order of the rest of the row: causal, or with
            a position encoding.
        streaming: Whether outputs stay as they are when the row goes on; not so where keys change
            with its length, and the last outputs alone are those of the whole row.
    """

    d_model: int
    causal: bool
    ordered: bool
    streaming: bool = True

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence["AttentionLayer"]:
        """Return a few small instances for conformance tests and the catalog."""

    @abstractmethod
    def start(self, batch_size: int, position: int = 0) -> AttentionState:
        """Return the state of no tokens, the first of which will stand at `position`."""

    @abstractmethod
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
                zero.
            return_state: Return `(output, state)`.
        """

    @abstractmethod
    def step(self, x: Float[Tensor, "*b m"], state: Any) -> tuple[Float[Tensor, "b m"], Any]:
        """Return the output for one more token, and the state after it; causal layers only."""
