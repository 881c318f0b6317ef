"""The trainable weights of a model as one vector, and back."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trivium._core.errors import ArgumentError

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
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"{caller}: model must be a torch.nn.Module; got {type(model)}")
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise ArgumentError(
                f"{caller}: model must have a trainable parameter; got {type(model).__name__} "
                "with none"
            )
        kinds = {(p.dtype, p.device) for _, p in named}
        if len(kinds) > 1:
            listed = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
            raise ArgumentError(
                f"{caller}: trainable parameters must share one dtype and device; got {listed}"
            )
        self.names = tuple(name for name, _ in named)
        self.tensors = tuple(p for _, p in named)
        ends = torch.tensor([p.numel() for p in self.tensors]).cumsum(0).tolist()
        starts = [0, *ends[:-1]]
        self.slices = tuple(slice(a, b) for a, b in zip(starts, ends, strict=True))
        self.n_weights: int = ends[-1]

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
        found: dict[str, list[slice]] = {}
        for name, place in zip(self.names, self.slices, strict=True):
            found.setdefault(name.rpartition(".")[0] or name, []).append(place)
        return found


def uncompiled(model: nn.Module) -> nn.Module:
    """Return the module that `torch.compile` wrapped, or the module itself."""
    inner = getattr(model, "_orig_mod", model)
    return inner if isinstance(inner, nn.Module) else model
