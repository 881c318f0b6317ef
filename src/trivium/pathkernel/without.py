r"""The counterfactual: what if this row had not been there, through the whole training.

Row i's loss terms are given a weight $w_i$; $C_i = \partial f(\theta_T) / \partial w_i$ at
$w = 1$, by one backward recurrence through every step: its Hessian, its momentum, its
preconditioner and its clipping. To first order the value without the row is $f - C_i$.
"""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from trivium.kernel.tangent_tape import TangentTape
from trivium.pathkernel.adjoint import pull_back, slopes_of
from trivium.pathkernel.ledger import measure_rows
from trivium.pathkernel.notes import Piece
from trivium.pathkernel.products import batched_products, coupled_products, traced, weight_gradient
from trivium.pathkernel.queries import Queries
from trivium.pathkernel.replay import Replay, ReplayedStep
from trivium.pathkernel.run import Run
from trivium.pathkernel.sums import Sums

__all__ = ["differentiate"]

_CLIP_GUARD = 1e-6  # what clip_grad_norm_ adds to the norm


def differentiate(
    run: Run,
    queries: Queries,
    sums: Sums,
    *,
    coupled: bool = False,
    measure: bool = False,
    tick: Callable[[int], None] = lambda _: None,
) -> None:
    """Add up the derivative by each row's weight, backwards over the run.

    Args:
        run: The recorded training.
        queries: The rows asked about.
        sums: What is added to.
        coupled: Rows share their batch's moments.
        measure: Add up the lengths of the rows' gradients too.
        tick: Called with the number of steps just done.

    Cost:
        One replay, and for each step and query a double backward of the batch.

    Source:
        Maclaurin et al. 2015, "Gradient-based hyperparameter optimization through reversible
        learning"; Hara et al. 2019, "Data cleansing for models trained with SGD", eq. 5.
    """
    replay, last = run.replay, run.checkpoints.held[-1]
    weight = queries.gradient(last.weights, last.buffers).dense()
    state: dict[str, Tensor] = {}
    for steps, _ in _spans(run, coupled=coupled):
        for step in reversed(steps):
            slopes = slopes_of(replay.recurrence, step, frozen=False)
            pulled = pull_back(slopes, weight, state)
            directions = _unclipped(step, pulled.gradient)
            for piece, trace in zip(step.note.pieces, step.traces, strict=True):
                if coupled:
                    replay.write_buffers(step.buffers)
                    found = coupled_products(replay, piece, step.before, directions)
                else:
                    found = trace.products(directions)
                sums.add_rows(step.number, piece.places, found)
            by_layer = sums.per_layer_dot(directions, step.gradient)
            sums.add_layers(by_layer)
            sums.add_step(step.number, by_layer.sum(0))
            weight = pulled.weight + _curved(replay, step, directions)
            state = pulled.state
            if pulled.pull is not None:
                weight.addcmul_(pulled.pull, step.decay())
            tick(1)
        if measure:
            measure_rows(steps, sums)


def _spans(run: Run, *, coupled: bool) -> Iterator[tuple[list[ReplayedStep], dict[str, Tensor]]]:
    if coupled:
        yield from run.backwards(Replay.backward)
        return
    for start, end in run.checkpoints.spans():
        with TangentTape(run.replay.model) as tape:  # open while replaying only
            steps = run.steps(start, end, traced(tape))
        yield steps, end.buffers


def _curved(replay: Replay, step: ReplayedStep, directions: Tensor) -> Tensor:
    """Return the Hessian of the step's losses times each direction, `(q, p)`."""
    replay.weights.write(step.before)
    replay.write_buffers(step.buffers)
    found = torch.zeros_like(directions)
    for piece in step.note.pieces:
        with torch.enable_grad():
            gradient = weight_gradient(_total(replay, piece), replay, create_graph=True)
            parts = batched_products(gradient, replay.weights.tensors, directions)
        found += torch.cat([part.reshape(len(directions), -1) for part in parts], 1)
    return found


def _total(replay: Replay, piece: Piece) -> Tensor:
    loss, _ = replay.forward(piece)
    return loss if piece.upstream is None else (loss * piece.upstream).sum()


def _unclipped(step: ReplayedStep, adjoint: Tensor) -> Tensor:
    """Go back through clipping by norm, or through a loss scale, which is a power of two."""
    factor = step.factor
    if factor == 1:
        return adjoint
    mantissa = math.frexp(factor)[0]
    if abs(mantissa - 0.5) < _CLIP_GUARD or abs(mantissa - 1) < _CLIP_GUARD:
        return adjoint * factor
    norm = step.gradient.norm()
    along = adjoint @ step.gradient / (norm * (norm + _CLIP_GUARD))
    return factor * (adjoint - along[:, None] * step.gradient)
