"""The doors of linear attention: what is refused, and in which words."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

from trivium._core.checks import check_finite, check_shapes
from trivium._core.counted import counted
from trivium._core.eager import eager
from trivium._core.errors import ArgumentError, ShapeError
from trivium.attention.features import AttentionFeatures
from trivium.attention.linear_state import LinearState, check_alike, empty_state

FLOATS = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
_CHUNK, _CHUNK_BY_FEATURE = 64, 32


@dataclass(frozen=True)
class Checked:
    """Sizes of checked inputs.

    Args:
        sizes: Batch, heads of keys and values, and their dimension v.
        steps: Keys.
        causal: Whether queries and keys are the same steps.
        work: Dtype of the sums.
        like: A tensor on their device.
    """

    sizes: tuple[int, int, int]
    steps: int
    causal: bool
    work: torch.dtype
    like: Tensor


def check_inputs(caller: str, q: Any, k: Any, v: Any, causal: bool) -> Checked:
    """Return the sizes of queries, keys and values that fit each other.

    Raises:
        ArgumentError: Not floating tensors, or of dtypes or devices that differ.
        ShapeError: Axes that differ, heads that do not divide, or no steps.
    """
    for name, value in (("q", q), ("k", k), ("v", v)):
        if not isinstance(value, Tensor) or value.dtype not in FLOATS:
            got = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ArgumentError(f"{caller}: {name} must be a floating tensor; got {got}")
        if value.dtype != q.dtype or value.device != q.device:
            raise ArgumentError(
                f"{caller}: {name} must have the dtype and device of q, {q.dtype} on {q.device}; "
                f"got {value.dtype} on {value.device}"
            )
    steps = "s" if causal else "t"
    axes = {"q": (q, "b h s d"), "k": (k, f"b g {steps} d"), "v": (v, f"b g {steps} v")}
    found = check_shapes(caller, axes)
    for name, size in found.items():
        if size < 1:
            raise ShapeError(
                f"{caller}: axis {name} must be positive; got 0 "
                f"(shapes {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)})"
            )
    if found["h"] % found["g"]:
        raise ShapeError(
            f"{caller}: the heads of k and v must divide the {found['h']} of q; got {found['g']} "
            f"(shapes {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)})"
        )
    work = torch.float64 if q.dtype == torch.float64 else torch.float32
    return Checked((found["b"], found["g"], found["v"]), found[steps], causal, work, q)


def normalized(caller: str, features: AttentionFeatures, normalize: bool | None) -> bool:
    """Return whether sums are divided by their weight.

    Raises:
        ArgumentError: Weights of both signs, whose sum may vanish, are to be normalized.
    """
    if normalize is None:
        return features.positive
    if not isinstance(normalize, bool):
        raise ArgumentError(f"{caller}: normalize must be True, False or None; got {normalize!r}")
    if normalize and not features.positive:
        raise ArgumentError(
            f"{caller}: normalize must be False with {features.key()}, whose weights have both "
            "signs; got True",
            remedy="Use a positive map, or normalize the output itself (RetNet's group norm).",
        )
    return normalize


def steps_of(caller: str, chunk: int | str, steps: int, log_decay: Any) -> int:
    """Return the steps that are taken at a time.

    Raises:
        ArgumentError: Neither `"auto"` nor a whole number from 1 to the length of the row.
    """
    if isinstance(chunk, str) and chunk == "auto":
        by_feature = isinstance(log_decay, Tensor) and log_decay.ndim == 4
        return min(_CHUNK_BY_FEATURE if by_feature else _CHUNK, steps)
    if not isinstance(chunk, int) or isinstance(chunk, bool) or not 1 <= chunk <= steps:
        raise ArgumentError(
            f"{caller}: chunk must be 'auto' or a whole number from 1 to the row's "
            f"{counted(steps, 'step')}; "
            f"got {chunk!r}"
        )
    return chunk


def keep_of(
    caller: str, lengths: Any, batch: int, steps: int, device: torch.device
) -> Bool[Tensor, "b s"] | None:
    """Return where tokens are and padding is not; `None` where there is no padding.

    Raises:
        ArgumentError: Not whole numbers, or not from 1 to the length of the rows.
        ShapeError: Not one for each row of the batch.
    """
    if lengths is None:
        return None
    try:
        found = torch.as_tensor(lengths, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"{caller}: lengths must be whole numbers; got {lengths!r}") from error
    if found.dtype not in (torch.int32, torch.int64):
        raise ArgumentError(f"{caller}: lengths must be whole numbers; got {found.dtype}")
    if found.shape != (batch,):
        raise ShapeError(
            f"{caller}: lengths must be one for each of the {counted(batch, 'row')}; got shape "
            f"{tuple(found.shape)}"
        )
    if eager():
        bad = ((found < 1) | (found > steps)).nonzero().flatten().tolist()
        if bad:
            raise ArgumentError(
                f"{caller}: lengths must be from 1 to the {counted(steps, 'step')} of a row; got "
                f"{int(found[bad[0]])}",
                where=f"row {bad[0]}",
            )
    return torch.arange(steps, device=device) < found[:, None]


def log_of(
    caller: str, log_decay: Any, given: Checked, width: int, keep: Tensor | None
) -> Tensor | None:
    """Return the log factors, zero on padding.

    Raises:
        ArgumentError: Not a float tensor on the device of q, above zero, or not causal.
        ShapeError: Neither one a step nor one for each feature.
        DataError: Not finite.
    """
    if log_decay is None:
        return None
    if not given.causal:
        raise ArgumentError(f"{caller}: log_decay must be None where causal is False")
    if not isinstance(log_decay, Tensor) or log_decay.dtype not in FLOATS:
        raise ArgumentError(f"{caller}: log_decay must be a floating tensor; got {log_decay!r}")
    if log_decay.device != given.like.device:
        raise ArgumentError(
            f"{caller}: log_decay must be on the device of q, {given.like.device}; got "
            f"{log_decay.device}"
        )
    one = (*given.sizes[:2], given.steps)
    if tuple(log_decay.shape) not in (one, (*one, width)):
        raise ShapeError(
            f"{caller}: log_decay must have the shape {one}, or {(*one, width)} for one factor "
            f"for each feature; got {tuple(log_decay.shape)}"
        )
    log = log_decay
    if keep is not None:
        log = log.masked_fill(~(keep[:, None, :, None] if log.ndim == 4 else keep[:, None]), 0)
    if eager():
        check_finite(caller, "log_decay", log)
        largest = float(log.detach().max())
        if largest > 0:
            raise ArgumentError(
                f"{caller}: log_decay must be at most 0; got {largest:g}",
                remedy="It is the logarithm of the factor: pass factor.log().",
            )
    return log.to(given.work)


def check_start(
    caller: str,
    state: Any,
    given: Checked,
    width: int,
    log: Tensor | None,
    features: AttentionFeatures,
) -> LinearState:
    """Return the state to start from: the one given, if it fits, or one of no tokens.

    Raises:
        ArgumentError: Not a state, or of another map, decay, dtype or device.
        ShapeError: Other sizes.
    """
    decay = "none" if log is None else "scalar" if log.ndim == 3 else "channel"
    b, h, v = given.sizes
    like = given.like.new_zeros((), dtype=given.work)
    fresh = empty_state((b, h, width, v), decay, features.key(), like)
    if state is None:
        return fresh
    check_alike(caller, fresh, state)
    return state
