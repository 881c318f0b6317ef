"""Several variables with a kernel each, checked at the door of the joint test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.dependence.canonical import canonical_variables
from trivium.dependence.pair import LEAST_ROWS, Pair, common_dtype, opened, prepared
from trivium.kernel import Kernel

__all__ = ["JointVariables", "as_variables"]


@dataclass(frozen=True)
class JointVariables:
    """Rows of several variables, with kernels that are ready to use.

    Args:
        rows: Rows `(n, d)` of each.
        kernels: Kernel of each, resolved.
        places: Number of each in what was passed.
        constant: Numbers of those whose rows are all equal.
    """

    rows: tuple[Tensor, ...]
    kernels: tuple[Kernel, ...]
    places: tuple[int, ...]
    constant: tuple[int, ...] = ()

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.rows[0])

    @property
    def lengthscales(self) -> tuple[float | None, ...]:
        """Lengthscale of each kernel, `None` where there is none."""
        found = (getattr(kernel, "lengthscale", None) for kernel in self.kernels)
        return tuple(each if isinstance(each, float) else None for each in found)

    def varying(self) -> "JointVariables":
        """Return the variables that are not constant."""
        return self._chosen(
            [k for k, place in enumerate(self.places) if place not in self.constant]
        )

    def ordered(self) -> "JointVariables":
        """Return rows and variables in the order of `canonical_variables`."""
        order, sides = canonical_variables(self.rows)
        moved = replace(self, rows=tuple(rows[order] for rows in self.rows))
        return moved._chosen(sides)

    def pair(self) -> Pair:
        """Return two variables as a pair."""
        (x, y), (first, second) = self.rows, self.kernels
        return Pair(x, y, first, second, common_dtype(x, y))

    def _chosen(self, chosen: Sequence[int]) -> "JointVariables":
        return replace(
            self,
            rows=tuple(self.rows[k] for k in chosen),
            kernels=tuple(self.kernels[k] for k in chosen),
            places=tuple(self.places[k] for k in chosen),
        )


def as_variables(
    caller: str, variables: Any, kernels: Sequence[Kernel | str] | Kernel | str
) -> JointVariables:
    """Check variables and make their kernels ready.

    Args:
        caller: The public name that was called.
        variables: Tensors or arrays, `(n,)` or `(n, d)`.
        kernels: One for all, or one for each; `"auto"` as for `as_pair`.

    Raises:
        ArgumentError: Not a list of at least two variables of numbers or texts, or a kernel that
            is none or cannot serve its variable.
        ShapeError: Rows that do not match, wrong axes, or as many kernels as there are not
            variables.
        DataError: Fewer than 4 rows or than twice the variables, or a value that is not finite.
    """
    if not isinstance(variables, list | tuple) or len(variables) < 2:
        got = (
            f"{len(variables)}" if isinstance(variables, list | tuple) else type(variables).__name__
        )
        raise ArgumentError(
            f"{caller}: variables must be a list of at least two; got {got}",
            remedy="Pass [x, y, z]; the columns of one array are one variable.",
        )
    d = len(variables)
    given = [kernels] * d if isinstance(kernels, Kernel | str) else list(kernels)
    if len(given) != d:
        raise ShapeError(
            f"{caller}: kernels must be one for each of {counted(d, 'variable')}; got {len(given)}"
        )
    sides = [
        opened(caller, f"variables[{k}]", each, kernel)
        for k, (each, kernel) in enumerate(zip(variables, given, strict=True))
    ]
    rows = [each for each, _ in sides]
    n = len(rows[0])
    for k, each in enumerate(rows):
        if len(each) != n:
            raise ShapeError(
                f"{caller}: axis n is {n} in variables[0] but {len(each)} in variables[{k}] "
                f"(shapes {tuple(rows[0].shape)}, {tuple(each.shape)})"
            )
    if n < max(LEAST_ROWS, 2 * d):
        raise DataError(
            f"{caller}: {counted(d, 'variable')} must have at least "
            f"{counted(max(LEAST_ROWS, 2 * d), 'row')}; got {n}"
        )
    dtype = common_dtype(*rows)
    ready = [
        prepared(caller, f"variables[{k}]", each, kernel, dtype)
        for k, (each, kernel) in enumerate(sides)
    ]
    return JointVariables(
        tuple(each for each, _, _ in ready),
        tuple(kernel for _, kernel, _ in ready),
        tuple(range(d)),
        tuple(k for k, (_, _, still) in enumerate(ready) if still),
    )
