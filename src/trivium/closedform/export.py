"""The closed form as a layer: a torch module, or the start of one that is to be trained."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trivium._core.errors import ShapeError
from trivium.closedform.classifier import ClosedFormClassifier

__all__ = ["init_linear_", "to_torch"]


def _full(classifier: ClosedFormClassifier) -> tuple[Tensor, Tensor]:
    """Weights and biases for all classes; for two classes, halves of the difference."""
    coef, bias = torch.from_numpy(classifier.coef_), torch.from_numpy(classifier.intercept_)
    if len(classifier.classes_) == 2:
        return torch.cat((-coef / 2, coef / 2)), torch.cat((-bias / 2, bias / 2))
    return coef, bias


def to_torch(classifier: ClosedFormClassifier, dtype: torch.dtype = torch.float32) -> nn.Linear:
    """Return the fitted rule as `nn.Linear`: its softmax is `predict_proba`.

    Of a blend it is the least-squares linear projection of the log-odds, which is not the blend
    and gives away most of what the blend gained.

    Args:
        classifier: A fitted classifier.
        dtype: Dtype of the layer.

    Example:
        >>> fitted = ClosedFormClassifier().fit([[0.0], [1.0], [4.0], [5.0]], [0, 0, 1, 1])
        >>> to_torch(fitted)
        Linear(in_features=1, out_features=2, bias=True)
    """
    weight, bias = _full(classifier)
    layer = nn.Linear(weight.shape[1], weight.shape[0], dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def init_linear_(
    layer: nn.Linear, loader: Iterable[Any], classifier: ClosedFormClassifier | None = None
) -> ClosedFormClassifier:
    """Set a linear layer, in place, to the closed form of one pass over `(features, labels)`.

    Args:
        layer: The head to start from; it must have a bias, and output k is class number k.
        loader: Batches of features (n, d) and integer labels (n,).
        classifier: Choices to use instead of the defaults.

    Returns:
        The classifier that was fitted.

    Raises:
        ShapeError: The layer has other sizes than the data, or no bias.
    """
    fitted = ClosedFormClassifier() if classifier is None else classifier
    batches = [(x.detach().cpu().numpy(), np.asarray(y.detach().cpu())) for x, y in loader]
    rows = np.concatenate([x for x, _ in batches])
    labels = np.concatenate([y for _, y in batches])
    if layer.bias is None or rows.ndim != 2 or rows.shape[1] != layer.in_features:
        raise ShapeError(
            f"init_linear_: layer must have a bias and {rows.shape[-1]} inputs; got {layer}"
        )
    fitted.fit(rows, labels)
    codes = np.asarray(fitted.classes_)
    if not np.array_equal(codes, np.arange(layer.out_features)):
        raise ShapeError(
            f"init_linear_: labels must be 0 to {layer.out_features - 1}; got {codes.tolist()[:20]}"
        )
    weight, bias = _full(fitted)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return fitted
