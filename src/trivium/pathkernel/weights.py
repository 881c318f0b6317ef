"""The trainable weights of a model as one vector, and back."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trivium.kernel.tangent_layout import Layout

__all__ = ["Weights"]


class Weights:
    """The trainable parameters of one model, in the order of `named_parameters`.

    Args:
        model: The model; a tensor that two modules share counts once.
        caller: The public name that was called.

    Raises:
        ArgumentError: Not a module, nothing to train, or parameters of two dtypes or devices.
    """

    def __init__(self, model: nn.Module, caller: str = "Weights") -> None:
        self.layout = Layout.of(model, caller)
        own = dict(model.named_parameters())
        self.tensors = tuple(own[name] for name in self.layout.names)
        self.names, self.slices = self.layout.names, self.layout.slices
        self.n_weights = self.layout.n_parameters

    def read(self) -> Tensor:
        """Return a copy of the weights, `(p,)`."""
        return torch.cat([p.detach().reshape(-1) for p in self.tensors])

    def read_gradient(self) -> Tensor:
        """Return a copy of the gradients, `(p,)`; zero where there is none."""
        return torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1) for p in self.tensors]
        )

    def write(self, flat: Tensor) -> None:
        """Put a vector of weights into the model, in place."""
        with torch.no_grad():
            for p, part in zip(self.tensors, self.split(flat), strict=True):
                p.copy_(part)

    def split(self, flat: Tensor) -> Iterator[Tensor]:
        """Give the part of each parameter, `(..., *shape)`, of vectors `(..., p)`."""
        for p, place in zip(self.tensors, self.slices, strict=True):
            yield flat[..., place].unflatten(-1, p.shape) if p.ndim else flat[..., place.start]

    def by_module(self) -> dict[str, list[slice]]:
        """Return the places of each module's own parameters, in order of appearance."""
        found: dict[str, list[slice]] = {name: [] for name in self.layout.layers}
        for place, layer in zip(self.slices, self.layout.layer_of, strict=True):
            found[self.layout.layers[layer]].append(place)
        return found


def uncompiled(model: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` wrapped, or the module itself."""
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, nn.Module) else model
