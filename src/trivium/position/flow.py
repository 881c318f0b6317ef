"""FLOATER: vectors of positions on the path of a learned differential equation."""

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from trivium._core.checks import check_number
from trivium.position.tabulated import Stepped, positive_sizes

__all__ = ["Flow"]


class Flow(Stepped):
    r"""A path $dp/dt = f(t, p)$ from a learned start, read at $t = k\,\Delta$.

    $f(t, p) = W_2\,[\tanh(W_1\,[p; t] + b_1); t] + b_2$: two linear layers with t appended. One
    step of the classical Runge-Kutta rule leads from each position to the next.

    Args:
        max_length: Positions.
        d_model: Width of the vectors.
        hidden: Width of the inner layer; `d_model` by default.
        delta: Time Δ from one position to the next.
        merge: As in `Added`.

    Raises:
        ArgumentError: A size or time that is not positive; when called, a position past the table.

    Cost:
        O(n m · hidden) time, one position after the other, at each call with gradients; without,
        once. `torch.compile` and export unroll `max_length` steps.

    Example:
        >>> Flow(16, 8).vectors(torch.arange(5)).shape
        torch.Size([5, 8])

    Source:
        Liu et al., Learning to Encode Position for Transformer with Continuous Dynamical Model,
        ICML (2020), eqs. 5-7. Their code adds p to f, which grows without bound with the length,
        and cuts with a rectifier, where the rule loses its order; neither is done here.
    """

    def __init__(
        self,
        max_length: int,
        d_model: int,
        hidden: int | None = None,
        *,
        delta: float = 0.1,
        merge: str = "add",
    ) -> None:
        super().__init__(max_length, d_model, merge)
        d = self.d_model
        (inner,) = positive_sizes("Flow", hidden=d if hidden is None else hidden)
        self.delta = float(check_number("Flow", "delta", delta, "positive"))
        self.start = nn.Parameter(torch.randn(d) / math.sqrt(d))
        self.inner = nn.Linear(d + 1, inner)
        self.outer = nn.Linear(inner + 1, d)

    @classmethod
    def examples(cls) -> Sequence["Flow"]:
        """Return a small instance."""
        return (cls(24, 8),)

    def slope(self, t: float, p: Float[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Return f(t, p)."""
        inner = torch.tanh(_with_time(self.inner, t, p))
        return _with_time(self.outer, t, inner)

    def table(self, n: int) -> Float[Tensor, "n m"]:
        """Return the vectors of the first n positions."""
        wide = self.start.dtype == torch.float64
        p = self.start if wide else self.start.float()
        rows = [p]
        for k in range(n - 1):
            p = _step(self.slope, k * self.delta, p, self.delta)
            rows.append(p)
        return torch.stack(rows)


def _with_time(layer: nn.Linear, t: float, x: Tensor) -> Tensor:
    """Return a layer of [x; t]: t times its last column is a part of the bias."""
    weight, bias = layer.weight.to(x.dtype), layer.bias.to(x.dtype)
    return linear(x, weight[:, :-1], bias + t * weight[:, -1])


def _step(f: Callable[[float, Tensor], Tensor], t: float, p: Tensor, h: float) -> Tensor:
    """Return p at t + h by one step of the classical Runge-Kutta rule."""
    a = f(t, p)
    b = f(t + h / 2, p + h / 2 * a)
    c = f(t + h / 2, p + h / 2 * b)
    d = f(t + h, p + h * c)
    return p + h / 6 * (a + 2 * b + 2 * c + d)
