"""DHSIC after every joint shift from features of each variable: for many rows and low ranks."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.dependence.joint_shifts import JointShifts
from trivium.parallel import Executor, SerialExecutor

__all__ = ["factor_joint_shifts"]

_TILE = 2048
_MEMBERS = 64  # shifts in a block of work


def factor_joint_shifts(
    features: Sequence[Float[Tensor, "_ n"]],
    shifts: JointShifts,
    *,
    executor: Executor | None = None,
) -> Float[Tensor, " t"]:
    r"""DHSIC of features after every member of a group of joint shifts.

    $T(s) = \lVert \frac1n \sum_i \bigotimes_k \varphi_k(i + a_k s) - \bigotimes_k \bar\varphi_k
    \rVert_F^2$. The variables are split into two sides of about the same size, and the tensor is a
    product of their row-wise Kronecker products. The rank over the group is exact whatever the
    features leave out.

    Args:
        features: Features of each variable, not centered.
        shifts: The group.
        executor: Where blocks of 64 members are compared.

    Returns:
        Statistics in float64, the first of the rows as given.

    Cost: O(n t r_1 ... r_d) time for t members.

    Example:
        >>> x = torch.linspace(-1, 1, 12, dtype=torch.float64)
        >>> sides = [torch.stack([x, x**2])] * 3
        >>> factor_joint_shifts(sides, JointShifts(12, 3, 11)).shape
        torch.Size([11])
    """
    order = torch.from_numpy(shifts.start())
    rows = [each[:, order.to(each.device)] for each in features]
    step = shifts.length if executor is None else _MEMBERS
    blocks = [
        (coset, low, min(low + step, shifts.length))
        for coset in range(shifts.cosets)
        for low in range(0, shifts.length, step)
    ]
    parts = (executor or SerialExecutor()).map(_members, blocks, shared=_Features(rows, shifts))
    return torch.cat(parts)


@dataclass(frozen=True, eq=False)
class _Features:
    """Features of all variables in the order of the group."""

    rows: list[Float[Tensor, "_ n"]]
    shifts: JointShifts


def _members(block: tuple[int, int, int], work: _Features) -> Float[Tensor, " t"]:
    """DHSIC after some members of one coset."""
    coset, low_shift, high_shift = block
    rows, shifts = work.rows, work.shifts
    n, m = shifts.n_rows, shifts.moved
    sides = _two_sides([len(each) for each in rows])
    steps = shifts.steps.tolist()
    center = _products([each.mean(1, keepdim=True) for each in rows], sides)
    base = torch.from_numpy(next(islice(shifts.bases(), coset, None)))
    moved = [each[:, p.to(each.device)] for each, p in zip(rows, base, strict=True)]
    still = _products([each[:, m:] for each in moved], sides) / n - center
    # Each variable once more behind itself, so that a shift is a slice.
    twice = [torch.cat([each[:, :m], each[:, :m]], 1) for each in moved]
    found = []
    for s in range(low_shift, high_shift):
        starts = [step * s * shifts.stride % m for step in steps]
        tensor = still.clone()
        for low in range(0, m, _TILE):
            size = min(_TILE, m - low)
            parts = [
                each[:, at + low : at + low + size] for each, at in zip(twice, starts, strict=True)
            ]
            tensor += _products(parts, sides) / n
        found.append(tensor.square().sum(dtype=torch.float64))
    return torch.stack(found)


def _two_sides(ranks: Sequence[int]) -> tuple[list[int], list[int]]:
    """Split variables so that the products of their ranks are about the same."""
    sides: tuple[list[int], list[int]] = ([], [])
    sizes = [1, 1]
    for place in sorted(range(len(ranks)), key=lambda k: -ranks[k]):
        smaller = 0 if sizes[0] <= sizes[1] else 1
        sides[smaller].append(place)
        sizes[smaller] = math.prod(ranks[k] for k in sides[smaller])
    return sides


def _products(
    parts: Sequence[Float[Tensor, "_ b"]], sides: tuple[list[int], list[int]]
) -> Float[Tensor, "r s"]:
    """Sum over rows of the tensor product of all variables, as a matrix."""
    left, right = (_kronecker([parts[place] for place in side]) for side in sides)
    return left @ right.mT


def _kronecker(parts: Sequence[Float[Tensor, "_ b"]]) -> Float[Tensor, "r b"]:
    found = parts[0]
    for each in parts[1:]:
        found = (found[:, None] * each).flatten(0, 1)
    return found
