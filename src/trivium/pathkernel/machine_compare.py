"""A kernel machine beside its network."""

from dataclasses import dataclass

import torch
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import ShapeError

__all__ = ["Comparison", "compared"]


@dataclass(frozen=True)
class Comparison:
    """How far two models say the same about some rows.

    Attributes:
        agreement: Share of rows with the same winning column; not a number for one column.
        correlation: Of all scores, each row's mean taken off where there are several columns: a
            softmax does not see it.
        accuracy: Share right of the machine; not a number without labels.
        network_accuracy: The same of the network.
        n_rows: Rows compared.
    """

    agreement: float
    correlation: float
    accuracy: float
    network_accuracy: float
    n_rows: int

    def __str__(self) -> str:
        return (
            f"{counted(self.n_rows, 'row')}: agreement {self.agreement:.3f}, correlation of "
            "outputs "
            f"{self.correlation:.3f}, accuracy {self.accuracy:.3f} (network "
            f"{self.network_accuracy:.3f})"
        )


def compared(scores: Tensor, network: Tensor, y: Tensor | None) -> Comparison:
    """Return how two sets of scores compare.

    Args:
        scores: The machine's, `(n, c)`.
        network: The network's, `(n, c)`.
        y: The right columns, `(n,)`.

    Raises:
        ShapeError: The two differ in shape.
    """
    if scores.shape != network.shape:
        raise ShapeError(
            f"compare: the network must have the machine's outputs {tuple(scores.shape)}; "
            f"got {tuple(network.shape)}"
        )
    nothing = float("nan")
    several = scores.shape[1] > 1
    a, b = (one - one.mean(1, keepdim=True) if several else one for one in (scores, network))
    pair = torch.stack([a.reshape(-1), b.reshape(-1)])
    mine, other = scores.argmax(1), network.argmax(1)
    share = nothing if y is None else float((mine == y).double().mean())
    theirs = nothing if y is None else float((other == y).double().mean())
    return Comparison(
        float((mine == other).double().mean()) if several else nothing,
        float(torch.corrcoef(pair)[0, 1]),
        share,
        theirs,
        len(scores),
    )
