r"""Linear layers: a row's gradient is a sum of outer products, $\sum_t e_t a_t^\top$.

The inner product of two such gradients is $\sum_{t,t'} (e_t^\top e'_{t'}) (a_t^\top a'_{t'})$: an
elementwise product of two small Gram matrices.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trivium.kernel.layer import (
    BLOCK_BYTES,
    Call,
    LayerKind,
    LayerTangents,
    blocks,
    by_row,
    gathered,
    inherits,
    joined,
    own,
)
from trivium.kernel.layer_dense import DenseTangents
from trivium.kernel.tangent_hash import ColumnHash

__all__ = ["LinearLayer", "OuterTangents"]


@dataclass(frozen=True, eq=False)
class OuterTangents(LayerTangents):
    r"""Gradients $\sum_t e_t a_t^\top$ of weights, and $\sum_t e_t$ of biases, for each group.

    The ghost product of two rows costs T T′ (d_in + d_out) a group, that of written-out gradients
    d_in d_out and the writing: `add_gram` counts both and takes the cheaper.

    Args:
        inputs: a, `(n, groups, T, d_in)`; `None` where only the bias is trained.
        gradients: e, `(n, groups, T, d_out)`.
        names: `"weight"` and `"bias"`, in the order of the columns.

    Source:
        Li, Tramèr, Liang and Hashimoto, Large Language Models Can Be Strong Differentially Private
        Learners (2022), section 4; Bu, Mao and Xu, Scalable and Efficient Training of Large
        Convolutional Neural Networks with Differential Privacy (2022), equation 2.7 (the choice).
    """

    inputs: Tensor
    gradients: Tensor
    names: tuple[str, ...]

    @property
    def n_rows(self) -> int:
        """Number of rows n."""
        return len(self.gradients)

    @property
    def n_columns(self) -> int:
        """Number of columns p."""
        _, groups, _, d_out = self.gradients.shape
        return groups * d_out * (("weight" in self.names) * self._d_in + ("bias" in self.names))

    @property
    def _d_in(self) -> int:
        return self.inputs.shape[3]

    def rows(self, which: slice) -> "OuterTangents":
        """Return the gradients of some rows."""
        return OuterTangents(self.inputs[which], self.gradients[which], self.names)

    def _split(self, values: Tensor) -> dict[str, Tensor]:
        """Return the weights' part `(q, groups, d_out, d_in)` and the biases' of `(q, p)`."""
        _, groups, _, d_out = self.gradients.shape
        shapes = {"weight": (groups, d_out, self._d_in), "bias": (groups, d_out)}
        sizes = [groups * d_out * (self._d_in if name == "weight" else 1) for name in self.names]
        return {
            name: part.reshape(len(values), *shapes[name])
            for name, part in zip(self.names, values.split(sizes, 1), strict=True)
        }

    def products(self, directions: Tensor) -> Tensor:
        """Return the inner products with directions `(q, p)`, as `(q, n)`."""
        tokens, n_directions = self.gradients.shape[2], len(directions)
        if tokens > 1 and n_directions > 1:  # T q products a weight against T + q
            size = max(1, 4 * BLOCK_BYTES // (directions.element_size() * self.n_columns))
            found = [directions @ self.rows(b).dense().mT for b in blocks(self.n_rows, size)]
            return torch.cat(found, 1) if len(found) > 1 else found[0]
        parts = self._split(directions)
        found_sum = directions.new_zeros(n_directions, self.n_rows)
        if "bias" in parts:
            found_sum += torch.einsum("qgo,ngo->qn", parts["bias"], self.gradients.sum(2))
        if "weight" in parts:
            self._weigh(parts["weight"], found_sum)
        return found_sum

    def _weigh(self, weight: Tensor, into: Tensor) -> None:
        groups, tokens, d_out = self.gradients.shape[1:]
        one = weight.element_size() * tokens * d_out * max(1, len(weight))
        size = max(16, BLOCK_BYTES // one)
        for group in range(groups):
            flat = weight[:, group].flatten(0, 1).mT  # (d_in, q d_out)
            for b in blocks(self.n_rows, size):
                moved = self.inputs[b, group].flatten(0, 1) @ flat
                moved = moved.reshape(-1, tokens, len(weight), d_out)
                into[:, b] += torch.einsum("ntqo,nto->qn", moved, self.gradients[b, group])

    def combine(self, weights: Tensor) -> Tensor:
        """Return the sums of rows by weights `(r, n)`, as `(r, p)`."""
        tokens = self.gradients.shape[2]
        if tokens > 1 and len(weights) > 1:
            size = max(1, 4 * BLOCK_BYTES // (weights.element_size() * self.n_columns))
            total = weights.new_zeros(len(weights), self.n_columns)
            for b in blocks(self.n_rows, size):
                total.addmm_(weights[:, b], self.rows(b).dense())
            return total
        found = []
        for name in self.names:
            if name == "bias":
                bias = self.gradients.sum(2).flatten(1)
                found.append(weights @ bias)
                continue
            across = self.inputs.transpose(0, 1).flatten(1, 2)  # (groups, n T, d_in)
            along = self.gradients.permute(1, 3, 0, 2)  # (groups, d_out, n, T)
            each = [torch.bmm((along * w[:, None]).flatten(2), across) for w in weights]
            found.append(torch.stack(each))
        return gathered(found)

    def dense(self) -> Tensor:
        """Return the gradients written out, `(n, p)`."""
        found = [
            self.gradients.mT @ self.inputs if name == "weight" else self.gradients.sum(2)
            for name in self.names
        ]
        return gathered(found)

    def squares(self) -> Tensor:
        """Return the squared length of each row, `(n,)`."""
        if self.gradients.shape[2] > 1:
            return super().squares()
        alike = self.inputs.square().sum(3) * ("weight" in self.names) + ("bias" in self.names)
        return (self.gradients.square().sum(3) * alike).sum((1, 2))

    def fused(self, others: Sequence[LayerTangents]) -> LayerTangents | None:
        """Return all outputs' gradients beside each other, on inputs that are compared once."""
        gradients = [self.gradients]
        for other in others:
            if not isinstance(other, OuterTangents) or other.inputs.shape != self.inputs.shape:
                return None
            gradients.append(other.gradients)
        return OuterTangents(self.inputs, torch.cat(gradients, 3), self.names)

    def sketch(self, hashes: Sequence[ColumnHash]) -> Tensor:
        """Return random features `(n, r)`, by convolving the sketches of both sides.

        Args:
            hashes: Of each parameter, in the order of the columns.
        """
        by_name = dict(zip(self.names, hashes, strict=True))
        _, groups, tokens, d_out = self.gradients.shape
        width = hashes[0].width
        found = self.gradients.new_zeros(self.n_rows, width)
        size = max(1, 4 * BLOCK_BYTES // (16 * width * tokens))
        for group in range(groups):
            own = slice(group * d_out, (group + 1) * d_out)
            for b in blocks(self.n_rows, size):
                e = self.gradients[b, group]
                for name, one in by_name.items():
                    left = (one.left[0][own], one.left[1][own])
                    if name == "bias":
                        place = ((left[0] + one.right[0]) % width, left[1] * one.right[1])
                        found[b] += one.counted(e.sum(1), place)
                        continue
                    along = torch.fft.rfft(one.counted(e, left))
                    across = torch.fft.rfft(one.counted(self.inputs[b, group], one.right))
                    found[b] += torch.fft.irfft((along * across).sum(1), width)
        return found

    def flops(self, other: "OuterTangents") -> tuple[int, int]:
        """Return the multiplications of `add_gram`: as ghost products, and written out."""
        n, groups, tokens, d_out = self.gradients.shape
        m, others = other.n_rows, other.gradients.shape[2]
        d_in = self._d_in if "weight" in self.names else 0
        pairs = n * m * groups
        ghost = pairs * tokens * others * (d_in + d_out)
        return ghost, (pairs + (n * tokens + m * others) * groups) * d_out * max(1, d_in)

    def add_gram(self, other: LayerTangents, into: Tensor) -> None:
        """Add the inner products with the rows of `other`, `(n, m)`, in place."""
        if not isinstance(other, OuterTangents) or into.numel() == 0:
            return super().add_gram(other, into)
        ghost, written = self.flops(other)
        if ghost > written:
            return super().add_gram(other, into)
        groups, tokens = self.gradients.shape[1:3]
        others = other.gradients.shape[2]
        width = max(1, 4 * BLOCK_BYTES // (4096 * others))
        for group in range(groups):
            for columns in blocks(other.n_rows, width):
                height = max(8 // tokens, 1)
                n_columns = (columns.stop - columns.start) * others
                size = max(height, BLOCK_BYTES // (into.element_size() * tokens * n_columns))
                right = _flat(other.gradients[columns, group])
                across = _flat(other.inputs[columns, group])
                for rows in blocks(self.n_rows, size):
                    self._add_block(group, rows, (right, across), into[rows, columns])
        return None

    def _add_block(
        self, group: int, rows: slice, others: tuple[Tensor, Tensor], into: Tensor
    ) -> None:
        right, across = others
        ghost = torch.mm(_flat(self.gradients[rows, group]), right.mT)
        if "weight" not in self.names:
            return _add(into, ghost)
        alike = torch.mm(_flat(self.inputs[rows, group]), across.mT)
        if "bias" in self.names:
            alike += 1
        if ghost.shape == into.shape:
            into.addcmul_(ghost, alike)
            return None
        return _add(into, ghost.mul_(alike))


def _flat(value: Tensor) -> Tensor:
    return value.flatten(0, 1)


def _add(into: Tensor, pairs: Tensor) -> None:
    """Add sums over the tokens of each pair of rows."""
    n, m = into.shape
    into += pairs.reshape(n, len(pairs) // n, m, pairs.shape[1] // m).sum((1, 3))


def outer(inputs: Tensor, gradients: Tensor, names: Sequence[str]) -> LayerTangents:
    """Return outer products as they are, or written out where that takes less memory."""
    found = OuterTangents(inputs, gradients, tuple(names))
    _, groups, tokens, d_out = gradients.shape
    if found.n_columns <= groups * tokens * (d_out + inputs.shape[3]):
        return DenseTangents(found.dense())
    return found


@dataclass(frozen=True)
class LinearLayer(LayerKind):
    """`nn.Linear`, on any number of tokens a row.

    Example:
        >>> LinearLayer().claims(nn.Linear(3, 2, bias=False))
        ('weight',)
    """

    @classmethod
    def examples(cls) -> Sequence["LinearLayer"]:
        """Return the one instance."""
        return (cls(),)

    def layers(self) -> Sequence[tuple[nn.Module, Tensor]]:
        """Return small layers with an input of a few rows."""
        draw = torch.Generator().manual_seed(0)
        rows = torch.randn(5, 6, generator=draw, dtype=torch.float64)
        tokens = torch.randn(5, 2, 3, 7, generator=draw, dtype=torch.float64)
        return (
            (nn.Linear(6, 4).double(), rows),
            (nn.Linear(6, 1, bias=False).double(), rows),
            (nn.Linear(7, 9).double(), tokens[:, 0, :2]),
            (nn.Linear(7, 2, bias=False).double(), tokens),
        )

    def claims(self, module: nn.Module) -> tuple[str, ...]:
        """Return the module's parameters that this kind explains."""
        return own(module, "weight", "bias") if inherits(module, nn.Linear) else ()

    def factor(
        self, module: nn.Module, names: Sequence[str], calls: Sequence[Call], n_rows: int
    ) -> LayerTangents | None:
        """Return the per-row gradients, summed over the calls."""
        inputs, gradients = [], []
        for call in calls:
            a, e = by_row(call.kept, n_rows, 1), by_row(call.gradient, n_rows, 1)
            if a is None or e is None:
                return None
            inputs.append(a.to(e.dtype))
            gradients.append(e)
        return outer(joined(inputs)[:, None], joined(gradients)[:, None], names)
