"""Laws that every attention layer keeps, whatever is inside."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from trivium._core.errors import TriviumError
from trivium.attention.layer import AttentionLayer
from trivium.testing.gradient_law import check_gradient

__all__ = ["ATTENTION_LAWS", "attention_rows", "check_attention"]

Law = Callable[[AttentionLayer, Tensor], None]
_EXACT = 1e-11  # float64 sums of a few dozen terms in another order


def attention_rows(
    d_model: int, batch_size: int = 2, steps: int = 9, random_state: int = 0
) -> Tensor:
    """Draw rows of tokens `(batch, steps, d_model)` in float64.

    Example:
        >>> attention_rows(4).shape
        torch.Size([2, 9, 4])
    """
    generator = torch.Generator().manual_seed(random_state)
    shape = (batch_size, steps, d_model)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def _near(found: Tensor, wanted: Tensor, what: str, tolerance: float = _EXACT) -> None:
    if found.shape != wanted.shape:
        raise AssertionError(f"{what}: shape {tuple(found.shape)}, not {tuple(wanted.shape)}")
    scale = max(1.0, float(wanted.detach().abs().max()))
    gap = float((found - wanted).detach().abs().max())
    if not gap <= tolerance * scale:  # NaN is a gap too
        raise AssertionError(f"{what}: off by {gap:.3g}")


def shape_and_dtype_kept(layer: AttentionLayer, x: Tensor) -> None:
    """The output has the shape, dtype and device of the input, and a second call the same bits."""
    out = layer(x)
    same = (out.shape, out.dtype, out.device) == (x.shape, x.dtype, x.device)
    if not same:
        raise AssertionError(f"output is {tuple(out.shape)} {out.dtype} on {out.device}")
    if not torch.equal(out, layer(x)):
        raise AssertionError("two calls differ")


def rows_alone(layer: AttentionLayer, x: Tensor) -> None:
    """Each row of the batch gets what it would get alone."""
    for row in range(len(x)):
        _near(layer(x[row : row + 1])[0], layer(x)[row], f"row {row} sees the others")


def causality(layer: AttentionLayer, x: Tensor) -> None:
    """A causal output does not change with later tokens, and has no gradient to them."""
    if not layer.causal:
        return
    whole = layer(x)
    for cut in (1, x.shape[1] // 2, x.shape[1] - 1):
        changed = x.clone()
        changed[:, cut:] = 3 - 2 * changed[:, cut:]
        _near(layer(changed)[:, :cut], whole[:, :cut], f"steps before {cut} see later ones")
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(layer(leaf)[:, :cut].sin().sum(), leaf)
        if bool((slope[:, cut:] != 0).any()):
            raise AssertionError(f"steps before {cut} have a gradient to later ones")


def all_seen(layer: AttentionLayer, x: Tensor) -> None:
    """The last step attends to the first, and where it is not causal the first to the last."""
    for seen, by in ((0, -1), (-1, 0)):
        if by == 0 and layer.causal:
            continue
        changed = x.clone()
        changed[:, seen] = 3 - 2 * changed[:, seen]
        if bool(torch.isclose(layer(changed)[:, by], layer(x)[:, by], rtol=1e-9, atol=0).all()):
            raise AssertionError(f"step {by} does not see step {seen}")


def padding_ignored(layer: AttentionLayer, x: Tensor) -> None:
    """Padding changes nothing, NaN included: output, state, gradient; the output there is zero."""
    short = x.shape[1] - 3
    lengths = torch.tensor([x.shape[1]] + [short] * (len(x) - 1))
    padded = x.clone()
    padded[1:, short:] = float("nan")
    leaf = padded.clone().requires_grad_()
    out, state = layer(leaf, lengths=lengths, return_state=True)
    _near(out[:1], layer(x[:1]), "the full row changes with the padding of others")
    _near(out[1:, :short], layer(x[1:, :short]), "a padded row differs from the row alone")
    _near(out[1:, short:], torch.zeros_like(out[1:, short:]), "the output on padding is not zero")
    if state.count.tolist() != lengths.tolist():
        raise AssertionError(f"the state counts {state.count.tolist()}, not {lengths.tolist()}")
    slopes = torch.autograd.grad(out.sin().sum(), [leaf, *_learned(layer)], allow_unused=True)
    if not all(bool(slope.isfinite().all()) for slope in slopes if slope is not None):
        raise AssertionError("padding reaches the gradient")
    if not layer.causal:
        return
    after = layer(x[:, :2], state)
    alone = layer(x[1:, :2], layer(x[1:, :short], return_state=True)[1])
    _near(after[1:], alone, "the state after padding differs")


def _learned(layer: AttentionLayer) -> list[Tensor]:
    return [value for value in layer.parameters() if value.requires_grad]


def state_is_the_past(layer: AttentionLayer, x: Tensor) -> None:
    """Cut anywhere, a row and its state give the whole row; a state can be used twice."""
    if not layer.causal:
        return
    whole = layer(x)
    for cut in range(1, x.shape[1]):
        first, state = layer(x[:, :cut], return_state=True)
        rest = layer(x[:, cut:], state)
        found = torch.cat((first, rest), 1) if layer.streaming else rest
        _near(found, whole[:, -found.shape[1] :], f"cut at {cut} differs from the whole")
        _near(layer(x[:, cut:], state), rest, f"the state after {cut} changes when it is used")
    if state.count.tolist() != [x.shape[1] - 1] * len(x):
        raise AssertionError(f"the state counts {state.count.tolist()}")


def steps_are_the_row(layer: AttentionLayer, x: Tensor) -> None:
    """Token by token is the row at once, output and gradient."""
    if not layer.causal:
        return
    leaf, other = x.clone().requires_grad_(), x.clone().requires_grad_()
    state: Any = layer.start(len(x))
    outs = []
    for token in leaf.unbind(1):
        out, state = layer.step(token, state)
        outs.append(out)
    last = None if layer.streaming else -1
    found, wanted = torch.stack(outs, 1)[:, last:], layer(other)[:, last:]
    _near(found, wanted, "token by token differs from the row at once")
    slopes = [
        torch.autograd.grad(y.sin().sum(), at)[0] for y, at in ((found, leaf), (wanted, other))
    ]
    _near(slopes[0], slopes[1], "the gradients differ")


def merge_is_the_row(layer: AttentionLayer, x: Tensor) -> None:
    """States of the parts of a row merge into its state, in any grouping; `+` changes neither."""
    if not layer.causal:
        return
    n = x.shape[1]
    cuts = ((0, 2), (2, n // 2 + 1), (n // 2 + 1, n))
    a, b, c = (layer(x[:, lo:hi], layer.start(len(x), lo), return_state=True)[1] for lo, hi in cuts)
    probe = x[:, :2].flip(0) + 0.5
    before = [layer(probe, state.copy()) for state in (a, b, c)]
    wanted = layer(probe, layer(x, return_state=True)[1])
    for merged, what in (((a + b) + c, "(a + b) + c"), (a + (b + c), "a + (b + c)")):
        if merged.count.tolist() != [n] * len(x):
            raise AssertionError(f"{what} counts {merged.count.tolist()}, not {n}")
        _near(layer(probe, merged), wanted, f"{what} differs from the state of the row")
    for state, known in zip((a, b, c), before, strict=True):
        _near(layer(probe, state), known, "a + b changes a or b", 0.0)
    _near(layer(probe, a.copy().merge(b).merge(c)), wanted, "merging in place differs")
    nothing = layer.start(len(x)) + a
    _near(layer(probe, nothing), before[0], "nothing + a differs from a")


def order_is_free(layer: AttentionLayer, x: Tensor) -> None:
    """Without causality and positions, permuted tokens give permuted outputs."""
    if layer.ordered:
        return
    order = torch.arange(x.shape[1]).flip(0).roll(2)
    _near(layer(x[:, order]), layer(x)[:, order], "a permuted row gives another output")


def gradient_agrees(layer: AttentionLayer, x: Tensor) -> None:
    """Gradients agree with finite differences: input, parameters, and through a state."""
    small, learned = x[:, :5], _learned(layer)

    def through(row: Tensor, *_: Tensor) -> Tensor:
        if not layer.causal:
            return layer(row)
        first, state = layer(row[:, :2], return_state=True)
        return torch.cat((first, layer(row[:, 2:], state)), 1)

    leaf = small.clone().requires_grad_()
    check_gradient(through, (leaf, *learned), fast=True)


def misuse_refused(layer: AttentionLayer, x: Tensor) -> None:
    """Another width, lengths out of range and a state of something else get our own errors."""
    n = x.shape[1]
    cases: dict[str, Callable[[], Any]] = {
        "another width": lambda: layer(x[..., 1:]),
        "a row without its batch": lambda: layer(x[0]),
        "a length of 0": lambda: layer(x, lengths=[n] + [0] * (len(x) - 1)),
        "a length beyond the row": lambda: layer(x, lengths=[n + 1] * len(x)),
        "one length too few": lambda: layer(x, lengths=[n] * (len(x) - 1)),
        "a state that is none": lambda: layer(x, state=x),
    }
    if layer.causal:
        _, state = layer(x, return_state=True)
        cases["a state of another batch"] = lambda: layer(x[:1], state)
        cases["a step of a whole row"] = lambda: layer.step(x, state)
    for name, call in cases.items():
        try:
            call()
        except TriviumError:
            continue
        raise AssertionError(f"accepts {name}")


ATTENTION_LAWS: tuple[Law, ...] = (
    shape_and_dtype_kept,
    rows_alone,
    causality,
    all_seen,
    padding_ignored,
    state_is_the_past,
    steps_are_the_row,
    merge_is_the_row,
    order_is_free,
    gradient_agrees,
    misuse_refused,
)


def check_attention(layer: AttentionLayer, x: Tensor | None = None) -> None:
    """Hold an attention layer to every law in `ATTENTION_LAWS`.

    The layer is judged in float64; it is made so, and is so afterwards.

    Args:
        layer: An instance.
        x: At least two rows of at least six tokens, `(batch, seq, d_model)`, float64; drawn by
            `attention_rows` when left out.

    Raises:
        AssertionError: A law is broken; the message names the law and the figure.

    Example:
        >>> from trivium.attention import LinearAttention
        >>> check_attention(LinearAttention(4, 2))
    """
    rows = attention_rows(layer.d_model) if x is None else x
    layer.double().eval()
    for law in ATTENTION_LAWS:
        try:
            law(layer, rows)
        except AssertionError as error:
            raise AssertionError(f"law {law.__name__}: {layer!r}: {error}") from error
