"""Layers trained one by one, each on its own objective, with no gradient between them."""

import copy
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, ModelError
from trivium._core.random import RandomState, check_seed, derive, torch_generator
from trivium.dependence.bottleneck_layers import (
    Centered,
    as_rows,
    check_layers,
    dense,
    labelled_rows,
    one_hot,
    outputs_of,
    restore,
)
from trivium.dependence.bottleneck_objective import KERNELS, Course, local_loss, train
from trivium.dependence.bottleneck_readout import READOUTS, Readout
from trivium.dependence.bottleneck_report import BottleneckReport, compare
from trivium.dependence.bottleneck_saved import read_tensors, write_tensors
from trivium.moment.labels import as_labels, labels_from_json, labels_to_json

__all__ = ["HSICBottleneck"]

_OPTIONS = ("readout", "kernel", "penalty", "epochs", "batch_size", "learning_rate")


class HSICBottleneck:
    r"""A classifier whose layers are trained without back-propagation through them.

    Layer i gets the outputs $x$ of the layers before as plain numbers and maximises, over
    mini-batches, $\mathrm{CKA}(z, y) - \beta\, \mathrm{CKA}(z, x)$ of its outputs z: normalised
    HSIC with the labels, minus normalised HSIC with its inputs. A linear readout of the last
    layer's outputs comes at the end. `report` says what that is worth, beside the same layers
    untrained with the same readout, and beside back-propagation.

    Layers given by their widths: inputs centered and on one common scale, then dense layers with
    rectifiers, rows between them at mean 0 and variance 1. Columns of different units must be
    standardised before (pixels need nothing).

    Args:
        layers: Widths, each a dense layer with rectifier; or modules, which are copied.
        readout: `"ridge"` (one pass of moments, ridge by generalized cross-validation) or
            `"softmax"` (L-BFGS).
        kernel: Of outputs and inputs, `"linear"` or `"gaussian"`. Labels are compared by equality.
        penalty: beta. Zero was best wherever we measured.
        epochs: Passes over the rows for each layer.
        batch_size: Rows of a mini-batch.
        learning_rate: Of Adam, falling to zero along half a cosine.
        random_state: Seed.

    Attributes:
        layers_: The trained modules.
        readout_: The `Readout`.
        seed: The seed, a number even where `random_state` was none.
        classes_: Sorted labels.

    Raises:
        ArgumentError: An argument breaks its rule.

    Cost:
        Time `epochs` passes forward and backward through each layer alone, and O(b² w) for each
        mini-batch of b rows and layer of width w. Memory: the rows' outputs of one layer.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(400, 2))
        >>> y = (x[:, 0] * x[:, 1] > 0).astype(int)
        >>> model = HSICBottleneck([32, 32], epochs=20, batch_size=64).fit(x[:300], y[:300])
        >>> model.score(x[300:], y[300:]) > 0.9
        True

    Source:
        Ma, Lewis and Kleijn, The HSIC bottleneck, AAAI 2020, equation 5; Pogodin and Latham,
        Kernelized information bottleneck leads to biologically plausible 3-factor Hebbian
        learning, NeurIPS 2020.
    """

    def __init__(
        self,
        layers: Sequence[int | nn.Module] = (256, 256, 256),
        readout: str = "ridge",
        *,
        kernel: str = "linear",
        penalty: float = 0.0,
        epochs: int = 20,
        batch_size: int = 256,
        learning_rate: float = 3e-3,
        random_state: RandomState = 0,
    ) -> None:
        caller = "HSICBottleneck"
        self.layers = check_layers(layers)
        self.readout = check_choice(caller, "readout", readout, READOUTS)
        self.kernel = check_choice(caller, "kernel", kernel, KERNELS)
        self.penalty = check_number(caller, "penalty", penalty, "non-negative")
        self.epochs = int(check_number(caller, "epochs", epochs, "positive", integer=True))
        size = int(check_number(caller, "batch_size", batch_size, "positive", integer=True))
        if size < 4:
            raise ArgumentError(f"{caller}: batch_size must be at least 4; got {size}")
        self.batch_size = size
        self.learning_rate = check_number(caller, "learning_rate", learning_rate, "positive")
        self.random_state = random_state
        self.seed = check_seed(random_state)

    # ---- training -----------------------------------------------------------------------

    def fit(
        self, X: Any, y: Any, progress: Callable[[int, int], None] | None = None
    ) -> "HSICBottleneck":
        """Train the layers, from the first to the last, and then the readout.

        Args:
            X: Rows of finite numbers, `(n, d)`, or what the first module takes.
            y: Labels, at least two.
            progress: Called with the number of layers done and in all.

        Raises:
            DataError: Not finite, fewer than four rows or two classes, a missing label.
            ShapeError: Lengths that differ.
        """
        rows, labels = labelled_rows("HSICBottleneck.fit", X, y)
        outputs, trained = rows, []
        for place in range(len(self.layers)):
            trained.append(self.train_layer(place, outputs, labels))
            outputs = outputs_of(trained[-1:], outputs)
            if progress is not None:
                progress(place + 1, len(self.layers))
        self.layers_ = trained
        return self._read(rows, outputs, labels)

    def train_layer(self, place: int, inputs: Any, y: Any) -> nn.Module:
        """Train one layer alone on stored inputs and return it; nothing else is changed.

        It depends on the arguments, the place and the seed only: layers may be trained in any
        order, in any process, on any machine with the same number of threads, and have the same
        bits. Put together, `HSICBottleneck(trained_layers).fit_readout(X, y)` is what `fit` gives.

        Args:
            place: Which layer.
            inputs: What the layers before give.
            y: Labels.

        Raises:
            ArgumentError: There is no such layer.
            DataError: As for `fit`.
        """
        caller = "HSICBottleneck.train_layer"
        if place not in range(len(self.layers)):
            raise ArgumentError(
                f"{caller}: place must be in 0 to {len(self.layers) - 1}; got {place!r}"
            )
        rows, labels = labelled_rows(caller, inputs, y)
        layer = self._fresh(place, rows)

        def loss(module: nn.Module, x: Tensor, targets: Tensor) -> Tensor:
            return local_loss(module, x, targets, self.kernel, self.penalty)

        train(layer, rows, one_hot(labels), loss, self._course(place))
        return layer

    def fit_readout(self, X: Any, y: Any) -> "HSICBottleneck":
        """Fit the readout alone, on the layers as they are: untrained, or trained elsewhere.

        Raises:
            DataError: As for `fit`.
        """
        rows, labels = labelled_rows("HSICBottleneck.fit_readout", X, y)
        self.layers_ = self.untrained_layers(rows)
        return self._read(rows, outputs_of(self.layers_, rows), labels)

    def _read(self, rows: Tensor, outputs: Tensor, labels: NDArray[Any]) -> "HSICBottleneck":
        self.classes_ = np.unique(labels)
        self.readout_ = Readout.fit(self.readout, outputs, one_hot(labels))
        self._seen: tuple[Tensor, NDArray[Any]] | None = (rows, labels)
        return self

    def _course(self, place: int) -> Course:
        seed = derive(self.seed, "bottleneck", place)
        return Course(self.epochs, self.batch_size, self.learning_rate, seed)

    def _fresh(self, place: int, inputs: Tensor) -> nn.Module:
        """Return one layer untrained."""
        layer = self.layers[place]
        if isinstance(layer, nn.Module):
            return copy.deepcopy(layer).eval()
        generator = torch_generator(self.seed, "bottleneck", "weights", place)
        made = dense(inputs[0].numel(), layer, generator)
        return nn.Sequential(Centered.of(inputs), *made[1:]) if place == 0 else made

    def untrained_layers(self, X: Any) -> list[nn.Module]:
        """Return the layers as they are before training; of X the first rows give the sizes."""
        rows = as_rows("HSICBottleneck.untrained_layers", X)
        found: list[nn.Module] = []
        outputs = rows
        for place in range(len(self.layers)):
            found.append(self._fresh(place, outputs))
            outputs = outputs_of(found[-1:], outputs[:2])
        return found

    # ---- use ----------------------------------------------------------------------------

    def transform(self, X: Any) -> Float[Tensor, "n *d"]:
        """Return the outputs of the last layer.

        Raises:
            ModelError: It is not fitted.
        """
        self._fitted("transform")
        return outputs_of(self.layers_, as_rows("HSICBottleneck.transform", X))

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class."""
        self._fitted("predict_proba")
        outputs = outputs_of(self.layers_, as_rows("HSICBottleneck.predict_proba", X))
        return torch.softmax(self.readout_.logits(outputs), 1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest class of each row."""
        return self.classes_[self.predict_proba(X).argmax(1)]

    def score(self, X: Any, y: Any) -> float:
        """Return the accuracy."""
        return float((self.predict(X) == as_labels("HSICBottleneck.score", y)).mean())

    def report(self, X: Any, y: Any) -> BottleneckReport:
        """Compare with the same layers untrained and with back-propagation, on other rows.

        Both references are made now, from the rows of the fit: untrained layers with the same
        readout; and the same layers with a linear head, trained end to end by cross-entropy with
        the same epochs, batches and learning rate.

        Args:
            X: Rows that the fit has not seen.
            y: Their labels.

        Raises:
            ModelError: It is not fitted, or was loaded from a file, without its rows.
        """
        self._fitted("report")
        if self._seen is None:
            raise ModelError(
                "HSICBottleneck.report: the rows of the fit must be at hand; got a loaded model",
                remedy="Fit again to compare.",
            )
        return compare(self, self._seen[0], self._seen[1], X, y)

    def _fitted(self, method: str) -> None:
        if not hasattr(self, "readout_"):
            raise ModelError(f"HSICBottleneck.{method}: the model must be fitted; call fit first")

    # ---- kept in a file -----------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write layers, readout and classes to a safetensors file, whole or not at all.

        Raises:
            OutputError: It cannot be written; what was there before is intact.
        """
        self._fitted("save")
        tensors = {"readout.weight": self.readout_.weight, "readout.bias": self.readout_.bias}
        for place, layer in enumerate(self.layers_):
            tensors |= {f"layer.{place}.{k}": v for k, v in layer.state_dict().items()}
        widths = [each if isinstance(each, int) else None for each in self.layers]
        about = {"widths": widths, "classes": labels_to_json(self.classes_), "seed": self.seed}
        write_tensors(path, tensors, about | {name: getattr(self, name) for name in _OPTIONS})

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], layers: Sequence[nn.Module] | None = None
    ) -> "HSICBottleneck":
        """Read what `save` wrote.

        Args:
            path: The file.
            layers: Modules of the same shapes, when the model was built from modules.

        Raises:
            ModelError: Missing, damaged, or layers that do not fit.
        """
        tensors, about = read_tensors(path)
        try:
            options = {name: about[name] for name in _OPTIONS}
            found = restore(tensors, about["widths"], layers)
            held = [width or module for width, module in zip(about["widths"], found, strict=True)]
            model = cls(held, **options, random_state=about["seed"])
            classes = labels_from_json(about["classes"])
            readout = Readout(tensors["readout.weight"], tensors["readout.bias"])
        except (KeyError, TypeError) as error:
            raise ModelError(f"HSICBottleneck.load: {error} is missing or damaged") from error
        if classes is None or len(classes) != len(readout.bias):
            raise ModelError("HSICBottleneck.load: classes and readout must fit together")
        model.layers_, model.classes_, model.readout_ = found, classes, readout
        model._seen = None
        return model
