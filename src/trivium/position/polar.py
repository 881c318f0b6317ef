"""Polar coordinates (PoPE): features say what, angles say where, and neither moves the other."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import softplus

from trivium._core.checks import check_number
from trivium._core.errors import ShapeError
from trivium.kernel.spectral import Geometric, Schedule, Trained
from trivium.position.base import Position
from trivium.position.rotary import check_width, learns, place_of, schedule_of
from trivium.position.rotation import cos_sin_of

__all__ = ["Polar"]


class Polar(Position):
    r"""Polar coordinate position embedding: each feature is a length, each position an angle.

    Logit $\sum_c \mu(q_c)\,\mu(k_c) \cos((j - i)\,\theta_c + \delta_c)$ with μ = softplus, d
    frequencies $\theta_c = B^{-c/d}$ and learned phases $\delta_c$ in [−2π, 0]. Queries and keys
    become 2d wide; the factor stays 1/√d. Phases go with the queries, so that heads of keys can
    be shared.

    Args:
        d_head: Dimension d of queries and keys.
        n_heads: Heads that have phases of their own; all share them by default.
        schedule: Frequencies.
        phases: Whether there are phases; they begin at 0.

    Raises:
        ArgumentError: Sizes that are not positive whole numbers, or not a schedule.
        ShapeError: In `query` and `key`: heads of another size or number.

    Cost:
        O(b h n d), and twice the products of queries and keys.

    Example:
        >>> polar = Polar(d_head=4)
        >>> polar.query(torch.zeros(1, 1, 1, 4), torch.tensor([0])).shape
        torch.Size([1, 1, 1, 8])

    Source:
        Gopalakrishnan et al., Decoupling the "What" and "Where" with Polar Coordinate Positional
        Embeddings (2025), section 3.
    """

    stationary = True

    def __init__(
        self,
        d_head: int,
        n_heads: int | None = None,
        *,
        schedule: Schedule | None = None,
        phases: bool = True,
    ) -> None:
        super().__init__()
        self.d_head = int(check_number("Polar", "d_head", d_head, "positive", integer=True))
        rows = 1 if n_heads is None else n_heads
        rows = int(check_number("Polar", "n_heads", rows, "positive", integer=True))
        self.n_heads = None if n_heads is None else rows
        self.schedule = schedule_of("Polar", schedule)
        self.phases = nn.Parameter(torch.zeros(rows, self.d_head)) if phases else None
        self._fixed = None if learns(self.schedule) else tuple(self._theta().tolist())

    @classmethod
    def examples(cls) -> Sequence["Polar"]:
        """Return a few small instances."""
        phased = cls(4, 2)
        with torch.no_grad():
            assert phased.phases is not None
            phased.phases.sub_(torch.linspace(0.1, 3.0, 8).view(2, 4))
        learned = Trained(Geometric(100.0).frequencies(4))
        return (cls(4, phases=False), phased, cls(4, schedule=learned, phases=False))

    def _theta(self) -> Float[Tensor, " f"]:
        return self.schedule.frequencies(self.d_head)

    def angles(self, i: Int[Tensor, "*b n"]) -> Float[Tensor, "*b n d"]:
        """Return the angle of each feature at each position, in float64, without phases."""
        fixed = self._fixed
        theta = self._theta() if fixed is None else torch.tensor(fixed, dtype=torch.float64)
        return i.to(place_of(i)).double()[..., None] * theta.to(place_of(i))

    def query(
        self, q: Float[Tensor, "b h n d"], i: Int[Tensor, "*b n"]
    ) -> Float[Tensor, "b h n e"]:
        """Return the queries, μ(q) cos and μ(q) sin of i θ − δ."""
        if self.n_heads is not None and q.shape[1] != self.n_heads:
            raise ShapeError(
                f"Polar: n_heads must be the layer's heads, {q.shape[1]}; got {self.n_heads}"
            )
        angles = self._over_heads(i)
        if self.phases is not None:
            phases = self.phases.clamp(-2 * math.pi, 0).to(angles)
            angles = angles - phases[:, None]
        return self._put(q, angles)

    def key(self, k: Float[Tensor, "b h t d"], j: Int[Tensor, "*b t"]) -> Float[Tensor, "b h t e"]:
        """Return the keys, μ(k) cos and μ(k) sin of j θ."""
        return self._put(k, self._over_heads(j))

    def _over_heads(self, at: Tensor) -> Tensor:
        return self.angles(at).unsqueeze(-3)

    def _put(self, x: Tensor, angles: Tensor) -> Tensor:
        check_width("Polar", x, self.d_head)
        cos, sin = cos_sin_of(angles, x)
        # Contiguous, so that a compiled graph and the backward pass agree on how it is laid out.
        length = softplus(x.contiguous().to(cos.dtype))
        return torch.cat((length * cos, length * sin), -1).to(x.dtype)

    def width(self, d: int) -> int:
        """Return 2d."""
        return 2 * d

    def scale(self, d: int) -> float:
        """Return 1/√d of the head, not of what queries become."""
        return self.d_head**-0.5

    def extra_repr(self) -> str:
        """Say what it was made from."""
        return f"d_head={self.d_head}, n_heads={self.n_heads}, phases={self.phases is not None}"
