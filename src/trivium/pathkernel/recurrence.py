r"""What an optimizer does with a gradient, written so that its step is a linear map of it.

A step changes each weight by its own history alone: $(w, g, s) \mapsto (w', s')$, elementwise. One
function says how; automatic differentiation of it gives the diagonal of every Jacobian, and these
diagonals are all that the backward recurrences of `made` and `without` need.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer

from trivium._core.errors import ArgumentError
from trivium._core.families import members

__all__ = [
    "Diagonals",
    "Recurrence",
    "RegisteredRecurrence",
    "recurrence_of",
    "register_recurrence",
]

Given = Callable[[Tensor], Tensor]
State = dict[str, Tensor]
Diagonals = dict[tuple[str, str], Tensor]


class Recurrence(ABC):
    """One optimizer's step.

    Attributes:
        optimizers: The optimizer classes that step like this, exactly (a subclass may not).
        states: Keys of the optimizer's own state that hold one number for each weight.
        uniform: Whether every weight of a group steps by the same numbers, so that the Jacobians'
            diagonals are constant.
    """

    uniform: ClassVar[bool] = False
    optimizers: ClassVar[tuple[type[Optimizer], ...]] = ()
    states: tuple[str, ...] = ()

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence[tuple[type[Optimizer], dict[str, Any]]]:
        """Return optimizers with the settings that the conformance tests try."""

    @abstractmethod
    def advance(
        self,
        weight: Tensor,
        gradient: Tensor,
        pull: Tensor,
        state: State,
        options: Mapping[str, Any],
        given: Given,
    ) -> tuple[Tensor, State]:
        r"""Return the weight and the state after one step, elementwise.

        Args:
            weight: Before the step.
            gradient: As the optimizer sees it, after any clipping.
            pull: The weight decay's pull, decay times weight: a tensor of its own, so that what it
                does is told apart from what the rows do.
            state: The optimizer's state before the step; empty before the first.
            options: The parameter group's numbers; `step`, counted from 1; and single numbers of
                the optimizer's state before the step that are not named in `states`.
            given: Wraps what accounting takes as given (a preconditioner): identity or detach.
        """

    def options(self, optimizer: Optimizer, group: Mapping[str, Any]) -> dict[str, Any]:
        """Return the numbers of a parameter group that the step depends on."""
        plain = (int, float, str, tuple, list, type(None))
        numbers = {
            name: value.item() if isinstance(value, Tensor) and value.numel() == 1 else value
            for name, value in group.items()
            if name != "params" and not name.startswith("initial_")
        }
        return {name: value for name, value in numbers.items() if isinstance(value, plain)}


@dataclass(frozen=True)
class RegisteredRecurrence(Recurrence):
    """A recurrence that a user described by one function; see `register_recurrence`."""

    function: Callable[..., tuple[Tensor, State]]
    states: tuple[str, ...] = ()

    @classmethod
    def examples(cls) -> Sequence[tuple[type[Optimizer], dict[str, Any]]]:
        """Return nothing: it is described at run time."""
        return ()

    def advance(
        self,
        weight: Tensor,
        gradient: Tensor,
        pull: Tensor,
        state: State,
        options: Mapping[str, Any],
        given: Given,
    ) -> tuple[Tensor, State]:
        """Call the user's function."""
        return self.function(weight, gradient, pull, state, options, given)


_REGISTERED: dict[type[Optimizer], RegisteredRecurrence] = {}


def register_recurrence(
    optimizer: type[Optimizer],
    advance: Callable[..., tuple[Tensor, State]],
    states: Sequence[str] = (),
) -> None:
    r"""Describe the step of an optimizer that trivium does not know.

    Args:
        optimizer: Its class.
        advance: `advance(weight, gradient, pull, state, options, given) -> (weight, state)`: the
            step of elementwise tensors, in differentiable torch operations. `pull` is the
            decay's term `weight_decay * weight`; `options` are the parameter group's numbers and
            `step`, counted from 1; `given` marks what accounting takes as given, as the second
            moment of Adam. Each weight's step may depend on its own history only.
        states: Keys of the optimizer's state with one number for each weight.

    Raises:
        ArgumentError: Not an optimizer class, or `advance` cannot be called.

    Example:
        >>> import torch
        >>> class Plain(torch.optim.Optimizer):
        ...     def __init__(self, params, lr):
        ...         super().__init__(params, {"lr": lr})
        ...     @torch.no_grad()
        ...     def step(self, closure=None):
        ...         for group in self.param_groups:
        ...             for p in group["params"]:
        ...                 p.sub_(group["lr"] * p.grad)
        >>> def advance(weight, gradient, pull, state, options, given):
        ...     return weight - options["lr"] * gradient, {}
        >>> register_recurrence(Plain, advance)
    """
    if not (isinstance(optimizer, type) and issubclass(optimizer, Optimizer)):
        raise ArgumentError(
            f"register_recurrence: optimizer must be a subclass of torch.optim.Optimizer; "
            f"got {optimizer!r}"
        )
    if not callable(advance):
        raise ArgumentError(
            f"register_recurrence: advance must be a function (weight, gradient, pull, state, "
            f"options, given) -> (weight, state); got {advance!r}"
        )
    _REGISTERED[optimizer] = RegisteredRecurrence(advance, tuple(states))


def recurrence_of(optimizer: Optimizer, caller: str = "record") -> Recurrence:
    """Return how the optimizer steps.

    Raises:
        ArgumentError: It is not known; the message says how to describe it.
    """
    kind = type(optimizer)
    if kind in _REGISTERED:
        return _REGISTERED[kind]
    known: dict[type[Optimizer], type[Recurrence]] = {
        optimizer: member
        for member in members("trivium.pathkernel", Recurrence)  # type: ignore[type-abstract]
        for optimizer in member.optimizers
    }
    if kind in known:
        return known[kind]()
    listed = ", ".join(sorted(one.__name__ for one in known))
    raise ArgumentError(
        f"{caller}: optimizer must be one of {listed}, or described; got {kind.__name__}",
        remedy="Describe its step with trivium.pathkernel.register_recurrence("
        f"{kind.__name__}, advance, states).",
    )


def diagonals(
    recurrence: Recurrence,
    inputs: Mapping[str, Tensor],
    options: Mapping[str, Any],
    *,
    frozen: bool,
) -> Diagonals:
    r"""Return $\partial \text{out}_j / \partial \text{in}_j$ for each output and input of a step.

    Args:
        recurrence: The optimizer's step.
        inputs: `weight`, `gradient`, `pull` and the states, each `(p,)`.
        options: The group's numbers and `step`.
        frozen: Take what the recurrence marks as given as constant (accounting), or differentiate
            it too (the counterfactual).

    Returns:
        For `(out, in)`: `(p,)`, or a single number where all are equal; nothing where zero.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in inputs.items()}
    state = {name: leaves[name] for name in inputs if name not in ("weight", "gradient", "pull")}
    with torch.enable_grad():
        weight, after = recurrence.advance(
            leaves["weight"],
            leaves["gradient"],
            leaves["pull"],
            state,
            options,
            torch.Tensor.detach if frozen else _same,
        )
        found: Diagonals = {}
        outputs = {"weight": weight, **after}
        for out, value in outputs.items():
            if not value.requires_grad:
                continue
            parts = torch.autograd.grad(
                value.sum(), list(leaves.values()), retain_graph=True, allow_unused=True
            )
            for name, part in zip(leaves, parts, strict=True):
                if part is not None:
                    found[out, name] = _shrunk(part)
    return {key: value for key, value in found.items() if value.ndim or value != 0}


def root(value: Tensor) -> Tensor:
    """Return the root, with no slope at zero: a weight that never moved has none to take."""
    seen = torch.where(value > 0, value, 1.0)
    return torch.where(value > 0, seen.sqrt(), 0.0)


def _same(value: Tensor) -> Tensor:
    return value


def _shrunk(diagonal: Tensor) -> Tensor:
    """Return one number where all are equal: a scale costs less than a product."""
    first = diagonal[:1]
    return first[0] if bool((diagonal == first).all()) else diagonal
