"""What is looked at before and after each step of the optimizer."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trivium._core.errors import ArgumentError, DataError
from trivium.pathkernel.recurrence import Recurrence
from trivium.pathkernel.weights import Weights

__all__ = ["StepWatch", "gradient_norms"]

_PLAIN = (torch.float32, torch.float64)


class StepWatch:
    """Sees to it that the optimizer alone moves the weights, and reads what moved them.

    Args:
        model: The model.
        weights: Its trainable weights.
        optimizer: What steps them.
        recurrence: How.

    Raises:
        ArgumentError: The optimizer steps nothing of the model.
    """

    def __init__(
        self, model: nn.Module, weights: Weights, optimizer: Optimizer, recurrence: Recurrence
    ) -> None:
        self.weights, self.optimizer, self.recurrence = weights, optimizer, recurrence
        own = {id(p) for p in weights.tensors}
        stepped = [p for group in optimizer.param_groups for p in group["params"]]
        if not any(id(p) in own for p in stepped):
            raise ArgumentError(
                "record: optimizer must step the model's trainable parameters; got one that steps "
                "none of them",
                remedy="Build it from the parameters of the model that is recorded.",
            )
        self._others = [p for p in stepped if id(p) not in own]
        named = dict(model.named_parameters())
        self._names = {id(p): name for name, p in named.items()}
        self._all = list(named.values())
        self._versions: list[int] = []
        self._moved: tuple[bool, ...] = ()
        self._smallest = smallest(weights)
        self._numbers: list[list[Any]] = []
        self._options: list[dict[str, Any]] = []

    def mark(self) -> None:
        """Remember the weights as they are."""
        self._versions = [p._version for p in self._all]

    def changed(self) -> str | None:
        """Return the name of a parameter that was changed since, if any."""
        for p, seen in zip(self._all, self._versions, strict=True):
            if p._version != seen:
                return self._names[id(p)]
        return None

    def look(self, step: int, args: Sequence[Any], kwargs: dict[str, Any]) -> list[dict[str, Any]]:
        """Check what the optimizer is about to do, and return the numbers of its groups.

        Raises:
            ArgumentError: It is given a closure.
            DataError: Weights were changed outside of it; a gradient is sparse; it steps what
                was not trainable when the recording began.
        """
        where = f"step {step}"
        if any(one is not None for one in (*args[1:], *kwargs.values())):
            raise ArgumentError(
                "record: the optimizer must step without a closure; got one",
                where=where,
                remedy="Call the closure's forward and backward before optimizer.step().",
            )
        name = self.changed()
        if name is not None:
            raise DataError(
                "record: the weights must change by the optimizer's steps alone; got a change "
                f"of {name} outside of them",
                where=f"before {where}",
                remedy="Change them before the recording begins, or record the parts before and "
                "after the change apart.",
            )
        for p in self._others:
            if p.grad is not None:
                raise DataError(
                    "record: the optimizer must step weights of the model that were trainable "
                    "when the recording began; got a gradient for "
                    f"{self._names.get(id(p), 'a parameter that is not in the model')}",
                    where=where,
                    remedy="Unfreeze all that will be trained before record(...), or put the "
                    "parameter into the model.",
                )
        now = [[v for k, v in g.items() if k != "params"] for g in self.optimizer.param_groups]
        if self._numbers != now:
            self._numbers = now
            self._options = [
                self.recurrence.options(self.optimizer, group)
                for group in self.optimizer.param_groups
            ]
        return self._options

    def gradients(self, step: int) -> tuple[Tensor, tuple[bool, ...]]:
        """Return the norm of each parameter's gradient, and which have one.

        Returns:
            The norms, `(parameters,)`; where none was seen to be touched since the engine made
            it, that of the smallest parameter alone, `(1,)`. Then which parameters have one.

        Raises:
            DataError: A gradient is sparse.
        """
        grads = [p.grad for p in self.weights.tensors]
        moved = tuple([grad is not None for grad in grads])
        if moved != self._moved:
            self._moved = moved
            for name, grad in zip(self.weights.names, grads, strict=True):
                if grad is not None and grad.layout is not torch.strided:
                    raise DataError(
                        f"record: gradients must be dense; got a sparse one for {name}",
                        where=f"step {step}",
                        remedy="Build the layer with sparse=False.",
                    )
        one = grads[self._smallest]
        if one is None or any(grad._version for grad in grads if grad is not None):
            return gradient_norms(self.weights.tensors, moved), self._moved
        return _norm(one).reshape(1), self._moved


def smallest(weights: Weights) -> int:
    """Return the place of the smallest parameter."""
    return min(range(len(weights.tensors)), key=lambda i: weights.tensors[i].numel())


def gradient_norms(tensors: Sequence[Tensor], moved: Sequence[bool]) -> Tensor:
    """Return the Euclidean norm of each gradient; zero where there is none or it is not used."""
    zero = torch.zeros((), dtype=tensors[0].dtype, device=tensors[0].device)
    return torch.stack(
        [
            zero if p.grad is None or not used else _norm(p.grad)
            for p, used in zip(tensors, moved, strict=True)
        ]
    )


def _norm(gradient: Tensor) -> Tensor:
    flat = gradient.detach().reshape(-1)
    if flat.device.type == "cpu" and flat.dtype in _PLAIN:
        return flat.dot(flat).sqrt_()  # several times as fast as the norm there
    return torch.linalg.vector_norm(flat)
