"""The product of each row's gradient with given directions, whatever the layers."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from trivium.kernel.tangent_tape import TangentTape
from trivium.kernel.tangents import Tangents
from trivium.pathkernel.notes import Piece
from trivium.pathkernel.replay import Replay

__all__ = [
    "batched_products",
    "coupled_products",
    "couples_rows",
    "grams_by_layer",
    "traced",
    "weight_gradient",
]


def couples_rows(model: nn.Module) -> bool:
    """Return whether one row's output depends on its batch: batch normalization in training."""
    batch_norm = nn.modules.batchnorm._BatchNorm
    return any(isinstance(one, batch_norm) and one.training for one in model.modules())


def traced(tape: TangentTape) -> Callable[[Replay, Piece], Tangents]:
    """Return what adds a piece's gradient and returns its rows' gradients, factored.

    Args:
        tape: An open tape on the replay's model; hooks are costly to put on for each step.
    """

    def watch(replay: Replay, piece: Piece) -> Tangents:
        tape.forget()
        loss, _ = replay.forward(piece)
        loss.backward(piece.upstream)
        return tape.tangents(len(piece.places))

    return watch


def grams_by_layer(left: Tangents, right: Tangents) -> Tensor | None:
    """Return the Gram matrix of each layer, `(l, n, m)`; `None` where a part spans several."""
    layout = left.layout
    found = left.like.new_zeros((len(layout.layers), left.n_rows, right.n_rows))
    theirs = dict(right.parts)
    if len(theirs) != len(left.parts):
        return None
    for which, part in left.parts:
        layers = {layout.layer_of[i] for i in which}
        if which not in theirs or len(layers) != 1:
            return None
        part.add_gram(theirs[which], found[layers.pop()])
    return found


def coupled_products(replay: Replay, piece: Piece, weights: Tensor, directions: Tensor) -> Tensor:
    r"""Return $\langle \nabla_\theta\, \ell_i, u_q \rangle$ where rows share their batch's moments.

    Row i's term is what the loss says about output row i; its gradient goes through the whole
    batch. A second differentiation, by a weight on each row's term, gives all products at once.

    Args:
        replay: The private model; it is left at `weights`.
        piece: The rows and their loss.
        weights: Where, `(p,)`.
        directions: `(q, p)`.

    Returns:
        `(q, b)`.

    Cost:
        One double backward a direction.
    """
    replay.weights.write(weights)
    with torch.enable_grad():
        loss, output = replay.forward(piece)
        (slope,) = torch.autograd.grad(loss, output, piece.upstream, retain_graph=True)
        n_rows = len(piece.places)
        scale = torch.ones(n_rows, dtype=output.dtype, device=output.device, requires_grad=True)
        terms = (output * slope.detach()).reshape(n_rows, -1).sum(1)
        gradient = weight_gradient((terms * scale).sum(), replay, create_graph=True)
        (found,) = batched_products(gradient, (scale,), directions)
    return found


def weight_gradient(value: Tensor, replay: Replay, *, create_graph: bool = False) -> Tensor:
    """Return the gradient with respect to the weights, `(p,)`."""
    parts = torch.autograd.grad(
        value, replay.weights.tensors, create_graph=create_graph, allow_unused=True
    )
    return torch.cat(
        [
            (torch.zeros_like(p) if part is None else part).reshape(-1)
            for part, p in zip(parts, replay.weights.tensors, strict=True)
        ]
    )


def batched_products(value: Tensor, inputs: tuple[Tensor, ...], directions: Tensor) -> list[Tensor]:
    """Return the products of a vector's Jacobian with many directions."""
    try:
        found = torch.autograd.grad(
            value, inputs, directions, is_grads_batched=True, retain_graph=True, allow_unused=True
        )
    except RuntimeError:  # an operation without a batching rule
        rows = [
            torch.autograd.grad(value, inputs, one, retain_graph=True, materialize_grads=True)
            for one in directions
        ]
        found = tuple(torch.stack(column) for column in zip(*rows, strict=True))
    return [
        torch.zeros((len(directions), *one.shape), dtype=one.dtype, device=one.device)
        if part is None
        else part
        for part, one in zip(found, inputs, strict=True)
    ]
