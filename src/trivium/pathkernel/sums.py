"""What a sweep over a run adds up."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Sums"]


class Sums:
    """Contributions by row, by step and by layer, in float64 on the CPU.

    Args:
        n_queries: q.
        n_rows: n, training rows.
        n_steps: t.
        layers: Where each layer's weights lie.

    Attributes:
        steps: The rows' total of each step, `(t, q)`.
        layers: The rows' total of each layer, `(l, q)`.
        remainders: What no row made, by name, `(q,)`.
        squares: Squared length of each row's gradients, all steps together, `(n,)`.
        measured: Whether `squares` holds every row's.
        weights: What each step's contributions are multiplied with in `rows`, `(t,)`; by default 1.
    """

    def __init__(
        self, n_queries: int, n_rows: int, n_steps: int, layers: Sequence[Sequence[slice]]
    ) -> None:
        double = torch.float64
        self._by_row = torch.zeros((n_rows, n_queries), dtype=double)
        self.steps = torch.zeros((n_steps, n_queries), dtype=double)
        self.layers = torch.zeros((len(layers), n_queries), dtype=double)
        self.squares = torch.zeros(n_rows, dtype=double)
        self.measured = True
        self.weights: Tensor | None = None
        self.remainders: dict[str, Tensor] = {}
        self._places = [list(one) for one in layers]

    @classmethod
    def joined(cls, blocks: Sequence["Sums"]) -> "Sums":
        """Return the sums of several blocks of queries, side by side."""
        first = blocks[0]
        whole = cls(0, len(first.squares), len(first.steps), first._places)
        whole._by_row = torch.cat([one._by_row for one in blocks], 1)
        whole.steps = torch.cat([one.steps for one in blocks], 1)
        whole.layers = torch.cat([one.layers for one in blocks], 1)
        whole.squares, whole.measured = first.squares, first.measured
        names = list(dict.fromkeys(name for one in blocks for name in one.remainders))
        for name in names:
            parts = [
                one.remainders.get(name, one.steps.new_zeros(one.steps.shape[1])) for one in blocks
            ]
            whole.remainders[name] = torch.cat(parts)
        return whole

    @property
    def rows(self) -> Tensor:
        """`(q, n)`."""
        return self._by_row.T

    @property
    def lengths(self) -> Tensor | None:
        """Length of each row's gradients, `(n,)`, where they were seen."""
        return self.squares.sqrt() if self.measured else None

    def add_rows(self, number: int, places: Tensor, amount: Tensor) -> None:
        """Add `(q, b)` of one step to the rows at `places`."""
        found = amount.to("cpu", torch.float64)
        if self.weights is not None:
            found = found * self.weights[number]
        self._by_row.index_add_(0, places, found.T)

    def add_step(self, number: int, total: Tensor) -> None:
        """Add the rows' total of one step, `(q,)`."""
        self.steps[number] += total.to("cpu", torch.float64)

    def add_layers(self, by_layer: Tensor) -> None:
        """Add the rows' total by layer, `(l, q)`."""
        self.layers += by_layer.to("cpu", torch.float64)

    def remain(self, name: str, amount: Tensor) -> None:
        """Add to what no row made."""
        found = amount.to("cpu", torch.float64)
        self.remainders[name] = self.remainders[name] + found if name in self.remainders else found

    def measure(self, places: Tensor, squares: Tensor) -> None:
        """Add the squared length of the gradients of the rows at `places`."""
        self.squares.index_add_(0, places, squares.to("cpu", torch.float64))

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
