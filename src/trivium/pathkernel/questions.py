"""The two questions to a recorded training: which rows made this value, and what without them."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from trivium._core.checks import check_choice
from trivium.pathkernel.made import account
from trivium.pathkernel.quantity import Quantity
from trivium.pathkernel.queries import Queries
from trivium.pathkernel.result import Accounting, Counterfactual
from trivium.pathkernel.sums import Sums
from trivium.pathkernel.without import differentiate

if TYPE_CHECKING:
    from trivium.pathkernel.recording import Recording

__all__ = ["made", "without"]


def made(
    recording: "Recording",
    x: Any,
    of: str | Quantity = "logit",
    y: Tensor | None = None,
    *,
    decay: str = "audit",
    credit: str = "loss",
) -> Accounting:
    """Say which rows made this value during this training."""
    check_choice("made", "decay", decay, ("audit", "propagate"))
    check_choice("made", "credit", credit, ("loss", "activation"))
    queries, sums, layers = _prepare("made", recording, x, of, y)
    account(
        recording.run("made"),
        queries,
        sums,
        chord=recording.chord,
        propagate=decay == "propagate",
        coupled=credit == "loss" and recording.couples_rows,
    )
    first, last = recording.checkpoints.held[0], recording.checkpoints.held[-1]
    return Accounting(
        list(recording.ids),
        sums.rows,
        sums.steps,
        layers,
        sums.layers,
        queries.value(first.weights, first.buffers).cpu(),
        queries.value(last.weights, last.buffers).cpu(),
        recording.precision,
        remainders=sums.remainders,
    )


def without(
    recording: "Recording", x: Any, of: str | Quantity = "logit", y: Tensor | None = None
) -> Counterfactual:
    """Say what the value would lose without each row."""
    queries, sums, layers = _prepare("without", recording, x, of, y)
    differentiate(
        recording.run("without"),
        queries,
        sums,
        coupled=recording.couples_rows,
    )
    first, last = recording.checkpoints.held[0], recording.checkpoints.held[-1]
    return Counterfactual(
        list(recording.ids),
        sums.rows,
        sums.steps,
        layers,
        sums.layers,
        queries.value(first.weights, first.buffers).cpu(),
        queries.value(last.weights, last.buffers).cpu(),
        recording.precision,
    )


def _prepare(
    caller: str, recording: "Recording", x: Any, of: str | Quantity, y: Tensor | None
) -> tuple[Queries, Sums, list[str]]:
    replay, last = recording.run(caller).replay, recording.checkpoints.held[-1]
    replay.restore(last)
    queries = Queries(caller, replay, x, of, y, last.weights, last.buffers)
    layers = recording.weights.by_module()
    sums = Sums(queries.n_rows, recording.rows.n_rows, recording.n_steps, list(layers.values()))
    return queries, sums, list(layers)
