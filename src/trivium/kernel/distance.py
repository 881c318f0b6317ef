"""Pairwise distances that stay accurate in float32 and have a gradient at distance zero."""

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["distances", "squared_distances"]

_DIRECT_COLUMNS = 3
_CENTER_ROWS = 64


def _centered(x: Tensor, y: Tensor | None, scale: float) -> tuple[Tensor, Tensor]:
    # Distances do not move with the origin, but scaling and products lose what a far origin costs;
    # and squares of columns that are not in units of the scale leave the range of float32.
    # The median of a few rows is as good an origin as the mean, and outliers do not move it.
    reference = (x if y is None else y).detach()
    center = reference[:: -(-len(reference) // _CENTER_ROWS)].median(0).values
    left = (x - center) / scale
    return left, left if y is None else (y - center) / scale


def _direct(x: Tensor, y: Tensor) -> Tensor:
    total = (x[:, None, 0] - y[None, :, 0]).square()
    for column in range(1, x.shape[1]):
        total = total.add_((x[:, None, column] - y[None, :, column]).square())
    return total


def _by_products(x: Tensor, y: Tensor) -> Tensor:
    total = torch.addmm(y.square().sum(1)[None, :], x, y.mT, alpha=-2)
    return total.add_(x.square().sum(1)[:, None]).clamp_min_(0)


def squared_distances(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None = None, *, scale: float = 1.0
) -> Float[Tensor, "n m"]:
    r"""Squared Euclidean distances $\lVert x_i - y_j \rVert^2 / s^2$.

    Up to three columns they are summed directly; beyond, by products after centering, never
    negative, and exactly zero on the diagonal when `y` is left out.

    Args:
        x: Rows.
        y: Other rows; `x` itself when left out.
        scale: s, positive.

    Returns:
        A fresh matrix, which the caller may overwrite.

    Cost:
        O(n m d) time, two n × m buffers.

    Example:
        >>> import torch
        >>> squared_distances(torch.tensor([[0.0], [3.0]]))
        tensor([[0., 9.],
                [9., 0.]])
    """
    left, right = _centered(x, y, scale)
    if x.shape[1] <= _DIRECT_COLUMNS:
        return _direct(left, right)
    total = _by_products(left, right)
    return total.fill_diagonal_(0) if y is None else total


def distances(
    x: Float[Tensor, "n d"],
    y: Float[Tensor, "m d"] | None = None,
    *,
    norm: str = "l2",
    scale: float = 1.0,
) -> Float[Tensor, "n m"]:
    r"""Distances $\lVert x_i - y_j \rVert / s$ in the norm asked for.

    Summed directly, since a root would magnify the rounding of products; the gradient at
    distance zero is zero. First derivatives only.

    Args:
        x: Rows.
        y: Other rows; `x` itself when left out.
        norm: `"l2"` or `"l1"`.
        scale: s, positive.

    Returns:
        A fresh matrix, which the caller may overwrite.

    Cost:
        O(n m d) time, one n × m buffer.

    Example:
        >>> import torch
        >>> distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), norm="l1")[0]
        tensor([0., 7.])
    """
    left, right = _centered(x, y, scale)
    return torch.cdist(
        left, right, p=1.0 if norm == "l1" else 2.0, compute_mode="donot_use_mm_for_euclid_dist"
    )
