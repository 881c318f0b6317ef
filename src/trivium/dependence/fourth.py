r"""Moments of two sets of features up to the fourth order that the null of HSIC needs.

For rows $(\phi_i, \psi_i)$ with mean $m$ the state holds n, m and the scatter M of

    z_i = (φ_i − m_φ,  ψ_i − m_ψ,  a_i,  b_i),    a_i = ‖φ_i − m_φ‖²,    b_i = ‖ψ_i − m_ψ‖²

whose last two columns make Σ a_i², Σ a_i b_i and Σ b_i² second moments too. Another origin
$m - D$ is reached exactly, as the squared distances move linearly in z:

    φ − m + D = u + D,    ‖u + D‖² = a + 2 Dᵀ u + ‖D‖²

so parts about their own means are brought to the common mean and added by the pairwise formula
of Chan, Golub and LeVeque (1979); a part is taken away by the same steps backwards.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.moment.products import mirror, symmetric_product

__all__ = ["Fourth"]

_ROUNDING = 64  # units in the last place by which equal rows in different blocks may differ


@dataclass(frozen=True)
class Fourth:
    """Moments of no, one or many rows; a value, never changed.

    Args:
        count: Rows.
        width: Columns of φ; the others are those of ψ.
        origin: Where the mean is counted from, so that equal far offsets cancel exactly.
        offset: The mean less the origin.
        second: M, float64.
        traces: Σ k(x_i, x_i) and Σ l(y_i, y_i) of the kernels that the features stand for.
        single: Whether a product was made in float32.
    """

    count: int
    width: int
    origin: Float[Tensor, " d"]
    offset: Float[Tensor, " d"]
    second: Float[Tensor, "e e"]
    traces: Float[Tensor, "2"]
    single: bool = False

    @classmethod
    def empty(cls, r: int, s: int) -> "Fourth":
        """Return the moments of no rows."""
        zeros = torch.zeros(r + s + 2, r + s + 2, dtype=torch.float64)
        return cls(0, r, zeros[0, : r + s], zeros[0, : r + s], zeros, zeros[0, :2])

    @classmethod
    def of(
        cls, phi: Float[Tensor, "n r"], psi: Float[Tensor, "n s"], traces: Float[Tensor, "2"]
    ) -> "Fourth":
        """Return the moments of one block; its product is made in the wider of the two dtypes."""
        n, r, d = len(phi), phi.shape[1], phi.shape[1] + psi.shape[1]
        rows = phi.new_empty(n, d + 2, dtype=torch.promote_types(phi.dtype, psi.dtype))
        rows[:, :r], rows[:, r:d] = phi, psi
        origin = rows[:, :d].mean(0)
        rows[:, :d] -= origin
        rows[:, d], rows[:, d + 1] = (
            torch.linalg.vector_norm(part, dim=1).square_() for part in (rows[:, :r], rows[:, r:d])
        )
        rows[:, d:] -= rows[:, d:].mean(0)
        first = rows.sum(0, dtype=torch.float64).cpu()
        raw = mirror(symmetric_product(rows).cpu().double())
        offset = first[:d] / n
        scatter = raw - torch.outer(first, first) / n
        single = rows.dtype == torch.float32
        made = cls(n, r, origin.cpu().double(), offset, scatter, traces, single)
        return replace(made, second=made._moved(-offset))

    @property
    def x(self) -> slice:
        """Columns of φ."""
        return slice(0, self.width)

    @property
    def y(self) -> slice:
        """Columns of ψ."""
        return slice(self.width, len(self.offset))

    @property
    def totals(self) -> Float[Tensor, "2"]:
        """Σ a_i and Σ b_i: the traces of the two scatters."""
        diagonal = self.second.diagonal()
        return torch.stack([diagonal[self.x].sum(), diagonal[self.y].sum()])

    @property
    def norms(self) -> Float[Tensor, "2 2"]:
        """Σ a_i², Σ a_i b_i, Σ b_i²."""
        totals, d = self.totals, len(self.offset)
        return self.second[d:, d:] + torch.outer(totals, totals) / max(self.count, 1)

    @property
    def lengths(self) -> Float[Tensor, "2"]:
        """‖m_φ‖² and ‖m_ψ‖²."""
        return self._lengths(self.origin + self.offset)

    @property
    def constant(self) -> list[bool]:
        """Whether φ and ψ are the same in all rows, as far as their digits can tell."""
        eps = _ROUNDING * torch.finfo(torch.float32 if self.single else torch.float64).eps
        return (self.totals <= self.count * eps**2 * self.lengths).tolist()

    @property
    def residual(self) -> tuple[float, float]:
        """Shares of the kernels' traces that the features leave out."""
        kept = self.totals + self.count * self.lengths
        lost = (1 - kept / self.traces.clamp_min(1e-300)).clamp(0, 1)
        first, second = torch.where(self.traces > 0, lost, 0.0).tolist()
        return first, second

    def inner(self, one: slice, two: slice) -> Tensor:
        """Sum of squares of a part of M: tr(A B) of the centered Gram matrices A and B."""
        return self.second[one, two].square().sum()

    def _lengths(self, step: Float[Tensor, " d"]) -> Float[Tensor, "2"]:
        return torch.stack([step[self.x].square().sum(), step[self.y].square().sum()])

    def _moved(self, step: Float[Tensor, " d"]) -> Float[Tensor, "e e"]:
        """Scatter of the same rows about an origin that lies `step` below."""
        turn = torch.zeros(2, len(self.second), dtype=torch.float64)
        turn[0, self.x], turn[1, self.y] = 2 * step[self.x], 2 * step[self.y]
        d = len(step)
        half = self.second.clone()
        half[d:] += turn @ self.second
        half[:, d:] += half @ turn.mT
        return half

    def _levels(self, step: Float[Tensor, " d"]) -> Float[Tensor, "2"]:
        """Means of the two squared distances from an origin that lies `step` below."""
        return self.totals / self.count + self._lengths(step)

    def _gap(self, other: "Fourth") -> Float[Tensor, " d"]:
        """Mean of `other` less the mean of these."""
        return (other.origin - self.origin) + (other.offset - self.offset)

    def plus(self, other: "Fourth") -> "Fourth":
        """Return the moments of the rows of both."""
        if not self.count or not other.count:
            return self if self.count else other
        left, right = (self, other) if self.count >= other.count else (other, self)
        total = left.count + right.count
        gap = left._gap(right)
        down, up = gap * (-right.count / total), gap * (left.count / total)
        apart = torch.cat((gap, right._levels(up) - left._levels(down)))
        second = left._moved(down) + right._moved(up)
        second += torch.outer(apart, apart) * (left.count * right.count / total)
        offset, traces = left.offset - down, left.traces + right.traces
        single = left.single or right.single
        return Fourth(total, left.width, left.origin, offset, second, traces, single)

    def minus(self, part: "Fourth") -> "Fourth":
        """Return the moments of these rows without those of a part of them."""
        left, total = self.count - part.count, self.count
        if not part.count:
            return self
        if left <= 0:
            fresh = Fourth.empty(self.width, len(self.offset) - self.width)
            return replace(fresh, count=left)
        up = self._gap(part)
        down = up * (-part.count / left)
        level = part._levels(up)
        rest = (total * self._levels(torch.zeros_like(up)) - part.count * level) / left
        apart = torch.cat((up - down, level - rest))
        second = self.second - part._moved(up)
        second -= torch.outer(apart, apart) * (left * part.count / total)
        offset, traces = self.offset + down, self.traces - part.traces
        single = self.single or part.single
        found = Fourth(left, self.width, self.origin, offset, second, traces, single)
        return replace(found, second=found._moved(-down) if left > 1 else second * 0)
