"""What local training is worth: beside the same layers untrained, and back-propagation."""

import copy
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trivium.dependence.bottleneck_layers import as_rows, dense, one_hot, outputs_of
from trivium.dependence.bottleneck_objective import Course, align, train
from trivium.moment.labels import as_labels

if TYPE_CHECKING:
    from trivium.dependence.bottleneck import HSICBottleneck

__all__ = ["BottleneckReport", "compare"]

_ALIGN_ROWS = 2000


@dataclass(frozen=True)
class BottleneckReport:
    """Accuracies of three ways to the same layers, on the same rows.

    Args:
        accuracy: Layers trained one by one, with the readout.
        untrained: The same layers as they were before, with the same readout.
        backpropagated: The same layers with a linear head, trained end to end.
        alignments: Of each layer's outputs with the labels (linear CKA), trained one by one.
        alignments_untrained: The same before training.
        seconds: Processor seconds of the back-propagated reference.
        n_rows: Rows compared.
    """

    accuracy: float
    untrained: float
    backpropagated: float
    alignments: tuple[float, ...]
    alignments_untrained: tuple[float, ...]
    seconds: float
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


def compare(
    model: "HSICBottleneck", rows: Tensor, labels: NDArray[Any], X: Any, y: Any
) -> BottleneckReport:
    """Compare a fitted bottleneck with its two references on rows that it has not seen."""
    other, truth = as_rows("HSICBottleneck.report", X), as_labels("HSICBottleneck.report", y)
    begun = time.process_time()
    learned = backpropagated(model, rows, labels)
    seconds = time.process_time() - begun
    guess = model.classes_[outputs_of([learned], other).argmax(1).numpy()]
    plain = type(model)(model.layers, model.readout, random_state=model.seed)
    plain.fit_readout(rows, labels)
    return BottleneckReport(
        accuracy=model.score(other, truth),
        untrained=plain.score(other, truth),
        backpropagated=float((guess == truth).mean()),
        alignments=_alignments(model.layers_, rows, labels),
        alignments_untrained=_alignments(plain.layers_, rows, labels),
        seconds=seconds,
        n_rows=len(truth),
    )


def backpropagated(model: "HSICBottleneck", rows: Tensor, labels: NDArray[Any]) -> nn.Module:
    """Train the same layers, and a linear head, end to end by cross-entropy."""
    layers = [copy.deepcopy(layer) for layer in model.untrained_layers(rows)]
    last = outputs_of(layers, rows[:2])[0].numel()
    targets = one_hot(labels)
    generator = torch.Generator().manual_seed(model.seed % 2**31)
    norm, head, _ = dense(last, targets.shape[1], generator)
    network = nn.Sequential(*layers, nn.Flatten(), norm, head)

    def loss(module: nn.Module, x: Tensor, goal: Tensor) -> Tensor:
        return nn.functional.cross_entropy(module(x), goal)

    course = Course(model.epochs, model.batch_size, model.learning_rate, model.seed)
    train(network, rows, targets, loss, course)
    return network


def _alignments(layers: list[nn.Module], rows: Tensor, labels: NDArray[Any]) -> tuple[float, ...]:
    """Linear CKA of each layer's outputs with the labels, on the first rows."""
    outputs, targets = rows[:_ALIGN_ROWS], one_hot(labels)[:_ALIGN_ROWS]
    found = []
    for layer in layers:
        outputs = outputs_of([layer], outputs)
        flat = outputs.reshape(len(outputs), -1)
        found.append(float(align(flat @ flat.mT, targets @ targets.mT)))
    return tuple(found)
