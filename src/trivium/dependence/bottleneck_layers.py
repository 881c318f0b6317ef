"""Layers of a bottleneck: checked, made, run in blocks, written down and read back."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from trivium._core.checks import check_finite
from trivium._core.errors import ArgumentError, DataError, ModelError, ShapeError
from trivium.moment.labels import as_labels

__all__ = [
    "Centered",
    "as_rows",
    "check_layers",
    "dense",
    "labelled_rows",
    "one_hot",
    "outputs_of",
    "restore",
]

_BLOCK_ROWS = 4096
_LEAST = 4


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
    """Return finite rows in float32, with no graph.

    Raises:
        ArgumentError: Not numbers.
        ShapeError: Fewer than two axes.
        DataError: Not finite.
    """
    value = X.detach() if isinstance(X, Tensor) else np.asarray(X)
    if isinstance(value, np.ndarray):
        if value.dtype.kind not in "biuf":
            raise ArgumentError(f"{caller}: X must be numbers; got {value.dtype}")
        value = torch.from_numpy(np.ascontiguousarray(value))
    if value.ndim < 2:
        raise ShapeError(f"{caller}: X must have the axes (n, d); got shape {tuple(value.shape)}")
    rows = value.to(torch.float32)
    check_finite(caller, "X", rows)
    return rows


def labelled_rows(caller: str, X: Any, y: Any) -> tuple[Float[Tensor, "n *d"], NDArray[Any]]:
    """Return rows and labels.

    Raises:
        ShapeError: Lengths that differ.
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
    return torch.nn.functional.one_hot(torch.from_numpy(codes)).to(torch.float32)


class Centered(nn.Module):
    """Rows minus their mean, all columns divided by one number: mean variance 1.

    Args:
        d: Columns.
    """

    def __init__(self, d: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(d))
        self.register_buffer("scale", torch.ones(()))

    @classmethod
    def of(cls, rows: Float[Tensor, "n *d"]) -> "Centered":
        """Take mean and scale from rows."""
        flat = rows.reshape(len(rows), -1).double()
        new = cls(flat.shape[1])
        spread, mean = torch.var_mean(flat, 0, correction=0)
        new.mean.copy_(mean)
        new.scale.copy_(spread.mean().clamp_min(torch.finfo(torch.float32).tiny).rsqrt())
        return new

    def forward(self, rows: Float[Tensor, "n *d"]) -> Float[Tensor, "n m"]:
        """Return rows centered and scaled."""
        return (rows.reshape(len(rows), -1) - self.mean) * self.scale


def dense(d: int, width: int, generator: torch.Generator) -> nn.Sequential:
    """Make a dense layer with rectifier on rows of mean 0 and variance 1 (He's initial weights)."""
    linear = nn.Linear(d, width, device="meta").to_empty(device="cpu")
    with torch.no_grad():
        linear.weight.copy_(torch.randn(width, d, generator=generator) * (2 / d) ** 0.5)
        linear.bias.zero_()
    return nn.Sequential(nn.LayerNorm(d, elementwise_affine=False), linear, nn.ReLU())


def outputs_of(layers: Sequence[nn.Module], rows: Float[Tensor, "n *d"]) -> Float[Tensor, "n *e"]:
    """Run rows through layers in blocks, with no graph."""
    parts = []
    with torch.no_grad():
        for part in rows.split(_BLOCK_ROWS):
            for layer in layers:
                part = layer(part)  # noqa: PLW2901 - the block moves through the layers
            parts.append(part)
    return torch.cat(parts)


def restore(
    tensors: dict[str, Tensor], widths: Sequence[int | None], layers: Sequence[nn.Module] | None
) -> list[nn.Module]:
    """Put saved weights into layers.

    Raises:
        ModelError: Modules that are missing or do not fit.
    """
    if layers is not None and len(layers) != len(widths):
        raise ModelError(
            f"HSICBottleneck.load: layers must have {len(widths)} modules; got {len(layers)}"
        )
    found: list[nn.Module] = []
    for place, width in enumerate(widths):
        start = f"layer.{place}."
        state = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        if width is not None and "1.weight" in state:
            module: nn.Module = dense(state["1.weight"].shape[1], width, torch.Generator())
            if "0.mean" in state:
                module = nn.Sequential(Centered(len(state["0.mean"])), *list(module)[1:])
        elif layers is not None:
            module = layers[place]
        else:
            raise ModelError(
                f"HSICBottleneck.load: layer {place} was a module; pass layers of the same shapes"
            )
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(
                f"HSICBottleneck.load: layer {place} must fit the file; {error}"
            ) from error
        found.append(module.eval())
    return found
