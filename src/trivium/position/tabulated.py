"""Encodings whose vectors are rows of a table: where it ends, and when it is made anew."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import embedding

from trivium._core.checks import check_number
from trivium._core.eager import eager
from trivium._core.errors import ArgumentError
from trivium.position.base import Added


def positive_sizes(caller: str, **sizes: object) -> tuple[int, ...]:
    """Return sizes, checked.

    Raises:
        ArgumentError: One is not a positive whole number.
    """
    return tuple(
        int(check_number(caller, name, value, "positive", integer=True))
        for name, value in sizes.items()
    )


def check_places(caller: str, i: Int[Tensor, "*b n"], limit: int) -> int:
    """Refuse positions that a table does not have; in a traced graph torch itself does.

    Returns:
        How many rows are in use: the whole table where values cannot be looked at.

    Raises:
        ArgumentError: A position below 0, or of `limit` or beyond.
    """
    if not eager() or i.is_meta or i.numel() == 0:
        return limit
    low, high = (int(end) for end in i.aminmax())
    if low < 0 or high >= limit:
        raise ArgumentError(
            f"{caller}: positions must be from 0 to {limit - 1}, the rows of its table; "
            f"got {low if low < 0 else high}",
            remedy="Raise max_length, or take an encoding without a table.",
        )
    return high + 1


class Stepped(Added, ABC):
    """An encoding whose vectors follow from one another: row k + 1 of its table from row k.

    With gradients the table is made at each call, as far as it is used. Without, it is made once,
    whole, and again after a parameter has changed: a decoder does not pay for it at each token.

    Args:
        max_length: Positions.
        d_model: Width of the vectors.
        merge: As in `Added`.
    """

    def __init__(self, max_length: int, d_model: int, merge: str) -> None:
        super().__init__(merge)
        caller = type(self).__name__
        self.max_length, self.d_model = positive_sizes(
            caller, max_length=max_length, d_model=d_model
        )
        self._known: tuple[list[Tensor], Tensor] | None = None

    @abstractmethod
    def table(self, n: int) -> Float[Tensor, "n m"]:
        """Return the vectors of the first n positions."""

    def vectors(self, i: Int[Tensor, "*b n"]) -> Float[Tensor, "*b n m"]:
        """Return the rows at positions i.

        Raises:
            ArgumentError: A position that the table does not have.
        """
        rows = check_places(type(self).__name__, i, self.max_length)
        if torch.is_grad_enabled() or not eager() or i.is_meta:
            return embedding(i, self.table(rows))
        return embedding(i, self._kept())

    def _kept(self) -> Tensor:
        # By value: a version counter does not see what is written through `.data`.
        held = list(self.parameters())
        if self._known is None or not _same(self._known[0], held):
            self._known = ([value.detach().clone() for value in held], self.table(self.max_length))
        return self._known[1]

    def extra_repr(self) -> str:
        """Say the sizes."""
        return f"max_length={self.max_length}, d_model={self.d_model}"


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    """Return whether these are the same numbers of the same types in the same places."""
    return all(
        (a.dtype, a.device) == (b.dtype, b.device) and torch.equal(a, b)
        for a, b in zip(one, other, strict=True)
    )
