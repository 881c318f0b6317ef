"""The form that notes of steps must have to be replayed: by the rows, the model, the optimizer."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import Any

import torch
from torch import Tensor

from trivium.pathkernel.loss_call import LossCall
from trivium.pathkernel.notes import Piece, StepNote
from trivium.pathkernel.packed import Packed
from trivium.pathkernel.replay import Replay

__all__ = ["NoteForm", "check_rows"]


def check_rows(ids: Any, leaves: Any, before: Sequence[Sequence[Tensor]], known: set[Any]) -> None:
    """Refuse rows of a part that are none, or not like those of the parts before.

    Args:
        ids: Its new ids.
        leaves: What is kept of their rows.
        before: The same of the parts before.
        known: All ids before.

    Raises:
        ValueError: They are not.
        TypeError: An id that is none.
    """
    _need(isinstance(ids, list) and isinstance(leaves, list), "rows that are no lists")
    _need(len(set(ids)) == len(ids) and known.isdisjoint(ids), "a row twice")
    whole = all(isinstance(leaf, Tensor) and leaf.ndim > 0 for leaf in leaves)
    _need(whole and all(len(leaf) == len(ids) for leaf in leaves), "rows without an id")
    _need(bool(leaves) or not ids, "ids without rows")
    for others in [one for one in before if one] if leaves else []:
        alike = [(leaf.shape[1:], leaf.dtype) for leaf in leaves]
        _need([(o.shape[1:], o.dtype) for o in others] == alike, "rows of another form")


@dataclass(frozen=True)
class NoteForm:
    """What a note says of a model and its optimizer.

    Args:
        n_modules: Modules of the model.
        n_weights: Trainable parameters.
        groups: Options of each group of the optimizer.
        augmented: Whether each step keeps its own copy of its rows.
    """

    n_modules: int
    n_weights: int
    groups: tuple[dict[str, Any], ...]
    augmented: bool

    @classmethod
    def of(cls, replay: Replay, augmented: bool) -> "NoteForm":
        """Return the form of notes on the model and the optimizer that repeat them."""
        optimizer = replay.optimizer
        return cls(
            sum(1 for _ in replay.model.modules()),
            len(replay.weights.tensors),
            tuple(replay.recurrence.options(optimizer, one) for one in optimizer.param_groups),
            augmented,
        )

    def check(self, note: Any, rows: Sequence[Tensor], n_rows: int) -> None:
        """Refuse a note that cannot be replayed, and give it the options that it lacks.

        Args:
            note: What was read.
            rows: What is kept of the rows.
            n_rows: How many there are.

        Raises:
            ValueError: It is of another form.
        """
        _check_record(note, StepNote)
        moved, norms = note.moved, note.norms
        _need(_are(moved, bool, tuple) and len(moved) == self.n_weights, "weights of another model")
        sized = isinstance(norms, Tensor) and norms.ndim == 1 and norms.is_floating_point()
        _need(sized and len(norms) in (1, self.n_weights), "norms of other gradients")
        _need(_are(note.options, dict, list), "options that are none")
        _need(len(note.options) == len(self.groups), "groups of another optimizer")
        for ours, noted in zip(self.groups, note.options, strict=True):
            _check_options(ours, noted)
        _need(_are(note.pieces, Piece, list) and _are(note.dropped, Piece, list), "no forwards")
        for piece in (*note.pieces, *note.dropped):
            self._check_piece(piece, rows, n_rows)

    def _check_piece(self, piece: Piece, rows: Sequence[Tensor], n_rows: int) -> None:
        _check_record(piece, Piece)
        places, inputs, call, own = piece.places, piece.inputs, piece.call, piece.leaves
        whole = isinstance(places, Tensor) and places.dtype == torch.long and places.ndim == 1
        _need(whole and len(places) > 0, "places that are none")
        _need(int(places.min()) >= 0 and int(places.max()) < n_rows, "a row that is not there")
        _need(isinstance(inputs, Packed) and isinstance(call, LossCall), "no call")
        assert isinstance(inputs, Packed)  # for the types
        assert isinstance(call, LossCall)
        if self.augmented:
            kept = isinstance(own, list) and all(isinstance(leaf, Tensor) for leaf in own)
            _need(kept and all(len(leaf) == len(places) for leaf in own or ()), "no own rows")
        else:
            _need(own is None, "rows of its own")
        leaves = rows if own is None else own
        _need(len(leaves) == inputs.n_rows_leaves + 1, "arguments of another call")
        _check_call(call, len(places) * prod(leaves[-1].shape[1:]))
        _need(_are(piece.modes, bool, tuple) and len(piece.modes) == self.n_modules, "no modes")
        _need(_are(piece.autocast, torch.dtype, dict), "no autocast")
        random = piece.random
        bytes_ = _are(random, Tensor, dict) and all(v.dtype == torch.uint8 for v in random.values())
        _need(bytes_, "no states of generators")
        up = piece.upstream
        _need(up is None or (isinstance(up, Tensor) and up.is_floating_point()), "no gradient")


def _check_call(call: LossCall, size: int) -> None:
    """Refuse a call of the loss that is none, or whose target has not these many numbers."""
    _check_record(call, LossCall)
    _need(type(call.leaf) is int and call.leaf >= 0, "no output")
    for sizes in (call.shape, call.target_shape, call.axes):
        _need(_are(sizes, int, tuple) and min(sizes, default=0) >= 0, "shapes that are none")
    _need(prod(call.target_shape) == size, "a target of another size")
    _need(sorted(call.axes) == list(range(len(call.axes))), "axes that are none")
    _need(isinstance(call.arguments, tuple) and isinstance(call.named, dict), "no arguments")
    _need(all(isinstance(name, str) for name in call.named), "an argument without a name")
    _need(call.dtype is None or isinstance(call.dtype, torch.dtype), "no dtype")


def _check_options(ours: dict[str, Any], noted: dict[str, Any]) -> None:
    """Refuse options of another kind; flags that another torch did not have are as they are."""
    for name, value in ours.items():
        if name not in noted and (value is None or isinstance(value, bool)):
            noted[name] = value
        _need(_kind(noted[name]) == _kind(value), f"another kind of {name}")


def _kind(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return bool
    if isinstance(value, int | float):
        return float
    if isinstance(value, tuple | list):
        return tuple(map(_kind, value))
    return type(value)


def _check_record(value: Any, kind: type) -> None:
    names = {one.name for one in fields(kind)}
    _need(type(value) is kind and set(vars(value)) == names, f"no {kind.__name__}")


def _are(values: Any, kind: type, container: type) -> bool:
    """Whether all values of a container are of a kind; of a dict, under texts."""
    fits = type(values) is container
    if not fits:
        return False
    inside: list[Any] = list(values)
    if isinstance(values, dict) and not all(isinstance(name, str) for name in values):
        return False
    if isinstance(values, dict):
        inside = list(values.values())
    exact = kind in (int, bool)
    return all(type(one) is kind if exact else isinstance(one, kind) for one in inside)


def _need(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(f"it has {otherwise}")
