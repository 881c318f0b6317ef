r"""The accounting: which rows made this value during this training, exactly.

$C_i = \sum_s \langle g_{s,i}, u_s \rangle$, where $u_s$ is the adjoint of the batch gradient of
step s: one backward recurrence over the run. Along each straight piece of the path the value's
exact change is imposed on the gradient at the midpoint, so that the sum is complete to rounding.
"""

from collections.abc import Callable

from trivium.kernel.tangent_tape import TangentTape
from trivium.pathkernel.completeness import tolerance
from trivium.pathkernel.ledger import Ledger
from trivium.pathkernel.products import traced
from trivium.pathkernel.queries import Queries
from trivium.pathkernel.replay import Replay, ReplayedStep
from trivium.pathkernel.run import Run
from trivium.pathkernel.sums import Sums

__all__ = ["account"]


def account(
    run: Run,
    queries: Queries,
    sums: Sums,
    *,
    chord: int = 1,
    propagate: bool = False,
    coupled: bool = False,
    measure: bool = False,
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
        measure: Add up the lengths of the rows' gradients too.
        tick: Called with the number of steps just done.

    Cost:
        One replay; for each chord two forwards and a backward of the queries; for each step
        O(b q (d_in + d_out)) a layer where the step is a rate times the gradient, else O(b q p)
        and one pass over (q, p) numbers.
    """
    with TangentTape(run.replay.model) as tape:
        ledger = Ledger(
            run.replay,
            queries,
            sums,
            propagate=propagate,
            coupled=coupled,
            measure=measure,
            tape=tape,
        )
        first: ReplayedStep | None = None
        for steps, buffers in run.backwards(Replay.backward if coupled else traced(tape)):
            after = [*(step.buffers for step in steps[1:]), buffers]
            for a in reversed(range(0, len(steps), chord)):
                b = min(a + chord, len(steps))
                ledger.chord(steps[a:b], after[b - 1])
                tick(b - a)
            first = steps[0]
        ledger.close(first, 0.01 * tolerance(queries.replay.weights.tensors[0].dtype))
