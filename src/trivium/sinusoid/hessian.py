"""H of a trained model: of each head from its weights, or of its loss."""

from collections.abc import Callable
from typing import Any, overload

from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.errors import ArgumentError
from trivium.sinusoid.curvature import LossHessian, loss_hessian
from trivium.sinusoid.heads import head_hessians

__all__ = ["hessian"]

Loss = Callable[[Callable[..., Any]], Tensor]


@overload
def hessian(model: nn.Module) -> dict[str, Tensor]: ...


@overload
def hessian(
    model: nn.Module,
    loss: Loss,
    at: str | nn.Module,
    origin: Float[Tensor, "n d"] | None = None,
) -> LossHessian: ...


def hessian(
    model: nn.Module,
    loss: Loss | None = None,
    at: str | nn.Module | None = None,
    origin: Float[Tensor, "n d"] | None = None,
) -> dict[str, Tensor] | LossHessian:
    r"""Return H in $p_m^\top H p_n$, the term of a model that can see m and n together.

    Without a loss, H of each head from its weights: a score is $x_i^\top W_Q^\top W_K x_j$. With
    one, the mixed second derivative of the loss with respect to what is added at positions m and
    n, $f \approx \dots + p_m^\top \frac{\partial^2 f}{\partial p_m \partial p_n} p_n$.

    Args:
        model: For heads: layers of torch, of trivium, and those with query and key side by side
            under a usual name (as in transformers). For a loss: any model.
        loss: Takes the model, returns one number: `lambda net: cross_entropy(net(x), y)`.
        at: The module whose output, (..., positions, width), gets the vectors added: the position
            embedding, or the dropout or norm behind the sum. By name or itself.
        origin: Added before the derivatives are taken; zeros by default, the working point of the
            trained model. −P, with P the position vectors, is the expansion around no positions.

    Returns:
        H of each head (h, D, D) by the layer's name; or a `LossHessian`, which gives products,
        blocks, terms and the mean. The model is evaluated without dropout.

    Raises:
        ArgumentError: No attention layer that is recognized, `loss` without `at` or the other way
            round, `at` not a module of the model that gives vectors once, a loss that is not one
            number, or a model without second derivative.
        ShapeError: An origin of another shape.

    Cost:
        Heads: O(h d D²). Loss: one forward and one backward pass here, backward passes later.

    Example:
        >>> import torch
        >>> net = nn.MultiheadAttention(8, 2)
        >>> hessian(net)["MultiheadAttention"].shape
        torch.Size([2, 8, 8])
        >>> table = nn.Embedding(5, 8)
        >>> model = nn.Sequential(table, nn.Tanh())
        >>> found = hessian(model, lambda net: net(torch.arange(5)).sum(0).square().sum(), "0")
        >>> found.terms(table.weight).shape
        torch.Size([5, 5])

    Source:
        Su, Transformer upgrade road 1 (2021), section 2, for the expansion; Pearlmutter, Fast Exact
        Multiplication by the Hessian, Neural Computation 6 (1994), for the products.
    """
    if loss is None and at is None and origin is None:
        return head_hessians(model)
    if loss is None or at is None:
        raise ArgumentError(
            "hessian: loss and at must be given together, for derivatives of a loss, or neither, "
            f"for heads; got loss={loss!r}, at={at!r}"
        )
    return loss_hessian(model, loss, at, origin)
