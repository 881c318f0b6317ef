"""What a kernel machine's terms are added to: a constant, or a network's outputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trivium._core.errors import ArgumentError, ShapeError
from trivium.pathkernel.quantity import first_tensor
from trivium.pathkernel.row_sets import call_with, count_rows, take_rows

__all__ = ["Floor", "Network", "check_network", "network_scores"]

Network = nn.Module | Callable[..., Tensor] | None
_BLOCK = 1024


@dataclass(frozen=True)
class Floor:
    """Scores without any kernel term.

    Attributes:
        network: What gives the first outputs, or `None`.
        constant: The level of each output that the network does not give, `(c,)`.
    """

    network: Network
    constant: Tensor

    def scores(self, caller: str, x: Any) -> Tensor:
        """Return them, `(m, c)` in float64."""
        if self.network is None:
            return self.constant.expand(count_rows(caller, x), -1).clone()
        known = network_scores(caller, self.network, x)
        more = self.constant[known.shape[1] :].expand(len(known), -1)
        return torch.cat([known, more], 1)

    def grown(self, count: int, level: float) -> "Floor":
        """Return it with further outputs at one level."""
        more = torch.full((count,), level, dtype=torch.float64)
        return Floor(self.network, torch.cat([self.constant, more]))


def check_network(base: Network) -> None:
    """Refuse what cannot be called.

    Raises:
        ArgumentError: Neither `None` nor callable.
    """
    if base is not None and not callable(base):
        raise ArgumentError(
            f"KernelMachine: base must be None, a module or a function; got {type(base).__name__}"
        )


def network_scores(caller: str, network: Callable[..., Any], x: Any, block: int = _BLOCK) -> Tensor:
    """Return a network's outputs as `(n, c)` in float64, in evaluation mode.

    Raises:
        ShapeError: They have other axes than rows and outputs.
    """
    training = isinstance(network, nn.Module) and network.training
    if isinstance(network, nn.Module):
        network.eval()
    n_rows, parts = count_rows(caller, x), []
    try:
        with torch.no_grad():
            for start in range(0, n_rows, block):
                part = take_rows(x, slice(start, min(start + block, n_rows)))
                parts.append(first_tensor(call_with(network, part)).double().cpu())
    finally:
        if isinstance(network, nn.Module):
            network.train(training)
    found = torch.cat(parts)
    found = found[:, None] if found.ndim == 1 else found
    if found.ndim != 2 or len(found) != n_rows:
        raise ShapeError(
            f"{caller}: a network must give (rows, outputs), ({n_rows}, c); "
            f"got {tuple(found.shape)}"
        )
    return found
