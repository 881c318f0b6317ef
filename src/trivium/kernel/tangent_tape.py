"""A tape that hears a model's layers, and turns one backward pass into per-row gradients."""

from collections import Counter
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.kernel.layer import LayerKind
from trivium.kernel.layer_free import OwnerCall
from trivium.kernel.tangent_notes import Heard, HeardOutput, Noted, collect
from trivium.kernel.tangent_plan import plan
from trivium.kernel.tangents import Tangents

__all__ = ["TangentTape"]


class TangentTape:
    r"""Context that notes what a model's layers took in and what gradient came back to them.

    After `out = model(*inputs)` and a backward pass of a scalar, $\sum_i \ell_i$, whose term i
    depends on row i of the model's output only, `tangents(n_rows)` returns the gradients
    $\nabla_\theta \ell_i$ of all rows, factored. The loss may be anything: a batch mean makes row
    i's part of its gradient. The model, its `.grad` and its hooks are left as they are.

    Rows are the leading axis of what every layer takes in; where that axis is k n long, k places
    in a row belong to each row. Layers may be called several times, in training or evaluation, and
    parameters may have been swapped by `torch.func.functional_call`. Shared parameters are summed
    over their layers. What no kind of layer explains (parameters used directly, attention modules,
    recurrent ones) is repeated row by row by `torch.func`, the innermost module around it only.
    Where that module draws random numbers (dropout), the same are drawn again, at the price of one
    backward pass a row.

    Args:
        model: The model.

    Raises:
        ArgumentError: Not a module, nothing to train, or parameters of two dtypes or devices.

    Cost:
        A few microseconds a layer and step, and no weight gradient.

    Example:
        >>> net = nn.Linear(2, 1)
        >>> with TangentTape(net) as tape:
        ...     net(torch.tensor([[1.0, 2.0], [3.0, 4.0]])).square().mean().backward()
        ...     found = tape.tangents(2)
        >>> bool((found.combine(torch.ones(1, 2))[0, :2] - net.weight.grad).abs().max() < 1e-5)
        True
    """

    def __init__(self, model: nn.Module) -> None:
        self.plan = plan(model, "TangentTape")
        self.model = model
        self._device = next(p.device for p in model.parameters() if p.requires_grad)
        self._handles: list[Any] = []
        self._hooks: list[Any] = []
        self._deaf = False
        self._pulling = False
        self.forget()

    def __enter__(self) -> "TangentTape":
        """Put the hooks on."""
        put = self._handles.append
        for module, (kind, _) in self.plan.layers.items():
            put(module.register_forward_hook(self._layer_hook(kind), prepend=True))
        owners = {self.model: None}
        for around in self.plan.owners.values():
            owners |= dict.fromkeys(around)
        for module in owners:
            put(module.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True))
            put(module.register_forward_hook(self._after))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the hooks off, and forget."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.forget()

    def forget(self) -> None:
        """Forget every call that was noted."""
        for hook in self._hooks:  # tensors and notes hold each other through them
            hook.remove()
        self._hooks = []
        self._layers: dict[nn.Module, list[Heard]] = {}
        self._owners: dict[nn.Module, list[OwnerCall]] = {}
        self._targets: list[Heard | HeardOutput] = []
        self._entered: list[tuple[tuple[Any, ...], dict[str, Any], dict[str, Tensor]]] = []
        self._edges: Counter[int] = Counter()
        self._seen: set[Any] = set()

    def tangents(self, n_rows: int) -> Tangents:
        """Return the gradients of the rows, from all that was propagated since the last time.

        Args:
            n_rows: Rows n.

        Raises:
            ArgumentError: `n_rows` is not a positive whole number; nothing was propagated; or the
                gradient of a parameter cannot be cut into rows: the message names it and why.
        """
        n_rows = int(check_number("TangentTape", "n_rows", n_rows, "positive", integer=True))
        if not any(target.reached for target in self._targets):
            raise ArgumentError(
                "TangentTape.tangents: a backward pass through the model must come first; "
                "got none inside the with block"
            )
        found = self._collect(n_rows)
        self.forget()
        return found

    def pull(self, value: Float[Tensor, " n"], *, retain_graph: bool = False) -> Tangents:
        """Differentiate `value.sum()` and return the gradients of its terms.

        Only the layers' outputs are differentiated, not the weights, which saves a third of a
        backward pass; `.grad` is not touched. With `retain_graph`, another value of the same
        forward can be pulled.

        Args:
            value: One number for each row, from one or more calls of the model.
            retain_graph: Keep the graph and what was noted.

        Raises:
            ArgumentError: It does not depend on the model's parameters; or as for `tangents`.
            ShapeError: Not one number a row.
        """
        edges = list({target.edge: None for target in self._targets})
        if not edges or not value.requires_grad:
            raise ArgumentError(
                "TangentTape.pull: value must depend on the model's trainable parameters; it does "
                "not (was the model called inside the with block, with gradients enabled?)"
            )
        self._pulling = self._deaf = True
        try:
            gradients = torch.autograd.grad(
                value.sum(), edges, retain_graph=retain_graph, allow_unused=True
            )
        finally:
            self._pulling = self._deaf = False
        by_edge = dict(zip(edges, gradients, strict=True))
        for target in self._targets:
            target.set(by_edge[target.edge])
        found = self._collect(len(value))
        if not retain_graph:
            self.forget()
        return found

    # ---- hooks ----------------------------------------------------------------------------

    def _layer_hook(self, kind: LayerKind) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            if self._deaf or not isinstance(output, Tensor) or not output.requires_grad:
                return
            heard = Heard(get_gradient_edge(output), kind.keep(module, args, output))
            self._layers.setdefault(module, []).append(heard)
            self._hear(heard, output)

        return hook

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._deaf and torch.is_grad_enabled():
            self._entered.append((args, kwargs, _generators(module, self._device)))

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if self._deaf or not torch.is_grad_enabled() or not self._entered:
            return
        given, named, before = self._entered.pop()
        now = _generators(module, self._device) if before else {}
        moved = any(not torch.equal(now[k], state) for k, state in before.items())
        values = {path: held[name] for path, held, name in self.plan.held[module]}
        call = OwnerCall(module, given, named, output, values, before if moved else {})
        self._owners.setdefault(module, []).append(call)
        for place, leaf in enumerate(call.outputs):
            if leaf.requires_grad:
                self._hear(HeardOutput(get_gradient_edge(leaf), call, place), leaf)
        if module is self.model:
            self._count(call.outputs)

    def _hear(self, heard: Heard | HeardOutput, output: Tensor) -> None:
        self._targets.append(heard)
        hook = output.register_hook(lambda g: None if self._pulling else heard.add(g))
        self._hooks.append(hook)

    def _count(self, outputs: Sequence[Tensor]) -> None:
        """Count how often the model's graph uses each parameter, by a call of a layer or not."""
        leaves: dict[int, int] = {}
        swapped: dict[tuple[Any, int], int] = {}
        for i, uses in self.plan.uses.items():
            p = uses[0][0]._parameters[uses[0][1]]
            if p is not None and p.grad_fn is not None:
                swapped[p.grad_fn, p.output_nr] = i
            else:
                leaves[id(p)] = i
        ends = {node for node, _ in swapped}
        stack: list[Any] = [out.grad_fn for out in outputs if out.grad_fn is not None]
        while stack:
            node = stack.pop()
            if node in self._seen or node in ends:
                continue
            self._seen.add(node)
            for after, number in node.next_functions:
                if after is None:
                    continue
                if type(after).__name__ == "AccumulateGrad":
                    i = leaves.get(id(after.variable), -1)
                else:
                    i = swapped.get((after, number), -1)
                    stack.append(after)
                if i >= 0:
                    self._edges[i] += 1

    def _collect(self, n_rows: int) -> Tangents:
        self._deaf = True
        try:
            noted = Noted(self.plan, self._layers, self._owners, self._edges)
            return collect(self.model, noted, n_rows)
        finally:
            self._deaf = False


def _generators(module: nn.Module, device: torch.device) -> dict[str, Tensor]:
    """Return the states of the generators that a module in training may draw from."""
    if not module.training:
        return {}
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found
