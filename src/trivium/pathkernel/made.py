r"""The accounting: which rows made this value during this training, exactly.

$C_i = \sum_s \langle g_{s,i}, u_s \rangle$, where $u_s$ is the adjoint of the batch gradient of
step s: one backward recurrence over the run. Along each straight piece of the path the value's
exact change is imposed on the gradient at the midpoint, so that the sum is complete to rounding.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trivium.kernel.tangents import Tangents
from trivium.pathkernel.adjoint import PulledBack, Slopes, pull_back, slopes_of
from trivium.pathkernel.products import coupled_products, traced
from trivium.pathkernel.queries import Chord, Queries
from trivium.pathkernel.replay import Replay, ReplayedStep
from trivium.pathkernel.run import Run
from trivium.pathkernel.sums import Sums

__all__ = ["account"]


class _Ledger:
    """The recurrence of one block of queries.

    Args:
        replay: The private model.
        queries: The rows asked about.
        sums: What is added to.
        propagate: Let each row's piece of the weights decay with the weights.
        coupled: Credit loss terms through the batch's moments.
    """

    def __init__(
        self, replay: Replay, queries: Queries, sums: Sums, *, propagate: bool, coupled: bool
    ) -> None:
        self.replay, self.queries, self.sums = replay, queries, sums
        self.propagate, self.coupled = propagate, coupled
        self.state: dict[str, Tensor] = {}
        self.weight: Tensor | None = None

    def chord(self, steps: Sequence[ReplayedStep], after: dict[str, Tensor]) -> None:
        """Account for one straight piece of the path."""
        start, end = steps[0].before, steps[-1].after
        before = steps[0].buffers
        first = self.queries.value(start, before)
        last = self.queries.value(end, before)
        if _differ(before, after):
            moved = self.queries.value(end, after)
            self.sums.remain("running statistics", moved - last)
        chord = self.queries.chord(start, end, last - first, before)
        dense: Tensor | None = None
        for step in reversed(steps):
            slopes = slopes_of(self.replay.recurrence, step, frozen=True)
            scale = self._plain(step, slopes)
            if scale is not None:
                self._factored(step, chord, scale)
                continue
            dense = chord.dense() if dense is None else dense
            self._general(step, slopes, dense)

    def _plain(self, step: ReplayedStep, slopes: Slopes) -> Tensor | None:
        """Return the rate, where the step is nothing but a rate times the gradient."""
        if self.propagate or self.coupled or self.state or len(slopes) != 1:
            return None
        bucket, slope = slopes[0]
        covered = sum(one.stop - one.start for one in bucket.places)
        scale = slope.get(("weight", "gradient"))
        simple = covered == len(step.before) and scale is not None and scale.ndim == 0
        decayed = bool(bucket.options.get("weight_decay", 0))
        outs = {out for out, _ in slope}
        return scale if simple and not decayed and outs == {"weight"} else None

    def _factored(self, step: ReplayedStep, chord: Chord, scale: Tensor) -> None:
        """Multiply factored gradients: nothing of size (q, p) is made."""
        rate = scale.double() * step.factor
        c = chord.correction.to(step.before.dtype)[:, None]
        for piece, trace in zip(step.note.pieces, step.traces, strict=True):
            found = chord.middle.gram(trace) + c * trace.products(chord.displacement[None])
            self.sums.add_rows(piece.places, rate * found.double())
        through = chord.middle.products_by_layer(step.gradient[None])[:, 0].double()
        along = self.sums.per_layer(chord.displacement * step.gradient)[:, None]
        self.sums.add_step(step.number, rate * (through + along * c.double().T))

    def _general(self, step: ReplayedStep, slopes: Slopes, dense: Tensor) -> None:
        above = dense if self.weight is None else dense + self.weight
        pulled = pull_back(slopes, above, self.state)
        self.state = pulled.state
        self._decay(step, pulled, dense)
        directions = pulled.gradient * step.factor
        for piece, trace in zip(step.note.pieces, step.traces, strict=True):
            self.sums.add_rows(piece.places, self._products(step, piece, trace, directions))
        self.sums.add_step(step.number, self.sums.per_layer_dot(directions, step.gradient))

    def _products(self, step: ReplayedStep, piece: object, trace: object, u: Tensor) -> Tensor:
        if isinstance(trace, Tangents):
            return trace.products(u)
        self.replay.write_buffers(step.buffers)
        return coupled_products(self.replay, piece, step.before, u)  # type: ignore[arg-type]

    def _decay(self, step: ReplayedStep, pulled: PulledBack, dense: Tensor) -> None:
        strength = step.decay()
        if pulled.pull is not None and not self.propagate and bool(strength.any()):
            lost = (strength * step.before).double()
            self.sums.remain("weight decay", pulled.pull.double() @ lost)
        if self.propagate:
            weight = pulled.weight - dense
            self.weight = weight if pulled.pull is None else weight + pulled.pull * strength

    def close(self, start: ReplayedStep | None) -> None:
        """Say what was there before the first step: the weights' own decay, an old momentum."""
        if start is None:
            return
        if self.weight is not None:
            self.sums.remain("initial weights", self.weight.double() @ start.before.double())
        for bucket in start.buckets:
            for name, held in bucket.state.items():
                if name in self.state:
                    adjoint = bucket.gather(self.state[name]).double()
                    self.sums.remain("earlier state", adjoint @ held.double())


def account(
    run: Run,
    queries: Queries,
    sums: Sums,
    *,
    chord: int = 1,
    propagate: bool = False,
    coupled: bool = False,
    tick: Callable[[int], None] = lambda _: None,
) -> None:
    """Add up the accounting of one block of queries, backwards over the run.

    Args:
        run: The recorded training.
        queries: The rows asked about.
        sums: What is added to.
        chord: Steps in one straight piece.
        propagate: Let each row's piece of the weights decay, instead of naming the decay apart.
        coupled: Credit loss terms through the batch's moments.
        tick: Called with the number of steps just done.

    Cost:
        One replay; for each chord a forward and a forward with backward of the queries; for each
        step O(b q p), or O(b q (d_in + d_out)) a layer where the step is a rate times the gradient.
    """
    ledger = _Ledger(run.replay, queries, sums, propagate=propagate, coupled=coupled)
    first: ReplayedStep | None = None
    for steps, buffers in run.backwards(Replay.backward if coupled else traced):
        after = [*(step.buffers for step in steps[1:]), buffers]
        for a in reversed(range(0, len(steps), chord)):
            b = min(a + chord, len(steps))
            ledger.chord(steps[a:b], after[b - 1])
            tick(b - a)
        first = steps[0]
    ledger.close(first)


def _differ(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a is not b and any(not torch.equal(value, b[name]) for name, value in a.items())
