"""What a sweep over a run adds up."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Sums"]


class Sums:
    """Contributions by row, by step and by layer, in float64 on the CPU.

    Attributes:
        rows: `(q, n)`.
        steps: The rows' total of each step, `(t, q)`.
        layers: The rows' total of each layer, `(l, q)`.
        remainders: What no row made, by name, `(q,)`.
    """

    def __init__(
        self, n_queries: int, n_rows: int, n_steps: int, layers: Sequence[Sequence[slice]]
    ) -> None:
        double = torch.float64
        self.rows = torch.zeros((n_queries, n_rows), dtype=double)
        self.steps = torch.zeros((n_steps, n_queries), dtype=double)
        self.layers = torch.zeros((len(layers), n_queries), dtype=double)
        self.remainders: dict[str, Tensor] = {}
        self._places = [list(one) for one in layers]

    def add_rows(self, places: Tensor, amount: Tensor) -> None:
        """Add `(q, b)` to the rows at `places`."""
        self.rows.index_add_(1, places, amount.to("cpu", torch.float64))

    def add_step(self, number: int, by_layer: Tensor) -> None:
        """Add the rows' total of one step, `(l, q)`."""
        amount = by_layer.to("cpu", torch.float64)
        self.layers += amount
        self.steps[number] += amount.sum(0)

    def remain(self, name: str, amount: Tensor) -> None:
        """Add to what no row made."""
        found = amount.to("cpu", torch.float64)
        self.remainders[name] = self.remainders[name] + found if name in self.remainders else found

    def per_layer(self, products: Tensor) -> Tensor:
        """Sum `(p,)` over each layer, `(l,)`."""
        return torch.stack(
            [torch.cat([products[one] for one in places]).double().sum() for places in self._places]
        )

    def per_layer_dot(self, directions: Tensor, gradient: Tensor) -> Tensor:
        """Return the product of `(q, p)` with `(p,)` over each layer, `(l, q)`."""
        found = [
            torch.stack([(directions[:, one] @ gradient[one]).double() for one in places]).sum(0)
            for places in self._places
        ]
        return torch.stack(found)
