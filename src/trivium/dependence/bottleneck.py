"""Layers trained one by one, each on its own objective, with no gradient between them."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, ModelError
from trivium._core.random import RandomState, check_seed, derive
from trivium.dependence.bottleneck_layers import (
    as_rows,
    check_layers,
    labelled_rows,
    one_hot,
    outputs_of,
    untrained,
)
from trivium.dependence.bottleneck_objective import KERNELS, Course, local_loss, train
from trivium.dependence.bottleneck_readout import READOUTS, Readout
from trivium.dependence.bottleneck_report import BottleneckReport, accuracy, compare
from trivium.dependence.bottleneck_saved import Saved, read_saved, write_saved
from trivium.parallel import Executor

__all__ = ["HSICBottleneck"]

_OPTIONS = ("readout", "kernel", "penalty", "epochs", "batch_size", "learning_rate")
_LEAST_BATCH = 4


class HSICBottleneck:
    r"""A classifier whose layers are trained without back-propagation through them.

    Layer i gets the outputs $x$ of the layers before as plain numbers and maximizes, over
    mini-batches, $\mathrm{CKA}(z, y) - \beta\, \mathrm{CKA}(z, x)$ of its outputs z: normalized
    HSIC with the labels, minus normalized HSIC with its inputs. A linear readout of the last
    layer's outputs comes at the end. `report` says what that is worth, beside the same layers
    untrained with the same readout, and beside back-propagation.

    Layers given by their widths: inputs centered and on one common scale, then dense layers with
    rectifiers, rows between them at mean 0 and variance 1. Columns of different units must be
    standardized before (pixels need nothing). Everything runs on the processor, in float32, the
    readout in float64.

    Args:
        layers: Widths, each a dense layer with rectifier; or modules, which are copied.
        readout: `"softmax"` (L-BFGS) or `"ridge"` (one pass of moments, ridge by generalized
            cross-validation): as accurate, faster where layers are wide, its probabilities far too
            sure, since its errors are counted on rows whose labels the layers have seen.
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
        Time `epochs` passes a layer, O(b² w) a batch of b rows, width w; memory: a layer's outputs.

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
        readout: str = "softmax",
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
        if size < _LEAST_BATCH:
            raise ArgumentError(f"{caller}: batch_size must be at least {_LEAST_BATCH}; got {size}")
        self.batch_size = size
        self.learning_rate = check_number(caller, "learning_rate", learning_rate, "positive")
        self.random_state = random_state
        self.seed = check_seed(random_state)

    def fit(
        self, X: Any, y: Any, progress: Callable[[int, int], None] | None = None
    ) -> "HSICBottleneck":
        """Train the layers, from the first to the last, and then the readout.

        Args:
            X: Rows of finite numbers, `(n, d)`, or what the first module takes.
            y: Labels, at least two.
            progress: Called with the number of layers done and in all.

        Raises:
            ArgumentError: X is not numbers.
            DataError: Not finite, fewer than four rows or two classes, a missing label.
            ShapeError: Lengths that differ.
            NumericalError: An output stopped being finite.
        """
        rows, labels = labelled_rows("HSICBottleneck.fit", X, y)
        outputs = rows
        trained: list[nn.Module] = []
        for place in range(len(self.layers)):
            trained.append(self.train_layer(place, outputs, labels))
            outputs = outputs_of(trained[-1:], outputs)
            if progress is not None:
                progress(place + 1, len(self.layers))
        return self._read(trained, outputs, labels)

    def train_layer(self, place: int, inputs: Any, y: Any) -> nn.Module:
        """Train one layer alone on stored inputs and return it; nothing else is changed.

        It depends on the arguments, the place and the seed only: layers may be trained in any
        process, on any machine with the same number of threads, and have the same bits. Put
        together by `fit_readout(X, y, trained_layers)` they are what `fit` gives.

        Args:
            place: Which layer.
            inputs: What the layers before give.
            y: Labels.

        Raises:
            ArgumentError: There is no such layer; else what `fit` raises.
        """
        caller = "HSICBottleneck.train_layer"
        if place not in range(len(self.layers)):
            raise ArgumentError(
                f"{caller}: place must be in 0 to {len(self.layers) - 1}; got {place!r}"
            )
        rows, labels = labelled_rows(caller, inputs, y)
        layer = untrained(self.layers[place], place, rows, self.seed)

        loss = partial(local_loss, kernel=self.kernel, penalty=self.penalty)
        seed = derive(self.seed, "bottleneck", place)
        course = Course(self.epochs, self.batch_size, self.learning_rate, seed)
        train(layer, rows, one_hot(labels), loss, course)
        return layer

    def fit_readout(
        self, X: Any, y: Any, layers: Sequence[nn.Module] | None = None
    ) -> "HSICBottleneck":
        """Fit the readout alone, on layers trained elsewhere or untrained ones.

        Args:
            X: Rows, as for `fit`.
            y: Labels.
            layers: What `train_layer` returned, in order; by default the layers untrained.

        Raises:
            ArgumentError: Not as many layers as the model has; else what `fit` raises.
        """
        caller = "HSICBottleneck.fit_readout"
        rows, labels = labelled_rows(caller, X, y)
        if layers is not None and len(layers) != len(self.layers):
            raise ArgumentError(
                f"{caller}: layers must be {len(self.layers)} modules; got {len(layers)}"
            )
        found = self.untrained_layers(rows) if layers is None else list(layers)
        return self._read(found, outputs_of(found, rows), labels)

    def untrained_layers(self, X: Any) -> list[nn.Module]:
        """Return the layers as they are before training; raises what `transform` does.

        Args:
            X: Rows of the fit: the first layer is centered on them, all are made for their sizes.
        """
        outputs = as_rows("HSICBottleneck.untrained_layers", X)
        found: list[nn.Module] = []
        for place, given in enumerate(self.layers):
            found.append(untrained(given, place, outputs, self.seed))
            outputs = outputs_of(found[-1:], outputs[:2])
        return found

    def _read(
        self, layers: list[nn.Module], outputs: Tensor, labels: NDArray[Any]
    ) -> "HSICBottleneck":
        self.readout_ = Readout.fit(self.readout, outputs, one_hot(labels))
        self.layers_, self.classes_ = layers, np.unique(labels)
        return self

    def transform(self, X: Any) -> Float[Tensor, "n *d"]:
        """Return the outputs of the last layer.

        Raises:
            ModelError: It is not fitted.
            ArgumentError: X is not numbers.
            DataError: No rows, or not finite.
            ShapeError: Wrong axes.
        """
        return self._outputs("transform", X)

    def predict_proba(self, X: Any) -> NDArray[np.float64]:
        """Return the probability of each class; raises what `transform` does."""
        outputs = self._outputs("predict_proba", X)
        return torch.softmax(self.readout_.logits(outputs), 1).numpy()

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the likeliest class of each row; raises what `transform` does."""
        outputs = self._outputs("predict", X)
        return self.classes_[self.readout_.logits(outputs).argmax(1).numpy()]

    def _outputs(self, method: str, X: Any) -> Tensor:
        self._check_fitted(method)
        return outputs_of(self.layers_, as_rows(f"HSICBottleneck.{method}", X))

    def score(self, X: Any, y: Any) -> float:
        """Return the share of labels that `predict` has right; raises what `transform` does."""
        return accuracy("HSICBottleneck.score", self.predict(X), y)

    def report(
        self, X: Any, y: Any, X_test: Any, y_test: Any, executor: Executor | None = None
    ) -> BottleneckReport:
        """Compare with the same layers untrained and with back-propagation.

        Both references are made now: untrained layers with the same readout; and the same layers
        with a linear head, trained end to end by cross-entropy with the same epochs, batches
        and learning rate.

        Args:
            X: Rows of the fit.
            y: Their labels.
            X_test: Rows that the fit has not seen.
            y_test: Their labels.
            executor: Where the two references are made, with one thread each: in this process by
                default. The same bits on all.

        Raises:
            ModelError: It is not fitted.
            DataError: Other labels than those of the fit; else what `fit` raises.
        """
        self._check_fitted("report")
        return compare(self, (X, y), (X_test, y_test), executor)

    def _check_fitted(self, method: str) -> None:
        if not hasattr(self, "readout_"):
            raise ModelError(f"HSICBottleneck.{method}: the model must be fitted; call fit first")

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write layers, readout and classes to a safetensors file, whole or not at all.

        Raises:
            ModelError: It is not fitted.
            OutputError: It cannot be written; what was there before is intact.
            ResourceError: The disk is full; likewise.
        """
        self._check_fitted("save")
        options = {name: getattr(self, name) for name in _OPTIONS} | {"random_state": self.seed}
        write_saved(path, Saved(options, self.layers, self.layers_, self.readout_, self.classes_))

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], layers: Sequence[int | nn.Module] | None = None
    ) -> "HSICBottleneck":
        """Read what `save` wrote.

        Args:
            path: The file.
            layers: What the model was built from, when modules were among it; they are copied.

        Raises:
            ModelError: Missing, damaged, or layers that do not fit.
        """
        held = read_saved(path, layers)
        try:
            model = cls(held.given, **held.options)
        except (ArgumentError, TypeError) as error:
            raise ModelError(f"HSICBottleneck.load: the options are damaged; {error}") from error
        model.layers_, model.readout_, model.classes_ = held.layers, held.readout, held.classes
        return model
