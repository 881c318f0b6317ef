"""What local training is worth: beside the same layers untrained, and back-propagation."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from trivium._core.errors import DataError, ShapeError
from trivium._core.random import derive, torch_generator
from trivium.dependence.bottleneck_layers import (
    Standard,
    as_rows,
    dense,
    labelled_rows,
    one_hot,
    outputs_of,
)
from trivium.dependence.bottleneck_objective import Course, align, train
from trivium.moment.labels import as_labels
from trivium.parallel import Executor, given_executor

if TYPE_CHECKING:
    from trivium.dependence.bottleneck import HSICBottleneck

__all__ = ["BottleneckReport", "accuracy", "alignments", "backpropagated", "compare"]

_ALIGN_ROWS = 2000


@dataclass(frozen=True)
class BottleneckReport:
    """Accuracies of three ways to the same layers, on the same rows.

    Args:
        accuracy: Layers trained one by one, with the readout.
        untrained: The same layers as they were before, with the same readout.
        backpropagated: The same layers with a linear head, trained end to end.
        alignments: Linear CKA of each layer's outputs with the labels, on at most 2,000 rows of the
            fit, trained one by one.
        alignments_untrained: The same before training.
        n_rows: Test rows.
    """

    accuracy: float
    untrained: float
    backpropagated: float
    alignments: tuple[float, ...]
    alignments_untrained: tuple[float, ...]
    n_rows: int

    def __str__(self) -> str:
        """Return the comparison as a small table."""
        lines = [f"{'':<38}accuracy"]
        for name, value in (
            ("trained layer by layer", self.accuracy),
            ("untrained, same readout", self.untrained),
            ("back-propagation, same layers", self.backpropagated),
        ):
            lines.append(f"{name:<38}{value:>8.4f}")
        for place, (after, before) in enumerate(
            zip(self.alignments, self.alignments_untrained, strict=True)
        ):
            lines.append(f"CKA with y, layer {place}: {after:.3f}, untrained {before:.3f}")
        return "\n".join(lines)


def accuracy(caller: str, guess: NDArray[Any], y: Any) -> float:
    """Return the share of labels that a guess has right.

    Raises:
        ShapeError: Lengths that differ.
        DataError: A missing label.
    """
    truth = as_labels(caller, y)
    if len(truth) != len(guess):
        raise ShapeError(f"{caller}: axis n is {len(guess)} in X but {len(truth)} in y")
    return float((guess == truth).mean())


def compare(
    model: "HSICBottleneck",
    train: tuple[Any, Any],
    test: tuple[Any, Any],
    executor: Executor | None = None,
) -> BottleneckReport:
    """Compare a fitted bottleneck with its two references.

    Raises:
        DataError: Labels are not those of the fit, or what `fit` refuses.
        ShapeError: Lengths that differ.
    """
    caller = "HSICBottleneck.report"
    runner = given_executor(caller, executor)
    rows, labels = labelled_rows(caller, *train)
    if not np.array_equal(np.unique(labels), model.classes_):
        raise DataError(
            f"{caller}: y must hold the labels of the fit, {model.classes_.tolist()}; got "
            f"{np.unique(labels).tolist()}"
        )
    other = as_rows(caller, test[0])
    plain, learned = runner.map(
        _guess, [_by_untrained, _by_backpropagation], shared=(model, rows, labels, other)
    )
    return BottleneckReport(
        accuracy=accuracy(caller, model.predict(other), test[1]),
        untrained=accuracy(caller, plain, test[1]),
        backpropagated=accuracy(caller, learned, test[1]),
        alignments=alignments(model.layers_, rows, labels),
        alignments_untrained=alignments(model.untrained_layers(rows), rows, labels),
        n_rows=len(other),
    )


Shared = tuple["HSICBottleneck", Tensor, NDArray[Any], Tensor]


def _guess(reference: Callable[..., NDArray[Any]], shared: Shared) -> NDArray[Any]:
    return reference(*shared)


def _by_untrained(
    model: "HSICBottleneck", rows: Tensor, labels: NDArray[Any], other: Tensor
) -> NDArray[Any]:
    return copy.copy(model).fit_readout(rows, labels).predict(other)


def _by_backpropagation(
    model: "HSICBottleneck", rows: Tensor, labels: NDArray[Any], other: Tensor
) -> NDArray[Any]:
    learned = outputs_of([backpropagated(model, rows, labels)], other).argmax(1).numpy()
    found: NDArray[Any] = model.classes_[learned]
    return found


def backpropagated(
    model: "HSICBottleneck", rows: Float[Tensor, "n *d"], labels: NDArray[Any]
) -> nn.Module:
    """Train the same layers, from the same weights, and a linear head by cross-entropy."""
    layers = model.untrained_layers(rows)
    last = outputs_of(layers, rows[:2])[0].numel()
    targets = one_hot(labels)
    generator = torch_generator(model.seed, "bottleneck", "head")
    norm, head, _ = dense(Standard(), last, targets.shape[1], generator)
    network = nn.Sequential(*layers, norm, head)

    def loss(module: nn.Module, x: Tensor, goal: Tensor) -> Tensor:
        return nn.functional.cross_entropy(module(x), goal)

    seed = derive(model.seed, "bottleneck", "backpropagation")
    train(
        network,
        rows,
        targets,
        loss,
        Course(model.epochs, model.batch_size, model.learning_rate, seed),
    )
    return network


def alignments(
    layers: Sequence[nn.Module], rows: Float[Tensor, "n *d"], labels: NDArray[Any]
) -> tuple[float, ...]:
    """Linear CKA of each layer's outputs with the labels, on a fixed sample of 2,000 rows."""
    sample = torch.randperm(len(rows), generator=torch_generator(0, "bottleneck", "sample"))
    outputs, targets = rows[sample[:_ALIGN_ROWS]], one_hot(labels)[sample[:_ALIGN_ROWS]].double()
    same = targets @ targets.mT
    found = []
    for layer in layers:
        outputs = outputs_of([layer], outputs)
        flat = outputs.reshape(len(outputs), -1).double()
        found.append(float(align(flat @ flat.mT, same)))
    return tuple(found)
