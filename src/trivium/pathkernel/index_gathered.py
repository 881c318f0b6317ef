"""The rows of a stretch, each once, through the model in few large forwards."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from trivium.kernel.tangent_tape import TangentTape
from trivium.kernel.tangents import Tangents
from trivium.pathkernel.index_stretch import Stretch
from trivium.pathkernel.notes import Piece
from trivium.pathkernel.replay import Replay

__all__ = ["Form", "Gathered", "form_of", "gathered", "losses", "tangents"]

Form = tuple[object, ...]

_ROWS = 256  # in one forward


@dataclass(frozen=True)
class Gathered:
    """Batches that share one form, to be gone through together.

    Attributes:
        form: A piece whose call, modes and scale they have.
        places: The rows' places, `(m b,)`, batch after batch.
        fresh: Which of them count; the others fill the last batch up.
        batches: Their number m.
        alone: They are one piece of the run, as it was.
        steps: How many pieces of the run they stand for, this and its neighbors together.
        of: How many batches these neighbors have in all.
    """

    form: Piece
    places: Tensor
    fresh: Tensor
    batches: int
    alone: bool
    steps: int
    of: int


def gathered(stretch: Stretch) -> Iterator[Gathered]:
    """Give every row of a stretch once for each form of batch that it was in.

    A loss that averages over its batch keeps its size: rows are gathered into batches of the size
    that they had. Batches with randomness or augmented rows stay what they were.
    """
    forms: dict[Form, list[Piece]] = {}
    for step in stretch.steps:
        for piece in step.pieces:
            forms.setdefault(form_of(piece), []).append(piece)
    for pieces in forms.values():
        first = pieces[0]
        size = len(first.places)
        if len(pieces) == 1:
            yield Gathered(first, first.places, torch.ones(size, dtype=torch.bool), 1, True, 1, 1)
            continue
        rows = torch.cat([piece.places for piece in pieces]).unique()
        fresh = torch.ones(len(rows), dtype=torch.bool)
        lacking = -len(rows) % size
        filler = rows.repeat(lacking // len(rows) + 1)[:lacking]
        rows = torch.cat([rows, filler])
        fresh = torch.cat([fresh, torch.zeros(lacking, dtype=torch.bool)])
        most = max(1, _ROWS // size) * size
        for a in range(0, len(rows), most):
            some = slice(a, a + most)
            n = len(rows[some]) // size
            yield Gathered(first, rows[some], fresh[some], n, False, len(pieces), len(rows) // size)


def form_of(piece: Piece) -> Form:
    """Return what batches must share to be gathered."""
    if piece.random or piece.leaves is not None:
        return (id(piece),)
    call, inputs, upstream = piece.call, piece.inputs, piece.upstream
    return (
        len(piece.places),
        None if call is None else (call.leaf, call.shape, call.target_shape),
        None if inputs is None else str(inputs.spec),
        piece.modes,
        tuple(piece.autocast.items()),
        None if upstream is None else tuple(upstream.reshape(-1).tolist()),
    )


def losses(replay: Replay, some: Gathered) -> tuple[Tensor, Tensor]:
    """Return the sum of the batches' losses, as the run scaled them, and the output."""
    piece = some.form
    if some.alone:
        loss, output = replay.forward(piece)
        return _scaled(loss, piece), output
    inputs, call = piece.inputs, piece.call
    assert inputs is not None  # a taken piece has both
    assert call is not None
    leaves = replay.rows.leaves(some.places)
    args, kwargs = inputs.unpack(leaves[:-1])
    with replay.context(piece, leaves[0].device):
        out = replay.model(*args, **kwargs)
        tensors = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, Tensor)]
        output = tensors[call.leaf]
        parts = output.reshape(some.batches, -1)
        targets = leaves[-1].reshape(some.batches, -1)
        total = sum(
            _scaled(
                replay.loss(
                    part.reshape(call.shape),
                    target.reshape(call.target_shape),
                    *call.arguments,
                    **call.named,
                ),
                piece,
            )
            for part, target in zip(parts, targets, strict=True)
        )
    assert isinstance(total, Tensor)
    return total, output


def _scaled(loss: Tensor, piece: Piece) -> Tensor:
    return loss if piece.upstream is None else (loss * piece.upstream).sum()


def tangents(replay: Replay, some: Gathered) -> Tangents:
    """Return the gradients of the rows' loss terms, factored."""
    with torch.enable_grad(), TangentTape(replay.model) as tape:
        loss, _ = losses(replay, some)
        loss.backward()
        return tape.tangents(len(some.places))
