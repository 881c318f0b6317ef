"""How a kernel machine's coefficients are found: by descent in blocks, or exactly."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, TriviumWarning
from trivium._core.linalg import cholesky_psd
from trivium.pathkernel.machine_descent import Descended, descend, sketch
from trivium.pathkernel.machine_gram import GramProducts
from trivium.pathkernel.machine_loss import LOSSES, MachineLoss

__all__ = ["Descent", "Exact", "check_solver", "solve"]


@dataclass(frozen=True)
class Descent:
    """Preconditioned conjugate gradient descent; each step reads the Gram matrix once, in blocks.

    Args:
        rank: Columns of the preconditioner's sketch, used for the squared loss; 0 for none.
        tol: Stop when the gradient is this share of the first one.
        n_steps: Most steps.

    Raises:
        ArgumentError: An argument breaks its rule.
    """

    rank: int = 100
    tol: float = 1e-6
    n_steps: int = 500

    def __post_init__(self) -> None:
        check_number("Descent", "rank", self.rank, "non-negative", integer=True)
        check_number("Descent", "tol", self.tol, "positive")
        check_number("Descent", "n_steps", self.n_steps, "positive", integer=True)


@dataclass(frozen=True)
class Exact:
    """A Cholesky factorization of the whole Gram matrix, for the squared loss and few rows."""


def check_solver(solver: object, loss: str) -> None:
    """Refuse an unknown solver, and an exact one for a loss that has none.

    Raises:
        ArgumentError: As said.
    """
    if not isinstance(solver, Descent | Exact):
        raise ArgumentError(
            f"KernelMachine: solver must be Descent(...) or Exact(); got {solver!r}"
        )
    if isinstance(solver, Exact) and loss != "squared":
        raise ArgumentError(f'KernelMachine: solver=Exact() needs loss="squared"; got {loss!r}')


def solve(
    solver: Descent | Exact,
    products: GramProducts,
    loss: str,
    base: Tensor,
    target: Tensor,
    *,
    ridge: float,
    seed: int,
    tick: Callable[[int], None],
) -> Descended:
    """Return the coefficients for the Gram matrix divided by its mean diagonal.

    Args:
        solver: How.
        products: The Gram matrix.
        loss: Name of the loss.
        base: Scores without any kernel term, `(n, c)`.
        target: `(n, c)`.
        ridge: λ.
        seed: Of the preconditioner's sketch.
        tick: Called with the steps just done.

    Raises:
        NumericalError: The kernel is not positive semi-definite.

    Warns:
        TriviumWarning: The steps were not enough.
    """
    if isinstance(solver, Exact):
        whole = torch.cat([block for _, block in products.blocks()])
        eye = torch.eye(len(whole), dtype=whole.dtype)
        lower = cholesky_psd("KernelMachine", whole + ridge * eye).lower
        return Descended(torch.cholesky_solve(target - base, lower), 0, 0.0, [])
    described: MachineLoss = LOSSES[loss]
    rank = min(solver.rank, products.n_rows) if described.quadratic else 0
    done = descend(
        products,
        described,
        base,
        target,
        ridge,
        found=sketch(products, rank, seed) if rank else None,
        limits=(solver.n_steps, solver.tol),
        tick=tick,
    )
    if done.decrement > solver.tol:
        warnings.warn(
            f"KernelMachine: {counted(done.steps, 'step')} left {done.decrement:.1e} of the "
            "gradient, more "
            f"than tol={solver.tol:g}; raise n_steps, rank or ridge",
            TriviumWarning,
            stacklevel=3,
        )
    return done
