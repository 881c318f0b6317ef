"""Where a model's trainable parameters stand in one flat vector."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from trivium._core.errors import ArgumentError

__all__ = ["Layout"]


@dataclass(frozen=True)
class Layout:
    """Where each trainable parameter of a model stands in the flat vector of length p.

    Parameters are in the order of `model.named_parameters()`; a shared one counts once.

    Attributes:
        names: The parameters.
        shapes: Their shapes.
        slices: Their places.
        layers: The modules that own them, in order of appearance; a parameter of the model itself
            is a layer of its own.
        layer_of: The layer's number of each parameter.

    Example:
        >>> layout = Layout.of(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 1)))
        >>> layout.n_parameters, layout.layers
        (11, ('0', '1'))
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    slices: tuple[slice, ...]
    layers: tuple[str, ...]
    layer_of: tuple[int, ...]

    @classmethod
    def of(cls, model: nn.Module, caller: str = "Layout") -> "Layout":
        """Return the layout of a model.

        Args:
            model: The model.
            caller: The public name that was called.

        Raises:
            ArgumentError: Not a module, nothing to train, or parameters of two dtypes or devices.
        """
        if not isinstance(model, nn.Module):
            raise ArgumentError(
                f"{caller}: model must be a torch.nn.Module; got {type(model).__name__}"
            )
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise ArgumentError(
                f"{caller}: model must have a trainable parameter; got "
                f"{type(model).__name__} with none"
            )
        kinds = {(p.dtype, p.device) for _, p in named}
        if len(kinds) > 1:
            listed = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
            raise ArgumentError(
                f"{caller}: trainable parameters must share one dtype and device; got {listed}"
            )
        start, slices, layer_of = 0, [], []
        layers: dict[str, int] = {}
        for name, p in named:
            slices.append(slice(start, start + p.numel()))
            start += p.numel()
            layer_of.append(layers.setdefault(name.rpartition(".")[0] or name, len(layers)))
        return cls(
            tuple(name for name, _ in named),
            tuple(p.shape for _, p in named),
            tuple(slices),
            tuple(layers),
            tuple(layer_of),
        )

    @property
    def n_parameters(self) -> int:
        """Length p of the flat vector."""
        return self.slices[-1].stop

    def columns(self, which: Sequence[int], flat: Tensor) -> Tensor:
        """Return the columns of some parameters of `(..., p)`, one after the other."""
        return columns_at([self.slices[i] for i in which], flat)

    def place(self, which: Sequence[int], part: Tensor, into: Tensor) -> None:
        """Put columns of some parameters into `(..., p)`."""
        put_columns([self.slices[i] for i in which], part, into)


def columns_at(places: Sequence[slice], flat: Tensor) -> Tensor:
    """Return the columns at some places of `(..., p)`, in a row; a view where they touch."""
    if all(a.stop == b.start for a, b in pairwise(places)):
        return flat[..., places[0].start : places[-1].stop]
    return torch.cat([flat[..., place] for place in places], -1)


def put_columns(places: Sequence[slice], part: Tensor, into: Tensor) -> None:
    """Put columns back to their places in `(..., p)`."""
    start = 0
    for one in places:
        size = one.stop - one.start
        into[..., one] = part[..., start : start + size]
        start += size
