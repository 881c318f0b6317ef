"""Training again between two checkpoints, bit for bit, on a private copy of the model."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils import _pytree as pytree

from trivium._core.errors import DataError
from trivium.pathkernel.checkpoints import Checkpoints
from trivium.pathkernel.notes import Checkpoint, Piece, StepNote
from trivium.pathkernel.recurrence import Recurrence, state_keys
from trivium.pathkernel.row_store import RowStore
from trivium.pathkernel.weights import Weights

__all__ = ["Bucket", "Replay", "ReplayedStep", "Run", "global_norm"]

_UNCLIPPED = 1e-5  # a gradient's norm is met again to rounding unless something scaled it
_DRIFT = 1e-4  # of the distance that the span covered


@dataclass(frozen=True)
class Bucket:
    """Parameters that step alike: one group, the same state, the same count of steps."""

    places: tuple[slice, ...]
    options: dict[str, Any]
    state: dict[str, Tensor]

    def gather(self, flat: Tensor) -> Tensor:
        """Return these weights' part of vectors `(..., p)`."""
        first, last = self.places[0], self.places[-1]
        if last.stop - first.start == sum(one.stop - one.start for one in self.places):
            return flat[..., first.start : last.stop]
        return torch.cat([flat[..., one] for one in self.places], -1)

    def scatter(self, part: Tensor, into: Tensor) -> None:
        """Put a part back into vectors `(..., p)`."""
        start = 0
        for one in self.places:
            size = one.stop - one.start
            into[..., one] = part[..., start : start + size]
            start += size


@dataclass
class ReplayedStep:
    """One step as it happened.

    Attributes:
        number: Its place in the run.
        before: Weights before it, `(p,)`.
        after: Weights after it.
        buffers: The model's buffers before it, where it changes them.
        gradient: The gradient of the step's losses, `(p,)`, before any clipping.
        factor: What the gradient was multiplied with before the optimizer saw it.
        buckets: How each part of the weights steps.
        note: What the recording noted.
        traces: For each piece what `watch` returned.
    """

    number: int
    before: Tensor
    after: Tensor
    buffers: dict[str, Tensor]
    gradient: Tensor
    factor: float
    buckets: list[Bucket]
    note: StepNote
    traces: list[Any]

    def decay(self) -> Tensor:
        """Return the strength of weight decay of each weight, `(p,)`."""
        strength = torch.zeros_like(self.before)
        for bucket in self.buckets:
            part = torch.full_like(
                bucket.gather(strength), float(bucket.options.get("weight_decay", 0))
            )
            bucket.scatter(part, strength)
        return strength


class Replay:
    """A private model and optimizer that repeat noted steps.

    Args:
        model: Copied.
        optimizer: Copied with it, so that it steps the copy.
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
    ) -> list[ReplayedStep]:
        """Repeat the steps from one checkpoint to the next.

        Args:
            start: Where to begin.
            end: Where it must arrive.
            notes: The notes of all steps.
            watch: Called in place of `self.backward` for each piece; what it returns is kept.

        Raises:
            DataError: It does not arrive there: something beside the noted rows moved the weights.
        """
        self.restore(start)
        repeat = watch or Replay.backward
        done = [self._step(number, notes[number], repeat) for number in range(start.step, end.step)]
        if done:
            self._check_arrival(start, end, done)
        return done

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
            output = tensors[call.leaf].reshape(call.shape)
            target = leaves[-1].reshape(call.target_shape)
            return self.loss(output, target, *call.arguments, **call.named), tensors[call.leaf]

    @contextlib.contextmanager
    def context(self, piece: Piece, device: torch.device) -> Iterator[None]:
        """Put the modules, autocast and the generators as a piece had them."""
        for module, training in zip(self._modules, piece.modes, strict=True):
            module.training = training
        with contextlib.ExitStack() as stack:
            stack.enter_context(_random(piece.random, device))
            for kind, dtype in piece.autocast.items():
                stack.enter_context(torch.autocast(kind, dtype))
            yield

    def backward(self, piece: Piece) -> None:
        """Add the gradient of a piece to the parameters'."""
        loss, _ = self.forward(piece)
        loss.backward(piece.upstream)

    def _step(
        self, number: int, note: StepNote, watch: Callable[["Replay", Piece], Any]
    ) -> ReplayedStep:
        before = self.weights.read()
        buffers = {name: value.clone() for name, value in self.model.named_buffers()}
        self.optimizer.zero_grad(set_to_none=True)
        traces = [watch(self, piece) for piece in note.pieces]
        gradient = self.weights.read_gradient()
        factor = self._factor(note)
        for p, moved in zip(self.weights.tensors, note.moved, strict=True):
            if not moved:
                p.grad = None
            elif factor != 1 and p.grad is not None:
                p.grad.mul_(factor)
        for group, options in zip(self.optimizer.param_groups, note.options, strict=True):
            group.update(options)
        buckets = self._buckets(note)
        type(self.optimizer).step(self.optimizer)
        after = self.weights.read()
        return ReplayedStep(number, before, after, buffers, gradient, factor, buckets, note, traces)

    def _factor(self, note: StepNote) -> float:
        grads = [p.grad for p in self.weights.tensors if p.grad is not None]
        norm = global_norm(grads)
        if norm == 0 or abs(note.norm / norm - 1) < _UNCLIPPED:
            return 1.0
        return note.norm / norm

    def _buckets(self, note: StepNote) -> list[Bucket]:
        place = {id(p): i for i, p in enumerate(self.weights.tensors)}
        found: dict[tuple[Any, ...], list[int]] = {}
        for number, group in enumerate(self.optimizer.param_groups):
            for p in group["params"]:
                index = place.get(id(p))
                if index is None or not note.moved[index]:
                    continue
                state = self.optimizer.state.get(p, {})
                keys = tuple(k for k in state_keys(self.recurrence) if state.get(k) is not None)
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
        places = tuple(self.weights.slices[i] for i in indices)
        return Bucket(places, {**options, "step": count + 1}, state)

    def _check_arrival(self, start: Checkpoint, end: Checkpoint, done: list[ReplayedStep]) -> None:
        arrived = done[-1].after
        if torch.equal(arrived, end.weights):
            return
        miss = float((arrived - end.weights).norm())
        path = sum(float((step.after - step.before).norm()) for step in done)
        if not miss <= _DRIFT * path:
            raise DataError(
                "record: replaying the noted steps must lead to the recorded weights; they miss "
                f"them by {miss / max(path, 1e-300):.1e} of the way",
                where=f"steps {start.step} to {end.step}",
                remedy="Usual causes: weights changed outside the optimizer, a second loss or "
                "regulariser beside the noted one, gradients clipped by value or with noise, "
                "randomness that torch's generators do not hold, or kernels that do not repeat "
                "their bits (GPU: torch.use_deterministic_algorithms(True), or "
                "record(..., stride=1)).",
            )
        done[-1].after = end.weights.clone()  # rounding of a clipped gradient stays in this span


@dataclass(frozen=True)
class Run:
    """A recorded training, to be gone through backwards.

    Attributes:
        replay: The private model.
        checkpoints: Where to begin again.
        notes: What happened at each step.
    """

    replay: Replay
    checkpoints: Checkpoints
    notes: Sequence[StepNote]

    def backwards(
        self, watch: Callable[[Replay, Piece], Any]
    ) -> Iterator[tuple[list[ReplayedStep], dict[str, Tensor]]]:
        """Give spans of steps, the last one first, with the buffers at each span's end."""
        for start, end in self.checkpoints.spans():
            yield self.replay.steps(start, end, self.notes, watch), end.buffers


def global_norm(tensors: Sequence[Tensor]) -> float:
    """Return the Euclidean norm over several tensors."""
    if not tensors:
        return 0.0
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(tensors)))))


@contextlib.contextmanager
def _random(states: dict[str, Tensor], device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, enabled=bool(states)):
        if "cpu" in states:
            torch.set_rng_state(states["cpu"])
        if "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], device)
        yield
