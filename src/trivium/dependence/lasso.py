r"""HSIC Lasso: the non-negative lasso path over centered kernels, without a Gram matrix.

$\min_{\alpha \ge 0} \tfrac12 \lVert \bar L - \sum_k \alpha_k \bar K_k \rVert_F^2
+ \lambda \sum_k \alpha_k$ needs only $A_{kl} = \langle \bar K_k, \bar K_l \rangle$ and
$b_k = \langle \bar K_k, \bar L \rangle$, and of A only the columns of what was chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.linalg import cholesky_psd
from trivium.dependence.mrmr import leftmost_largest

__all__ = ["LassoPath", "lasso_path"]

_SAME = 1e-8  # share of a kernel outside the span of the chosen ones below which it adds nothing
_TIE = 1e-10


@dataclass(frozen=True)
class LassoPath:
    """The path from the empty model to one of n columns.

    Args:
        penalties: Penalty at each knot, falling; the first is where the first column enters.
        coefficients: Solution at each knot.
        order: Columns chosen, in the order in which they entered (for the last time).
        filled: How many at the end of `order` never entered: the path ended before, and they are
            those that were nearest to entering.
    """

    penalties: Float[Tensor, " t"]
    coefficients: Float[Tensor, "t d"]
    order: tuple[int, ...]
    filled: int = 0


@dataclass
class _Walk:
    """Where the path stands: chosen columns, their coefficients, the correlations left."""

    relevance: Tensor
    column: Callable[[int], Tensor]
    allowed: Tensor
    penalty: float
    active: list[int] = field(default_factory=list)
    products: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.coef = torch.zeros_like(self.relevance)
        self.left = self.relevance
        self.small = _TIE * self.penalty

    def choose(self) -> None:
        """Find the columns that move when the penalty falls from here.

        Those with coefficients move; of the columns that are at the penalty without one, those
        whose coefficient would grow. With w the change of the coefficients, this is the problem
        min w'Aw/2 - 1'w with w >= 0 where the coefficient is 0, solved as Lawson and Hanson do.
        """
        held = [k for k in self.active if self.coef[k] > 0]
        waiting = self.allowed & (self.left >= self.penalty - self.small)
        waiting[held] = False
        self.tied = waiting.clone()
        self.active = held
        change = self._change(held)
        while bool(waiting.any()):
            short = 1 - (change @ self._cross() if self.active else torch.zeros_like(self.left))
            place = leftmost_largest(torch.where(waiting, short, -torch.inf))
            if float(short[place]) <= _TIE:
                break
            waiting[place] = False
            if self.outside(place) <= _SAME:
                continue
            grown = self._change([*self.active, place])
            if float(grown[-1]) <= 0:  # by rounding only
                continue
            before, change = torch.cat([change, change.new_zeros(1)]), grown
            self.active = [*self.active, place]
            while bool((low := change < 0)[len(held) :].any()):
                low[: len(held)] = False
                shares = torch.where(low, before / (before - change), torch.inf)
                before = before + float(shares.min()) * (change - before)
                out = int(shares.argmin())
                waiting[self.active[out]] = True
                keep = [at for at in range(len(self.active)) if at != out]
                self.active, before = [self.active[at] for at in keep], before[keep]
                change = self._change(self.active)

    def fall(self) -> None:
        """Let the penalty fall until another column reaches it, a coefficient 0, or it 0."""
        cross = self._cross()
        factor = cholesky_psd("lasso_path", cross[:, self.active])
        right = torch.stack([self.relevance[self.active], torch.ones_like(cross[:, 0])], 1)
        # At penalty p the coefficients are held - p * change, the correlations level + p * slope.
        held, change = factor.solve(right).unbind(1)
        level, slope = self.relevance - held @ cross, change @ cross
        free = self.allowed & ~self.tied & (slope < 1)
        free[self.active] = False
        enters = torch.where(free, level / (1 - slope), -torch.inf)
        leaves = torch.where(change < 0, held / change, -torch.inf)
        until = max(float(enters.max()), float(leaves.max()))
        self.penalty = min(self.penalty, until) if until > self.small else 0.0
        self.coef = torch.zeros_like(self.coef)
        self.coef[self.active] = torch.where(
            leaves >= self.penalty, 0.0, (held - self.penalty * change).clamp_min(0)
        )
        self.left = level + self.penalty * slope

    def outside(self, place: int) -> float:
        """Share of a column's squared norm outside the span of the chosen ones."""
        if place not in self.products:
            self.products[place] = self.column(place)
        product = self.products[place]
        if not self.active:
            return 1.0
        cross = product[self.active]
        gram = self._cross()[:, self.active]
        inside = cross @ cholesky_psd("lasso_path", gram).solve(cross[:, None])
        return 1 - float(inside / product[place])

    def _change(self, places: list[int]) -> Tensor:
        if not places:
            return self.relevance.new_zeros(0)
        gram = torch.stack([self.products[k][places] for k in places])
        return cholesky_psd("lasso_path", gram).solve(torch.ones_like(gram[:, :1]))[:, 0]

    def _cross(self) -> Tensor:
        return torch.stack([self.products[k] for k in self.active])


def lasso_path(
    relevance: Float[Tensor, " d"],
    column: Callable[[int], Float[Tensor, " d"]],
    n_features: int,
    allowed: Tensor | None = None,
) -> LassoPath:
    r"""Walk the non-negative lasso path until one column more than wanted would enter.

    Between knots the solution is linear in the penalty. Optimality: with
    $c = b - A \alpha$, $c_k = \lambda$ where $\alpha_k > 0$ and $c_k \le \lambda$ elsewhere.

    Args:
        relevance: b, the product of each column with the target.
        column: Gives column k of A, which is positive semi-definite.
        n_features: Columns wanted.
        allowed: Columns that may be chosen; all by default.

    Returns:
        The path, with exactly `n_features` columns in its order when as many are allowed.

    Cost: O(t s³ + t d s) time and O(d (t + s)) memory for t knots and s columns seen, beside
    `column`.

    Example:
        >>> import torch
        >>> a = torch.tensor([[1.0, 0.9, 0.1], [0.9, 1.0, 0.1], [0.1, 0.1, 1.0]]).double()
        >>> lasso_path(torch.tensor([0.9, 0.8, 0.3]).double(), lambda k: a[k], 2).order
        (0, 2)

    Source: Yamada, Jitkrittum, Sigal, Xing and Sugiyama, Neural Computation 26 (2014) 185,
    equation 5; Efron et al., Least angle regression (2004), section 3.1; Lawson and Hanson,
    Solving least squares problems (1974), chapter 23, where several columns enter at once.
    """
    usable = torch.ones(len(relevance), dtype=torch.bool) if allowed is None else allowed
    largest = float(torch.where(usable, relevance, -torch.inf).max())
    walk = _Walk(relevance, column, usable, max(0.0, largest))
    penalties, knots = [walk.penalty], [walk.coef]
    while walk.penalty > 0:
        walk.choose()
        if len(walk.active) > n_features:
            break
        walk.fall()
        penalties.append(walk.penalty)
        knots.append(walk.coef)
    walk.active = walk.active[:n_features]
    filled = _fill(walk, n_features - len(walk.active))
    return LassoPath(
        torch.tensor(penalties, dtype=relevance.dtype),
        torch.stack(knots),
        tuple(walk.active),
        filled,
    )


def _fill(walk: _Walk, wanted: int) -> int:
    """Choose the columns nearest to entering where the path ended, repeats of others last."""
    rest = walk.allowed.clone()
    rest[walk.active] = False
    wanted = min(wanted, int(rest.sum()))
    score = torch.where(rest, walk.left, -torch.inf)
    repeats, left = [], wanted
    for place in score.argsort(descending=True, stable=True)[: int(rest.sum())].tolist():
        if left == 0:
            break
        if walk.outside(place) > _SAME:
            walk.active.append(place)
            left -= 1
        else:
            repeats.append(place)
    walk.active += repeats[:left]
    return wanted
