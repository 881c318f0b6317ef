r"""The objective of one layer: align its outputs with the labels, and let go of its inputs."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.errors import NumericalError
from trivium._core.random import derive, torch_generator
from trivium.kernel import Gaussian, Kernel, Linear

__all__ = ["KERNELS", "Course", "align", "local_loss", "train"]

KERNELS: dict[str, Kernel] = {"linear": Linear(), "gaussian": Gaussian("median")}


@dataclass(frozen=True)
class Course:
    """How long and how fast one module is trained.

    Args:
        epochs: Passes over the rows.
        batch_size: Rows of a mini-batch; what does not fill one is left out of its pass.
        learning_rate: Of Adam at the start; it falls to zero along half a cosine.
        seed: Of the order of the rows, and of whatever the module draws.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    seed: int


def _unit(gram: Float[Tensor, "b b"]) -> Float[Tensor, "b b"]:
    """Center a Gram matrix and divide by its norm; 0 where only rounding is left of it."""
    centered = gram - gram.mean(0) - gram.mean(1, keepdim=True) + gram.mean()
    norm = centered.square().sum().sqrt()
    rounding = len(gram) * torch.finfo(gram.dtype).eps * gram.detach().abs().max()
    return centered / norm if bool(norm > rounding) else centered * 0


def align(gram_x: Float[Tensor, "b b"], gram_y: Float[Tensor, "b b"]) -> Float[Tensor, ""]:
    r"""Centered kernel alignment $\mathrm{tr}(KHLH) / (\lVert HKH \rVert \lVert HLH \rVert)$.

    Zero, with gradient zero, where a kernel tells no two rows apart.
    """
    return (_unit(gram_x) * _unit(gram_y)).sum()


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

    Raises:
        NumericalError: An output is not finite.
    """
    held = inputs.detach()
    outputs = layer(held)
    _check_finite(outputs)
    gram = KERNELS[kernel].gram(outputs.reshape(len(outputs), -1))
    loss = -align(gram, targets @ targets.mT)
    if penalty:
        loss = loss + penalty * align(gram, KERNELS[kernel].gram(held.reshape(len(held), -1)))
    return loss


def _check_finite(value: Tensor) -> None:
    if not bool(torch.isfinite(value.detach().sum())):
        raise NumericalError(
            "HSICBottleneck: outputs and loss must stay finite in training; they did not",
            remedy="Lower learning_rate, or look for a module that divides by zero.",
        )


def train(
    module: nn.Module,
    inputs: Float[Tensor, "n *d"],
    targets: Float[Tensor, "n c"],
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    course: Course,
) -> None:
    """Train a module in place on `loss(module, inputs, targets)` over mini-batches, by Adam.

    A module without weights is left as it is. The same arguments give the same bits, wherever
    and in whatever order modules are trained, for one number of threads; torch's own generator
    is as it was afterwards.

    Raises:
        NumericalError: An output or the loss is not finite.
    """
    weights = [each for each in module.parameters() if each.requires_grad]
    if weights:
        module.train()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive(course.seed, "bottleneck", "draws"))  # dropout and its like
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
    for step in range(steps):
        if step % rounds == 0:
            order = torch.randperm(len(inputs), generator=generator)
        adam.param_groups[0]["lr"] = course.learning_rate * _cosine(step / steps)
        rows = order[step % rounds * size :][:size]
        adam.zero_grad()
        value = loss(module, inputs[rows], targets[rows])
        _check_finite(value)
        value.backward()
        adam.step()
    adam.zero_grad()


def _cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2
