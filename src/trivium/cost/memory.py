"""The most bytes alive at once in a pass: a walk over the components in their order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from trivium.cost.blocks import Block, Norm, Residual
from trivium.cost.component import Component
from trivium.cost.design import Design, Hybrid
from trivium.cost.size import Kept, evaluate
from trivium.cost.table import cache_bytes
from trivium.cost.workload import Workload

__all__ = ["Peak", "peak_of"]


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes alive at the worst moment of a pass.

    Args:
        weights: Of the parameters, without biases and the weights of norms.
        gradients: Of the gradients of parameters that exist at that moment.
        saved: Kept for the backward pass at that moment.
        cache: Of the cache.
        activations: Of all other tensors.
        at: The component at work.
    """

    weights: int
    gradients: int
    saved: int
    cache: int
    activations: int
    at: str

    @property
    def total(self) -> int:
        """Bytes of all of them."""
        return self.weights + self.gradients + self.saved + self.cache + self.activations

    def to_dict(self) -> dict[str, Any]:
        """Return the peak as a JSON object."""
        return {"total": self.total} | asdict(self)


@dataclass(frozen=True, slots=True)
class _Step:
    """A component where it stands in the model; all but the flags in bytes.

    Args:
        name: Its name.
        weights: Its parameters.
        gradients: Their gradients.
        saved: What it keeps for the backward pass.
        cache: What the cache holds of it.
        stays: What it makes that is alive to the end of the stack.
        live: What is alive while it runs, but for what stays.
        back: What is alive while its backward pass runs, but for what is saved.
        writes: Its result.
        first: Whether a stack begins here.
    """

    name: str
    weights: int
    gradients: int
    saved: int
    cache: int
    stays: int
    live: int
    back: int
    writes: int
    first: bool = False


def peak_of(
    stacks: Sequence[Any], design: Design, work: Workload, lengths: Mapping[str, int]
) -> Peak:
    """Return the worst moment of a pass.

    Args:
        stacks: The stacks of a shape.
        design: The design of attention.
        work: The pass.
        lengths: What each symbol is worth in it.

    Raises:
        ArgumentError: The design does not fit the heads.
    """
    steps: list[_Step] = []
    for stack in stacks:
        own = list(_Walk(work, lengths, design, stack.once).stack(stack))
        steps += [replace(own[0], first=True), *own[1:]]
    moments = _backward(steps) if work.mode == "train" else _forward(steps, work)
    return max(moments, key=lambda peak: peak.total)


def _forward(steps: list[_Step], work: Workload) -> Iterator[Peak]:
    """The moments of a pass without gradients; the cache grows with the layers."""
    weights = sum(step.weights for step in steps)
    decode = work.mode == "decode"
    cache = sum(step.cache for step in steps) if decode else 0
    stays = last = 0
    for step in steps:
        # Of a stack that is over only its result is alive, the last thing that stays.
        stays = (last if step.first else stays) + step.stays
        last = step.stays
        cache += 0 if decode else step.cache
        yield Peak(weights, 0, 0, cache, stays + step.live, step.name)


def _backward(steps: list[_Step]) -> Iterator[Peak]:
    """The moments of the backward pass: saved tensors go, gradients of parameters come."""
    weights = sum(step.weights for step in steps)
    saved = sum(step.saved for step in steps)
    # Where two gradients of a tied table meet, their sum is a third of its size.
    tied = sum(step.gradients for step in steps if not step.weights)
    # The caller holds the outputs until the backward pass is over.
    outputs = steps[-1].writes
    yield Peak(weights, 0, saved, 0, steps[-1].live, steps[-1].name)
    gradients = 0
    for step in reversed(steps):
        gradients += step.gradients
        back = step.back + (outputs if step is not steps[-1] else 0)
        back += tied if step is steps[0] else 0
        yield Peak(weights, gradients, saved, 0, back, step.name)
        saved -= step.saved


def _shared(steps: list[_Step], stack: Any, layer: int) -> Iterator[_Step]:
    """Return the steps of a layer that shares its weights with others."""
    first, last = layer < stack.shared, layer >= len(stack.layers) - stack.shared
    for step in steps:
        # The gradients come with the last layers; those of the others are added, out of place.
        yield replace(
            step,
            weights=step.weights * first,
            gradients=step.gradients * last,
            back=step.back + 2 * step.gradients,
        )


class _Counted(NamedTuple):
    component: Component
    lengths: Mapping[str, int]


@dataclass(frozen=True)
class _Walk:
    """The walk through a stack: around each component the vectors that go around its layer."""

    work: Workload
    lengths: Mapping[str, int]
    design: Design
    once: bool

    def stack(self, stack: Any) -> Iterator[_Step]:
        """Return its steps: the blocks before the layers, the layers, the blocks after them."""
        vector = self._vector(stack)
        for block in stack.before:
            yield from (self._step(each, 0, vector) for each in self._counted(block, self.design))
        masks: set[Any] = set()
        made: dict[Any, list[_Step]] = {}
        for i, layer in enumerate(stack.layers):
            design = self.design.at(i) if isinstance(self.design, Hybrid) else self.design
            steps = made.get((id(layer), design))
            if steps is None:
                steps = list(self._layer(layer, design, vector, masks))
                # A layer like this one finds the matrix of its mask.
                made[id(layer), design] = [replace(step, stays=0) for step in steps]
            yield from steps if stack.shared is None else _shared(steps, stack, i)
        for block in stack.after:
            yield from (self._step(each, 0, vector) for each in self._counted(block, self.design))

    def _layer(self, layer: Any, design: Design, vector: int, masks: set[Any]) -> Iterator[_Step]:
        # The embeddings, the input of the layer, and its normalized form.
        around = vector * (2 + isinstance(layer.blocks[0], Norm))
        for block in layer.blocks:
            weights = 0
            for counted in self._counted(block, design):
                step = self._step(counted, around, vector)
                if counted.component.name == "softmax":
                    weights = self.bytes(counted.component.kept[:1], counted.lengths)
                    step = replace(step, stays=self._matrix(counted, masks))
                yield step
            # The caller holds the weights of attention, and the sum, to the end of the layer.
            around += weights
            if isinstance(block, Residual):
                around += vector * (1 + layer.held)

    def _matrix(self, counted: _Counted, masks: set[Any]) -> int:
        """Bytes of the matrix of a mask, made once for all layers; a full one needs none."""
        mask = counted.component.mask
        if mask is None or mask in masks or (mask.kind == "full" and mask.window is None):
            return 0
        masks.add(mask)
        return self.bytes((Kept(("b", "a")),), counted.lengths)

    def _counted(self, block: Block, design: Design) -> Iterator[_Counted]:
        for component in block.components(design):
            mask, inside = component.mask, self.lengths
            if mask is not None:
                inside = self.work.under(mask, component.stream, inside)
            yield _Counted(component, inside)

    def _step(self, counted: _Counted, around: int, vector: int) -> _Step:
        component, inside = counted
        item = self.work.itemsize
        weights, learned = item * component.parameters, item * component.learned
        stays = self.bytes(component.stays, inside)
        decode = self.work.mode == "decode"
        if decode and (self.once or component.once):
            # Of what does not run its weights are there, and the encoder's output.
            stays = stays if component.stays == component.kept else 0
            return _Step(component.name, weights, 0, 0, 0, stays, 0, 0, 0)
        moved = tuple(map(Kept, (*component.reads, *component.writes)))
        live = moved if component.live is None else component.live
        live = live if component.step is None or not decode else component.step
        back = moved if component.back is None else component.back
        return _Step(
            component.name,
            weights,
            learned,
            self.bytes(component.kept, inside),
            cache_bytes(component, self.work, inside),
            stays,
            around + self.bytes(live, inside),
            vector + self.bytes(back, inside),
            self.bytes(tuple(map(Kept, component.writes)), inside),
        )

    def bytes(self, kept: tuple[Kept, ...], lengths: Mapping[str, int]) -> int:
        """Return the bytes of some tensors."""
        return sum(each.nbytes(lengths, self.work.itemsize) for each in kept)

    def _vector(self, stack: Any) -> int:
        """Bytes of the vectors that go around the layers, from what is added behind them."""
        blocks = (block for layer in stack.layers for block in layer.blocks)
        add = next(block for block in blocks if isinstance(block, Residual))
        return self.work.itemsize * evaluate(("b", add.tokens, add.width), self.lengths)
