"""Laws that every position encoding keeps in an attention layer."""

import copy
from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from trivium.attention.attention import Attention
from trivium.position.base import Position
from trivium.testing.attention_laws import attention_rows, check_attention

__all__ = ["POSITION_LAWS", "check_position"]

Law = Callable[[Attention, Tensor], None]
_EXACT = 1e-11  # float64 sums of a few dozen terms in another order


def _near(found: Tensor, wanted: Tensor, what: str, tolerance: float = _EXACT) -> None:
    scale = max(1.0, float(wanted.detach().abs().max()))
    gap = float((found - wanted).detach().abs().max())
    if not gap <= tolerance * scale:  # NaN is a gap too
        raise AssertionError(f"{what}: off by {gap:.3g}")


def positions_are_explicit(layer: Attention, x: Tensor) -> None:
    """Positions given row by row are those that the layer gives itself."""
    given = torch.arange(x.shape[1]).expand(x.shape[:2])
    _near(layer(x, positions=given), layer(x), "explicit positions differ from the layer's own")


def offsets_are_kept(layer: Attention, x: Tensor) -> None:
    """A row that begins elsewhere goes on as its cache does: start(position) is explicit too."""
    if not layer.causal:
        return
    first, state = layer(x[:, :3], layer.start(len(x), 4), return_state=True)
    rest = layer(x[:, 3:], state)
    at = torch.arange(4, 4 + x.shape[1])
    wanted = layer(x, positions=at)
    found = torch.cat((first, rest), 1) if layer.streaming else rest
    _near(found, wanted[:, -found.shape[1] :], "a row that begins at 4 differs in chunks")


def packed_documents(layer: Attention, x: Tensor) -> None:
    """Documents packed into one row give what each gives alone."""
    n = x.shape[1]
    cuts = (0, 2, n - 4, n)
    parts = [x[:, lo:hi] for lo, hi in pairwise(cuts)]
    at = torch.cat([torch.arange(part.shape[1]) for part in parts])
    which = torch.cat([torch.full((p.shape[1],), float(i)) for i, p in enumerate(parts)])
    keep = (which[:, None] == which)[None]
    packed = layer(x, keep=keep, positions=at)
    _near(packed, torch.cat([layer(part) for part in parts], 1), "a packed document differs")


def left_padding(layer: Attention, x: Tensor) -> None:
    """Padding on the left changes nothing, NaN included, now and in the cache."""
    pad = 3
    keep = torch.ones(x.shape[:2], dtype=torch.bool)
    keep[1:, :pad] = False
    padded = x.masked_fill(~keep[..., None], torch.nan).requires_grad_()
    out, state = layer(padded, keep=keep, return_state=True)
    _near(out[:1], layer(x[:1]), "the full row changes with the padding of others")
    _near(out[1:, pad:], layer(x[1:, pad:]), "a row padded on the left differs from it alone")
    _near(out[1:, :pad], torch.zeros_like(out[1:, :pad]), "the output on padding is not zero")
    (slope,) = torch.autograd.grad(out.sin().sum(), padded)
    if not bool(slope.isfinite().all()):
        raise AssertionError("padding on the left reaches the gradient")
    if layer.causal:
        after = layer(x[:, :2].flip(0), state)
        alone = layer(x[:, :2].flip(0)[1:], layer(x[1:, pad:], return_state=True)[1])
        _near(after[1:], alone, "the state after padding on the left differs")


def narrow_dtypes(layer: Attention, x: Tensor) -> None:
    """Float32 agrees with float64, bfloat16 within its own rounding; both keep their dtype."""
    wanted = layer(x)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        out = copy.deepcopy(layer).to(dtype)(x.to(dtype))
        if out.dtype != dtype:
            raise AssertionError(f"{dtype} becomes {out.dtype}")
        _near(out.double(), wanted, f"{dtype} differs from float64", tolerance)


POSITION_LAWS: tuple[Law, ...] = (
    positions_are_explicit,
    offsets_are_kept,
    packed_documents,
    left_padding,
    narrow_dtypes,
)


def check_position(position: Position, causal: bool = True) -> None:
    """Hold an encoding, in a layer of its own, to `ATTENTION_LAWS` and `POSITION_LAWS`.

    Args:
        position: An instance for `d_model=8, n_heads=2, d_head=4` and positions up to 16.
        causal: Whether the layer is.

    Raises:
        AssertionError: A law is broken; it names the law.

    Example:
        >>> from trivium.position import NoPosition
        >>> check_position(NoPosition())
    """
    torch.manual_seed(0)
    layer = Attention(8, 2, position=copy.deepcopy(position), causal=causal)
    check_attention(layer)
    layer = layer.double()
    x = attention_rows(8, steps=9)
    for law in POSITION_LAWS:
        try:
            law(layer, x)
        except AssertionError as error:
            raise AssertionError(f"law {law.__name__}: {error}") from error
