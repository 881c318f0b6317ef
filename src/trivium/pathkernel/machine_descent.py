r"""Gradient descent in the space of a kernel: one pass over the Gram matrix a step.

The machine minimizes $J(a) = \sum_i \ell(f_i, y_i) + \frac\lambda2 \operatorname{tr} a^\top K a$
with $f = f_0 + K a$. In the kernel's own geometry the gradient is $r = \ell'(f) + \lambda a$: no
product with K is needed to know it. A direction's product $K d$ is one pass in blocks; along it f
is linear, so that the line search is exact and sees no kernel. Directions are conjugate
(Polak-Ribière). For the squared loss, whose curvature is the same everywhere, the gradient is
preconditioned by the leading eigenvectors of a randomized Nyström sketch, which costs one pass;
for the others that was measured to cost steps.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium._core.random import torch_generator
from trivium.pathkernel.machine_gram import GramProducts
from trivium.pathkernel.machine_loss import MachineLoss

__all__ = ["Descended", "Sketch", "descend", "sketch"]

_SEARCH = 50  # Newton steps of a line search; a handful is used
_ENOUGH = 1e-12  # of the slope at its start
_ROUNDING = torch.finfo(torch.float64).eps


@dataclass(frozen=True)
class Sketch:
    """The leading eigenvalues and eigenvectors of a Gram matrix, nearly.

    Attributes:
        values: `(k,)`, descending.
        vectors: `(n, k)`.
    """

    values: Tensor
    vectors: Tensor

    def divide(self, r: Tensor, ridge: float) -> Tensor:
        r"""Return $(\hat K + \lambda)^{-1} r$, up to a factor; directions outside are kept."""
        floor = self.values[-1] + ridge
        inside = self.vectors.mT @ r
        shrink = floor / (self.values + ridge) - 1
        return r + self.vectors @ (shrink[:, None] * inside)


def sketch(products: GramProducts, rank: int, seed: int) -> Sketch | None:
    """Return a randomized Nyström sketch of the Gram matrix; `None` for a matrix of zeros.

    Args:
        products: The matrix.
        rank: Columns, k.
        seed: Of the random directions.

    Cost:
        One pass over the matrix with k columns; O(n k) memory.

    Source:
        Frangella, Tropp and Udell 2023, "Randomized Nyström preconditioning", algorithm 2.1.
    """
    generator = torch_generator(seed, "KernelMachine", "sketch")
    random = torch.randn(products.n_rows, rank, dtype=torch.float64, generator=generator)
    basis = torch.linalg.qr(random).Q
    seen = products.times(basis)
    shift = torch.finfo(torch.float64).eps * float(seen.norm()) * products.n_rows**0.5
    # A kernel in float32 is positive semi-definite to its own rounding only.
    core = basis.mT @ (seen + shift * basis)
    values, vectors = torch.linalg.eigh((core + core.mT) / 2)
    if not float(values[-1]) > 0:
        return None
    kept = values > values[-1] * torch.finfo(torch.float32).eps
    half = (seen + shift * basis) @ (vectors[:, kept] / values[kept].sqrt())
    left, root, _ = torch.linalg.svd(half, full_matrices=False)
    return Sketch((root.square() - shift).clamp_min(0), left)


@dataclass(frozen=True)
class Descended:
    """Where the descent ended.

    Attributes:
        coefficients: a, `(n, c)`.
        steps: How many were made.
        decrement: Size of the last gradient over that of the first.
        history: J after each step.
    """

    coefficients: Tensor
    steps: int
    decrement: float
    history: list[float]


def descend(
    products: GramProducts,
    loss: MachineLoss,
    base: Tensor,
    target: Tensor,
    ridge: float,
    *,
    found: Sketch | None,
    limits: tuple[int, float],
    tick: Callable[[int], None],
) -> Descended:
    """Minimize J.

    Args:
        products: The Gram matrix.
        loss: The loss of the scores.
        base: Scores without any kernel term, `(n, c)`.
        target: `(n, c)`.
        ridge: λ.
        found: The preconditioner; `None` for none.
        limits: Most steps, and the share of the first gradient at which to stop.
        tick: Called with the steps just done.

    Cost:
        Each step one pass over the matrix.
    """
    n_steps, tol = limits
    a = torch.zeros_like(base)
    f, moved, pushed = base.clone(), torch.zeros_like(base), torch.zeros_like(base)
    residual = before = loss.slope(f, target)
    first = last = decrement = 0.0
    history: list[float] = []
    for _ in range(n_steps):
        z = residual if found is None else found.divide(residual, ridge)
        kz = products.times(z)
        size = float((kz * residual).sum())
        if size <= 0 and found is not None:  # the sketch is no help here
            z, kz = residual, products.times(residual)
            size = float((kz * residual).sum())
        # Eigenvalues are at most n: below this a product with K is noise.
        if abs(size) <= _ROUNDING * len(base) * float(z.norm() * residual.norm()):
            decrement = 0.0
            break
        first = first or size
        decrement = (max(size, 0.0) / first) ** 0.5 if first else 0.0
        if decrement <= tol:
            break
        turn = 0.0 if not last else max(0.0, float((kz * (residual - before)).sum()) / last)
        moved, pushed = turn * moved - z, turn * pushed - kz
        if float((pushed * residual).sum()) >= 0:
            moved, pushed = -z, -kz
        length = _search(loss, (f, pushed, target), (a, moved, f - base), ridge)
        a, f = a + length * moved, f + length * pushed
        before, last = residual, size
        residual = loss.slope(f, target) + ridge * a
        history.append(float(loss.value(f, target) + ridge / 2 * (a * (f - base)).sum()))
        tick(1)
    return Descended(a, len(history), decrement, history)


def _search(
    loss: MachineLoss,
    scores: tuple[Tensor, Tensor, Tensor],
    terms: tuple[Tensor, Tensor, Tensor],
    ridge: float,
) -> float:
    """Return the length at which J is least along a direction, by safeguarded Newton steps."""
    (f, pushed, target), (a, moved, ka) = scores, terms
    linear = ridge * float((moved * ka + a * pushed).sum()) / 2
    square = ridge * float((moved * pushed).sum())

    def slopes(t: float) -> tuple[float, float]:
        at = f + t * pushed
        one = float((loss.slope(at, target) * pushed).sum()) + linear + t * square
        return one, float(loss.bend(at, target, pushed)) + square

    low, high, t = 0.0, float("inf"), 0.0
    start = abs(slopes(0.0)[0])
    for _ in range(_SEARCH):
        slope, bend = slopes(t)
        if abs(slope) <= _ENOUGH * start:
            break
        low, high = (t, high) if slope < 0 else (low, t)
        wanted = t - slope / bend if bend > 0 else float("inf")
        if not low < wanted < high:
            wanted = (low + high) / 2 if high < float("inf") else max(1.0, 2 * t)
        if wanted == t:
            break
        t = wanted
    return t
