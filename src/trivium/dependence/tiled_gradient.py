r"""The gradient of the sums over two Gram matrices, a tile at a time, and its own gradient.

Every estimate of HSIC is a function of $\sum_{ij} K_{ij} L_{ij}$ and of the row sums of K and L
(`GramSums`), so the gradient that reaches $K_{ij}$ is $g L_{ij} + r_i$, with g and r those of the
sums: whatever the estimate, a tile needs itself and nothing else of both matrices.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.dependence.tiling import Rows, Tile, Tiling, cut, exact, tile_sums, whole_sums

__all__ = ["differentiable_sums"]


class _Sums(torch.autograd.Function):
    """`whole_sums`, whose gradient is `_Pull`."""

    @staticmethod
    def forward(tiling: Tiling, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the inner sums (3,) and the row sums (2, n)."""
        return whole_sums(tiling, x, y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep the rows: nothing of the size of a tile."""
        ctx.tiling, x, y = inputs
        ctx.save_for_backward(x, y)

    @staticmethod
    def backward(ctx: Any, into_inner: Tensor, into_rows: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of the rows that ask for one."""
        wanted = tuple(ctx.needs_input_grad[1:])
        into = _pull(ctx.tiling, wanted, *ctx.saved_tensors, into_inner, into_rows)
        return None, into[0] if wanted[0] else None, into[1] if wanted[1] else None


class _Pull(torch.autograd.Function):
    """From the gradients of the sums to those of the rows; differentiable once."""

    @staticmethod
    def forward(
        tiling: Tiling,
        wanted: tuple[bool, bool],
        x: Tensor,
        y: Tensor,
        into_inner: Tensor,
        into_rows: Tensor,
    ) -> tuple[Tensor, Tensor]:
        into = (torch.zeros_like(x), torch.zeros_like(y))
        weights = _Weights(into_inner.tolist(), into_rows.to(tiling.dtype), tiling.room(x))
        for tile in tiling.tiles():
            with exact(x):
                _pull_tile(tiling, wanted, tile, cut(tile, x, y), weights, into)
        return into

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.tiling, ctx.wanted, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, along_x: Tensor, along_y: Tensor) -> tuple[Tensor | None, ...]:
        found = _pull_again(ctx.tiling, ctx.wanted, *ctx.saved_tensors, along_x, along_y)
        return None, None, *(each if each.is_floating_point() else None for each in found)


class _PullTwice(torch.autograd.Function):
    """The gradient of `_Pull`; a function of its own, so that a third derivative is refused."""

    @staticmethod
    def forward(tiling: Tiling, wanted: tuple[bool, bool], *tensors: Tensor) -> tuple[Tensor, ...]:
        along = [each if w else None for each, w in zip(tensors[4:], wanted, strict=True)]
        return _pull_twice(tiling, tensors[:4], along)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # `once_differentiable` would give zeros to torch.autograd.grad instead of an error.
        raise ArgumentError(
            "hsic: derivatives must be the first or the second; got a third",
            remedy="Differentiate a formula on complete Gram matrices, kernel.gram(x).",
        )


# `apply` carries no types.
differentiable_sums: Callable[..., tuple[Tensor, Tensor]] = _Sums.apply
_pull: Callable[..., tuple[Tensor, Tensor]] = _Pull.apply
_pull_again: Callable[..., tuple[Tensor, ...]] = _PullTwice.apply


@dataclass(frozen=True)
class _Weights:
    """Gradients of the three inner sums and of the row sums, and a buffer of one tile."""

    inner: list[float]
    rows: Tensor
    room: Tensor

    def on(self, side: int, tile: Tile, mine: Tensor, other: Tensor, *, own: bool) -> Tensor:
        """Return the gradient that reaches one tile of `mine`, with its mirror's."""
        # A tile on the diagonal is its own mirror.
        share = 0.5 if tile[0] == tile[1] else 1.0
        down, across = (self.rows[side, each] * share for each in tile)
        total = self.room[: mine.numel()].view_as(mine)
        torch.add(down[:, None], across[None, :], out=total)
        total.add_(other, alpha=2 * share * self.inner[0])
        return total.add_(mine, alpha=4 * share * self.inner[1 + side]) if own else total


def _pull_tile(
    tiling: Tiling,
    wanted: tuple[bool, bool],
    tile: Tile,
    rows: Rows,
    weights: _Weights,
    into: tuple[Tensor, Tensor],
) -> None:
    grams, pulls = [], []
    for kernel, wants, two in zip(tiling.kernels, wanted, (rows[:2], rows[2:]), strict=True):
        gram, pull = kernel._gram_vjp(*two) if wants else (kernel.gram(*two), None)
        grams.append(gram.to(tiling.dtype))
        pulls.append(pull)
    for side, pull in enumerate(pulls):
        if pull is None:
            continue
        weight = weights.on(side, tile, grams[side], grams[1 - side], own=tiling.own)
        first, second = pull(weight)
        into[side][tile[0]] += first
        if second is not None:
            into[side][tile[1]] += second


def _pull_twice(
    tiling: Tiling, saved: Sequence[Tensor], along: Sequence[Tensor | None]
) -> tuple[Tensor, ...]:
    """Gradients of what was pulled along two directions: for x, y and both weights.

    Sums are additive over tiles, so the graph of a tile lives no longer than its turn.
    """
    x, y, into_inner, into_rows = saved
    out = [torch.zeros_like(each) for each in saved]
    for tile in tiling.tiles():
        top, beside, left, right = cut(tile, x, y)
        rows = (_leaf(top), _maybe(beside), _leaf(left), _maybe(right))
        weights = [_leaf(each) for each in (into_inner, *(into_rows[:, part] for part in tile))]
        directions = [None if each is None else each[part] for each in along for part in tile]
        with torch.enable_grad():
            total = _weighted_sums(tiling, rows, weights)
            moved = [
                (leaf, direction)
                for leaf, direction in zip(rows, directions, strict=True)
                if leaf is not None and direction is not None
            ]
            slopes = _grads(total, [leaf for leaf, _ in moved], keep=True)
            pulled = torch.stack(
                [(slope * d).sum().double() for slope, (_, d) in zip(slopes, moved, strict=True)]
            ).sum()
        places = [out[which][part] for which in (0, 1) for part in tile]
        places += [out[2], *(out[3][:, part] for part in tile)]
        live = [
            (leaf, place)
            for leaf, place in zip([*rows, *weights], places, strict=True)
            if leaf is not None and leaf.requires_grad
        ]
        found = _grads(pulled, [leaf for leaf, _ in live])
        for (_, place), grad in zip(live, found, strict=True):
            place.add_(grad)
    return tuple(out)


def _weighted_sums(tiling: Tiling, rows: Rows, weights: Sequence[Tensor]) -> Tensor:
    """Sums of one tile and its mirror under the weights of the inner sums and of the row sums."""
    inner, down, across = weights
    sums, by_row, by_column = tile_sums(tiling, rows)
    if rows[1] is None and rows[3] is None:
        return (inner * sums).sum() + (down * by_row).sum()
    return 2 * (inner * sums).sum() + (down * by_row).sum() + (across * by_column).sum()


def _leaf(rows: Tensor) -> Tensor:
    return rows.detach().requires_grad_() if rows.is_floating_point() else rows


def _maybe(rows: Tensor | None) -> Tensor | None:
    return None if rows is None else _leaf(rows)


def _grads(value: Tensor, leaves: list[Tensor], *, keep: bool = False) -> list[Tensor]:
    """Gradients, zero where nothing depends on a leaf."""
    if not value.requires_grad:
        return [torch.zeros_like(leaf) for leaf in leaves]
    return list(
        torch.autograd.grad(
            value, leaves, create_graph=keep, allow_unused=True, materialize_grads=True
        )
    )
