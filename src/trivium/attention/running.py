"""The causal form with a running state: chunk after chunk, the state changed in place.

Values carry a last column of ones, so that one product gives the sums and the weight that they
are divided by. Backward makes the states at the borders of chunks again and walks them
backwards, so that neither the states of all steps nor any n × n matrix is ever kept.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium.attention.fading import entering, factor, leaving, scores, scores_pull, summed
from trivium.attention.features import AttentionFeatures
from trivium.attention.parallel import causal_parallel


@dataclass(frozen=True)
class Sweep:
    """How to go over a row.

    Args:
        chunk: Steps at a time.
        normalize: Whether sums are divided by their weight.
        features: Map that is still to be applied, chunk by chunk; `None` where it has been. With
            gradients it must be pointwise.
        dtype: Dtype of the sums.
    """

    chunk: int
    normalize: bool
    features: AttentionFeatures | None
    dtype: torch.dtype

    def queries(self, q: Tensor, part: slice) -> Tensor:
        """Return the features of a chunk of queries `(b, h, s, d)` as `(rows, s, r)`."""
        return self.mapped(q[:, :, part]).flatten(0, 1)

    def mapped(self, q: Tensor) -> Tensor:
        """Return the features of queries."""
        q = q.to(self.dtype)
        if self.features is None:
            return q
        return self.features.queries(q) if self.normalize else self.features(q)

    def keys(self, k: Tensor, part: slice) -> Tensor:
        """Return the features of a chunk of keys."""
        piece = k[:, :, part].to(self.dtype)
        return (piece if self.features is None else self.features(piece)).flatten(0, 1)

    def parts(self, n: int) -> list[slice]:
        """Cut n steps into chunks; only the last may be shorter."""
        return [slice(lo, min(lo + self.chunk, n)) for lo in range(0, n, self.chunk)]


def _log(log: Tensor | None, part: slice) -> Tensor | None:
    return None if log is None else summed(log[:, part])


def _with_ones(buffer: Tensor, v: Tensor, part: slice) -> Tensor:
    """Return a chunk of values with a column of ones, in a buffer whose last column is ones."""
    found = buffer[:, : part.stop - part.start]
    found.unflatten(0, v.shape[:2])[..., :-1] = v[:, :, part]
    return found


def _advance(held: Tensor, keys: Tensor, values: Tensor, G: Tensor | None) -> None:
    """Carry the state over a chunk, in place."""
    fade = factor(G, held)
    if fade is not None:
        held.mul_(fade)
    held.baddbmm_(leaving(keys, G).mT, values)


def causal_running(
    q: Tensor, k: Tensor, v: Tensor, log: Tensor | None, start: Tensor, sweep: Sweep
) -> tuple[Tensor, Tensor, Tensor]:
    """Go over a row once.

    Args:
        q: Queries `(b, h, s, ·)`.
        k: Keys, alike.
        v: Values `(b, h, s, v)`.
        log: Log factors, `(b h, s)` or `(b h, s, r)`.
        start: State before the first step, `(b h, r, v + 1)`.
        sweep: How.

    Returns:
        Output `(b, h, s, v)`, the weights that it was divided by `(b h, s, 1)` (infinite where
        there was none; empty where nothing is divided), and the state after the last step.
    """
    b, h, n, e = v.shape
    held = start.clone(memory_format=torch.contiguous_format)
    out = held.new_empty(b, h, n, e)
    weights = held.new_empty(b * h, n if sweep.normalize else 0, 1)
    ones = held.new_ones(b * h, sweep.chunk, e + 1)
    for part in sweep.parts(n):
        queries, keys, G = sweep.queries(q, part), sweep.keys(k, part), _log(log, part)
        values = _with_ones(ones, v, part)
        found = torch.bmm(scores(queries, keys, G), values)
        found.baddbmm_(entering(queries, G), held)
        target, sums = out[:, :, part], found.unflatten(0, (b, h))
        if sweep.normalize:
            weights[:, part] = found[..., e:]
            torch.div(sums[..., :e], sums[..., e:], out=target)
        else:
            target.copy_(sums[..., :e])
        _advance(held, keys, values, G)
    _settle(out, weights)
    return out, weights, held


def _settle(out: Tensor, weights: Tensor) -> None:
    """Make the output zero, and its weight infinite, where a query met no weight."""
    none = weights == 0
    if bool(none.any()):
        weights.masked_fill_(none, torch.inf)
        out.masked_fill_(none.unflatten(0, out.shape[:2]), 0)


class CausalSweep(torch.autograd.Function):
    """`causal_running`, with its exact gradient.

    Where a gradient of the gradient is asked for, backward goes through `causal_parallel`.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        log: Tensor | None,
        start: Tensor,
        sweep: Sweep,
    ) -> tuple[Tensor, Tensor]:
        """Return output and last state."""
        out, weights, held = causal_running(q, k, v, log, start, sweep)
        ctx.save_for_backward(q, k, v, log, start, out, weights)
        ctx.sweep = sweep
        return out, held

    @staticmethod
    def backward(ctx: Any, out_slope: Tensor, held_slope: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of queries, keys, values, log factors and first state."""
        *inputs, out, weights = ctx.saved_tensors
        if torch.is_grad_enabled():
            return (*_again(inputs, out_slope, held_slope, ctx.sweep), None)
        return (*_pull(inputs, (out, weights), (out_slope, held_slope), ctx.sweep), None)


def _again(
    inputs: list[Any], out_slope: Tensor, held_slope: Tensor, sweep: Sweep
) -> list[Tensor | None]:
    """Return the gradients as tensors that can be differentiated again."""
    q, k, v, log, start = inputs
    features = sweep.mapped(q), k if sweep.features is None else sweep.features(k.to(sweep.dtype))
    values = v.to(sweep.dtype)
    found = causal_parallel(*features, values, log, start, sweep.chunk, sweep.normalize)
    wanted = [value for value in inputs if value is not None and value.requires_grad]
    slopes = iter(
        torch.autograd.grad(
            found, wanted, (out_slope, held_slope), create_graph=True, allow_unused=True
        )
    )
    return [next(slopes) if value is not None and value.requires_grad else None for value in inputs]


def _borders(
    k: Tensor, v: Tensor, log: Tensor | None, start: Tensor, sweep: Sweep
) -> tuple[Tensor, Tensor]:
    """Return the states before each chunk, (chunks, rows, r, v + 1), and after the last."""
    parts = sweep.parts(v.shape[2])
    before = start.new_empty(len(parts), *start.shape)
    held = start.clone(memory_format=torch.contiguous_format)
    values = held.new_ones(len(held), sweep.chunk, held.shape[2])
    for place, part in enumerate(parts):
        before[place] = held
        _advance(held, sweep.keys(k, part), _with_ones(values, v, part), _log(log, part))
    return before, held


def _output_slopes(made: tuple[Tensor, Tensor], slope: Tensor, part: slice, width: int) -> Tensor:
    """Return the slopes of sums and weight, (rows, s, v + 1), from those of their ratio."""
    out, weights = made
    given = slope[:, :, part].flatten(0, 1)
    found = given.new_empty(given.shape[0], given.shape[1], width)
    if weights.shape[1] == 0:
        found[..., :-1] = given
        found[..., -1] = 0
        return found
    torch.div(given, weights[:, part], out=found[..., :-1])
    ratio = out[:, :, part].flatten(0, 1)
    found[..., -1] = (found[..., :-1] * ratio).sum(-1).neg_()
    return found


def _pull(
    inputs: list[Any],
    made: tuple[Tensor, Tensor],
    slopes: tuple[Tensor, Tensor],
    sweep: Sweep,
) -> tuple[Tensor | None, ...]:
    """Return the gradients: the chunks backwards, `back` the slope of the state after each."""
    q, k, v, log, start = inputs
    before, last = _borders(k, v, log, start, sweep)
    back = slopes[1].clone(memory_format=torch.contiguous_format)
    tail = (back * last).sum(-1)  # what the log factors of all steps do to the last state
    found = tuple(torch.empty_like(x, memory_format=torch.contiguous_format) for x in (q, k, v))
    moved = None if log is None else torch.empty_like(log, dtype=last.dtype)
    values = last.new_ones(len(last), sweep.chunk, last.shape[2])
    parts = sweep.parts(v.shape[2])
    for place in range(len(parts) - 1, -1, -1):
        part, held = parts[place], before[place]
        G = _log(log, part)
        rows = (sweep.queries(q, part), sweep.keys(k, part), _with_ones(values, v, part))
        slope = _output_slopes(made, slopes[0], part, last.shape[2])
        pieces = _pull_chunk(rows, slope, (held, back), G)
        if moved is not None:
            step = rows[0] * pieces[0] - rows[1] * pieces[1]
            moved[:, part] = step.sum(-1) if moved.ndim == 2 else step
        if sweep.features is not None:
            for piece, features in zip(pieces, rows[:2], strict=False):
                piece.mul_(sweep.features.derivative(features))
        for target, piece in zip(found, pieces, strict=True):
            target[:, :, part] = piece.unflatten(0, v.shape[:2])
        fade = factor(G, back)
        if fade is not None:
            back.mul_(fade)
        back.baddbmm_(entering(rows[0], G).mT, slope)
    return (*found, None if moved is None else _log_slope(moved, tail).to(log), back)


def _pull_chunk(
    rows: tuple[Tensor, Tensor, Tensor],
    slope: Tensor,
    states: tuple[Tensor, Tensor],
    G: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of a chunk's queries, keys and values."""
    queries, keys, values = rows
    held, back = states
    to_values = torch.bmm(scores(queries, keys, G).mT, slope)
    to_values.baddbmm_(leaving(keys, G), back)
    to_queries, to_keys = scores_pull(torch.bmm(slope, values.mT), queries, keys, G)
    to_queries += entering(torch.bmm(slope, held.mT), G)
    to_keys += leaving(torch.bmm(values, back.mT), G)
    return to_queries, to_keys, to_values[..., :-1]


def _log_slope(moved: Tensor, tail: Tensor) -> Tensor:
    """Return the slope of each log factor: it scales all that comes before it, as seen after it.

    A factor at step t multiplies queries from t on and divides keys from t on, and the last state.
    """
    whole = tail if moved.ndim == 3 else tail.sum(-1)
    return moved.double().flip(1).cumsum(1).flip(1) + whole[:, None]
