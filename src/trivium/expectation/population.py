"""A population of perturbed parameters: what f receives from `Perturb`."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from trivium._core.errors import ArgumentError
from trivium.expectation.directions import Directions
from trivium.expectation.virtual import VirtualTensor

__all__ = ["Population", "run_with"]


class _Holder(nn.Module):
    """A module that holds another and runs anything."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.held = module

    def forward(self, task: Callable[[], Any]) -> Any:
        return task()


def run_with(module: nn.Module, tensors: Mapping[str, Tensor], task: Callable[[], Any]) -> Any:
    """Run a task while a module has other parameters; its buffers are copies for that time.

    The module is as before afterwards, also when the task raises.

    Args:
        module: The module.
        tensors: Name to tensor; what is not named stays.
        task: Anything; it may call the module by any of its methods.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(1, 1)
        >>> two = {"weight": torch.full((1, 1), 2.0), "bias": torch.zeros(1)}
        >>> run_with(layer, two, lambda: layer(torch.ones(1))).item()
        2.0
    """
    holder = _Holder(module)
    buffers = {name: value.clone() for name, value in module.named_buffers()}
    swapped = {f"held.{name}": value for name, value in (buffers | dict(tensors)).items()}
    # The fused encoder layer would read the stored weights' bits and has no rule under vmap.
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        return functional_call(holder, swapped, (task,))
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)


@dataclass(frozen=True, eq=False, repr=False)
class Population:
    """Members θ + std u of a perturbation, one for each sample; the module itself is untouched.

    Call it like the module: `z(x)` runs all members at once and puts the members' axis in front.
    `z.each(f)` gives f the module with each member's parameters in turn, for whatever cannot be
    batched. `z.tensor(name)` and `z.parameters(k)` are the perturbed tensors themselves.

    Args:
        tensors: θ by name, without a gradient.
        directions: u by name; none for a population of one member, the center.
        std: Size of the steps.
        members: Their number.
        module: The module that the tensors are the parameters of, if any.

    Example:
        >>> import torch
        >>> from trivium.expectation import Perturb
        >>> model = torch.nn.Linear(3, 2)
        >>> z = Perturb(model, std=0.1).sample(torch.Size([8]))
        >>> z(torch.ones(5, 3)).shape, z.tensor("weight").shape
        (torch.Size([8, 5, 2]), torch.Size([8, 2, 3]))
        >>> z.each(lambda module: module(torch.ones(5, 3)).sum()).shape
        torch.Size([8])
    """

    tensors: Mapping[str, Tensor]
    directions: Mapping[str, Directions]
    std: float
    members: int
    module: nn.Module | None = None

    def __repr__(self) -> str:
        """Say how many members of what."""
        what = "tensors" if self.module is None else type(self.module).__name__
        return f"Population({self.members} of {what}, std={self.std:g})"

    def __len__(self) -> int:
        return self.members

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the module for all members: each output with the members' axis in front.

        Factored directions of `nn.Linear` weights are never materialized: the product with the
        stored weight is one for all members. Where `torch.func.vmap` cannot follow the module
        (batch norm in training, control flow that depends on values), members run one by one.

        Raises:
            ArgumentError: The population has no module.
        """
        module = self._module("a call")

        def one(parts: dict[str, tuple[Tensor, ...]]) -> Any:
            return run_with(module, self._built(parts), lambda: module(*args, **kwargs))

        parts = self._parts()
        if not parts:
            return _stacked([one({})])
        try:
            with _attention_that_batches(next(iter(self.tensors.values())).device):
                return vmap(one, randomness="different")(parts)
        # What vmap cannot follow or return; a fault of the module's own is raised again.
        except (RuntimeError, ValueError):
            return _stacked([one(_slice(parts, k)) for k in range(self.members)])

    def each(self, f: Callable[[Any], Any]) -> Float[Tensor, " n"]:
        """Return f of each member: of the module with its parameters, or of its tensors.

        f may leave torch and return a number.

        Raises:
            ArgumentError: f returned something that is no number.
        """
        parts, values = self._parts(), []
        for k in range(self.members):
            made = self._built(_slice(parts, k))
            if self.module is None:
                found = f(_alone(_materialized(made)))
            else:
                module = self.module
                found = run_with(module, made, lambda: f(module))  # noqa: B023 - run at once
            values.append(_number(found))
        return torch.stack(values).to(next(iter(self.tensors.values())).device)

    def tensor(self, name: str | None = None) -> Float[Tensor, "n *shape"]:
        """Return a tensor of all members; the name may be left out where there is only one.

        Raises:
            ArgumentError: No tensor has this name, or it must be named.
        """
        if name is None and len(self.tensors) == 1:
            name = next(iter(self.tensors))
        if name is None or name not in self.tensors:
            listed = ", ".join(repr(known) for known in self.tensors)
            raise ArgumentError(f"Population: name must be one of {listed}; got {name!r}")
        base = self.tensors[name]
        return self.directions[name].stacked(base, self.std) if self.directions else base[None]

    def parameters(self, k: int) -> dict[str, Tensor]:
        """Return the tensors of member k by name.

        Raises:
            ArgumentError: There is no member k.
        """
        if not 0 <= k < self.members:
            raise ArgumentError(f"Population: k must be from 0 to {self.members - 1}; got {k}")
        return _materialized(self._built(_slice(self._parts(), k)))

    def _module(self, what: str) -> nn.Module:
        if self.module is None:
            raise ArgumentError(
                f"Population: {what} must have a module to run; got tensors",
                remedy="Use z.tensor(name), or z.each(f).",
            )
        return self.module

    def _parts(self) -> dict[str, tuple[Tensor, ...]]:
        return {
            name: found.parts(self.tensors[name], self.std)
            for name, found in self.directions.items()
        }

    def _built(self, parts: Mapping[str, tuple[Tensor, ...]]) -> dict[str, Tensor]:
        own = {
            name: self.directions[name].member(self.tensors[name], p) for name, p in parts.items()
        }
        return {**self.tensors, **own}


def _attention_that_batches(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU the fused attention has no rule under vmap, the one made of products has."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _slice(parts: Mapping[str, tuple[Tensor, ...]], k: int) -> dict[str, tuple[Tensor, ...]]:
    return {name: tuple(tensor[k] for tensor in found) for name, found in parts.items()}


def _materialized(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: tensor.materialized() if isinstance(tensor, VirtualTensor) else tensor
        for name, tensor in tensors.items()
    }


def _alone(tensors: dict[str, Tensor]) -> Any:
    return next(iter(tensors.values())) if len(tensors) == 1 else tensors


def _number(found: Any) -> Tensor:
    try:
        value = torch.as_tensor(found)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(f"Population.each: f must return a number; got {found!r}") from error
    if value.numel() != 1:
        raise ArgumentError(
            f"Population.each: f must return one number; got shape {tuple(value.shape)}"
        )
    value = value.reshape(())
    return value if value.is_floating_point() else value.to(torch.get_default_dtype())


def _stacked(outputs: list[Any]) -> Any:
    """Stack tensors, and tensors inside tuples, lists and dicts."""
    first = outputs[0]
    if isinstance(first, Tensor):
        return torch.stack(outputs)
    if isinstance(first, dict):
        return {key: _stacked([output[key] for output in outputs]) for key in first}
    if isinstance(first, list | tuple):
        return type(first)(_stacked(list(column)) for column in zip(*outputs, strict=True))
    return None if first is None else outputs
