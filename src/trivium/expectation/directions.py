"""Directions in which parameters are moved: one set for each tensor, dense or in two factors."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium.expectation.first_order import know_signature
from trivium.expectation.virtual import FactoredTensor

__all__ = ["DenseDirections", "Directions", "FactoredDirections", "draw_directions"]


@dataclass(frozen=True, eq=False)
class Directions(ABC):
    """What n members add to one tensor, in units of the deviation.

    Args:
        paired: Members 2i and 2i + 1 share a direction with opposite signs.
    """

    paired: bool

    @abstractmethod
    def stacked(self, base: Float[Tensor, "*shape"], std: float) -> Float[Tensor, "n *shape"]:
        """Return base + std u for every member."""

    @abstractmethod
    def parts(self, base: Float[Tensor, "*shape"], std: float) -> tuple[Tensor, ...]:
        """Return tensors with the members in front, from which `member` builds a parameter."""

    @abstractmethod
    def member(self, base: Float[Tensor, "*shape"], parts: tuple[Tensor, ...]) -> Tensor:
        """Build the parameter of one member from its slices of `parts`."""

    @abstractmethod
    def squared(self) -> Float[Tensor, " n"]:
        """Return the squared length of each member's direction."""

    @abstractmethod
    def along(self, delta: Float[Tensor, "*shape"]) -> Float[Tensor, " n"]:
        """Return the inner product of each member's direction with a tensor."""

    def _signed(self, found: Float[Tensor, "m *rest"]) -> Float[Tensor, "n *rest"]:
        """Give each direction to its members, the second one with a minus."""
        return torch.stack([found, -found], 1).flatten(0, 1) if self.paired else found

    def _both(self, found: Float[Tensor, "m *rest"]) -> Float[Tensor, "n *rest"]:
        return found.repeat_interleave(2, 0) if self.paired else found


@dataclass(frozen=True, eq=False)
class DenseDirections(Directions):
    """A full tensor for each direction.

    Args:
        paired: See `Directions`.
        u: Standard normal directions.
    """

    u: Float[Tensor, "m *shape"]

    def stacked(self, base: Float[Tensor, "*shape"], std: float) -> Float[Tensor, "n *shape"]:
        """Return base + std u for every member."""
        return (base + self._signed(self.u) * std).to(base.dtype)

    def parts(self, base: Float[Tensor, "*shape"], std: float) -> tuple[Tensor, ...]:
        """Return the sums."""
        return (self.stacked(base, std),)

    def member(self, base: Float[Tensor, "*shape"], parts: tuple[Tensor, ...]) -> Tensor:
        """Return the sum."""
        return parts[0]

    def squared(self) -> Float[Tensor, " n"]:
        """Sum the squares."""
        return self._both(self.u.flatten(1).square().sum(1))

    def along(self, delta: Float[Tensor, "*shape"]) -> Float[Tensor, " n"]:
        """One product for all directions."""
        return self._signed(self.u.flatten(1) @ delta.flatten())


@dataclass(frozen=True, eq=False)
class FactoredDirections(Directions):
    r"""$u = B A^\top / \sqrt r$ for a matrix: mean 0, covariance I, symmetric, but not normal.

    Args:
        paired: See `Directions`.
        down: A, standard normal.
        up: $B / \sqrt r$.
    """

    down: Float[Tensor, "m d r"]
    up: Float[Tensor, "m o r"]

    def stacked(self, base: Float[Tensor, "o d"], std: float) -> Float[Tensor, "n o d"]:
        """Return base + std u for every member."""
        return (base + self._signed(self.up @ self.down.mT) * std).to(base.dtype)

    def parts(self, base: Float[Tensor, "o d"], std: float) -> tuple[Tensor, ...]:
        """Return the factors."""
        return self._both(self.down).to(base.dtype), (self._signed(self.up) * std).to(base.dtype)

    def member(self, base: Float[Tensor, "o d"], parts: tuple[Tensor, ...]) -> Tensor:
        """Leave the sum unmade."""
        return FactoredTensor.of(base, *parts)

    def squared(self) -> Float[Tensor, " n"]:
        r"""$\mathrm{tr}(A^\top A\, B^\top B)$."""
        return self._both(((self.down.mT @ self.down) * (self.up.mT @ self.up)).sum((1, 2)))

    def along(self, delta: Float[Tensor, "o d"]) -> Float[Tensor, " n"]:
        """Through the factors, in one product for all directions."""
        through = torch.tensordot(self.down, delta, ([1], [1]))  # m r o
        return self._signed((through * self.up.mT).sum((1, 2)))

    def slope(self, tensor: Float[Tensor, "o d"], std: float) -> Float[Tensor, " n"]:
        """Return zeros whose first derivative in the tensor is each member's direction / std."""
        if torch.compiler.is_compiling():  # it does not trace functions with a forward mode
            delta = tensor - tensor.detach()
            return self.along(delta.to(self.up.dtype) / std)
        return _Slope.apply(tensor, self.up, self.down, self.paired, std)  # type: ignore[no-untyped-call]


class _Slope(torch.autograd.Function):
    """Zeros; both modes go through the factors when they are asked, with no product before."""

    generate_vmap_rule = True

    @staticmethod
    def forward(tensor: Tensor, up: Tensor, down: Tensor, paired: bool, std: float) -> Tensor:
        return up.new_zeros(len(up) * (2 if paired else 1))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        tensor, up, down, paired, std = inputs
        ctx.save_for_backward(up, down)
        ctx.save_for_forward(up, down)
        ctx.paired, ctx.std, ctx.dtype = paired, std, tensor.dtype

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        up, down = ctx.saved_tensors
        each = (grad[0::2] - grad[1::2] if ctx.paired else grad) / ctx.std
        (m, o, r), d = up.shape, down.shape[1]
        left = (up * each[:, None, None]).movedim(1, 0).reshape(o, m * r)
        found = left @ down.movedim(1, 2).reshape(m * r, d)
        return found.to(ctx.dtype), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Any) -> Tensor:
        up, down = ctx.saved_tensors
        delta = tangent.to(up.dtype) / ctx.std
        return FactoredDirections(ctx.paired, down, up).along(delta)


know_signature(_Slope)


def draw_directions(
    tensors: Mapping[str, Tensor],
    members: int,
    ranks: Mapping[str, int],
    paired: bool,
    orthogonal: bool,
) -> dict[str, Directions]:
    """Draw the directions of a population, from torch's own generator.

    Half-precision tensors get directions in float32.

    Args:
        tensors: What is moved.
        members: n, even where paired.
        ranks: Rank of the tensors whose directions are factored.
        paired: Whether members share directions in pairs.
        orthogonal: Whether directions are orthogonal to each other, over all tensors together.
    """
    count = members // 2 if paired else members
    if orthogonal:
        whole = _orthogonal(tensors, count)
        return {name: DenseDirections(paired, u) for name, u in whole.items()}
    found: dict[str, Directions] = {}
    for name, tensor in tensors.items():
        if name in ranks:
            (out, into), rank = tensor.shape, ranks[name]
            down, up = _normal(tensor, count, into, rank), _normal(tensor, count, out, rank)
            found[name] = FactoredDirections(paired, down, up / math.sqrt(rank))
        else:
            found[name] = DenseDirections(paired, _normal(tensor, count, *tensor.shape))
    return found


def _normal(like: Tensor, *shape: int) -> Tensor:
    dtype = torch.promote_types(like.dtype, torch.float32)
    return torch.randn(shape, dtype=dtype, device=like.device)


def _orthogonal(tensors: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """Normal directions made orthogonal in blocks of at most as many as there are coordinates.

    The directions of a Gram-Schmidt basis do not depend on the lengths of its vectors, so giving
    each its own length back leaves every single direction standard normal.
    """
    first = next(iter(tensors.values()))
    sizes = [tensor.numel() for tensor in tensors.values()]
    blocks = []
    for begin in range(0, count, sum(sizes)):
        drawn = _normal(first, sum(sizes), min(sum(sizes), count - begin))
        basis, upper = torch.linalg.qr(drawn)
        blocks.append((basis * upper.diagonal().sign() * drawn.norm(dim=0)).mT)
    whole = torch.cat(blocks).split(sizes, 1)
    return {
        name: part.reshape(count, *tensor.shape).to(tensor.device)
        for (name, tensor), part in zip(tensors.items(), whole, strict=True)
    }
