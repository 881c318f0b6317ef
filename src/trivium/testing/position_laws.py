"""Laws that every position encoding keeps in an attention layer."""

import copy
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from trivium._core.errors import TriviumError
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


def padding_anywhere(layer: Attention, x: Tensor) -> None:
    """Padding between tokens changes nothing: positions count tokens, not places."""
    keep = torch.ones(x.shape[:2], dtype=torch.bool)
    keep[0, 2:4] = keep[1:, ::3] = False
    out = layer(x.masked_fill(~keep[..., None], torch.nan), keep=keep)
    for row, kept in enumerate(keep):
        alone = layer(x[row : row + 1, kept])
        _near(out[row : row + 1, kept], alone, f"row {row} changes with padding inside of it")


def ragged_chunks(layer: Attention, x: Tensor) -> None:
    """Rows that go on by different numbers of tokens give what each gives alone."""
    if not layer.causal:
        return
    n, done, state = x.shape[1], [0] * len(x), layer.start(len(x))
    whole = layer(x)
    for lengths in ([4, 2], [1, 3], [n - 5, n - 5]):
        takes = [lengths[min(row, 1)] for row in range(len(x))]
        chunk = x.new_full((len(x), max(takes), x.shape[2]), torch.nan)
        for row, take in enumerate(takes):
            chunk[row, :take] = x[row, done[row] : done[row] + take]
        out, state = layer(chunk, state, lengths=takes, return_state=True)
        for row, take in enumerate(takes):
            done[row] += take
            if layer.streaming or done[row] == n:
                wanted = whole[row, done[row] - take : done[row]]
                found = out[row, :take]
                only = slice(None) if layer.streaming else slice(-1, None)
                _near(found[only], wanted[only], f"row {row} differs in ragged chunks")


def nothing_remembered(layer: Attention, x: Tensor) -> None:
    """Earlier calls leave no trace, and a changed parameter is seen at once."""
    with torch.no_grad():
        before = layer(x)
        layer(x[:, :3], positions=torch.arange(3, 6))
        copy.deepcopy(layer).float()(x.float())
        _near(layer(x), before, "a call changes the next", 0.0)
        learned = list(layer.position.parameters())
        if not learned:
            return
        known = [value.clone() for value in learned]
        for k, value in enumerate(learned):  # behind the back of version counters
            value.data += 0.1 * torch.cos(k + torch.arange(value.numel())).view_as(value)
        if bool((layer(x) == before).all()):
            raise AssertionError("a changed parameter is not seen")
        for value, old in zip(learned, known, strict=True):
            value.data.copy_(old)
        _near(layer(x), before, "a parameter set back is not seen", 0.0)


def grouped_heads(position: Position, causal: bool, x: Tensor) -> None:
    """One head of keys for all queries is that head repeated."""
    m, h = x.shape[2], 2
    full = Attention(m, h, copy.deepcopy(position), causal).double()
    try:
        one = Attention(m, h, copy.deepcopy(position), causal, n_kv_heads=1).double()
    except TriviumError:  # refused, and so not wrong
        return
    with torch.no_grad():
        d = one.head_dim
        q, k, v = one.projection.weight.split((h * d, d, d))
        full.projection.weight.copy_(torch.cat((q, k.repeat(h, 1), v.repeat(h, 1))))
        full.output.weight.copy_(one.output.weight)
    _near(one(x), full(x), "grouped heads differ from repeated ones")


def narrow_dtypes(layer: Attention, x: Tensor) -> None:
    """Float32 agrees with float64, bfloat16 within its own rounding; both keep their dtype."""
    wanted = layer(x)
    for dtype, tolerance in ((torch.float32, 1e-5), (torch.bfloat16, 0.1)):
        out = copy.deepcopy(layer).to(dtype)(x.to(dtype))
        if out.dtype != dtype:
            raise AssertionError(f"{dtype} becomes {out.dtype}")
        _near(out.double(), wanted, f"{dtype} differs from float64", tolerance)


def far_positions(layer: Attention, x: Tensor) -> None:
    """Positions near 2²⁰ are refused or as good as those near 0, in narrow types too."""
    far, run = 1 << 20, torch.arange(x.shape[1])
    moved = run + (run == x.shape[1] - 1)
    near, told = layer(x), layer(x, positions=moved)
    try:
        out = layer(x, positions=far + run)
    except TriviumError:
        return
    _near(layer(x, layer.start(len(x), far)), out, "a run from 2²⁰ differs from its positions")
    if layer.position.stationary:
        _near(out, near, "a stationary encoding knows where it is", 1e-8)
    apart = float((layer(x, positions=far + moved) - out).detach().abs().max())
    if apart <= 1e-9 < float((told - near).detach().abs().max()):
        raise AssertionError(f"positions near 2²⁰ are not told apart: {apart:.3g}")
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.bfloat16, 0.1)):
        found = copy.deepcopy(layer).to(dtype)(x.to(dtype), positions=far + run)
        _near(found.double(), out, f"{dtype} differs near 2²⁰", tolerance)


POSITION_LAWS: tuple[Law, ...] = (
    positions_are_explicit,
    offsets_are_kept,
    packed_documents,
    left_padding,
    padding_anywhere,
    ragged_chunks,
    nothing_remembered,
    narrow_dtypes,
    far_positions,
)


def check_position(position: Position, causal: bool = True) -> None:
    """Hold an encoding, in a layer of its own, to `ATTENTION_LAWS` and `POSITION_LAWS`.

    They ask that outputs do not depend on how a row is cut, packed, padded or cached, that
    nothing is remembered between calls, that keys of grouped heads are treated alike, and that
    float32, bfloat16 and positions near 2²⁰ lose no more than rounding does (or are refused).

    Args:
        position: An instance for `d_model=8, n_heads=2, d_head=4` and positions up to 24.
        causal: Whether the layer is.

    Raises:
        AssertionError: A law is broken; it names the law.

    Example:
        >>> from trivium.position import Sinusoidal
        >>> check_position(Sinusoidal(8))
    """
    torch.manual_seed(0)
    layer = Attention(8, 2, position=copy.deepcopy(position), causal=causal)
    check_attention(layer)
    layer = layer.double()
    x = attention_rows(8, steps=9)
    calls = [(law.__name__, partial(law, layer, x)) for law in POSITION_LAWS]
    for name, call in (*calls, ("grouped_heads", partial(grouped_heads, position, causal, x))):
        try:
            call()
        except AssertionError as error:
            raise AssertionError(f"law {name}: {error}") from error
