"""Rotations of pairs of features: one pass forward, and the opposite turn backward."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.eager import eager

LAYOUTS = ("half", "interleaved")
_PART = 1 << 17  # numbers at a time, which stay in the processor's cache for three passes


def cos_sin_of(
    angles: Float[Tensor, "*b n f"], like: Tensor
) -> tuple[Float[Tensor, "*b n f"], Float[Tensor, "*b n f"]]:
    """Return cosines and sines for tensors such as `like`, never in half precision."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    return angles.cos().to(like.device, dtype), angles.sin().to(like.device, dtype)


def turned(
    x: Float[Tensor, "b h n d"],
    cos: Float[Tensor, "*b n f"],
    sin: Float[Tensor, "*b n f"],
    layout: str,
) -> Float[Tensor, "b h n d"]:
    """Return x with its pairs turned, in the type of x; the features past the pairs stay.

    Args:
        x: Heads, of one row of positions for all rows or of a row each.
        cos: Cosines of each position, for f pairs; they may have any length.
        sin: Sines.
        layout: Which features pair: `"half"`, t and t + f; `"interleaved"`, 2t and 2t + 1.
    """
    if cos.ndim == 3:
        cos, sin = cos[:, None], sin[:, None]
    wide = x.to(cos.dtype)
    learned = torch.is_grad_enabled() and (cos.requires_grad or sin.requires_grad)
    if eager() and not learned and x.device.type == "cpu":
        return _Turn.apply(wide, cos, sin, layout).to(x.dtype)  # type: ignore[no-untyped-call]
    return _plain(wide, cos, sin, layout).to(x.dtype)


def _plain(x: Tensor, cos: Tensor, sin: Tensor, layout: str) -> Tensor:
    f = cos.shape[-1]
    turning, rest = x[..., : 2 * f], x[..., 2 * f :]
    if layout == "half":
        a, b = turning[..., :f], turning[..., f:]
        parts = [a * cos - b * sin, b * cos + a * sin]
    else:
        a, b = turning[..., ::2], turning[..., 1::2]
        parts = [torch.stack((a * cos - b * sin, b * cos + a * sin), -1).flatten(-2)]
    return torch.cat((*parts, rest), -1) if rest.shape[-1] else torch.cat(parts, -1)


class _Turn(torch.autograd.Function):
    """The turn; its gradient is the turn by the opposite angles."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor, layout: str) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.layout = layout
        return _in_one_pass(x, cos, sin, layout)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Any:
        cos, sin = ctx.saved_tensors
        (slope,) = slopes
        return turned(slope, cos, -sin, ctx.layout), None, None, None


def _in_one_pass(x: Tensor, cos: Tensor, sin: Tensor, layout: str) -> Tensor:
    """Return what `_plain` returns, with nothing written but the result."""
    f = cos.shape[-1]
    if layout == "interleaved" and x.shape[-1] % 2:  # no complex view of an odd row
        return _plain(x, cos, sin, layout)
    if layout == "interleaved" and not _pairs_up(x):
        x = x.contiguous()
    out = torch.empty_like(x)
    if x.shape[-1] > 2 * f:
        out[..., 2 * f :] = x[..., 2 * f :]
    if layout == "interleaved":
        pairs, found = (
            torch.view_as_complex(y[..., : 2 * f].unflatten(-1, (f, 2))) for y in (x, out)
        )
        torch.mul(pairs, torch.complex(cos, sin), out=found)
        return out
    n = x.shape[-2]
    step = max(1, _PART * n // max(1, x.numel()))
    for lo in range(0, n, step):
        part = slice(lo, lo + step)
        old, new, c, s = (y[..., part, :] for y in (x, out, cos, sin))
        # Halves change places in a copy, so that products run over whole rows, not over halves.
        old, new = old[..., : 2 * f], new[..., : 2 * f]
        torch.cat((old[..., f:], old[..., :f]), -1, out=new)
        new.mul_(torch.cat((-s, s), -1)).addcmul_(old, torch.cat((c, c), -1))
    return out


def _pairs_up(x: Tensor) -> bool:
    """Return whether x, and what `empty_like` makes of it, has pairs that are complex numbers."""
    even = all(step % 2 == 0 for step in x.stride()[:-1])
    return even and x.stride(-1) == 1 and x.storage_offset() % 2 == 0 and x.shape[-1] % 2 == 0
