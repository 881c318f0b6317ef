"""Rows of tokens: where padding is, where tokens stand, and which pairs are kept apart."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from trivium._core.errors import ArgumentError, ShapeError
from trivium.attention.cache import KeyValueState
from trivium.attention.doors import keep_of

_WHOLE = (torch.int32, torch.int64)


@dataclass(frozen=True)
class Tokens:
    """The tokens of one call.

    Args:
        keep: Where tokens are and padding is not; `None` where there is no padding.
        pairs: Which query attends to which key, as given; `None` for all.
        at: Positions, `(s)` for one run that all rows share, else `(b, s)`.
        right: Whether padding stands on the right only.
    """

    keep: Bool[Tensor, "b s"] | None
    pairs: Bool[Tensor, "#b s t"] | None
    at: Int[Tensor, "*b s"]
    right: bool

    def filled(self, x: Tensor) -> Tensor:
        """Return x with zeros on padding."""
        return x if self.keep is None else x.masked_fill(~self.keep[..., None], 0)

    def places(self, own: bool, begin: KeyValueState) -> Int[Tensor, "*b s"]:
        """Return the positions; with `own`, padding stands where the token before it does.

        Before the first token it stands where that does, and in a row without any where the last
        token of the state does, so that no document seems to end at padding.

        Args:
            own: Whether padding is moved.
            begin: The state before these tokens.
        """
        if not own or self.keep is None:
            return self.at
        at = self.at.expand(self.keep.shape)
        steps = torch.arange(at.shape[-1], device=at.device)
        last = torch.where(self.keep, steps, -1).cummax(-1).values
        source = torch.where(last < 0, self.keep.int().argmax(-1, keepdim=True), last)
        none = ~self.keep.any(-1, keepdim=True)
        return torch.where(none, (begin.position - 1).clamp(min=0)[:, None], at.gather(-1, source))

    def mask(self, end: KeyValueState, hidden: bool) -> Bool[Tensor, "#b #n t"] | None:
        """Return what keeps pairs apart, but for causality.

        Args:
            end: The state after these tokens.
            hidden: Whether padding on the right is behind every query already.
        """
        if end.keep is None or (self.right and hidden):
            return self.pairs
        kept = end.keep[:, None]
        return kept if self.pairs is None else kept & self.pairs


def marked(i: Int[Tensor, "*i s"], keep: Bool[Tensor, "b s"] | None) -> Int[Tensor, "*j s"]:
    """Return positions with −1 on padding."""
    return i if keep is None else i.expand(keep.shape).masked_fill(~keep, -1)


def tokens_of(
    caller: str, x: Tensor, begin: KeyValueState, lengths: Any, keep: Any, positions: Any
) -> Tokens:
    """Return the tokens of a call, checked.

    Args:
        caller: Who asks, for the message.
        x: The rows `(b, s, m)`.
        begin: The state before them.
        lengths: Tokens in each row, or `None`.
        keep: Tokens `(b, s)` or pairs `(b, s, t)`, or `None`.
        positions: Positions, or `None`.

    Raises:
        ArgumentError: Not of the right kind, or lengths and tokens both.
        ShapeError: Axes that do not fit.
    """
    b, s, t = x.shape[0], x.shape[1], len(begin) + x.shape[1]
    right = keep_of(caller, lengths, b, s, x.device)
    tokens, pairs = _kept(caller, keep, (b, s, t), x.device)
    if right is not None and tokens is not None:
        raise ArgumentError(f"{caller}: keep must be pairs (b, s, t) beside lengths; got (b, s)")
    if positions is not None:
        at = _positions(caller, positions, (b, s), x.device)
    elif tokens is not None:
        at = begin.position[:, None] + (tokens.long().cumsum(-1) - 1).clamp(min=0)
    else:
        at = begin.next(s)
    return Tokens(tokens if right is None else right, pairs, at, right is not None)


def _kept(
    caller: str, keep: Any, sizes: tuple[int, int, int], device: torch.device
) -> tuple[Tensor | None, Tensor | None]:
    if keep is None:
        return None, None
    if not isinstance(keep, Tensor) or keep.dtype != torch.bool or keep.device != device:
        got = f"{keep.dtype} on {keep.device}" if isinstance(keep, Tensor) else repr(keep)
        raise ArgumentError(f"{caller}: keep must be a boolean tensor on {device}; got {got}")
    b, s, t = sizes
    if keep.shape == (b, s):
        return keep, None
    if keep.shape in ((b, s, t), (1, s, t)):
        return None, keep
    raise ShapeError(
        f"{caller}: keep must have the shape {(b, s)} for tokens or {sizes} for pairs of queries "
        f"and keys; got {tuple(keep.shape)}"
    )


def _positions(
    caller: str, positions: Any, sizes: tuple[int, int], device: torch.device
) -> Int[Tensor, "b s"]:
    try:
        at = torch.as_tensor(positions, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{caller}: positions must be whole numbers; got {positions!r}"
        ) from error
    if at.dtype not in _WHOLE:
        raise ArgumentError(f"{caller}: positions must be whole numbers; got {at.dtype}")
    if at.shape not in (sizes, sizes[1:]):
        raise ShapeError(
            f"{caller}: positions must have the shape {sizes[1:]} or {sizes}; got {tuple(at.shape)}"
        )
    return at.long().expand(sizes)
