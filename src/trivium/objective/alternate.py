"""Steps with a gradient and steps without one, in turn."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, DataError
from trivium.objective.zeroth_order import ZerothOrderStep

__all__ = ["Alternate"]


class Alternate:
    """A few differentiable steps, then a few zeroth-order steps, each with its own learning rate.

    For models of which a part has no gradient (a gate that is open or shut): an optimizer trains
    what a surrogate reaches, the zeroth-order step trains the gate on the value itself.

    Args:
        optimizer: Any torch optimizer, with its own learning rate.
        zeroth: The zeroth-order step, on the same module or on a part of it.
        differentiable: Differentiable steps in each turn.
        zeroth_order: Zeroth-order steps in each turn.

    Raises:
        ArgumentError: An argument breaks its rule.

    Example:
        >>> import torch
        >>> from trivium.objective import ZerothOrderStep
        >>> model = torch.nn.Linear(1, 1)
        >>> adam = torch.optim.Adam(model.parameters(), lr=0.1)
        >>> both = Alternate(adam, ZerothOrderStep(model, std=0.1, lr=0.1), differentiable=2)
        >>> def loss():
        ...     return (model(torch.ones(1, 1)) - 1).square().mean()
        >>> kinds = []
        >>> for _ in range(6):
        ...     kinds.append(both.turn)
        ...     _ = both.step(loss, loss)
        >>> kinds[:4]
        ['differentiable', 'differentiable', 'zeroth-order', 'differentiable']
    """

    def __init__(
        self,
        optimizer: Optimizer,
        zeroth: ZerothOrderStep,
        differentiable: int = 1,
        zeroth_order: int = 1,
    ) -> None:
        if not isinstance(optimizer, Optimizer) or not isinstance(zeroth, ZerothOrderStep):
            raise ArgumentError(
                "Alternate: optimizer and zeroth must be a torch optimizer and a ZerothOrderStep; "
                f"got {type(optimizer).__name__} and {type(zeroth).__name__}"
            )
        self.optimizer, self.zeroth = optimizer, zeroth
        counts = {"differentiable": differentiable, "zeroth_order": zeroth_order}
        for name, value in counts.items():
            check_number("Alternate", name, value, "positive", integer=True)
        self.differentiable, self.zeroth_order = int(differentiable), int(zeroth_order)
        self.place = 0

    @property
    def turn(self) -> str:
        """Which kind the next step is: `"differentiable"` or `"zeroth-order"`."""
        within = self.place % (self.differentiable + self.zeroth_order)
        return "differentiable" if within < self.differentiable else "zeroth-order"

    def step(self, surrogate: Callable[[], Tensor], loss: Callable[[], Any]) -> float:
        """Make the next step; return its value.

        Args:
            surrogate: Called without arguments on differentiable steps; one number with a graph.
            loss: Called on zeroth-order steps; any number.

        Raises:
            ArgumentError: The surrogate has no graph, or a value is no number.
            DataError: A value or a gradient is not finite. The parameters have not changed then.
        """
        if self.turn == "zeroth-order":
            value = self.zeroth.step(loss)
        else:
            value = self._differentiable(surrogate)
        self.place += 1
        return value

    def _differentiable(self, surrogate: Callable[[], Tensor]) -> float:
        with torch.enable_grad():
            value = surrogate()
        if not isinstance(value, Tensor) or not value.requires_grad or value.numel() != 1:
            kind = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ArgumentError(
                f"Alternate.step: surrogate must return one number with a graph; got {kind}"
            )
        if not bool(torch.isfinite(value)):
            raise DataError(
                f"Alternate.step: surrogate must be finite; got {float(value.detach())}",
                code="E-NOT-FINITE",
            )
        self.optimizer.zero_grad()
        value.backward()
        trained = [p for group in self.optimizer.param_groups for p in group["params"]]
        slopes = [p.grad for p in trained if p.grad is not None]
        if not all(bool(_entries(slope).isfinite().all()) for slope in slopes):
            self.optimizer.zero_grad()
            raise DataError(
                "Alternate.step: the gradient of surrogate must be finite; got NaN or infinity",
                remedy="A root, a logarithm or a quotient at 0 is the usual cause.",
                code="E-NOT-FINITE",
            )
        self.optimizer.step()
        return float(value.detach())


def _entries(slope: Tensor) -> Tensor:
    return slope.coalesce().values() if slope.is_sparse else slope
