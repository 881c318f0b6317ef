"""Gram matrices with their pullback: from weights on the entries back to the rows."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Pull", "gram_vjp_by_autograd"]

Pull = Callable[[Tensor], tuple[Tensor, Tensor | None]]


def gram_vjp_by_autograd(
    gram: Callable[[Tensor, Tensor | None], Tensor], x: Tensor, y: Tensor | None
) -> tuple[Tensor, Pull]:
    r"""Return a Gram matrix without a graph, and its vector-Jacobian product.

    The product takes weights W, which it may overwrite, to the gradients of
    $\sum_{ij} W_{ij} k(x_i, y_j)$ with respect to x and to y. It can be called once.

    Args:
        gram: Gives the Gram matrix, differentiable or not.
        x: Rows `(n, d)`.
        y: Other rows; `None` for x against itself, whose gradient is then all in the first place.

    Returns:
        The matrix, and the product; zeros where the matrix does not depend on the rows.

    Cost:
        What `gram` keeps for its gradient, until the product is called.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0]])
        >>> gram, pull = gram_vjp_by_autograd(lambda a, b: a @ b.mT, x, y)
        >>> pull(torch.ones(2, 1))[0].flatten().tolist()
        [3.0, 3.0]
    """
    rows = [each.detach() for each in (x, y) if each is not None]
    if not all(each.is_floating_point() for each in rows):
        matrix = gram(rows[0], rows[1] if y is not None else None)
    else:
        with torch.enable_grad():
            rows = [each.requires_grad_() for each in rows]
            matrix = gram(rows[0], rows[1] if y is not None else None)

    def pull(weights: Tensor) -> tuple[Tensor, Tensor | None]:
        if not matrix.requires_grad:
            found = [torch.zeros_like(each) for each in rows]
        else:
            found = list(
                torch.autograd.grad(
                    matrix, rows, weights, allow_unused=True, materialize_grads=True
                )
            )
        return found[0], found[1] if y is not None else None

    return matrix.detach(), pull
