"""Parameters that no kind of layer explains: the module around them is repeated row by row."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from trivium._core.errors import ArgumentError, NumericalError
from trivium.kernel.layer import blocks

__all__ = ["OwnerCall"]

_BUDGET = 2**27
_CLOSE = 1e-3  # of the output's size: other rows differ by far more, other kernels by far less


@dataclass(eq=False)
class OwnerCall:
    """One call of a module, with what it takes to repeat it.

    Args:
        module: The module.
        args: Its arguments.
        kwargs: Its named arguments.
        output: What it returned.
        values: Its parameters and buffers at the time.
        random: The generators' states before it, where it drew from them.
    """

    module: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    values: dict[str, Tensor]
    random: dict[str, Tensor]
    gradients: dict[int, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outputs = tensors(self.output)
        self.versions = [value._version for value in self.values.values()]

    @cached_property
    def leaves(self) -> list[Any]:
        """The arguments, flat."""
        return pytree.tree_leaves((self.args, self.kwargs))

    def by_rows(self, n_rows: int) -> bool:
        """Return whether arguments and outputs can be cut into rows."""
        given = [_cut(leaf, n_rows) for leaf in self.leaves]
        needed = [out for i, out in enumerate(self.outputs) if i in self.gradients]
        return any(given) and all(_cut(out, n_rows) for out in needed)

    def row_gradients(self, model: str, names: Sequence[str], n_rows: int) -> dict[str, Tensor]:
        """Return each row's gradient with respect to some of the module's parameters.

        Args:
            model: The model's name, for messages.
            names: The parameters' names in the module.
            n_rows: Rows n.

        Raises:
            ArgumentError: Batch norm in training, weights that were changed since, or rows that
                cannot be told apart.
        """
        self._check(model, names)
        with torch.enable_grad():
            if self.random:
                return self._by_masks(names, n_rows)
            try:
                return self._by_vmap(names, n_rows)
            except RuntimeError:  # an operation without a batching rule: one row after the other
                return self._by_loop(names, n_rows)

    def first_row(self, names: Sequence[str], n_rows: int) -> Tensor | None:
        """Return the first row's gradient, of that row alone; `None` where it cannot be repeated.

        Args:
            names: The parameters' names in the module.
            n_rows: Rows n.
        """
        normed = any(isinstance(one, _BatchNorm) and one.training for one in self.module.modules())
        if normed or self.random or not self.by_rows(n_rows):
            return None
        found = self._by_loop(names, n_rows, 1)
        return torch.cat([found[name].reshape(-1) for name in names])

    def _check(self, model: str, names: Sequence[str]) -> None:
        normed = [
            path or type(one).__name__
            for path, one in self.module.named_modules()
            if isinstance(one, _BatchNorm) and one.training
        ]
        if normed:
            raise ArgumentError(
                f"TangentTape: the rows of {type(self.module).__name__} must not depend on each "
                f"other for {names[0]!r} of {model}, which no kind of layer explains; "
                f"got batch norm in training, {normed[0]!r}",
                remedy="Call .eval() first, or register_layer a kind for the module.",
            )
        if self.versions != [value._version for value in self.values.values()]:
            raise ArgumentError(
                "TangentTape: weights must be those of the forward when tangents(n_rows) is "
                f"called; those of {type(self.module).__name__} were changed in place"
            )

    def _free(self, names: Sequence[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        free = {name: self.values[name].detach() for name in names}
        rest = {k: v.detach() for k, v in self.values.items() if k not in free}
        return free, rest

    def _rows(self, n_rows: int) -> tuple[list[int], list[Tensor]]:
        """Return which leaves have rows, and these as `(n, k, ...)`."""
        places = [i for i, leaf in enumerate(self.leaves) if _cut(leaf, n_rows)]
        return places, [self.leaves[i].detach().unflatten(0, (n_rows, -1)) for i in places]

    def _above(self, n_rows: int) -> list[Tensor]:
        return [g.unflatten(0, (n_rows, -1)) for _, g in sorted(self.gradients.items())]

    def _call(
        self, values: dict[str, Tensor], places: Sequence[int], rows: Sequence[Tensor]
    ) -> list[Tensor]:
        leaves = list(self.leaves)
        for place, row in zip(places, rows, strict=True):
            leaves[place] = row
        form = pytree.tree_structure((self.args, self.kwargs))
        args, kwargs = pytree.tree_unflatten(leaves, form)
        outputs = tensors(functional_call(self.module, values, args, kwargs))
        return [outputs[i] for i in sorted(self.gradients)]

    def _by_vmap(self, names: Sequence[str], n_rows: int) -> dict[str, Tensor]:
        free, rest = self._free(names)
        places, rows = self._rows(n_rows)

        def value(
            chosen: dict[str, Tensor], given: list[Tensor], above: list[Tensor]
        ) -> tuple[Tensor, list[Tensor]]:
            out = self._call({**rest, **chosen}, places, given)
            return _dot(out, above), out

        per_row = vmap(grad(value, has_aux=True), in_dims=(None, 0, 0))
        found: list[dict[str, Tensor]] = []
        above = self._above(n_rows)
        for b in self._blocks(free, n_rows):
            with sdpa_kernel(SDPBackend.MATH):  # the fused forms have no batching rule
                part, out = per_row(free, [row[b] for row in rows], [one[b] for one in above])
            self._compare(out, b, n_rows)
            found.append(part)
        return {name: torch.cat([part[name] for part in found]) for name in names}

    def _by_loop(
        self, names: Sequence[str], n_rows: int, count: int | None = None
    ) -> dict[str, Tensor]:
        free, rest = self._free(names)
        places, rows = self._rows(n_rows)
        above = self._above(n_rows)
        found: list[Sequence[Tensor]] = []
        for i in range(count or n_rows):
            chosen = {name: value.clone().requires_grad_() for name, value in free.items()}
            out = self._call({**rest, **chosen}, places, [row[i] for row in rows])
            total = _dot(out, [one[i] for one in above])
            found.append(torch.autograd.grad(total, list(chosen.values()), materialize_grads=True))
            self._compare([one[None] for one in out], slice(i, i + 1), n_rows)
        return {
            name: torch.stack(column)
            for name, column in zip(names, zip(*found, strict=True), strict=True)
        }

    def _by_masks(self, names: Sequence[str], n_rows: int) -> dict[str, Tensor]:
        """Repeat the whole batch with the same random numbers; one backward pass a row."""
        free, rest = self._free(names)
        chosen = {name: value.clone().requires_grad_() for name, value in free.items()}
        device = next(iter(free.values())).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.set_rng_state(self.random["cpu"])
            if "cuda" in self.random:
                torch.cuda.set_rng_state(self.random["cuda"], device)
            out = self._call({**rest, **chosen}, [], [])
        self._compare([one.unflatten(0, (n_rows, -1)) for one in out], slice(0, n_rows), n_rows)
        above = [g for _, g in sorted(self.gradients.items())]
        sums = torch.stack(
            [
                (o * g).unflatten(0, (n_rows, -1)).flatten(1).sum(1)
                for o, g in zip(out, above, strict=True)
            ]
        ).sum(0)
        found = [
            torch.autograd.grad(
                one, list(chosen.values()), retain_graph=True, materialize_grads=True
            )
            for one in sums
        ]
        return {
            name: torch.stack(column)
            for name, column in zip(names, zip(*found, strict=True), strict=True)
        }

    def _blocks(self, free: dict[str, Tensor], n_rows: int) -> Iterator[slice]:
        """Cut rows so that gradients and a guess of the activations fit the budget."""
        numbers = sum(value.numel() for value in free.values())
        passed = sum(t.numel() for t in (*tensors(self.leaves), *self.outputs)) / n_rows
        size = next(iter(free.values())).element_size()
        return blocks(n_rows, max(1, int(_BUDGET / (size * (2 * numbers + 32 * passed)))))

    def _compare(self, out: Sequence[Tensor], which: slice, n_rows: int) -> None:
        """Hold the repeated rows to what the module returned."""
        for place, again in zip(sorted(self.gradients), out, strict=True):
            first = self.outputs[place].detach().unflatten(0, (n_rows, -1))[which]
            scale = float(first.abs().max()) + torch.finfo(first.dtype).tiny
            gap = float((again.detach().reshape(first.shape) - first).abs().max())
            if not math.isfinite(gap):
                raise NumericalError("TangentTape: the model's output must be finite; got one not")
            if not gap <= _CLOSE * scale:
                raise ArgumentError(
                    f"TangentTape: {type(self.module).__name__} must give a row the same output "
                    f"alone as in its batch; it differs by {gap / scale:.1e} of the largest",
                    remedy="The leading axis of its inputs and outputs must be the rows "
                    "(batch_first=True), and rows must not see each other.",
                )


def tensors(value: Any) -> list[Tensor]:
    """Return the tensors of a nested value."""
    if isinstance(value, Tensor):
        return [value]
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, Tensor)]


def _cut(leaf: Any, n_rows: int) -> bool:
    return isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) > 0 and len(leaf) % n_rows == 0


def _dot(left: Sequence[Tensor], right: Sequence[Tensor]) -> Tensor:
    total = left[0].new_zeros(())
    for a, b in zip(left, right, strict=True):
        total = total + (a * b).sum()
    return total
