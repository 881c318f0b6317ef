"""Ears around a training loop: what the model was given, and what the loss made of it."""

from collections.abc import Callable, Hashable, Sequence
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError
from trivium.pathkernel.forward import Forward, random_states
from trivium.pathkernel.loss_call import LossCall, find_output
from trivium.pathkernel.loss_mode import LossMode
from trivium.pathkernel.notes import Piece
from trivium.pathkernel.packed import Packed, pack
from trivium.pathkernel.row_store import RowStore
from trivium.pathkernel.weights import uncompiled

__all__ = ["Listener"]

_NONE = torch.empty(0, dtype=torch.long)
_MOST_OPEN = 8  # forwards that wait for their loss; each holds its graph
_MOST_BYTES = 1 << 26  # of rows that wait to be kept
_BY_HAND = "call it in the loop as recording.loss(output, target)"


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
        self.step = 0
        self.pieces: list[Piece] = []
        self.dropped: list[Piece] = []
        self._ids: list[Hashable] | None = None
        self._open: list[Forward] = []
        self._missed: tuple[int, ...] | None = None
        self._task = -1
        plain = uncompiled(model)
        self._weights = [p for p in plain.parameters() if p.requires_grad]
        self._modules = list(plain.modules())
        self._handles: list[Any] = []
        self._packed: Packed | None = None
        self._waiting: list[tuple[Piece, list[Hashable], int]] = []
        self._n_bytes = 0
        self._call: LossCall | None = None
        self._form: tuple[Any, ...] = ()
        self._modes: tuple[bool, ...] = ()
        self._mode: LossMode | None = None
        if not isinstance(loss, nn.Module) and _is_torch(loss):
            self._mode = LossMode(loss, self.heard)

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

    def close(self) -> None:
        """Take the hooks off; what was not stepped on is forgotten."""
        self.pause()
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self.pieces, self.dropped, self._open, self._ids = [], [], [], None
        self._waiting, self._n_bytes = [], 0

    def pause(self) -> None:
        """Do not listen for the loss until the next forward."""
        if self._mode is not None:
            self._mode.stop()

    def called(self, *arguments: Any, **named: Any) -> Tensor:
        """Call the loss so that it is heard, whatever it is."""
        result = self.loss(*arguments, **named)
        if self._handles and self._mode is None and not isinstance(self.loss, nn.Module):
            self.heard(arguments, named, result)
        return result

    def expect(self, ids: list[Hashable]) -> None:
        """Note the rows of the next forwards, until the step or the next note."""
        self._ids = ids

    def _before(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not torch.is_grad_enabled():
            return
        self.pause()
        n_rows = -1 if self._ids is None else len(self._ids)
        inputs, leaves = pack(args, kwargs, n_rows)
        self._packed = inputs = inputs.same_as(self._packed)
        modes = tuple([module.training for module in self._modules])
        self._modes = modes = modes if self._modes != modes else self._modes
        autocast = {
            kind: torch.get_autocast_dtype(kind)
            for kind in ("cpu", "cuda")
            if torch.is_autocast_enabled(kind)
        }
        random = random_states(self._weights[0].device)
        del self._open[: -(_MOST_OPEN - 1)]
        self._open.append(Forward(self._ids, self.step, inputs, leaves, modes, autocast, random))

    def _after(self, _module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        if not (torch.is_grad_enabled() and self._open):
            return
        forward = self._open[-1]
        leaves = [output] if type(output) is Tensor else pytree.tree_leaves(output)
        forward.outputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if self._mode is not None:
            self._mode.start()

    def heard(self, args: Sequence[Any], kwargs: dict[str, Any], result: Any) -> None:
        """Take a call of the loss down, when it is on what the model returned."""
        if not isinstance(result, Tensor):
            raise ArgumentError(
                f"record: loss must return one tensor; got {type(result).__name__}",
                where=f"step {self.step}",
                remedy="Return the loss alone, and keep what else it computes beside it.",
            )
        if not result.requires_grad:
            return
        named, given = dict(kwargs), list(args)
        output = given.pop(0) if given else named.pop("input", None)
        target = given.pop(0) if given else named.pop("target", None)
        if not (isinstance(output, Tensor) and isinstance(target, Tensor)):
            raise ArgumentError(
                "record: loss must take (output, target) tensors first; "
                f"got {type(output).__name__} and {type(target).__name__}",
                where=f"step {self.step}",
                remedy="Take the parts of a model's dict or tuple of outputs in the loop, and put "
                f"several into one tensor; then {_BY_HAND}.",
            )
        for forward in reversed(self._open):
            found = find_output(forward.outputs, output)
            if found is not None:
                break
        else:
            self._missed = tuple(output.shape)
            return
        after = random_states(self._weights[0].device)  # the loss may have drawn too
        if all(torch.equal(after[kind], state) for kind, state in forward.random.items()):
            forward.random = {}
        leaf, axes, dtype = found
        form = (leaf, tuple(output.shape), tuple(target.shape), axes, dtype)
        if given or named or self._call is None or self._form != form:
            self._form = form
            self._call = LossCall(*form[:3], tuple(given), named, axes, dtype)
        piece = Piece(_NONE, forward.inputs, self._call)
        if given or named:
            self._form = ()

        def reached(gradient: Tensor) -> None:
            self._reached(forward, piece, target, gradient)

        result.register_hook(reached)

    def _reached(self, forward: Forward, piece: Piece, target: Tensor, gradient: Tensor) -> None:
        """Note a loss at the moment when its gradient begins to flow."""
        if not self._handles:
            return
        where = f"step {self.step}"
        if piece.upstream is not None:  # propagated twice: the gradients add up
            piece.upstream = piece.upstream + gradient.detach()
            return
        self._check(forward, where)
        task = torch._C._current_graph_task_id()
        if self.pieces and task != self._task and self._cleared():
            self.dropped += self.pieces
            self.pieces = []
        self._task = task
        assert forward.ids is not None  # checked above
        leaves = [*forward.leaves, self._by_row(target, len(forward.ids))]
        piece.leaves = [leaf.detach().clone() for leaf in leaves]
        self._waiting.append((piece, forward.ids, self.step))
        self._n_bytes += sum([leaf.nbytes for leaf in piece.leaves])
        piece.upstream = gradient.detach().clone()
        piece.modes, piece.autocast, piece.random = forward.modes, forward.autocast, forward.random
        forward.piece = piece
        self.pieces.append(piece)

    def _check(self, forward: Forward, where: str) -> None:
        if forward.ids is None:
            raise _not_noted(where)
        if not forward.leaves:
            others = [tuple(one.shape) for one in forward.inputs.leaves if isinstance(one, Tensor)]
            raise DataError(
                "record: a tensor of the model's input must have the "
                f"{counted(len(forward.ids), 'row')} of "
                f"recording.batch(ids); got {others}",
                where=where,
            )
        if forward.step != self.step:
            raise DataError(
                "record: a loss must be propagated before the step that follows its forward; this "
                f"one is of step {forward.step}",
                where=where,
            )
        if forward.piece is not None:
            raise DataError(
                "record: a forward must have one loss; a second one was propagated",
                where=where,
                remedy=f"Put the sum into one loss of your own, give it to record(loss=...), and "
                f"{_BY_HAND}.",
            )

    def settle(self) -> None:
        """Keep the rows of the steps since the last time: together, which is cheaper.

        Raises:
            DataError: A row is not what it was.
        """
        waiting, self._waiting, self._n_bytes = self._waiting, [], 0
        for piece, ids, step in waiting:
            if self.augmented:
                piece.places = self.rows.places(ids)
                continue
            assert piece.leaves is not None  # since it was heard
            piece.places = self.rows.note(ids, piece.leaves, step)
            piece.leaves = None

    def take(self) -> tuple[list[Piece], list[Piece]]:
        """Hand over the pieces of the step that is being made, and those dropped before it.

        Raises:
            DataError: Its rows were not noted, or its loss was not heard or not propagated.
        """
        where = f"step {self.step}"
        self.pause()
        if self.pieces and all(p.grad is None for p in self._weights):
            self.dropped += self.pieces
            self.pieces = []
        elif not self.pieces:
            self._say_why(where)
        if self._n_bytes > _MOST_BYTES:
            self.settle()
        pieces, dropped = self.pieces, self.dropped
        self.pieces, self.dropped, self._open, self._ids = [], [], [], None
        self._missed = None
        return pieces, dropped

    def _say_why(self, where: str) -> None:
        noted = [forward for forward in self._open if forward.ids is not None]
        if not noted:
            raise _not_noted(where)
        beside = "" if self._missed is None else f"; one was called on shape {self._missed}"
        raise DataError(
            "record: a loss must be called on what the model returned, at most reshaped, "
            f"transposed or converted, and propagated before the step; the model returned "
            f"{[tuple(leaf.shape) for leaf in noted[-1].outputs]}{beside}",
            where=where,
            remedy="Pass record(loss=...) the criterion module or the torch function that the "
            f"loop calls; or put what lies between into a loss of your own and {_BY_HAND}.",
        )

    def _cleared(self) -> bool:
        return not any(p.grad is not None and bool(p.grad.any()) for p in self._weights)

    def _by_row(self, target: Tensor, n_rows: int) -> Tensor:
        if target.ndim == 0 or target.numel() % n_rows or len(target) % n_rows:
            raise DataError(
                f"record: the target must have the batch's {counted(n_rows, 'row')}; "
                f"got shape {tuple(target.shape)}",
                where=f"step {self.step}",
            )
        return target if len(target) == n_rows else target.unflatten(0, (n_rows, -1))


def _not_noted(where: str) -> DataError:
    return DataError(
        "record: the rows of a step must be noted; got a step without their ids",
        where=where,
        remedy="Call recording.batch(ids) before each forward, or iterate over "
        "recording.loader(loader).",
    )


def _is_torch(function: Any) -> bool:
    module = getattr(function, "__module__", None) or ""
    builtin = not isinstance(function, MethodType) and module.split(".")[0] == "torch"
    return builtin or type(function).__name__ == "builtin_function_or_method"
