"""Tokens times one plus the vector of their position."""

from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.position.base import Added
from trivium.position.learned import Learned
from trivium.position.sinusoidal import Sinusoidal

__all__ = ["Multiplicative"]


class Multiplicative(Added):
    """The vectors of another encoding, multiplied in: x · (1 + p).

    It is that encoding with `merge="multiply"`, for one that exists already or has no such
    argument; the two share their parameters. Only its vectors count, not what else it does to
    tokens.

    Args:
        of: An `Added` encoding.

    Raises:
        ArgumentError: `of` is none.

    Cost:
        That of the vectors, and O(n m).

    Example:
        >>> import torch
        >>> position, x = Learned(16, 8), torch.randn(1, 5, 8)
        >>> i = torch.arange(5)
        >>> torch.equal(Multiplicative(position).embed(x, i), x * (1 + position.vectors(i)))
        True

    Source:
        Su, Position encodings that rack researchers' brains (2021), section on multiplicative
        encodings, after Wu et al., On Multiplicative Integration with Recurrent Neural Networks,
        NeurIPS (2016).
    """

    def __init__(self, of: Added) -> None:
        super().__init__("multiply")
        given: Any = of
        if not isinstance(given, Added):
            raise ArgumentError(
                f"Multiplicative: of must be an encoding that has vectors, an Added; got {of!r}"
            )
        self.of = of

    @property
    def d_model(self) -> int | None:
        """Width of the vectors, where the encoding given says so."""
        return getattr(self.of, "d_model", None)

    @classmethod
    def examples(cls) -> Sequence["Multiplicative"]:
        """Return small instances, of a table and of sinusoids."""
        return (cls(Learned(24, 8)), cls(Sinusoidal(8)))

    def vectors(self, i: Int[Tensor, "*b n"]) -> Float[Tensor, "*b n m"]:
        """Return the vectors of the encoding given."""
        return self.of.vectors(i)
