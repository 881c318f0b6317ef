"""Layers of a bottleneck: rows and labels checked, layers made and run in blocks."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from trivium._core.checks import check_finite
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium._core.random import torch_generator
from trivium.moment.labels import as_labels

__all__ = [
    "Centered",
    "Standard",
    "as_rows",
    "check_layers",
    "dense",
    "labelled_rows",
    "one_hot",
    "outputs_of",
    "standard_rows",
    "untrained",
]

_BLOCK_ROWS = 4096
_LEAST = 4
_ROUNDING = 1e-12  # what means of equal float64 numbers differ from them by, and much more


def check_layers(layers: Any) -> list[int | nn.Module]:
    """Return a list of widths and modules.

    Raises:
        ArgumentError: Not a sequence, empty, or something else in it.
    """
    found = list(layers) if isinstance(layers, Sequence | nn.ModuleList | nn.Sequential) else []
    for layer in found:
        whole = isinstance(layer, int | np.integer) and not isinstance(layer, bool)
        if not isinstance(layer, nn.Module) and not (whole and layer > 0):
            raise ArgumentError(
                f"HSICBottleneck: layers must be positive widths or torch modules; got {layer!r}"
            )
    if not found:
        raise ArgumentError(
            f"HSICBottleneck: layers must be a list with at least one layer; got {layers!r}"
        )
    return [layer if isinstance(layer, nn.Module) else int(layer) for layer in found]


def as_rows(caller: str, X: Any) -> Float[Tensor, "n *d"]:
    """Return finite rows in float32 on the processor, with no graph.

    Raises:
        ArgumentError: Not numbers.
        ShapeError: Fewer than two axes, or no columns.
        DataError: No rows, or not finite.
    """
    value = X.detach().cpu() if isinstance(X, Tensor) else np.asarray(X)
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise ArgumentError(f"{caller}: X must be numbers; got {value.dtype}")
        value = torch.from_numpy(np.array(value, dtype=np.float32))
    if value.is_complex():
        raise ArgumentError(f"{caller}: X must be numbers; got {value.dtype}")
    if value.ndim < 2 or 0 in value.shape[1:]:
        raise ShapeError(
            f"{caller}: X must have the axes (n, d), d positive; got shape {tuple(value.shape)}"
        )
    if len(value) == 0:
        raise DataError(f"{caller}: X must have at least one row; got none")
    rows = value.to(torch.float32)
    check_finite(caller, "X", rows)
    return rows


def labelled_rows(caller: str, X: Any, y: Any) -> tuple[Float[Tensor, "n *d"], NDArray[Any]]:
    """Return rows and labels.

    Raises:
        ArgumentError: X is not numbers.
        ShapeError: Lengths that differ, or wrong axes.
        DataError: Not finite, a missing label, fewer than four rows or two classes.
    """
    rows, labels = as_rows(caller, X), as_labels(caller, y)
    if len(rows) != len(labels):
        raise ShapeError(f"{caller}: axis n is {len(rows)} in X but {len(labels)} in y")
    if len(rows) < _LEAST:
        raise DataError(f"{caller}: X must have at least {_LEAST} rows; got {len(rows)}")
    if len(np.unique(labels)) < 2:
        raise DataError(f"{caller}: y must have at least two classes; got only {labels[0]!r}")
    return rows, labels


def one_hot(labels: NDArray[Any]) -> Float[Tensor, "n c"]:
    """Return one column for each label, sorted, with ones where it is."""
    codes = np.unique(labels, return_inverse=True)[1].reshape(-1)
    return nn.functional.one_hot(torch.from_numpy(codes)).to(torch.float32)


class Centered(nn.Module):
    """Rows minus their mean, all columns divided by one number: mean variance 1.

    Args:
        d: Columns.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, d: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def of(cls, rows: Float[Tensor, "n *d"]) -> "Centered":
        """Take mean and scale from rows; constant rows are centered only."""
        flat = rows.reshape(len(rows), -1).double()
        new = cls(flat.shape[1])
        spread, mean = torch.var_mean(flat, 0, correction=0)
        new.mean = mean.to(torch.float32)
        if float(spread.mean()) > (_ROUNDING * float(mean.abs().max())) ** 2:
            new.scale = spread.mean().rsqrt().to(torch.float32)
        return new

    def forward(self, rows: Float[Tensor, "n *d"]) -> Float[Tensor, "n m"]:
        """Return rows centered and scaled."""
        return (rows.reshape(len(rows), -1) - self.mean) * self.scale


def standard_rows(rows: Float[Tensor, "n *d"]) -> Float[Tensor, "n m"]:
    """Flatten each row and give it mean 0 and variance 1."""
    flat = rows.reshape(len(rows), -1)
    return nn.functional.layer_norm(flat, flat.shape[1:])


class Standard(nn.Module):
    """Each row at mean 0 and variance 1."""

    def forward(self, rows: Float[Tensor, "n *d"]) -> Float[Tensor, "n m"]:
        """Return rows flattened and standardized."""
        return standard_rows(rows)


def dense(first: nn.Module, d: int, width: int, generator: torch.Generator) -> nn.Sequential:
    """Make a dense layer with rectifier on what `first` makes of rows (He's initial weights)."""
    linear = nn.Linear(d, width, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        linear.weight.copy_(torch.randn(width, d, generator=generator) * (2 / d) ** 0.5)
        linear.bias.zero_()
    return nn.Sequential(first, linear, nn.ReLU())


def untrained(
    given: int | nn.Module, place: int, inputs: Float[Tensor, "n *d"], seed: int
) -> nn.Module:
    """Return one layer before training: a copy of a module, or a dense layer of some width.

    Args:
        given: Width or module.
        place: Where it stands; the first centers its inputs as a whole, the others row by row.
        inputs: What it will be given; only the first looks at more than the size.
        seed: Of the weights.
    """
    if isinstance(given, nn.Module):
        return copy.deepcopy(given).cpu().eval()
    generator = torch_generator(seed, "bottleneck", "weights", place)
    first = Standard() if place else Centered.of(inputs)
    return dense(first, inputs[0].numel(), given, generator)


def outputs_of(layers: Sequence[nn.Module], rows: Float[Tensor, "n *d"]) -> Float[Tensor, "n *e"]:
    """Run rows through layers in blocks, with no graph."""
    parts = []
    with torch.no_grad():
        for part in rows.split(_BLOCK_ROWS):
            for layer in layers:
                part = layer(part)  # noqa: PLW2901 - the block moves through the layers
            parts.append(part)
    return torch.cat(parts)
