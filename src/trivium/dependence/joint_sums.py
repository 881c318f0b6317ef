r"""The three terms of dHSIC, and dHSIC after every shift, from complete Gram matrices.

$\mathrm{dHSIC} = \frac{1}{n^2} \sum_{ij} \prod_k K^k_{ij} + \prod_k \frac{1}{n^2} \sum_{ij}
K^k_{ij} - \frac{2}{n} \sum_i \prod_k \frac1n \sum_j K^k_{ij}$. Moving the rows of a variable leaves
the second term as it is and moves its row sums in the third; only the first needs the matrices
again. No matrix is kept.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from trivium.dependence.joint_shifts import JointShifts
from trivium.dependence.wrapped import WrappedGrams
from trivium.kernel import Kernel
from trivium.parallel import Executor, SerialExecutor

__all__ = ["SINGLE_ROWS", "dhsic", "gathered_joint_shifts", "gram_joint_shifts", "row_sums"]

SINGLE_ROWS = 400  # from here on single precision: rounding is far below the null's spread

_BAND_BYTES = 2**19  # of one variable's diagonals: with their copies they stay in the cache
_SHIFT_BYTES = 2**20
_TILE = 1024
_BLOCKS = 16


def dhsic(
    variables: Sequence[Shaped[Tensor, "n _"]], kernels: Sequence[Kernel]
) -> Float[Tensor, ""]:
    """DHSIC of the rows as given, in float64.

    Args:
        variables: Rows of each variable.
        kernels: Kernel of each, resolved.

    Cost: O(n² d) time, O(n d) memory.
    """
    n = len(variables[0])
    inner = torch.zeros((), dtype=torch.float64, device=variables[0].device)
    sums = inner.new_zeros(len(variables), n)
    for top in range(0, n, _TILE):
        for left in range(top, n, _TILE):
            down, across = slice(top, top + _TILE), slice(left, left + _TILE)
            product: Tensor | None = None
            for place, (rows, kernel) in enumerate(zip(variables, kernels, strict=True)):
                wide = _wide(rows)
                gram = kernel.gram(wide[down], None if left == top else wide[across]).double()
                sums[place, down] += gram.sum(1)
                if left != top:
                    sums[place, across] += gram.sum(0)
                product = gram if product is None else product * gram
            if product is not None:
                inner += (1 if left == top else 2) * product.sum()
    return inner / n**2 + (sums.sum(1) / n**2).prod() - 2 / n * (sums / n).prod(0).sum()


def row_sums(rows: Shaped[Tensor, "n d"], kernel: Kernel) -> Float[Tensor, " n"]:
    """Row sums of a Gram matrix in float64, in O(n²) time and O(n) memory."""
    wide = _wide(rows)
    parts = [kernel.gram(part, wide).sum(1, dtype=torch.float64) for part in wide.split(_TILE // 4)]
    return torch.cat(parts)


def gathered_joint_shifts(
    variables: Sequence[Shaped[Tensor, "n _"]], kernels: Sequence[Kernel], shifts: JointShifts
) -> Float[Tensor, " t"]:
    """DHSIC after every member of a group of joint shifts, for few rows: each is put in order.

    Args:
        variables: Rows of each variable.
        kernels: Kernel of each, resolved.
        shifts: The group.

    Returns:
        Statistics in float64, the first of the rows as given.

    Cost: O(n² d t) time, O(n² d) memory and a fixed budget.
    """
    n = shifts.n_rows
    start = torch.from_numpy(shifts.start())
    rows = [_wide(each[start.to(each.device)]) for each in variables]
    grams = [kernel.gram(each).double() for kernel, each in zip(kernels, rows, strict=True)]
    means = [gram.mean(1) for gram in grams]
    second = torch.stack([each.mean() for each in means]).prod()
    found = []
    for orders in shifts.orders():
        for part in torch.from_numpy(orders).split(max(1, _SHIFT_BYTES // (8 * n * n))):
            places = part.to(grams[0].device).unbind(1)
            pairs = zip(grams, means, places, strict=True)
            moved = [(gram[p[:, :, None], p[:, None]], mean[p]) for gram, mean, p in pairs]
            first = math.prod([gram for gram, _ in moved]).sum((1, 2)) / n**2
            third = math.prod([mean for _, mean in moved]).sum(1)
            found.append(first + second - 2 / n * third)
    return torch.cat(found)


def gram_joint_shifts(
    variables: Sequence[Shaped[Tensor, "n _"]],
    kernels: Sequence[Kernel],
    shifts: JointShifts,
    *,
    dtype: torch.dtype | None = None,
    executor: Executor | None = None,
) -> Float[Tensor, " t"]:
    """DHSIC after every member of a group of joint shifts.

    A shift moves a Gram matrix along its wrapped diagonals, of which half are made, a band at a
    time, each followed by its own first rows: every member is then a product of contiguous slices.

    Args:
        variables: Rows of each variable.
        kernels: Kernel of each, resolved.
        shifts: The group.
        dtype: Of kernels and products; by default float64 below 400 rows, float32 from there.
        executor: Where blocks of bands of each coset are made.

    Returns:
        Statistics in float64, the first of the rows as given.

    Cost: O(n² d t / 2) time for t members without a gather, O(n d²) memory and a fixed budget.
    """
    n = shifts.n_rows
    dtype = dtype or (torch.float64 if n < SINGLE_ROWS else torch.float32)
    order = torch.from_numpy(shifts.start())
    rows = [each[order.to(each.device)] for each in variables]
    sums = [row_sums(each, kernel) for each, kernel in zip(rows, kernels, strict=True)]
    second = math.prod(float(each.sum()) / n**2 for each in sums)
    size = max(1, _BAND_BYTES // (shifts.moved * dtype.itemsize))
    half = (shifts.moved - 1) // 2
    bands = -(-half // size)
    step = size * max(1, bands if executor is None else -(-bands // _BLOCKS))
    cuts = [(low, min(low + step, half + 1)) for low in range(1, half + 1, step)] or [(1, 1)]
    work = _Bands([_cast(each, dtype) for each in rows], tuple(kernels), shifts, dtype, size)
    terms = (executor or SerialExecutor()).map(
        _band_terms,
        [(coset, low, high) for coset in range(shifts.cosets) for low, high in cuts],
        shared=work,
    )
    found = []
    for coset, base in enumerate(shifts.bases()):
        places = torch.from_numpy(base)
        mine = terms[coset * len(cuts) : (coset + 1) * len(cuts)]
        total = torch.zeros_like(mine[0][0])
        for term in (term for block in mine for term in block):  # in one order, however it is cut
            total += term
        means = [each[p.to(each.device)] / n for each, p in zip(sums, places, strict=True)]
        third = shifted_sums([each[None, : shifts.moved] for each in means], shifts)
        third += torch.stack([each[shifts.moved :] for each in means]).prod(0).sum()
        found.append(total / n**2 + second - 2 / n * third)
    return torch.cat(found)


@dataclass(frozen=True, eq=False)
class _Bands:
    """All variables in the order of the group, and how many diagonals are made at a time."""

    rows: list[Shaped[Tensor, "n _"]]
    kernels: tuple[Kernel, ...]
    shifts: JointShifts
    dtype: torch.dtype
    size: int


def _band_terms(block: tuple[int, int, int], work: _Bands) -> list[Float[Tensor, " t"]]:
    """Terms of the sum of the product of all matrices after every shift, of some diagonals."""
    coset, low, high = block
    base = torch.from_numpy(next(islice(work.shifts.bases(), coset, None)))
    grams = [
        WrappedGrams(each[p.to(each.device)], [kernel], work.shifts.moved, work.dtype, offset=False)
        for each, kernel, p in zip(work.rows, work.kernels, base, strict=True)
    ]
    return list(_first_terms(grams, work.shifts, low, high, work.size))


def _first_terms(
    grams: Sequence[WrappedGrams], shifts: JointShifts, low: int, high: int, size: int
) -> Iterator[Float[Tensor, " t"]]:
    """Yield them; the first block has the main diagonal too, the last the odd ends."""
    m = shifts.moved
    if low == 1:
        yield shifted_sums([each.main()[:, :m] for each in grams], shifts)
    for at in range(low, high, size):
        end = min(at + size, high)
        yield 2 * shifted_sums([each.diagonals(at, end)[0] for each in grams], shifts)
    if high <= (m - 1) // 2:
        return
    if m % 2 == 0:
        yield shifted_sums([each.diagonals(m // 2, m // 2 + 1)[0] for each in grams], shifts)
    for parts in zip(*(each.fixed(size) for each in grams), strict=True):
        blocks = [block[0] for _, block in parts]
        moving = 2 * shifted_sums([block[:, :m] for block in blocks], shifts)
        yield moving
        still = torch.stack([block[:, m:] for block in blocks]).prod(0).sum(dtype=torch.float64)
        yield still.expand_as(moving)


def shifted_sums(parts: Sequence[Float[Tensor, "b m"]], shifts: JointShifts) -> Float[Tensor, " t"]:
    """Sum of the product of several blocks, each moved along its rows by its own step, for all s.

    Args:
        parts: One block of each variable.
        shifts: The group; its steps say how far each moves.
    """
    count, m = parts[0].shape
    steps = shifts.steps
    views = []
    for step, part in zip(steps.tolist(), parts, strict=True):
        copies = part.repeat(1, step + 1)
        strides = (step * shifts.stride, (step + 1) * m, 1)
        views.append(copies.as_strided((shifts.length, count, m), strides))
    tile = max(1, _SHIFT_BYTES // (count * m * parts[0].element_size()))
    found = []
    for low in range(0, shifts.length, tile):
        product = views[0][low : low + tile] * views[1][low : low + tile]
        for view in views[2:]:
            product *= view[low : low + tile]
        found.append(product.sum(2).sum(1, dtype=torch.float64))
    return torch.cat(found)


def _wide(rows: Tensor) -> Tensor:
    return rows.double() if rows.is_floating_point() else rows


def _cast(rows: Tensor, dtype: torch.dtype) -> Tensor:
    return rows.to(dtype) if rows.is_floating_point() else rows
