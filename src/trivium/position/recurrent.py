"""Vectors of positions from a recurrent cell that steps from each to the next."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium.position.tabulated import Stepped

__all__ = ["Recurrent"]


class Recurrent(Stepped):
    r"""A gated recurrent cell without input, $p_{k+1} = (1 - z) \odot n + z \odot p_k$.

    $r, z = \sigma(W_{rz}\,p_k + b_{rz})$ and $n = \tanh(b_n + r \odot (W_n\,p_k + c_n))$, with a
    learned start p₀. The usual initial values of a cell contract: from position 50 on all vectors
    are one to 1e-9. Here $W_n$ begins orthogonal and $b_z$ as logarithms of spans up to
    `max_length`, so that positions differ before training.

    Args:
        max_length: Positions.
        d_model: Width of the vectors.
        merge: As in `Added`.

    Raises:
        ArgumentError: A size that is not positive; when called, a position past the table.

    Cost:
        O(n m²) time, one position after the other, at each call with gradients; without, once.
        `torch.compile` and export unroll `max_length` steps.

    Example:
        >>> Recurrent(16, 8).vectors(torch.arange(5)).shape
        torch.Size([5, 8])

    Source:
        Cho et al., Learning Phrase Representations using RNN Encoder-Decoder, EMNLP (2014), eqs.
        5-8, for the cell; Liu et al., Learning to Encode Position for Transformer with Continuous
        Dynamical Model, ICML (2020), eq. 4, for positions by recursion; Tallec and Ollivier, Can
        Recurrent Neural Networks Warp Time?, ICLR (2018), eq. 15, for the initial gates.
    """

    def __init__(self, max_length: int, d_model: int, *, merge: str = "add") -> None:
        super().__init__(max_length, d_model, merge)
        d = self.d_model
        self.start = nn.Parameter(torch.randn(d) / math.sqrt(d))
        self.hidden = nn.Linear(d, 3 * d)
        self.drive = nn.Parameter(torch.zeros(d))
        with torch.no_grad():
            nn.init.orthogonal_(self.hidden.weight[2 * d :])
            spans = torch.empty(d).uniform_(1, max(2, self.max_length - 1))
            self.hidden.bias[d : 2 * d] = spans.log()

    @classmethod
    def examples(cls) -> Sequence["Recurrent"]:
        """Return a small instance."""
        return (cls(24, 8),)

    def table(self, n: int) -> Float[Tensor, "n m"]:
        """Return the vectors of the first n positions."""
        d = self.d_model
        weight, bias, drive, p = (
            value if value.dtype == torch.float64 else value.float()
            for value in (self.hidden.weight, self.hidden.bias, self.drive, self.start)
        )
        rows = [p]
        for _ in range(n - 1):
            gates = torch.addmv(bias, weight, p)
            r, z = gates[: 2 * d].sigmoid().split(d)
            fresh = torch.tanh(drive + r * gates[2 * d :])
            p = fresh + z * (p - fresh)
            rows.append(p)
        return torch.stack(rows)
