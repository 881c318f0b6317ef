"""Dependence as a loss: HSIC and its alignment between the rows of a mini-batch, as modules."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from trivium._core.errors import ArgumentError, ShapeError
from trivium.dependence.pair import LEAST_ROWS, as_pair
from trivium.dependence.statistic import Form, hsic_of
from trivium.kernel import Delta, Gaussian, Kernel

__all__ = ["CKALoss", "HSICLoss"]

_HALVES = (torch.float16, torch.bfloat16)


class _BatchLoss(nn.Module):
    """Base of losses that are a form of HSIC."""

    def __init__(self, kernel_x: Kernel | str, kernel_y: Kernel | str, form: Form) -> None:
        super().__init__()
        for side, kernel in (("x", kernel_x), ("y", kernel_y)):
            if kernel != "auto" and not isinstance(kernel, Kernel):
                raise ArgumentError(
                    f"{type(self).__name__}: kernel_{side} must be 'auto' or a kernel of "
                    f"trivium.kernel; got {kernel!r}"
                )
        self.kernel_x = kernel_x
        self.kernel_y = kernel_y
        self.form = form

    def forward(self, x: Shaped[Tensor, "n *d"], y: Shaped[Tensor, "n *e"]) -> Float[Tensor, ""]:
        """Return the loss of a batch.

        Half precision is computed in float32, and so is everything under autocast. Axes after
        the first make one row. A batch that says nothing (fewer than 4 rows, or a side whose rows
        are all equal) gives 0 with gradient 0, so the rest of a pass need not be dropped.

        Args:
            x: Rows of the first variable.
            y: As many rows of the second.

        Returns:
            A scalar in float32, or in float64 where either side is.

        Raises:
            ArgumentError: Not tensors, on two devices, or a kernel that cannot serve the rows.
            ShapeError: Another number of rows, or no axis.
            DataError: A value that is not finite.

        Warns:
            TriviumWarning: More than half of a batch's distances are zero (the median of the
                others is used).

        Cost:
            O(n² d) time and O(n d) memory, with the gradient.
        """
        caller = type(self).__name__
        left, right = _rows(caller, "x", x), _rows(caller, "y", y)
        if len(left) != len(right):
            raise ShapeError(
                f"{caller}: axis n is {len(left)} in x but {len(right)} in y "
                f"(shapes {tuple(x.shape)}, {tuple(y.shape)})"
            )
        if left.device != right.device:
            raise ArgumentError(
                f"{caller}: y must be on the device of x, {left.device}; got {right.device}"
            )
        if len(left) < LEAST_ROWS:
            nothing = left[:0].sum() + right[:0].sum()  # a zero that still has a gradient
            return nothing if nothing.is_floating_point() else nothing.float()
        with torch.autocast(left.device.type, enabled=False):
            kernels = _automatic(self.kernel_x, left), _automatic(self.kernel_y, right)
            return hsic_of(as_pair(caller, left, right, *kernels), self.form)

    def extra_repr(self) -> str:
        """Return the options."""
        return f"{self.kernel_x!r}, {self.kernel_y!r}, estimator={self.form.estimator!r}"


class HSICLoss(_BatchLoss):
    r"""HSIC of two batches of rows; minimized, it makes them independent.

    `task + weight * HSICLoss()(representation, protected)` takes out of a representation what it
    says of a protected variable. To build dependence instead, maximize: subtract it. Its scale
    depends on the kernels; `CKALoss` has one.

    **Lengthscales.** `Gaussian("median")`, the default for floats, takes the median distance of
    each batch and holds it constant in the gradient: the value does not change with the scale of a
    representation, which therefore cannot escape by shrinking or growing. A number,
    `Gaussian(1.3)`, compares every batch on one scale, and something else (normalization, the
    task) must keep the representation there. Several scales are a sum: `Gaussian(0.5) +
    Gaussian(2.0)`.

    Args:
        kernel_x: Kernel of x, or `"auto"`: `Gaussian("median")` for floats, `Delta()` for whole
            numbers and booleans, whatever the batch (`hsic` looks at the levels).
        kernel_y: The same for y.
        estimator: `"unbiased"` (of mean zero under independence for every batch size, so sometimes
            negative); `"biased"` or `"n-1"` (never negative, but their bias, about
            (1 − E k)(1 − E l)/n, rewards rows that are all alike).

    Raises:
        ArgumentError: An unknown estimator, or a kernel that is none.

    Example:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 64).requires_grad_()
        >>> loss = HSICLoss()(x, x.detach() ** 2)
        >>> loss.backward()
        >>> bool(loss > 0), bool(x.grad.abs().sum() > 0)
        (True, True)

    Source:
        Gretton et al., Measuring statistical dependence with Hilbert-Schmidt norms (2005); Song
        et al., Feature selection via dependence maximization, JMLR 13 (2012).
    """

    def __init__(
        self,
        kernel_x: Kernel | str = "auto",
        kernel_y: Kernel | str = "auto",
        estimator: str = "unbiased",
    ) -> None:
        super().__init__(kernel_x, kernel_y, Form(estimator, None, "exact"))


class CKALoss(_BatchLoss):
    r"""Centered kernel alignment of two batches of rows: HSIC on a scale up to 1.

    $\mathrm{HSIC}(x, y) / \sqrt{\mathrm{HSIC}(x, x) \mathrm{HSIC}(y, y)}$. Minimized, it makes
    x and y independent, with one weight for every kernel and dimension; to align a representation
    with a teacher's, maximize: minimize `1 - CKALoss()(student, teacher)`. `Linear()` for both
    kernels is the CKA of the literature on representations.

    Lengthscales are treated as in `HSICLoss`.

    Args:
        kernel_x: Kernel of x, or `"auto"`, as in `HSICLoss`.
        kernel_y: The same for y.
        debiased: Whether all three terms are unbiased estimates. The alignment of independent
            batches is then about 0 instead of growing with the columns over the rows; it can be
            negative, and is 0 where a side's own term is not positive.

    Raises:
        ArgumentError: A kernel that is none.

    Example:
        >>> import torch
        >>> x = torch.linspace(-1, 1, 64)
        >>> round(float(CKALoss()(x, 3 * x + 1)), 4)
        1.0

    Source:
        Kornblith et al., Similarity of neural network representations revisited (2019); Nguyen et
        al., Do wide and deep networks learn the same things? (2021), for the debiased form.
    """

    def __init__(
        self,
        kernel_x: Kernel | str = "auto",
        kernel_y: Kernel | str = "auto",
        debiased: bool = True,
    ) -> None:
        estimator = "unbiased" if debiased else "biased"
        super().__init__(kernel_x, kernel_y, Form(estimator, "cka", "exact"))


def _rows(caller: str, name: str, value: Tensor) -> Tensor:
    if not isinstance(value, Tensor):
        raise ArgumentError(
            f"{caller}: {name} must be a torch tensor; got {type(value).__name__}",
            remedy="Wrap arrays in torch.as_tensor.",
        )
    if value.ndim == 0:
        raise ShapeError(f"{caller}: {name} must have rows; got a scalar")
    rows = value.float() if value.dtype in _HALVES else value
    return rows.flatten(1) if rows.ndim > 2 else rows


def _automatic(kernel: Kernel | str, rows: Tensor) -> Kernel | str:
    if kernel != "auto":
        return kernel
    return Gaussian() if rows.is_floating_point() else Delta()
