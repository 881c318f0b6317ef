"""Ears around a training loop: what the model was given, and what the loss made of it."""

from collections.abc import Callable, Hashable, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from trivium._core.errors import ArgumentError, DataError
from trivium.pathkernel.notes import LossCall, Piece
from trivium.pathkernel.packed import pack
from trivium.pathkernel.row_store import RowStore

__all__ = ["Listener"]


class _LossMode(TorchFunctionMode):
    """Hears each call of one torch function."""

    def __init__(self, function: Callable[..., Tensor], heard: Callable[..., None]) -> None:
        super().__init__()
        self.function = function
        self.heard = heard

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is self.function:
            self.heard(args, kwargs or {}, result)
        return result


class Listener:
    """Turns forwards and losses into pieces, and hands them over at each step.

    Args:
        model: The model that is trained.
        loss: A criterion module, a function of torch, or any callable of (output, target).
        rows: Where the rows are kept.
        augmented: Keep each step's own copy of its rows.
    """

    def __init__(
        self, model: nn.Module, loss: Callable[..., Tensor], rows: RowStore, augmented: bool
    ) -> None:
        self.model, self.loss, self.rows, self.augmented = model, loss, rows, augmented
        self.pieces: list[Piece] = []
        self.step = 0
        self._pending: Piece | None = None
        self._known = 0
        self._outputs: list[Tensor] = []
        self._inputs: list[Tensor] = []
        self._modules = list(model.modules())
        self._handles: list[Any] = []
        self._mode: _LossMode | None = None
        self._builtin = not isinstance(loss, nn.Module) and _is_torch(loss)

    def open(self) -> None:
        """Put the hooks on."""
        self._handles = [
            self.model.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True),
            self.model.register_forward_hook(self._after),
        ]
        if isinstance(self.loss, nn.Module):
            self._handles.append(
                self.loss.register_forward_hook(
                    lambda _m, args, kwargs, out: self.heard(args, kwargs, out), with_kwargs=True
                )
            )
        elif self._builtin:
            self._mode = _LossMode(self.loss, self.heard)
            self._mode.__enter__()

    def close(self) -> None:
        """Take the hooks off."""
        if self._mode is not None:
            self._mode.__exit__(None, None, None)
            self._mode = None
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._pending, self._outputs, self._inputs = None, [], []

    def called(self, *arguments: Any, **named: Any) -> Tensor:
        """Call the loss so that it is heard, whatever it is."""
        result = self.loss(*arguments, **named)
        if not isinstance(self.loss, nn.Module) and not self._builtin:
            self.heard(arguments, named, result)
        return result

    def expect(self, ids: Sequence[Hashable]) -> None:
        """Note the rows of the next forward."""
        self._known = self.rows.n_rows
        self._pending = Piece(self.rows.places(ids))

    def _before(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        piece = self._pending
        if piece is None or not torch.is_grad_enabled():
            return
        piece.inputs, leaves = pack(args, kwargs, len(piece.places))
        if not leaves:
            raise DataError(
                f"record: a tensor of the model's input must have the {len(piece.places)} rows of "
                f"recording.batch(ids); got {_shapes(args, kwargs)}",
                where=f"step {self.step}",
            )
        self._inputs = leaves
        piece.modes = tuple(module.training for module in self._modules)
        piece.autocast = {
            kind: torch.get_autocast_dtype(kind)
            for kind in ("cpu", "cuda")
            if torch.is_autocast_enabled(kind)
        }
        piece.random = random_states(leaves[0].device)

    def _after(self, _module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        piece = self._pending
        if piece is None or piece.inputs is None or not torch.is_grad_enabled():
            return
        self._outputs = [leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor)]

    def heard(self, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any) -> None:
        """Take a call of the loss down, when it is on what the model just returned."""
        piece = self._pending
        if piece is None or not self._outputs or not getattr(result, "requires_grad", False):
            return
        after = random_states(self._inputs[0].device)  # the loss may draw too
        if all(torch.equal(after[kind], state) for kind, state in piece.random.items()):
            piece.random = {}
        named = dict(kwargs)
        given = list(args)
        output = given.pop(0) if given else named.pop("input")
        target = given.pop(0) if given else named.pop("target")
        if not (isinstance(output, Tensor) and isinstance(target, Tensor)):
            raise ArgumentError(
                "record: loss must take (output, target) tensors first; "
                f"got {type(output).__name__} and {type(target).__name__}"
            )
        piece.call = LossCall(
            self._leaf(output), tuple(output.shape), tuple(target.shape), tuple(given), named
        )
        leaves = [*self._inputs, self._by_row(target, len(piece.places))]
        if self.augmented:
            piece.leaves = [leaf.detach().clone() for leaf in leaves]
        else:
            self.rows.keep(piece.places, self._known, leaves, self.step)

        def note(gradient: Tensor) -> None:
            piece.upstream = gradient.detach().clone()

        result.register_hook(note)
        self.pieces.append(piece)
        self._pending, self._outputs, self._inputs = None, [], []

    def take(self) -> list[Piece]:
        """Hand over the pieces of the step that is being made.

        Raises:
            DataError: Its rows were not noted, or its loss was not heard or not propagated.
        """
        where = f"step {self.step}"
        if not self.pieces and self._pending is None:
            raise DataError(
                "record: the rows of a step must be noted; got an optimizer step without them",
                where=where,
                remedy="Call recording.batch(ids) before each forward, or iterate over "
                "recording.loader(loader).",
            )
        if self._pending is not None and self._pending.inputs is not None:
            raise DataError(
                "record: the loss on the model's output must be heard; it was not called",
                where=where,
                remedy="Pass record(loss=...) the criterion module or the torch function that the "
                "loop calls, or call recording.loss(output, target) in the loop.",
            )
        silent = [piece for piece in self.pieces if piece.upstream is None]
        if silent:
            raise DataError(
                "record: the loss of each noted batch must be propagated before the step; "
                f"backward did not reach {len(silent)} of {len(self.pieces)}",
                where=where,
            )
        taken, self.pieces = self.pieces, []
        return taken

    def _leaf(self, output: Tensor) -> int:
        for number, leaf in enumerate(self._outputs):
            same = leaf.data_ptr() == output.data_ptr() or (
                leaf.numel() == output.numel() and torch.equal(leaf.reshape(-1), output.reshape(-1))
            )
            if same and leaf.numel() == output.numel():
                return number
        raise DataError(
            "record: the loss must be called on what the model returned, at most reshaped; "
            f"got shape {tuple(output.shape)} beside the model's "
            f"{[tuple(leaf.shape) for leaf in self._outputs]}",
            where=f"step {self.step}",
            remedy="Put what lies between into the model or into a loss of your own, and call it "
            "as recording.loss(output, target).",
        )

    def _by_row(self, target: Tensor, n_rows: int) -> Tensor:
        if target.ndim == 0 or target.numel() % n_rows or len(target) % n_rows:
            raise DataError(
                f"record: the target must have the batch's {n_rows} rows; "
                f"got shape {tuple(target.shape)}",
                where=f"step {self.step}",
            )
        return target if len(target) == n_rows else target.unflatten(0, (n_rows, -1))


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the generators that a forward may draw from."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def _is_torch(function: Any) -> bool:
    module = getattr(function, "__module__", None) or ""
    builtin = not isinstance(function, MethodType) and module.split(".")[0] == "torch"
    return builtin or type(function).__name__ == "builtin_function_or_method"


def _shapes(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[int, ...]]:
    leaves = pytree.tree_leaves((args, kwargs))
    return [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor)]
