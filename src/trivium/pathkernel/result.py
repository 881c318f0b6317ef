"""What a question to a recording returns: signed contributions of the training rows."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from trivium._core.errors import ArgumentError, NumericalError

__all__ = ["Accounting", "Attribution", "Counterfactual"]

_TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-10}
_LOOSE = 1e-2  # half precision


@dataclass(frozen=True)
class Attribution:
    """Contributions of training rows to a quantity of some rows.

    Attributes:
        ids: The training rows' ids, n of them.
        contributions: `(q, n)`, in float64; positive where the row pushed the quantity up.
        timeline: The rows' total of each step, `(t, q)`.
        layers: Names of the layers.
        by_layer: The rows' total of each layer, `(l, q)`.
    """

    ids: Sequence[Hashable]
    contributions: Tensor
    steps: Tensor
    layers: Sequence[str]
    layer_totals: Tensor
    before: Tensor
    after: Tensor
    dtype: torch.dtype = torch.float32

    question: ClassVar[str] = ""

    def top(self, k: int = 5, row: int = 0) -> list[tuple[Hashable, float]]:
        """Return the k training rows with the largest contributions by absolute value."""
        if not 0 <= row < len(self.contributions):
            raise ArgumentError(f"top: row must be in [0, {len(self.contributions)}); got {row}")
        values = self.contributions[row]
        order = values.abs().argsort(descending=True)[:k]
        return [(self.ids[int(i)], float(values[i])) for i in order]


@dataclass(frozen=True)
class Accounting(Attribution):
    """Which rows made this value during this training: complete, and no counterfactual.

    Attributes:
        remainders: What no row made, by name: weight decay, running statistics, an earlier state.
        completeness_error: |contributions + remainder − change| over |change|, over all queries.
    """

    remainders: dict[str, Tensor] = field(default_factory=dict)
    completeness_error: float = field(init=False)

    question: ClassVar[str] = "which rows made this value during this training"

    def __post_init__(self) -> None:
        change = self.after - self.before
        error = self.contributions.sum(1) + self.remainder - change
        scale = max(float(change.norm()), 0.01 * float(self.contributions.abs().sum(1).norm()))
        found = float(error.norm()) / scale if scale else float(error.norm())
        object.__setattr__(self, "completeness_error", found)
        allowed = _TOLERANCE.get(self.dtype, _LOOSE)
        if not found <= allowed:
            raise NumericalError(
                f"made: contributions and remainder must add up to the change within {allowed:g} "
                f"of it; they miss it by {found:.1e}",
                remedy="Usual causes: a loss that looks at several rows at once, a loss beside the "
                "noted one, or an optimizer registered with another step than it makes.",
            )

    @property
    def remainder(self) -> Tensor:
        """What no row made, `(q,)`."""
        total = torch.zeros(len(self.contributions), dtype=torch.float64)
        return sum(self.remainders.values(), total)


@dataclass(frozen=True)
class Counterfactual(Attribution):
    """What the value would lose without a row, to first order through the whole training."""

    question: ClassVar[str] = "what if this row had not been there"
