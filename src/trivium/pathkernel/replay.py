"""Training again between two checkpoints, bit for bit, on a private copy of the model."""

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from trivium._core.errors import DataError
from trivium.pathkernel.forward import drawing_from
from trivium.pathkernel.notes import Checkpoint, Piece, StepNote
from trivium.pathkernel.recurrence import Recurrence
from trivium.pathkernel.replayed import Bucket, ReplayedStep
from trivium.pathkernel.row_store import RowStore
from trivium.pathkernel.step_watch import gradient_norms, smallest
from trivium.pathkernel.weights import Weights

__all__ = ["Bucket", "Replay", "ReplayedStep"]

_UNCLIPPED = 1e-5  # a gradient's norm is met again to rounding unless something scaled it
_DRIFT = 1e-4  # of the distance that the span covered
_UNEVEN = 1e-3  # of the gradient: what scaling it as a whole may leave over
_EXACT = 1e-6  # a gradient scaler's factor is a power of two


class Replay:
    """A private model and optimizer that repeat noted steps.

    Args:
        model: Copied, with the optimizer, which then steps the copy.
        optimizer: Copied.
        loss: The loss of (output, target).
        recurrence: How the optimizer steps.
        rows: The rows of the recording.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss: Callable[..., Tensor],
        recurrence: Recurrence,
        rows: RowStore,
    ) -> None:
        self.model, self.optimizer = copy.deepcopy((model, optimizer))
        for hooks in ("_optimizer_step_pre_hooks", "_optimizer_step_post_hooks"):
            getattr(self.optimizer, hooks).clear()
        self.loss, self.recurrence, self.rows = loss, recurrence, rows
        self.weights = Weights(self.model, "record")
        self._modules = list(self.model.modules())

    def restore(self, checkpoint: Checkpoint) -> None:
        """Put the copy into the state of a checkpoint."""
        self.weights.write(checkpoint.weights)
        self.write_buffers(checkpoint.buffers)
        for p, state in zip(self.weights.tensors, checkpoint.state, strict=True):
            self.optimizer.state[p] = copy.deepcopy(state)

    def write_fixed(self, values: dict[str, Tensor]) -> None:
        """Put values into the parameters that are not trained."""
        own = dict(self.model.named_parameters())
        with torch.no_grad():
            for name, value in values.items():
                own[name].copy_(value)

    def put(self, weights: Tensor, buffers: dict[str, Tensor]) -> None:
        """Put weights and buffers into the copy."""
        self.weights.write(weights)
        self.write_buffers(buffers)

    def write_buffers(self, buffers: dict[str, Tensor]) -> None:
        """Put values into the model's buffers."""
        own = dict(self.model.named_buffers())
        with torch.no_grad():
            for name, value in buffers.items():
                own[name].copy_(value)

    def steps(
        self,
        start: Checkpoint,
        end: Checkpoint,
        notes: Sequence[StepNote],
        watch: Callable[["Replay", Piece], Any] | None = None,
        path: float = 0.0,
    ) -> list[ReplayedStep]:
        """Repeat the steps from one checkpoint to the next.

        Args:
            start: Where to begin.
            end: Where it must arrive.
            notes: The notes of all steps.
            watch: Called in place of `self.backward` for each piece; what it returns is kept.
            path: The distance that the weights went since the last noted checkpoint, where that
                is not `start`.

        Raises:
            DataError: It does not arrive there: something beside the noted rows moved the weights.
        """
        self.restore(start)
        repeat = watch or Replay.backward
        done = list(self._walk(start, end, notes, repeat))
        if done:
            self._check_arrival(start, end, done, path)
        return done

    def first(
        self,
        start: Checkpoint,
        notes: Sequence[StepNote],
        watch: Callable[["Replay", Piece], Any],
    ) -> ReplayedStep:
        """Repeat the one step after a checkpoint."""
        self.restore(start)
        return self._step(start.step, notes[start.step], watch, start.weights)

    def between(
        self, start: Checkpoint, end: Checkpoint, notes: Sequence[StepNote], apart: int
    ) -> tuple[list[Checkpoint], float]:
        """Go from one checkpoint to the next and keep a state every `apart` steps.

        Returns:
            The states in between, and the distance that the weights went.
        """
        self.restore(start)
        found, path = [], 0.0
        for step in self._walk(start, end, notes, Replay.backward):
            path += float((step.after - step.before).norm())
            number = step.number + 1
            if (number - start.step) % apart == 0 and number < end.step:
                found.append(self.checkpoint(number))
        return found, path

    def checkpoint(self, step: int) -> Checkpoint:
        """Return the state of the copy, before a step."""
        state = [copy.deepcopy(self.optimizer.state.get(p, {})) for p in self.weights.tensors]
        buffers = {name: value.detach().clone() for name, value in self.model.named_buffers()}
        return Checkpoint(step, self.weights.read(), buffers, state)

    def forward(self, piece: Piece) -> tuple[Tensor, Tensor]:
        """Return the loss of a piece and its output, with their graph."""
        inputs, call = piece.inputs, piece.call
        assert inputs is not None  # a taken piece has both
        assert call is not None
        leaves = self.rows.leaves(piece.places) if piece.leaves is None else piece.leaves
        args, kwargs = inputs.unpack(leaves[:-1])
        with self.context(piece, leaves[0].device):
            out = self.model(*args, **kwargs)
            tensors = [leaf for leaf in pytree.tree_leaves(out) if isinstance(leaf, Tensor)]
            target = leaves[-1].reshape(call.target_shape)
            taken = call.taken(tensors[call.leaf])
            return self.loss(taken, target, *call.arguments, **call.named), tensors[call.leaf]

    @contextlib.contextmanager
    def context(self, piece: Piece, device: torch.device) -> Iterator[None]:
        """Put the modules, autocast and the generators as a piece had them."""
        for module, training in zip(self._modules, piece.modes, strict=True):
            module.training = training
        with contextlib.ExitStack() as stack:
            stack.enter_context(drawing_from(piece.random, device))
            for kind, dtype in piece.autocast.items():
                stack.enter_context(torch.autocast(kind, dtype))
            yield

    def backward(self, piece: Piece) -> None:
        """Add the gradient of a piece to the parameters'."""
        loss, _ = self.forward(piece)
        loss.backward(piece.upstream)

    def _walk(
        self,
        start: Checkpoint,
        end: Checkpoint,
        notes: Sequence[StepNote],
        watch: Callable[["Replay", Piece], Any],
    ) -> Iterator[ReplayedStep]:
        before = start.weights
        for number in range(start.step, end.step):
            step = self._step(number, notes[number], watch, before)
            before = step.after
            yield step

    def _step(
        self,
        number: int,
        note: StepNote,
        watch: Callable[["Replay", Piece], Any],
        before: Tensor,
    ) -> ReplayedStep:
        buffers = {name: value.clone() for name, value in self.model.named_buffers()}
        if buffers:
            for piece in note.dropped:  # it moved nothing but running statistics
                with torch.no_grad():
                    self.forward(piece)
        self.optimizer.zero_grad(set_to_none=True)
        traces = [watch(self, piece) for piece in note.pieces]
        gradient = self.weights.read_gradient()
        factor = self._factor(number, note)
        for p, moved in zip(self.weights.tensors, note.moved, strict=True):
            if moved and p.grad is not None and factor != 1:
                p.grad.mul_(factor)
            elif not (moved and p.grad is not None):
                p.grad = torch.zeros_like(p) if moved else None
        for group, options in zip(self.optimizer.param_groups, note.options, strict=True):
            group.update(options)
        buckets = self._buckets(note)
        type(self.optimizer).step(self.optimizer)
        after = self.weights.read()
        return ReplayedStep(number, before, after, buffers, gradient, factor, buckets, note, traces)

    def _factor(self, number: int, note: StepNote) -> float:
        """Return what the gradient was scaled with, as a whole."""
        noted = note.norms.double()
        now = gradient_norms(self.weights.tensors, note.moved).double()
        if len(noted) < len(now):
            now = now[[smallest(self.weights)]]
        if torch.equal(noted, now):
            return 1.0
        total, found = float(noted.norm()), float(now.norm())
        if found == 0:
            return 1.0
        factor = _tidied(total / found)
        miss = (noted - factor * now).abs()
        if not float(miss.max()) <= _UNEVEN * total:
            name = self.weights.names[int(miss.argmax())]
            raise DataError(
                "record: a gradient must reach the optimizer as it is or scaled as a whole; "
                f"the norm of {name}'s is {float(noted[miss.argmax()]):.3g} where the noted losses "
                f"make {float(now[miss.argmax()]):.3g}, and {factor:.3g} times that fits the rest",
                where=f"step {number}",
                remedy="Usual causes: gradients clipped by value or for a part of the weights "
                "alone (use torch.nn.utils.clip_grad_norm_ on all), noise or a penalty added to "
                "them, a second loss or regularizer beside the noted one, or gradients that were "
                "not cleared after a step that a gradient scaler skipped.",
            )
        return factor

    def _buckets(self, note: StepNote) -> list[Bucket]:
        place = {id(p): i for i, p in enumerate(self.weights.tensors)}
        found: dict[tuple[Any, ...], list[int]] = {}
        for number, group in enumerate(self.optimizer.param_groups):
            for p in group["params"]:
                index = place.get(id(p))
                if index is None or not note.moved[index]:
                    continue
                state = self.optimizer.state.get(p, {})
                keys = tuple(k for k in self.recurrence.states if state.get(k) is not None)
                count = int(state.get("step", 0))
                found.setdefault((number, keys, count), []).append(index)
        return [
            self._bucket(note.options[number], keys, count, sorted(indices))
            for (number, keys, count), indices in found.items()
        ]

    def _bucket(
        self, options: dict[str, Any], keys: tuple[str, ...], count: int, indices: list[int]
    ) -> Bucket:
        held = [self.optimizer.state.get(self.weights.tensors[i], {}) for i in indices]
        state = {key: torch.cat([one[key].detach().reshape(-1) for one in held]) for key in keys}
        single = {
            key: value.detach().clone()
            for key, value in held[0].items()
            if key not in (*keys, "step") and isinstance(value, Tensor) and value.numel() == 1
        }
        places = tuple(self.weights.slices[i] for i in indices)
        return Bucket(places, {**options, **single, "step": count + 1}, state)

    def _check_arrival(
        self, start: Checkpoint, end: Checkpoint, done: list[ReplayedStep], path: float
    ) -> None:
        arrived = done[-1].after
        if torch.equal(arrived, end.weights):
            return
        miss = float((arrived - end.weights).norm())
        path = path or sum(float((step.after - step.before).norm()) for step in done)
        if not miss <= _DRIFT * path:
            raise DataError(
                "record: replaying the noted steps must lead to the recorded weights; they miss "
                f"them by {miss / max(path, 1e-300):.1e} of the way",
                where=f"steps {start.step} to {end.step}",
                remedy="Usual causes: weights changed outside the optimizer (by .data, say), a "
                "second loss or regularizer beside the noted one, gradients clipped by value or "
                "with noise, randomness that torch's generators do not hold, or kernels that do "
                "not repeat bits (GPU: use_deterministic_algorithms, or record(..., stride=1)).",
            )
        done[-1].after = end.weights.clone()  # rounding of clipping stays in this span


def _tidied(ratio: float) -> float:
    """Return a scale without the rounding of the norms that it was read from."""
    if abs(ratio - 1) < _UNCLIPPED:
        return 1.0
    if not 0 < ratio < math.inf:
        return ratio
    power = 2.0 ** round(math.log2(ratio))
    return power if abs(ratio / power - 1) < _EXACT else ratio
