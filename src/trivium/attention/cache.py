"""The state of softmax attention: keys, values and positions so far; it joins and is saved."""

import os
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ModelError, ShapeError
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.attention.selection import picked_rows

__all__ = ["KeyValueState"]

_FORMAT = "trivium.key_value_state/1"
_FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_HELD = ("keys", "values", "at", "keep", "count", "origin")


class KeyValueState:
    """Keys and values of the tokens so far, each with its position.

    Keys are as the position encoding's `key` left them, once for all; before it where the
    encoding refreshes. `merge` changes the state, `a + b` neither.

    Args:
        keys: Keys of each head.
        values: Values of each head.
        at: Positions of the keys, `(t)` for one run that all rows share, else `(b, t)`.
        keep: Which of them are tokens, the others being padding; `None` for all.
        count: Tokens seen, for each row of the batch.
        origin: Position of the next token less `count`, for each row of the batch: that of the
            first token where they are consecutive.
        owner: The layer that it belongs to, by identity; `None` for any.

    Raises:
        ShapeError: Axes that do not fit each other.

    Example:
        >>> from trivium.attention import Attention
        >>> layer = Attention(8, 2)
        >>> _, state = layer(torch.randn(1, 5, 8), return_state=True)
        >>> state
        KeyValueState(1 × 2 heads of 4 and 4, [5] tokens, torch.float32)
    """

    def __init__(
        self,
        keys: Float[Tensor, "b h t d"],
        values: Float[Tensor, "b h t v"],
        at: Int[Tensor, "*b t"],
        keep: Bool[Tensor, "b t"] | None,
        count: Int[Tensor, " b"],
        origin: Int[Tensor, " b"],
        owner: object = None,
    ) -> None:
        b, t = len(count), at.shape[-1]
        alike = keys.ndim == values.ndim == 4 and keys.shape[:3] == values.shape[:3]
        held = alike and (keys.shape[0], keys.shape[2]) == (b, t)
        # One comparison of shapes of one length: two free lengths compared tie them in a graph.
        placed = at.shape == ((b, t) if at.ndim == 2 else (t,))
        if not held or not placed or origin.shape != (b,):
            shapes = [tuple(x.shape) for x in (keys, values, at, count, origin)]
            raise ShapeError(
                "KeyValueState: keys and values must have the axes (b, h, t, ·), at (t) or (b, t), "
                f"count and origin (b); got shapes {shapes}"
            )
        if keep is not None and keep.shape != (b, t):
            raise ShapeError(
                f"KeyValueState: keep must have the shape {(b, t)}; got {tuple(keep.shape)}"
            )
        self.keys, self.values, self.at, self.keep = keys, values, at, keep
        self.count, self.origin, self.owner = count, origin, owner

    @property
    def position(self) -> Int[Tensor, " b"]:
        """Position of the next token."""
        return self.origin + self.count

    def __len__(self) -> int:
        """Return how many keys are held for a row, padding among them."""
        return self.at.shape[-1]

    def __repr__(self) -> str:
        """Say how much is held."""
        b, h, _, d = self.keys.shape
        sizes = f"{b} × {counted(h, 'head')} of {d} and {self.values.shape[-1]}"
        return f"KeyValueState({sizes}, {self.count.tolist()} tokens, {self.keys.dtype})"

    def next(self, steps: int) -> Int[Tensor, "*b s"]:
        """Return the positions of the next tokens: one run where all rows share it."""
        ahead = torch.arange(steps, device=self.at.device)
        if self.at.ndim == 1 and len(self.origin):
            return self.origin[0] + self.at.shape[0] + ahead
        return self.position[:, None] + ahead

    def mask(self) -> Bool[Tensor, "b t"]:
        """Return which of the keys are tokens."""
        if self.keep is not None:
            return self.keep
        return self.at.new_ones((len(self.count), len(self)), dtype=torch.bool)

    def places(self) -> Int[Tensor, "b t"]:
        """Return the positions of the keys, row by row."""
        return self.at.expand(len(self.count), -1)

    def extend(
        self, keys: Tensor, values: Tensor, at: Tensor, keep: Tensor | None
    ) -> "KeyValueState":
        """Return the state with more tokens behind these; this one stays as it is."""
        rows = at.ndim == 2 or self.at.ndim == 2 or keep is not None
        before = self.places() if rows else self.at
        after = at.expand(len(self.count), -1) if rows else at
        seen = at.shape[-1] if keep is None else keep.sum(-1)
        origin = self._origin_after(at, keep, seen)
        if self.keep is not None or keep is not None:
            fresh = keys.new_ones(keys.shape[::2], dtype=torch.bool) if keep is None else keep
            keep = torch.cat((self.mask(), fresh), 1)
        return self._with(
            keys=torch.cat((self.keys, keys), 2),
            values=torch.cat((self.values, values), 2),
            at=torch.cat((before, after), -1),
            keep=keep,
            count=self.count + seen,
            origin=origin,
        )

    def _origin_after(self, at: Tensor, keep: Tensor | None, seen: Tensor | int) -> Tensor:
        """Return the origin that lets the next token follow the last of these."""
        if at.ndim == 1 or at.shape[-1] == 0:
            return self.origin
        last = at[:, -1]
        if keep is not None:
            places = torch.arange(at.shape[-1], device=at.device)
            ends = (keep * places).amax(-1, keepdim=True)
            last = torch.where(keep.any(-1), at.gather(1, ends)[:, 0], self.position - 1)
        return last + 1 - (self.count + seen)

    def merge(self, other: "KeyValueState") -> "KeyValueState":
        """Put the tokens of `other` behind these.

        Returns:
            The state itself; `a + b` gives a new one and changes neither.

        Raises:
            ArgumentError: Not a state, or of another layer, dtype or device.
            ShapeError: Other sizes.

        Cost:
            O(b h (t + t') (d + v)): both are copied.
        """
        check_same_layer("KeyValueState.merge", self, other)
        if len(self) == 0:
            joined, self.origin = other, other.origin
        elif len(other) == 0:
            joined = self
        else:  # row by row: two runs need not follow each other
            joined = self.extend(other.keys, other.values, other.places(), other.keep)
        self.keys, self.values, self.at, self.keep = (
            joined.keys,
            joined.values,
            joined.at,
            joined.keep,
        )
        self.count = joined.count
        self.owner = self.owner if self.owner is not None else other.owner
        return self

    def __add__(self, other: "KeyValueState") -> "KeyValueState":
        """Return the state of these tokens and then those of `other`."""
        return self.copy().merge(other)

    def __radd__(self, other: int) -> "KeyValueState":
        """Let `sum(parts)` start from 0."""
        return self.copy() if other == 0 else NotImplemented

    def _with(self, **changed: Any) -> "KeyValueState":
        held = {name: getattr(self, name) for name in (*_HELD, "owner")}
        return KeyValueState(**{**held, **changed})

    def copy(self) -> "KeyValueState":
        """Return a state that can be merged into without changing this one."""
        return self._with()

    def detach(self) -> "KeyValueState":
        """Return the state without its history: truncated backpropagation through time."""
        return self._with(keys=self.keys.detach(), values=self.values.detach())

    def to(self, device: torch.device | str) -> "KeyValueState":
        """Return the state on another device.

        Raises:
            ArgumentError: A dtype: positions and counts keep theirs.
        """
        if isinstance(device, torch.dtype):
            raise ArgumentError(f"KeyValueState.to: device must be a device; got {device}")
        held = {name: getattr(self, name) for name in _HELD}
        return self._with(**{n: None if x is None else x.to(device) for n, x in held.items()})

    def select(self, index: Int[Tensor, " k"]) -> "KeyValueState":
        """Return the states of some rows of the batch, in this order: the step of a beam search.

        Raises:
            ArgumentError: Not whole numbers, or out of range.
        """
        rows = picked_rows("KeyValueState.select", index, self.count)
        names = [name for name in _HELD if name != "at" or self.at.ndim == 2]
        held = {name: getattr(self, name) for name in names}
        picked = {name: None if x is None else x[rows] for name, x in held.items()}
        return self._with(**picked)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            OutputError: It cannot be written; what was there before is intact.
            ResourceError: The disk is full; what was there before is intact.
        """
        held = {name: getattr(self, name) for name in _HELD}
        tensors = {n: x.contiguous() for n, x in held.items() if x is not None}
        write_tensors("KeyValueState.save", path, _FORMAT, tensors, {})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "KeyValueState":
        """Read what `save` wrote; everything is checked before it is used.

        Returns:
            A state that any layer of its sizes takes.

        Raises:
            ModelError: Missing, damaged, or not such a state.
        """
        tensors, _ = read_tensors("KeyValueState.load", path, _FORMAT)
        whole = dict.fromkeys(("at", "count", "origin"), (torch.int64,))
        wanted = {"keys": _FLOATS, "values": _FLOATS, "keep": (torch.bool,), **whole}
        for name, dtypes in wanted.items():
            value = tensors.get(name, torch.ones((), dtype=torch.bool) if name == "keep" else None)
            if value is None or value.dtype not in dtypes or not bool(value.isfinite().all()):
                got = None if value is None else value.dtype
                raise ModelError(
                    f"KeyValueState.load: {name} must be finite, of {dtypes}; got {got}",
                    where=str(path),
                )
        held: dict[str, Any] = {name: tensors.get(name) for name in _HELD}
        try:
            return cls(**held)
        except ShapeError as error:
            raise ModelError(f"KeyValueState.load: {error}", where=str(path)) from error


def check_same_layer(caller: str, one: KeyValueState, other: Any) -> None:
    """Refuse a state that does not belong to the same layer as another.

    Raises:
        ArgumentError: Not a state, or of another layer, dtype or device.
        ShapeError: Other sizes.
    """
    if not isinstance(other, KeyValueState):
        raise ArgumentError(f"{caller}: state must be a KeyValueState; got {type(other).__name__}")
    wanted, found = _sizes(one), _sizes(other)
    if wanted != found:
        raise ShapeError(f"{caller}: state must have the sizes (b, h, d, v) {wanted}; got {found}")
    for name in ("dtype", "device"):
        expected, got = getattr(one.keys, name), getattr(other.keys, name)
        if expected != got:
            raise ArgumentError(f"{caller}: state must have the {name} {expected}; got {got}")
    if one.owner is not None and other.owner is not None and one.owner is not other.owner:
        raise ArgumentError(
            f"{caller}: state must be of this layer; got one of another layer of the same sizes",
            remedy="Keep one state for each layer.",
        )


def _sizes(state: KeyValueState) -> tuple[int, ...]:
    b, h, _, d = state.keys.shape
    return b, h, d, state.values.shape[-1]
