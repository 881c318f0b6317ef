"""HSIC of every shift at once, from features: many columns against one target."""

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.dependence.shift import Shifts

__all__ = ["factor_shifts"]

_BUDGET = 64 * 2**20


def factor_shifts(
    features: Sequence[Float[Tensor, "r n"]],
    target: Float[Tensor, "s n"],
    shifts: Shifts,
    *,
    budget: int = _BUDGET,
) -> Float[Tensor, "k t"]:
    r"""Biased HSIC of several columns with the target after every member of a group of shifts.

    $T(t) = \lVert \sum_i (\varphi(x_i) - \bar\varphi)\, \psi(y_{i + t})^\top \rVert_F^2 / n^2$.
    The rows that move are a grid of `length` by `stride`; along the first axis the cross products
    for all shifts are one transform, a product of small matrices for each frequency, and
    one transform back. The rank over the group stays exact whatever the features leave out.

    Args:
        features: Features of each column.
        target: Features of the target.
        shifts: The group; the order `shifts.start()` is applied here.
        budget: Bytes for the cross products of one block of features.

    Returns:
        Statistics, `[:, 0]` of the rows as given, in the dtype of the features.

    Cost:
        O(r s n + r s t log t) time for t members, O(n (r + s) + budget) memory.

    Source: ours; for the exactness see `Shifts`.
    """
    device, n = target.device, shifts.n_rows
    order = torch.from_numpy(shifts.start()).to(device)
    values = target[:, order]
    values = values - values.mean(1, keepdim=True)
    moved = [values[:, torch.from_numpy(base).to(device)] for base in shifts.bases()]
    backs = [_spectrum(each, shifts) for each in moved]
    found = target.new_zeros(len(features), shifts.total)
    per_feature = 3 * 2 * target.element_size() * shifts.length * len(target)
    step = max(1, budget // per_feature)
    for rows, owners in _blocks(features, step):
        centered = rows[:, order] - rows.mean(1, keepdim=True)
        front = _spectrum(centered, shifts).conj()
        still = centered[:, shifts.moved :]
        parts = []
        for each, back in zip(moved, backs, strict=True):
            series = torch.fft.irfft(front @ back.mT, n=shifts.length, dim=0)
            series += still @ each[:, shifts.moved :].mT
            parts.append(series.square_().sum(2))
        found.index_add_(0, owners.to(device), torch.cat(parts).mT)
    return found / n**2


def _spectrum(values: Float[Tensor, "r n"], shifts: Shifts) -> Tensor:
    """Transform the moving rows along the shifts: (frequency, feature, place in a block)."""
    grid = values[:, : shifts.moved].reshape(len(values), shifts.length, shifts.stride)
    return torch.fft.rfft(grid, dim=1).transpose(0, 1).contiguous()


def _blocks(features: Sequence[Tensor], step: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield at most `step` features at a time, with the number of the column of each."""
    owners = torch.repeat_interleave(
        torch.arange(len(features)), torch.tensor([len(each) for each in features])
    )
    rows = torch.cat(list(features))
    for low in range(0, len(rows), step):
        yield rows[low : low + step], owners[low : low + step]
