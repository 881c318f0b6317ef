r"""The Gauss-Newton curvature of a stretch within a subspace, $S = (V \circ \pi)\, G\, V^\top$.

$G = \sum J^\top \ell'' J$ over the rows of a batch, averaged over the batches of the stretch; J V
by a second differentiation of the gradient, so that nothing of size p by p is made.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.pathkernel.index_gathered import gathered, losses
from trivium.pathkernel.index_stretch import Stretch
from trivium.pathkernel.products import batched_products, weight_gradient
from trivium.pathkernel.replay import Replay

__all__ = ["curvatures"]


def _curvature(replay: Replay, one: Stretch, basis: Tensor) -> Tensor:
    """Return the curvature of one step's loss in the subspace, `(k, k)`, mean over the stretch.

    Args:
        replay: The private model.
        one: The stretch.
        basis: V, `(k, p)`.

    Cost:
        About four forwards of the stretch's rows for each direction.
    """
    replay.put(one.weights, one.buffers)
    shape = one.profile.shapes.get("gradient")
    total = torch.zeros((len(basis), len(basis)), dtype=torch.float64)
    for some in gathered(one):
        with torch.enable_grad():
            loss, output = losses(replay, some)
            dummy = torch.zeros_like(output, requires_grad=True)
            gradient = weight_gradient((output * dummy).sum(), replay, create_graph=True)
            (through,) = batched_products(gradient, (dummy,), basis)
            other = through
            if shape is not None:
                (other,) = batched_products(gradient, (dummy,), basis * shape)
            (slope,) = torch.autograd.grad(loss, output, create_graph=True)
            if not slope.requires_grad:  # a loss linear in the output
                continue
            (curved,) = batched_products(slope, (output,), through)
        found = other.flatten(1) @ curved.flatten(1).T
        total += found.double().cpu() * (some.steps / some.of)
    return total / len(one.steps)


def curvatures(replay: Replay, run: Sequence[Stretch], basis: Tensor) -> list[Tensor]:
    """Return the curvature of each stretch."""
    return [_curvature(replay, one, basis) for one in run]
