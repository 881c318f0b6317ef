"""A run cut into stretches, each seen from the step in its middle."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.pathkernel.adjoint import slopes_of
from trivium.pathkernel.notes import Piece
from trivium.pathkernel.recurrence import Recurrence
from trivium.pathkernel.replay import Replay
from trivium.pathkernel.replayed import ReplayedStep
from trivium.pathkernel.run import Run

__all__ = ["HeldStep", "Profile", "Stretch", "stretches"]

Key = tuple[str, str]
_SAME = 1e4  # roundings


@dataclass
class HeldStep:
    """What the reduced recurrence needs of one step.

    Attributes:
        pieces: Its rows.
        scales: For each (out, in) of the optimizer's map how much of the middle step's it is.
        factor: What the gradient was multiplied with.
        gradient: The gradient before that, `(p,)`, where it was clipped.
    """

    pieces: list[Piece]
    scales: dict[Key, float]
    factor: float
    gradient: Tensor | None


@dataclass
class Profile:
    r"""The optimizer's map at one step: vectors that all adjoints of one name share.

    The adjoint of `name` is written as $C\,(V \circ \pi_{name})$; `ratios` says what each
    (out, in) does to C: a number, or $(V \circ \rho) V^\top$ for a vector.

    Attributes:
        shapes: $\pi$ by name, `(p,)`; none where it is constant.
        ratios: $\rho$ by (out, in).
        decay: Strength of weight decay of each weight times the shape of the pull's adjoint.
    """

    shapes: dict[str, Tensor] = field(default_factory=dict)
    ratios: dict[Key, float | Tensor] = field(default_factory=dict)
    decay: float | Tensor = 0.0

    @property
    def rate(self) -> float:
        """How far a unit of gradient of this shape moves the weights at once."""
        found = self.ratios.get(("weight", "gradient"), 0.0)
        return found if isinstance(found, float) else 1.0


@dataclass
class Stretch:
    """Steps whose gradients and curvature are taken at their middle.

    Attributes:
        steps: In the order in which they were made.
        weights: In the middle, `(p,)`.
        buffers: The model's buffers there.
        profile: The optimizer's map there.
        strength: Of weight decay there, `(p,)`.
        state: The optimizer's state before the first step, by name, `(p,)`.
    """

    steps: list[HeldStep]
    weights: Tensor
    buffers: dict[str, Tensor]
    profile: Profile
    strength: Tensor
    state: dict[str, Tensor]


def stretches(run: Run, stride: int) -> Iterator[Stretch]:
    """Cut a run, the last stretch first.

    Cost:
        One replay; the steps of one stretch and of one span between checkpoints are held at once.
    """
    pending: list[ReplayedStep] = []  # the last step first
    for steps, _ in run.backwards(Replay.backward):
        for step in reversed(steps):
            pending.append(step)
            if step.number % stride == 0:
                yield _held(run.replay.recurrence, pending[::-1])
                pending = []


def _held(recurrence: Recurrence, steps: list[ReplayedStep]) -> Stretch:
    middle = steps[len(steps) // 2]
    found = _flat(recurrence, middle)
    measure = middle.gradient.double().square()
    profile = _profile(found, middle)
    held = []
    for step in steps:
        now = found if step is middle else _flat(recurrence, step)
        scales = {
            key: _scale(value, found[key], measure) for key, value in now.items() if key in found
        }
        clipped = step.gradient if step.factor != 1 else None
        held.append(HeldStep(step.note.pieces, scales, step.factor, clipped))
    state: dict[str, Tensor] = {}
    for bucket in steps[0].buckets:
        for name, value in bucket.state.items():
            whole = state.setdefault(name, torch.zeros_like(middle.before))
            bucket.scatter(value.to(whole.dtype), whole)
    return Stretch(held, middle.before, middle.buffers, profile, middle.decay(), state)


def _flat(recurrence: Recurrence, step: ReplayedStep) -> dict[Key, Tensor]:
    """Return the diagonals of a step: one number for all weights, or `(p,)`."""
    parts = slopes_of(recurrence, step, frozen=True)
    n_weights = len(step.before)
    covered = sum(one.stop - one.start for bucket, _ in parts for one in bucket.places)
    if len(parts) == 1 and covered == n_weights:
        return dict(parts[0][1])
    found: dict[Key, Tensor] = {("weight", "weight"): torch.ones_like(step.before)}
    for bucket, slope in parts:
        own = {("weight", "weight"): torch.zeros(()), **slope}
        for key, value in own.items():
            whole = found.setdefault(key, torch.zeros_like(step.before))
            size = sum(one.stop - one.start for one in bucket.places)
            bucket.scatter(value.to(whole.dtype).expand(size), whole)
    return {key: _shrunk(value) for key, value in found.items()}


def _shrunk(value: Tensor) -> Tensor:
    return value[0] if bool((value == value[0]).all()) else value


def _scale(now: Tensor, middle: Tensor, measure: Tensor) -> float:
    """Return the number that takes one diagonal to the other, by least squares."""
    if now.ndim == 0 and middle.ndim == 0:
        return float(now) / float(middle)
    if now is middle:
        return 1.0
    a, b = now.double(), middle.double()
    above, below = (measure * a * b).sum(), (measure * b * b).sum()
    return float(above / below) if float(below) > 0 else 1.0


def _profile(found: dict[Key, Tensor], step: ReplayedStep) -> Profile:
    profile = Profile()
    names = dict.fromkeys(name for _, name in found if name != "weight")
    for name in names:  # the way to the weights says the shape, else the way to a state
        for out in ("weight", *names):
            diagonal = found.get((out, name))
            if diagonal is None or (out != "weight" and out == name):
                continue
            shape = diagonal * profile.shapes.get(out, 1.0)
            if shape.ndim:
                measure = step.gradient.double().square()
                size = (measure * shape.double().square()).sum().div(measure.sum()).sqrt()
                down = (measure * shape.double()).sum() < 0  # the shape itself is positive
                size = torch.where(down, -size, size).to(shape.dtype)
                profile.shapes[name] = shape / torch.where(size != 0, size, 1.0)
            break
    for (out, name), diagonal in found.items():
        profile.ratios[out, name] = _ratio(profile, diagonal, out, name)
    decay = step.decay()
    strength = _shrunk(decay * profile.shapes["pull"] if "pull" in profile.shapes else decay)
    profile.decay = float(strength) if strength.ndim == 0 else strength
    return profile


def _ratio(profile: Profile, diagonal: Tensor, out: str, name: str) -> float | Tensor:
    above, below = profile.shapes.get(out), profile.shapes.get(name)
    ratio = diagonal if above is None else diagonal * above
    if below is not None:
        ratio = torch.where(below != 0, ratio / below, 0.0)
    if ratio.ndim == 0:
        return float(ratio)
    known = ratio[below != 0] if below is not None else ratio
    if not len(known):
        return 0.0
    middle = known.median()
    slack = _SAME * torch.finfo(ratio.dtype).eps * middle.abs()
    return float(middle) if bool(((known - middle).abs() <= slack).all()) else ratio
