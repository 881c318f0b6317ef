"""The state of linear attention: sums over the rows so far, which merge and go into a file."""

import os
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ModelError, ShapeError
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.attention.selection import picked_rows

__all__ = ["LinearState"]

_FORMAT = "trivium.linear_state/1"
_FLOATS = (torch.float32, torch.float64)
_WHOLE = (torch.int64,)
_DECAYS = {"none": 0, "scalar": 2, "channel": 3}


class LinearState:
    r"""S = Σ φ(k_t) v_tᵀ and z = Σ φ(k_t) for each head: a moment that grows with the sequence.

    Float32 whatever the input (float64 for float64). Without decay it is a sum, so states merge
    in any order; with decay the later state fades the earlier one,
    $(S, g) + (S', g') = (g' S + S', g' g)$, which is associative but not symmetric. `merge`
    changes the state (and not the tensors in it, so gradients stay right), `a + b` neither.

    Args:
        sums: S, and z as its last column.
        log_decay: Logarithm of all factors so far, for each head or each feature; `None` without
            decay.
        count: Tokens seen, for each row of the batch.
        features: `AttentionFeatures.key()` of the map that made it.
        owner: The layer that it belongs to, by identity; `None` for any.
        origin: Position of the first token, for each row of the batch; zeros by default.

    Raises:
        ShapeError: Axes that do not fit each other.

    Example:
        >>> from trivium.attention import linear_attention
        >>> q, k, v = torch.randn(3, 1, 2, 6, 4, dtype=torch.float64)
        >>> _, one = linear_attention(q, k, v, return_state=True)
        >>> halves = [linear_attention(q[:, :, s], k[:, :, s], v[:, :, s], return_state=True)[1]
        ...           for s in (slice(0, 2), slice(2, 6))]
        >>> torch.allclose((halves[0] + halves[1]).products, one.products, rtol=1e-12)
        True

    Source:
        Katharopoulos et al., Transformers are RNNs, ICML (2020), eq. 16 to 18.
    """

    def __init__(
        self,
        sums: Float[Tensor, "b h r v"],
        log_decay: Float[Tensor, "b h *r"] | None,
        count: Int[Tensor, " b"],
        features: str,
        owner: object = None,
        origin: Int[Tensor, " b"] | None = None,
    ) -> None:
        if sums.ndim != 4 or count.shape != sums.shape[:1]:
            raise ShapeError(
                f"LinearState: sums must have the axes (b, h, r, v + 1) and count (b); got shapes "
                f"{tuple(sums.shape)}, {tuple(count.shape)}"
            )
        if log_decay is not None and log_decay.shape not in (sums.shape[:2], sums.shape[:3]):
            raise ShapeError(
                f"LinearState: log_decay must have the axes (b, h) or (b, h, r) of sums, "
                f"{tuple(sums.shape)}; got shape {tuple(log_decay.shape)}"
            )
        self.sums, self.log_decay, self.count = sums, log_decay, count
        self.features, self.owner = features, owner
        self.origin = torch.zeros_like(count) if origin is None else origin

    @property
    def products(self) -> Float[Tensor, "b h r v"]:
        """S."""
        return self.sums[..., :-1]

    @property
    def mass(self) -> Float[Tensor, "b h r"]:
        """z, the weight that outputs are divided by where they are normalized."""
        return self.sums[..., -1]

    @property
    def position(self) -> Int[Tensor, " b"]:
        """Position of the next token."""
        return self.origin + self.count

    @property
    def decay(self) -> str:
        """`"none"`, `"scalar"` or `"channel"`."""
        axes = 0 if self.log_decay is None else self.log_decay.ndim
        return next(name for name, n in _DECAYS.items() if n == axes)

    def __repr__(self) -> str:
        """Say how much is held."""
        b, h, r, v = self.sums.shape
        held = f"{b} × {counted(h, 'head')}, {r} × {v - 1}, {self.count.tolist()} tokens"
        return f"LinearState({self.features}, decay {self.decay}, {held}, {self.sums.dtype})"

    def merge(self, other: "LinearState") -> "LinearState":
        """Add the tokens of `other`, which come after these.

        Returns:
            The state itself; `a + b` gives a new one and changes neither.

        Raises:
            ArgumentError: Not a state, or of another layer, map, decay, dtype or device.
            ShapeError: Other sizes.

        Cost:
            O(b h r v).
        """
        check_alike("LinearState.merge", self, other)
        sums = self.sums
        if other.log_decay is not None and self.log_decay is not None:
            fade = other.log_decay.to(sums.dtype).exp()
            sums = sums * fade.reshape(*fade.shape, *(1,) * (4 - fade.ndim))
            self.log_decay = self.log_decay + other.log_decay
        self.sums = sums + other.sums
        self.count = self.count + other.count
        self.owner = self.owner if self.owner is not None else other.owner
        return self

    def __add__(self, other: "LinearState") -> "LinearState":
        """Return the state of these tokens and then those of `other`."""
        return self.copy().merge(other)

    def __radd__(self, other: int) -> "LinearState":
        """Let `sum(parts)` start from 0."""
        return self.copy() if other == 0 else NotImplemented

    def _with(self, **changed: Any) -> "LinearState":
        held = {
            "sums": self.sums,
            "log_decay": self.log_decay,
            "count": self.count,
            "features": self.features,
            "owner": self.owner,
            "origin": self.origin,
        }
        return LinearState(**{**held, **changed})

    def copy(self) -> "LinearState":
        """Return a state that can be merged into without changing this one."""
        return self._with()

    def detach(self) -> "LinearState":
        """Return the state without its history: truncated backpropagation through time."""
        log = None if self.log_decay is None else self.log_decay.detach()
        return self._with(sums=self.sums.detach(), log_decay=log)

    def to(self, device: torch.device | str) -> "LinearState":
        """Return the state on another device.

        Raises:
            ArgumentError: A dtype: counts keep theirs.
        """
        if isinstance(device, torch.dtype):
            raise ArgumentError(f"LinearState.to: device must be a device; got {device}")
        log = None if self.log_decay is None else self.log_decay.to(device)
        moved = {name: getattr(self, name).to(device) for name in ("sums", "count", "origin")}
        return self._with(log_decay=log, **moved)

    def select(self, index: Int[Tensor, " k"]) -> "LinearState":
        """Return the states of some rows of the batch, in this order: the step of a beam search.

        Raises:
            ArgumentError: Not whole numbers, or out of range.
        """
        rows = picked_rows("LinearState.select", index, self.count)
        log = None if self.log_decay is None else self.log_decay[rows]
        picked = {name: getattr(self, name)[rows] for name in ("sums", "count", "origin")}
        return self._with(log_decay=log, **picked)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a safetensors file, whole or not at all.

        Raises:
            OutputError: It cannot be written; what was there before is intact.
            ResourceError: The disk is full; what was there before is intact.
        """
        tensors = {"sums": self.sums, "count": self.count, "origin": self.origin}
        tensors |= {} if self.log_decay is None else {"log_decay": self.log_decay}
        write_tensors("LinearState.save", path, _FORMAT, tensors, {"features": self.features})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "LinearState":
        """Read what `save` wrote; everything is checked before it is used.

        Returns:
            A state that any layer of its sizes and features takes.

        Raises:
            ModelError: Missing, damaged, or not such a state.
        """
        tensors, about = read_tensors("LinearState.load", path, _FORMAT)
        wanted = {"sums": _FLOATS, "log_decay": _FLOATS, "count": _WHOLE, "origin": _WHOLE}
        optional = {"log_decay": torch.zeros(())}
        for name, dtypes in wanted.items():
            value = tensors.get(name, optional.get(name))
            if value is None or value.dtype not in dtypes or not bool(value.isfinite().all()):
                got = None if value is None else value.dtype
                raise ModelError(
                    f"LinearState.load: {name} must be finite, of {dtypes}; got {got}",
                    where=str(path),
                )
        features = about.get("features")
        if not isinstance(features, str):
            raise ModelError(f"LinearState.load: features must be a text; got {features!r}")
        try:
            state = cls(
                tensors["sums"],
                tensors.get("log_decay"),
                tensors["count"],
                features,
                origin=tensors["origin"],
            )
        except ShapeError as error:
            raise ModelError(f"LinearState.load: {error}", where=str(path)) from error
        whole = (state.count, state.origin)
        if any(value.shape != state.sums.shape[:1] or bool((value < 0).any()) for value in whole):
            raise ModelError("LinearState.load: count and origin must be ≥ 0, one for each row")
        return state


def empty_state(
    size: tuple[int, int, int, int],
    decay: str,
    features: str,
    like: Tensor,
    owner: object = None,
) -> LinearState:
    """Return the state of no tokens, of sizes (b, h, r, v), with dtype and device of `like`."""
    b, h, r, v = (
        int(check_number("LinearState", "size", n, "positive", integer=True)) for n in size
    )
    axes = (b, h, r)[: _DECAYS[decay]]
    log = like.new_zeros(axes, dtype=torch.float64) if axes else None
    count = torch.zeros(b, dtype=torch.int64, device=like.device)
    return LinearState(like.new_zeros(b, h, r, v + 1), log, count, features, owner)


def check_alike(caller: str, one: LinearState, other: Any) -> None:
    """Refuse a state that does not belong to the same layer as another.

    Raises:
        ArgumentError: Not a state, or of another layer, map, decay, dtype or device.
        ShapeError: Other sizes.
    """
    if not isinstance(other, LinearState):
        raise ArgumentError(f"{caller}: state must be a LinearState; got {type(other).__name__}")
    if one.sums.shape != other.sums.shape:
        raise ShapeError(
            f"{caller}: state must have the sizes (b, h, r, v) {_sizes(one)}; got {_sizes(other)}"
        )
    pairs = {
        "features": (one.features, other.features),
        "decay": (one.decay, other.decay),
        "dtype": (one.sums.dtype, other.sums.dtype),
        "device": (one.sums.device, other.sums.device),
    }
    for name, (wanted, found) in pairs.items():
        if wanted != found:
            raise ArgumentError(f"{caller}: state must have the {name} {wanted}; got {found}")
    if one.owner is not None and other.owner is not None and one.owner is not other.owner:
        raise ArgumentError(
            f"{caller}: state must be of this layer; got one of another layer of the same sizes",
            remedy="Keep one state for each layer.",
        )


def _sizes(state: LinearState) -> tuple[int, ...]:
    b, h, r, v = state.sums.shape
    return b, h, r, v - 1
