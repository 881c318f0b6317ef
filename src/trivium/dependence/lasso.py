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
_TIE = 1e-12


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
    gone: set[int] = field(default_factory=set)  # left at this penalty: not to enter at once

    def __post_init__(self) -> None:
        self.coef = torch.zeros_like(self.relevance)
        self.left = self.relevance
        self.barred = ~self.allowed

    def enter(self, place: int) -> None:
        """Choose a column, unless it lies in the span of the chosen ones."""
        if place not in self.products:
            self.products[place] = self.column(place)
        product = self.products[place]
        outside = float(product[place])
        if self.active:
            cross = product[self.active]
            gram = self._cross()[:, self.active]
            outside -= float(cross @ cholesky_psd("lasso_path", gram).solve(cross[:, None]))
        if outside > _SAME * float(product[place]):
            self.active.append(place)
        else:
            self.barred[place] = True

    def step(self) -> int | None:
        """Let the penalty fall until a column leaves, which is taken out, or one is to enter.

        Returns:
            The column to enter; none when one left, or at the end of the path.
        """
        cross = self._cross()
        right = torch.stack([self.relevance[self.active], torch.ones(len(self.active))], 1)
        solved = cholesky_psd("lasso_path", cross[:, self.active]).solve(right.to(cross.dtype))
        # At penalty p the coefficients are held - p * fall, the correlations level + p * slope.
        held, fall = solved.unbind(1)
        level, slope = self.relevance - held @ cross, fall @ cross
        free = ~self.barred & (slope < 1 - _TIE)
        free[[*self.active, *self.gone]] = False
        enters = torch.where(free, level / (1 - slope), -torch.inf).clamp_max(self.penalty)
        leaves = torch.where(fall < 0, held / fall, -torch.inf).clamp_max(self.penalty)
        until = max(float(enters.max()), float(leaves.max()), 0.0)
        if until < self.penalty * (1 - _TIE):
            self.gone.clear()
        self.penalty = until
        self.coef[self.active] = (held - until * fall).clamp_min(0)
        self.left = level + until * slope
        if until == 0.0:
            return None
        if float(leaves.max()) == until:
            out = self.active.pop(int(leaves.argmax()))
            self.coef[out] = 0.0
            self.gone.add(out)
            self.barred = ~self.allowed  # what lay in the span may lie outside now
            return None
        return leftmost_largest(enters)

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
    equation 5; Efron et al., Least angle regression (2004), section 3.1.
    """
    usable = torch.ones(len(relevance), dtype=torch.bool) if allowed is None else allowed
    first = torch.where(usable, relevance, -torch.inf)
    walk = _Walk(relevance, column, usable, max(0.0, float(first.max())))
    penalties, knots = [walk.penalty], [walk.coef.clone()]
    joins: int | None = leftmost_largest(first)
    while walk.penalty > 0:
        if joins is not None:
            walk.enter(joins)
        joins = walk.step()
        penalties.append(walk.penalty)
        knots.append(walk.coef.clone())
        if joins is not None and len(walk.active) >= n_features:
            break
    order = walk.active[:n_features]
    filled = _fill(walk, order, n_features)
    return LassoPath(
        torch.tensor(penalties, dtype=relevance.dtype),
        torch.stack(knots),
        (*order, *filled),
        len(filled),
    )


def _fill(walk: _Walk, order: list[int], n_features: int) -> list[int]:
    """Columns nearest to entering where the path ended; repeats of chosen ones come last."""
    rest = walk.allowed.clone()
    rest[order] = False
    wanted = min(n_features - len(order), int(rest.sum()))
    score = torch.where(walk.barred, -torch.finfo(walk.left.dtype).max / 2, walk.left)
    score = torch.where(rest, score, -torch.inf)
    return score.argsort(descending=True, stable=True)[:wanted].tolist()
