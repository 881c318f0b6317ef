"""The kernel's contract: four questions to answer, and everything that follows from them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium._core.checks import check_shapes
from trivium._core.errors import ArgumentError
from trivium._core.random import RandomState
from trivium.kernel.factor import Factor, pivoted_cholesky
from trivium.kernel.rows import as_rows
from trivium.kernel.tiles import DEFAULT_BUDGET, tile_slices
from trivium.kernel.vjp import Pull, gram_vjp_by_autograd

__all__ = ["Block", "Kernel"]

Block = Callable[[slice, slice], Tensor]


class Kernel(ABC):
    r"""A positive semi-definite similarity $k(x, x')$ between rows.

    A member is a frozen dataclass that answers `_gram`, `_diagonal` and `examples`, and, when it
    has something to learn from the data, `resolve`. Inputs are `(n, d)` or `(n,)`, float32
    or float64, on any device; results keep both. What a member cannot do, it declares:

    Attributes:
        stationary: The value depends on x − x′ only.
        isotropic: It depends on the Euclidean distance only.
        characteristic: HSIC with it is zero exactly under independence.
        inputs: `"vectors"`; `"codes"` for labels compared by equality; `"texts"` for code points;
            `"matrix"` for row numbers of a stored matrix.
        differentiable: The Gram matrix has a gradient with respect to x.
        spectral: `spectral_sample` is available, so that Fourier features are.
        frugal: Rows take no memory of their own beside a tile's buffers.
        buffers: Buffers of a tile's size alive while tiles are made, the caller's one included.
    """

    stationary: bool = False
    isotropic: bool = False
    characteristic: bool = False
    inputs: str = "vectors"
    differentiable: bool = True
    spectral: bool = False
    frugal: bool = True
    buffers: int = 4

    @classmethod
    @abstractmethod
    def examples(cls) -> Sequence["Kernel"]:
        """Return a few small instances for conformance tests and the catalog."""

    @abstractmethod
    def _gram(
        self, x: Shaped[Tensor, "n d"], y: Shaped[Tensor, "m d"] | None
    ) -> Float[Tensor, "n m"]:
        """Return the Gram matrix of checked inputs; `y` is `None` for x against itself."""

    @abstractmethod
    def _diagonal(self, x: Shaped[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return k(x_i, x_i) of checked inputs."""

    def _gram_vjp(self, x: Tensor, y: Tensor | None) -> tuple[Tensor, Pull]:
        """Return `_gram` and its pullback; a closed form may replace automatic differentiation."""
        return gram_vjp_by_autograd(self._gram, x, y)

    def resolve(self, x: Shaped[Tensor, "n *d"], random_state: RandomState = 0) -> "Kernel":
        """Return the kernel with everything that it learns from the data turned into numbers.

        Args:
            x: The column or columns that it will be used on.
            random_state: Seed of the sample that is looked at.

        Returns:
            Itself when there is nothing to learn.
        """
        return self

    def spectral_sample(
        self, n_frequencies: int, n_columns: int, generator: np.random.Generator
    ) -> Float[Tensor, "r d"]:
        r"""Draw frequencies ω with $k(x, x') / k(0, 0) = E[\cos \omega^\top (x - x')]$ (Bochner).

        Args:
            n_frequencies: Draws.
            n_columns: Columns of x.
            generator: Source of randomness.

        Returns:
            Frequencies in float64 on the CPU.

        Raises:
            ArgumentError: The kernel has none (`spectral` is false) or is not resolved.
        """
        raise ArgumentError(
            f"{type(self).__name__}: Fourier features need a stationary kernel with a spectral "
            f"sampler; got {self!r}",
            remedy="Use Nystroem features, which serve every kernel.",
        )

    def gram(
        self, x: Shaped[Tensor, "n *d"], y: Shaped[Tensor, "m *e"] | None = None
    ) -> Float[Tensor, "n m"]:
        """Return the matrix of k(x_i, y_j), differentiable in `x` and `y`.

        Args:
            x: Rows, `(n, d)` or `(n,)`.
            y: Other rows with as many columns; `x` itself when left out.

        Returns:
            The Gram matrix, in the dtype and on the device of `x`. A kernel that still has to learn
            from the data (`lengthscale="median"`) learns from `x`.

        Raises:
            ArgumentError: Not a tensor, or of a dtype that the kernel cannot serve.
            ShapeError: Wrong number of axes, or other columns in `y`.
            DataError: No rows, or a value that is not finite.

        Cost:
            O(n m d) time, O(n m) memory; `tiles` has a budget.
        """
        left, right = self._checked("gram", x, y)
        return self.resolve(left)._gram(left, right)

    def diagonal(self, x: Shaped[Tensor, "n *d"]) -> Float[Tensor, " n"]:
        """Return k(x_i, x_i) for each row, in O(n d).

        Args:
            x: Rows.

        Raises:
            ArgumentError: As for `gram`.
            ShapeError: As for `gram`.
            DataError: As for `gram`.
        """
        left, _ = self._checked("diagonal", x, None)
        return self._diagonal(left)

    def tiles(
        self,
        x: Shaped[Tensor, "n *d"],
        y: Shaped[Tensor, "m *e"] | None = None,
        *,
        budget: int = DEFAULT_BUDGET,
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """Give the Gram matrix tile by tile, never more than `budget` bytes at a time.

        Args:
            x: Rows.
            y: Other rows; `x` itself when left out.
            budget: Bytes for a tile and all that is needed to make it while the one before is
                still held.

        Returns:
            Row slice, column slice and tile, row block by row block; put together they are `gram`.

        Raises:
            ArgumentError: As for `gram`, or a budget that is not a positive whole number.
            ShapeError: As for `gram`.
            DataError: As for `gram`.
            ResourceError: The budget does not hold one number.

        Cost:
            O(n m d) time, `budget` bytes.

        Example:
            >>> import torch
            >>> from trivium.kernel import Linear
            >>> x = torch.arange(3.0)
            >>> sum(float(tile.sum()) for _, _, tile in Linear().tiles(x, budget=200))
            9.0
        """
        left, right = self._checked("tiles", x, y)
        ready = self.resolve(left)
        slices = tile_slices(
            len(left),
            None if right is None else len(right),
            n_columns=left.shape[1],
            itemsize=ready._diagonal(left[:1]).element_size(),
            budget=budget,
            buffers=ready.buffers,
        )
        return ready._tiles(left, right, slices)

    def _tiles(
        self, x: Tensor, y: Tensor | None, slices: Iterator[tuple[slice, slice]]
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        block = self._blocks(x, y)
        for rows, columns in slices:
            yield rows, columns, block(rows, columns)

    def blocks(self, x: Shaped[Tensor, "n *d"], y: Shaped[Tensor, "m *e"] | None = None) -> Block:
        """Return a function that gives the block of the Gram matrix of two slices.

        What rows cost before they are compared (checks, counts of n-grams) is paid once.

        Args:
            x: Rows.
            y: Other rows; `x` itself when left out.

        Raises:
            ArgumentError: As for `gram`.
            ShapeError: As for `gram`.
            DataError: As for `gram`.

        Example:
            >>> import torch
            >>> from trivium.kernel import Linear
            >>> Linear().blocks(torch.tensor([1.0, 2.0, 3.0]))(slice(0, 1), slice(1, 3))
            tensor([[2., 3.]])
        """
        left, right = self._checked("blocks", x, y)
        return self.resolve(left)._blocks(left, right)

    def _blocks(self, x: Tensor, y: Tensor | None) -> Block:
        """Return `blocks` of checked inputs; for members whose rows take work of their own."""
        other = x if y is None else y

        def block(rows: slice, columns: slice) -> Tensor:
            same = y is None and rows == columns
            return self._gram(x[rows], None if same else other[columns])

        return block

    def factor(
        self,
        x: Shaped[Tensor, "n *d"],
        rank: int,
        tol: float = 1e-6,
        random_state: RandomState = 0,
    ) -> Factor:
        """Return F with K ≈ F Fᵀ by pivoted incomplete Cholesky, and the trace of what is left.

        Args:
            x: Rows.
            rank: Most columns of F.
            tol: Stop when the residual is at most this share of the trace.
            random_state: Seed for a lengthscale that is learned from the data.

        Raises:
            ArgumentError: As for `gram`, or `rank` or `tol` breaks its rule.
            ShapeError: As for `gram`.
            DataError: As for `gram`.
            NumericalError: The kernel is not positive semi-definite on these rows.

        Cost:
            O(n r (r + d)) time, O(n r) memory.

        Example:
            >>> import torch
            >>> from trivium.kernel import Delta
            >>> Delta().factor(torch.tensor([3, 5, 3, 3]), rank=4).values.shape
            torch.Size([4, 2])
        """
        left, _ = self._checked("factor", x, None)
        ready = self.resolve(left, random_state)
        block = ready._blocks(left, None)

        def column(row: int) -> Tensor:
            return block(slice(None), slice(row, row + 1))[:, 0]

        return pivoted_cholesky(ready._diagonal(left), column, rank=rank, tol=tol)

    def __add__(self, other: Any) -> "Kernel":
        from trivium.kernel.composite import Sum

        return Sum((self, other)) if isinstance(other, Kernel) else NotImplemented

    def __mul__(self, other: Any) -> "Kernel":
        from trivium.kernel.composite import Product, Scaled

        if isinstance(other, Kernel):
            return Product((self, other))
        return Scaled(self, float(other)) if isinstance(other, int | float) else NotImplemented

    def __rmul__(self, other: Any) -> "Kernel":
        return self * other

    def _checked(self, method: str, x: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the inputs as (n, d), refusing what no kernel can serve."""
        caller = f"{type(self).__name__}.{method}"
        left = as_rows(caller, "x", x, self.inputs)
        if y is None:
            return left, None
        right = as_rows(caller, "y", y, self.inputs)
        check_shapes(caller, {"x": (left, "n d"), "y": (right, "m d")})
        if left.is_floating_point() and not (x.is_floating_point() or y.is_floating_point()):
            dtype = max(left.dtype, right.dtype, key=lambda each: each.itemsize)
            left, right = left.to(dtype), right.to(dtype)
        if left.dtype != right.dtype or left.device != right.device:
            raise ArgumentError(
                f"{caller}: y must have the dtype and device of x, {left.dtype} on {left.device}; "
                f"got {right.dtype} on {right.device}"
            )
        return left, right
