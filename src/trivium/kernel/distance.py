"""Pairwise distances that stay accurate in float32 and have a gradient at distance zero."""

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.kernel.vjp import Pull

__all__ = ["distances", "squared_distances", "squared_distances_vjp"]

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
    total = total.add_(x.square().sum(1)[:, None])
    if not total.requires_grad:
        return total.clamp_min_(0)
    # What rounding puts below zero has the derivatives of a distance all the same: cut off, the
    # second one of equal rows would be zero or 2, by chance.
    return total - total.detach().clamp_max(0)


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
    return _squared(left, right, same=y is None)


def _squared(left: Tensor, right: Tensor, *, same: bool) -> Tensor:
    if left.shape[1] <= _DIRECT_COLUMNS:
        return _direct(left, right)
    total = _by_products(left, right)
    return total.fill_diagonal_(0) if same else total


def squared_distances_vjp(
    x: Float[Tensor, "n d"], y: Float[Tensor, "m d"] | None = None, *, scale: float = 1.0
) -> tuple[Float[Tensor, "n m"], Pull]:
    r"""Squared distances and their vector-Jacobian product in closed form.

    $\partial_{x_i} \sum_{ij} W_{ij} \lVert x_i - y_j \rVert^2 / s^2
    = 2 \sum_j W_{ij} (x_i - y_j) / s^2$: one matrix product a side.

    Args:
        x: Rows.
        y: Other rows; `x` itself when left out, whose gradient is then all in the first place.
        scale: s, positive.

    Returns:
        As `squared_distances`, without a graph; and W, which may be overwritten, to the gradients.

    Cost:
        O(n m d) time; two n × m buffers, and one more for the product up to three columns.

    Example:
        >>> import torch
        >>> squares, pull = squared_distances_vjp(torch.tensor([[0.0], [3.0]]))
        >>> pull(torch.ones(2, 2))[0].flatten().tolist()
        [-12.0, 12.0]
    """
    left, right = _centered(x.detach(), None if y is None else y.detach(), scale)

    def pull(weights: Tensor) -> tuple[Tensor, Tensor | None]:
        direct = left.shape[1] <= _DIRECT_COLUMNS
        first, second = (_pull_direct if direct else _pull_products)(left, right, weights)
        if y is None:
            return first.add_(second).mul_(2 / scale), None
        return first.mul_(2 / scale), second.mul_(2 / scale)

    return _squared(left, right, same=y is None), pull


def _pull_direct(left: Tensor, right: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    # Differences, not products: neighbors far from the origin would lose their digits.
    into_left, into_right = torch.empty_like(left), torch.empty_like(right)
    for column in range(left.shape[1]):
        moved = (left[:, None, column] - right[None, :, column]).mul_(weights)
        into_left[:, column] = moved.sum(1)
        into_right[:, column] = moved.sum(0).neg_()
    return into_left, into_right


def _pull_products(left: Tensor, right: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    into_left = torch.addmm(left * weights.sum(1)[:, None], weights, right, alpha=-1)
    into_right = torch.addmm(right * weights.sum(0)[:, None], weights.mT, left, alpha=-1)
    return into_left, into_right


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
