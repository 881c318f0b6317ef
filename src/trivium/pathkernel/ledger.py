"""One block of queries on its way back through a run."""

from collections.abc import Sequence

import torch
from torch import Tensor

from trivium.kernel.tangent_tape import TangentTape
from trivium.kernel.tangents import Tangents
from trivium.pathkernel.adjoint import PulledBack, Slopes, pull_back, slopes_of
from trivium.pathkernel.chord import Chord
from trivium.pathkernel.heavy import Heavy, HeavySlope, heavy_slope
from trivium.pathkernel.notes import Piece
from trivium.pathkernel.products import coupled_products, grams_by_layer
from trivium.pathkernel.queries import Queries, batched
from trivium.pathkernel.replay import Replay, ReplayedStep
from trivium.pathkernel.sums import Sums

__all__ = ["Ledger", "measure_rows"]

_CACHED = 4_000_000  # bytes of directions that are gone through at once


class Ledger:
    """The accounting's recurrence for one block of queries.

    A step takes the cheapest of three roads. Where it is a rate times the gradient, factored
    gradients are multiplied and nothing of size (q, p) is made. Where it has one momentum, the
    adjoint is kept up to a number (`Heavy`). Else the adjoints of all states are pulled back.

    Args:
        replay: The private model.
        queries: The rows asked about.
        sums: What is added to.
        propagate: Let each row's piece of the weights decay with the weights.
        coupled: Credit loss terms through the batch's moments.
        measure: Add up the lengths of the rows' gradients too.
        tape: An open tape on the replay's model.
    """

    def __init__(
        self,
        replay: Replay,
        queries: Queries,
        sums: Sums,
        *,
        propagate: bool,
        coupled: bool,
        measure: bool,
        tape: TangentTape,
    ) -> None:
        self.replay, self.queries, self.sums = replay, queries, sums
        self.propagate, self.coupled, self.measure = propagate, coupled, measure
        self.tape = tape
        self.state: dict[str, Tensor] = {}
        self.weight: Tensor | None = None
        p = replay.weights.n_weights
        size = max(1, _CACHED // (p * replay.weights.tensors[0].element_size()))
        self.blocks = batched(queries.n_rows, size)
        self.heavies = [Heavy() for _ in self.blocks]
        self._rounding = torch.zeros(queries.n_rows, dtype=torch.float64)
        self._later: Tensor | None = None  # the value where the chord before this one began

    def chord(self, steps: Sequence[ReplayedStep], after: dict[str, Tensor]) -> None:
        """Account for one straight piece of the path.

        Args:
            steps: Its steps, in order.
            after: The model's buffers at its end.
        """
        chord = self._ends(steps, after)
        slopes = [slopes_of(self.replay.recurrence, step, frozen=True) for step in steps]
        rates = [self._rate(step, one) for step, one in zip(steps, slopes, strict=True)]
        if all(rate is not None for rate in rates):
            self._factored(steps, chord, [rate for rate in rates if rate is not None])
            return
        correction = chord.correction(chord.through().sum(0))
        forms = [self._form(one, len(steps[0].before)) for one in slopes]
        for step, one, form in reversed(list(zip(steps, slopes, forms, strict=True))):
            if form is not None:
                self._momentum(step, chord, correction, form)
            else:
                self._general(step, one, chord.dense(correction))
        if self.measure:
            measure_rows(steps, self.sums)

    def _ends(self, steps: Sequence[ReplayedStep], after: dict[str, Tensor]) -> Chord:
        start, end, before = steps[0].before, steps[-1].after, steps[0].buffers
        moved = self._later if self._later is not None else self.queries.value(end, after)
        last = moved
        if _differ(before, after):
            last = self.queries.value(end, before)
            self.sums.remain("running statistics", moved - last)
        self._later = first = self.queries.value(start, before)
        middle = self.queries.gradient(start.lerp(end, 0.5), before, self.tape)
        return Chord.of(middle, last - first, end - start, self.sums)

    def _rate(self, step: ReplayedStep, slopes: Slopes) -> Tensor | None:
        """Return the rate, where the step is nothing but a rate times the gradient."""
        busy = self.state or any(one.held is not None for one in self.heavies)
        if self.propagate or self.coupled or busy or len(slopes) != 1:
            return None
        bucket, slope = slopes[0]
        covered = sum(one.stop - one.start for one in bucket.places)
        scale = slope.get(("weight", "gradient"))
        simple = covered == len(step.before) and scale is not None and scale.ndim == 0
        decayed = bool(bucket.options.get("weight_decay", 0))
        outs = {out for out, _ in slope}
        return scale if simple and not decayed and outs == {"weight"} else None

    def _form(self, slopes: Slopes, n_weights: int) -> HeavySlope | None:
        if self.propagate or self.coupled or self.state:
            return None
        form = heavy_slope(slopes, n_weights)
        return form if form and all(one.accepts(form.name) for one in self.heavies) else None

    def _factored(
        self, steps: Sequence[ReplayedStep], chord: Chord, rates: Sequence[Tensor]
    ) -> None:
        parts = [
            (step, piece.places, trace, float(rate) * step.factor)
            for step, rate in zip(steps, rates, strict=True)
            for piece, trace in zip(step.note.pieces, step.traces, strict=True)
        ]
        seen, through = [], None
        for _, _, trace, rate in parts:
            grams = grams_by_layer(chord.middle, trace)
            if grams is None:  # the displacement is the sum of the rows: one product says it too
                through = chord.through() if through is None else through
                seen.append(rate * chord.middle.gram(trace).double())
            else:
                seen.append(rate * grams.sum(0).double())
                found = rate * grams.sum(2).double()
                through = found if through is None else through + found
        assert through is not None  # a step has a piece
        correction = chord.correction(through.sum(0))
        alone = self._alone(parts)
        for (step, places, trace, rate), amount in zip(parts, seen, strict=True):
            if alone is None:
                along = trace.products(chord.displacement[None]).double()[0]
            else:  # the displacement is the sum of these very rows
                along = rate * alone.sum(0)
            amount.addr_(correction.to(amount), rate * along)
            self.sums.add_rows(step.number, places, amount)
            self.sums.add_step(step.number, amount.sum(1))
        self.sums.add_layers(through + torch.outer(chord.square, correction))
        if self.measure and alone is None:
            measure_rows(steps, self.sums)

    def _alone(
        self, parts: Sequence[tuple[ReplayedStep, Tensor, Tangents, float]]
    ) -> Tensor | None:
        """Return the rows' products among themselves, where a chord is one step and one piece."""
        if len(parts) != 1:
            return None
        step, places, trace, _ = parts[0]
        found = trace.gram(trace).double()
        if self.measure:
            self.sums.measure(places, step.factor**2 * found.diagonal().clamp_min(0))
        return found

    def _momentum(
        self, step: ReplayedStep, chord: Chord, correction: Tensor, form: HeavySlope
    ) -> None:
        on_state, direct = form.gradient
        decay = step.decay()
        lost = decay * step.before if bool(decay.any()) and any(form.pull) else None
        pieces = list(zip(step.note.pieces, step.traces, strict=True))
        rows = [[] for _ in pieces]  # type: list[list[Tensor]]
        layers, pulled = [], []
        for block, heavy in zip(self.blocks, self.heavies, strict=True):
            seen = chord.dense(correction, block)
            heavy.add(seen, form)
            assert heavy.held is not None  # just added to
            scale = heavy.scale * on_state * step.factor
            totals: Tensor | float = 0.0
            for place, (_, trace) in enumerate(pieces):
                found = trace.products_by_layer(heavy.held).double() * scale
                if direct:
                    found += direct * step.factor * trace.products_by_layer(seen).double()
                rows[place].append(found.sum(0))
                totals = totals + found.sum(2)
            layers.append(totals)
            if lost is not None:
                y = heavy.scale * (heavy.held @ lost).double()
                pulled.append(form.pull[0] * y + form.pull[1] * (seen @ lost).double())
            heavy.keep(form)
        for (piece, _), found_rows in zip(pieces, rows, strict=True):
            self.sums.add_rows(step.number, piece.places, torch.cat(found_rows))
        by_layer = torch.cat([one for one in layers if isinstance(one, Tensor)], 1)
        self.sums.add_layers(by_layer)
        self.sums.add_step(step.number, by_layer.sum(0))
        if lost is not None:
            self.sums.remain("weight decay", torch.cat(pulled))

    def _settle(self) -> None:
        """Hand the momentum's adjoint over to the general road."""
        if any(one.held is not None for one in self.heavies):
            self.state[self.heavies[0].name] = torch.cat([one.dense() for one in self.heavies])

    def _general(self, step: ReplayedStep, slopes: Slopes, dense: Tensor) -> None:
        self._settle()
        above = dense if self.weight is None else dense + self.weight
        pulled = pull_back(slopes, above, self.state)
        self.state = pulled.state
        self._decay(step, pulled, dense)
        directions = pulled.gradient if step.factor == 1 else pulled.gradient * step.factor
        by_layer = self.sums.per_layer_dot(directions, step.gradient)
        gap = by_layer.sum(0).cpu()
        for piece, trace in zip(step.note.pieces, step.traces, strict=True):
            found = self._products(step, piece, trace, directions)
            self.sums.add_rows(step.number, piece.places, found)
            gap = gap - found.double().sum(1).cpu()
        self._round(gap, directions, step.gradient)
        self.sums.add_layers(by_layer)
        self.sums.add_step(step.number, by_layer.sum(0))

    def _round(self, gap: Tensor, directions: Tensor, gradient: Tensor) -> None:
        """Note by how much the rows' sum misses the batch's, where that can be rounding.

        A preconditioner divides a gradient that is nothing but rounding (of a bias before batch
        normalization, of an attention's keys) by its own size: no row made that move.
        """
        unit = torch.finfo(gradient.dtype).eps * len(self.replay.weights.tensors) ** 0.5
        allowed = 8 * unit * float(gradient.norm()) * directions.norm(dim=1).double().cpu()
        self._rounding += torch.where(gap.abs() <= allowed, gap, 0.0)

    def _products(
        self, step: ReplayedStep, piece: Piece, trace: Tangents | None, u: Tensor
    ) -> Tensor:
        if trace is not None:
            found: Tensor = trace.products(u)
            return found
        self.replay.write_buffers(step.buffers)
        return coupled_products(self.replay, piece, step.before, u)

    def _decay(self, step: ReplayedStep, pulled: PulledBack, dense: Tensor) -> None:
        strength = step.decay()
        if pulled.pull is not None and not self.propagate and bool(strength.any()):
            lost = (strength * step.before).double()
            self.sums.remain("weight decay", pulled.pull.double() @ lost)
        if self.propagate:
            weight = pulled.weight - dense
            self.weight = weight if pulled.pull is None else weight + pulled.pull * strength

    def close(self, start: ReplayedStep | None, precision: float) -> None:
        """Say what was there before the first step: the weights' own decay, an old momentum.

        Args:
            start: The first step.
            precision: Rounding that is smaller than this part of what the rows made is not named.
        """
        if start is None:
            return
        if float(self._rounding.norm()) > precision * float(self.sums.rows.sum(1).norm()):
            self.sums.remain("rounding", self._rounding)
        self._settle()
        if self.weight is not None:
            self.sums.remain("initial weights", self.weight.double() @ start.before.double())
        for bucket in start.buckets:
            for name, held in bucket.state.items():
                if name in self.state:
                    adjoint = bucket.gather(self.state[name]).double()
                    self.sums.remain("earlier state", adjoint @ held.double())


def measure_rows(steps: Sequence[ReplayedStep], sums: Sums) -> None:
    """Add up the squared lengths of the rows' own gradients, where they are known."""
    for step in steps:
        for piece, trace in zip(step.note.pieces, step.traces, strict=True):
            if isinstance(trace, Tangents):
                squares = trace.gram(trace).diagonal().double()
                sums.measure(piece.places, step.factor**2 * squares.clamp_min(0))
            else:
                sums.measured = False


def _differ(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a is not b and any(not torch.equal(value, b[name]) for name, value in a.items())
