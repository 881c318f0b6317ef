r"""The objective of one layer: align its outputs with the labels, and let go of its inputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.random import torch_generator

__all__ = ["KERNELS", "Course", "align", "local_loss", "train"]

KERNELS = ("linear", "gaussian")
_TINY = 1e-12


@dataclass(frozen=True)
class Course:
    """How long and how fast one module is trained.

    Args:
        epochs: Passes over the rows.
        batch_size: Rows of a mini-batch; what does not fill one is left out of its pass.
        learning_rate: Of Adam at the start; it falls to zero along half a cosine.
        seed: Of the order of the rows.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


def _gram(rows: Tensor, kernel: str) -> Float[Tensor, "b b"]:
    rows = rows.reshape(len(rows), -1)
    if kernel == "linear":
        return rows @ rows.mT
    squares = torch.cdist(rows, rows).square()
    middle = squares.detach().median().clamp_min(_TINY)
    return torch.exp(squares / (-2 * middle))


def align(gram_x: Float[Tensor, "b b"], gram_y: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    r"""Centered kernel alignment $\mathrm{tr}(KHLH) / (\lVert HKH \rVert \lVert HLH \rVert)$.

    Zero, with gradient zero, where a kernel tells no two rows apart.
    """
    first, second = (g - g.mean(0) - g.mean(1, keepdim=True) + g.mean() for g in (gram_x, gram_y))
    own = [g.square().sum().clamp_min(_TINY).sqrt() for g in (first, second)]
    return (first * second).sum() / (own[0] * own[1])


def local_loss(
    layer: nn.Module,
    inputs: Float[Tensor, "b *d"],
    targets: Float[Tensor, "b c"],
    kernel: str = "linear",
    penalty: float = 0.0,
) -> Float[Tensor, ""]:
    r"""Return $-\mathrm{CKA}(z, y) + \beta\, \mathrm{CKA}(z, x)$ of a layer's outputs z.

    Inputs are detached here: whatever made them gets no gradient.

    Args:
        layer: The layer.
        inputs: What it is given.
        targets: One-hot labels.
        kernel: Of the outputs and inputs, `"linear"` or `"gaussian"` (median distance of the
            batch); labels are compared by equality.
        penalty: beta.
    """
    held = inputs.detach()
    outputs = _gram(layer(held), kernel)
    loss = -align(outputs, targets @ targets.mT)
    return loss + penalty * align(outputs, _gram(held, kernel)) if penalty else loss


def train(
    module: nn.Module,
    inputs: Float[Tensor, "n *d"],
    targets: Float[Tensor, "n c"],
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    course: Course,
) -> None:
    """Train a module in place on `loss(module, inputs, targets)` over mini-batches, by Adam.

    A module without weights is left as it is. The same arguments give the same bits, wherever
    and in whatever order modules are trained, for one number of threads.
    """
    weights = [each for each in module.parameters() if each.requires_grad]
    if weights:
        module.train()
        _descend(module, weights, inputs, targets, loss, course)
    module.eval()


def _descend(
    module: nn.Module,
    weights: list[nn.Parameter],
    inputs: Tensor,
    targets: Tensor,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    course: Course,
) -> None:
    size = min(course.batch_size, len(inputs))
    rounds = len(inputs) // size
    steps = course.epochs * rounds
    adam = torch.optim.Adam(weights, lr=course.learning_rate)
    generator = torch_generator(course.seed, "bottleneck", "batches")
    order = torch.arange(0)
    for step in range(steps):
        if step % rounds == 0:
            order = torch.randperm(len(inputs), generator=generator).to(inputs.device)
        adam.param_groups[0]["lr"] = course.learning_rate * _cosine(step / steps)
        rows = order[step % rounds * size :][:size]
        adam.zero_grad()
        loss(module, inputs[rows], targets[rows]).backward()
        adam.step()
    adam.zero_grad()


def _cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2
