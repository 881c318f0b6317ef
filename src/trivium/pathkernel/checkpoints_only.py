r"""What checkpoints alone can say: the left end point of the path, and how much it misses.

$C_i \approx -\sum_c \eta_c s_c / n\, \langle \nabla f(x; \theta_c), \nabla \ell_i \rangle$.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.kernel.tangent_tape import TangentTape
from trivium.kernel.tangents import Tangents
from trivium.pathkernel.completeness import relative_miss
from trivium.pathkernel.packed import as_call
from trivium.pathkernel.products import couples_rows
from trivium.pathkernel.quantity import Quantity, first_tensor, row_loss
from trivium.pathkernel.queries import Queries, batched
from trivium.pathkernel.replay import Replay
from trivium.pathkernel.result import Attribution
from trivium.pathkernel.row_store import RowStore
from trivium.pathkernel.sgd import SGDRecurrence

__all__ = ["IncompleteAccounting", "from_checkpoints"]

_ROWS = 512
_Checkpoint = tuple[Mapping[str, Tensor] | Tensor, float]


@dataclass(frozen=True, repr=False)
class IncompleteAccounting(Attribution):
    """Which rows made this value, as far as a few checkpoints tell: not complete.

    `completeness_error` is how far the sums miss the change; what they leave of it is the
    remainder `"not accounted for"`. It does not raise, whatever the size.
    """

    question: ClassVar[str] = "which rows made this value, guessed from checkpoints"
    caution: ClassVar[str] = (
        "INCOMPLETE: left end points of a few checkpoints, no momentum, no preconditioner, every "
        "row as often as any other. Record the training for an accounting that adds up."
    )

    def __post_init__(self) -> None:
        change = self.after - self.before
        total = self.contributions.sum(1)
        object.__setattr__(self, "remainders", {"not accounted for": change - total})
        found = relative_miss(total, change, self.contributions.abs().sum(1))
        object.__setattr__(self, "completeness_error", found)


def from_checkpoints(  # noqa: PLR0913 - a training in parts: what was left of it, and the question
    model: nn.Module,
    checkpoints: Sequence[_Checkpoint],
    loss: Callable[..., Tensor],
    rows: tuple[Any, Tensor],
    x: Any,
    of: str | Quantity = "logit",
    y: Tensor | None = None,
    *,
    steps: int | Sequence[int] = 1,
    ids: Sequence[Hashable] | None = None,
) -> IncompleteAccounting:
    r"""Guess which rows made a value where a training left only checkpoints.

    $C_i = -\sum_c \eta_c s_c / n\, \langle \nabla f(x; \theta_c), \nabla \ell_i(\theta_c) \rangle$
    with the loss averaged over the rows: the left end point of each stretch of $s_c$ steps. Its
    completeness error is in the result; recording the training (`record`) has none.

    Args:
        model: Of the architecture that was trained; its weights do not matter, and stay.
        checkpoints: Pairs of a state (a state dict, or the trainable weights as one vector) and
            the learning rate of the steps that follow it; the last state is the trained model and
            its rate is not used. For momentum give the rate over one minus momentum.
        loss: The training loss of (output, target), a mean over the rows.
        rows: The training rows: what the model takes, and the targets.
        x: The rows asked about, as for `Recording.made`.
        of: The quantity, as for `Recording.made`.
        y: Their classes or targets.
        steps: Steps from each checkpoint to the next, or one number for all.
        ids: The training rows' ids; 0 to n - 1 by default.

    Returns:
        Signed contributions, marked incomplete. Its `steps` have one entry for each stretch.

    Raises:
        ArgumentError: Fewer than two checkpoints, another number of weights, a rate or a number
            of steps that is none, rows coupled by batch normalization, or as `Recording.made`.
        ShapeError: Targets, ids or steps of another number than rows or checkpoints.
        DataError: A weight of a checkpoint or a gradient is not finite.

    Cost:
        For each checkpoint one forward and backward of all rows and of the queries, and one Gram
        matrix by ghost products: O(n q (d_in + d_out)) a layer.

    Example:
        >>> import torch
        >>> from torch.nn import functional as F
        >>> from trivium.pathkernel import from_checkpoints
        >>> _ = torch.manual_seed(0)
        >>> rows, classes = torch.randn(30, 4), torch.randint(2, (30,))
        >>> net = torch.nn.Linear(4, 2)
        >>> kept = [({k: v.clone() for k, v in net.state_dict().items()}, 0.1)]
        >>> F.cross_entropy(net(rows), classes).backward()
        >>> torch.optim.SGD(net.parameters(), 0.1).step()
        >>> kept.append((net.state_dict(), 0.0))
        >>> found = from_checkpoints(net, kept, F.cross_entropy, (rows, classes), rows[:2])
        >>> type(found).__name__, found.completeness_error < 1e-5  # linear in its weights
        ('IncompleteAccounting', True)

    Source:
        Pruthi et al. 2020, "Estimating training data influence by tracing gradient descent", eq. 1.
    """
    replay = _replay(model, loss)
    states = [_state(replay, number, one) for number, one in enumerate(checkpoints)]
    counts = _counts(steps, len(states))
    call, leaves, n = as_call("from_checkpoints", rows[0])
    targets = torch.as_tensor(rows[1])
    names = list(range(n)) if ids is None else list(ids)
    for what, size in (("targets", len(targets)), ("ids", len(names))):
        if size != n:
            raise ShapeError(
                f"from_checkpoints: {what} must be one for each of {counted(n, 'row')}; got {size}"
            )
    per_row = row_loss("from_checkpoints", loss)
    last, buffers = states[-1][:2]
    queries = Queries("from_checkpoints", replay, x, of, y, last, buffers)
    total = torch.zeros((queries.n_rows, n), dtype=torch.float64)
    through = []
    for (weights, held, rate), count in zip(states[:-1], counts, strict=True):
        asked = queries.gradient(weights, held)
        whole = torch.zeros_like(weights)
        for some in batched(n, _ROWS):
            replay.put(weights, held)
            args, named = call.unpack([leaf[some] for leaf in leaves])
            found = _tangents(replay, per_row, (args, named), targets[some])
            total[:, some] -= rate * count / n * _finite(asked.gram(found))
            whole += found.combine(torch.ones((1, found.n_rows)).to(weights))[0]
        layers = asked.products_by_layer(whole[None])[:, 0].double().cpu()
        through.append(-rate * count / n * layers)
    first = states[0]
    return IncompleteAccounting(
        ids=names,
        contributions=total,
        steps=torch.stack(through).sum(1),
        layers=list(replay.weights.by_module()),
        layer_totals=torch.stack(through).sum(0),
        before=queries.value(first[0], first[1]).cpu(),
        after=queries.value(last, buffers).cpu(),
        dtype=last.dtype,
        of=of if isinstance(of, str) else getattr(of, "__name__", "value"),
    )


def _replay(model: nn.Module, loss: Callable[..., Tensor]) -> Replay:
    if not isinstance(model, nn.Module):
        raise ArgumentError(f"from_checkpoints: model must be a torch.nn.Module; got {type(model)}")
    parameters: Iterable[nn.Parameter] = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.0)
    replay = Replay(model, optimizer, loss, SGDRecurrence(), RowStore())
    if couples_rows(replay.model.train()):
        raise ArgumentError(
            "from_checkpoints: a row's gradient must not depend on its batch; got batch "
            "normalization",
            remedy="Record the training, and ask recording.made.",
        )
    replay.model.eval()
    return replay


def _state(
    replay: Replay, number: int, one: _Checkpoint
) -> tuple[Tensor, dict[str, Tensor], float]:
    """Read one checkpoint: weights, buffers and the rate."""
    state, rate = one
    eta = float(check_number("from_checkpoints", "the learning rate", rate, "non-negative"))
    if isinstance(state, Tensor):
        replay_weights = state.detach().reshape(-1)
        if len(replay_weights) != replay.weights.n_weights:
            raise ArgumentError(
                f"from_checkpoints: checkpoint {number} must have the model's "
                f"{counted(replay.weights.n_weights, 'trainable weight')}; got "
                f"{len(replay_weights)}"
            )
        replay.weights.write(replay_weights)
    else:
        try:
            replay.model.load_state_dict(dict(state))
        except RuntimeError as error:
            raise ArgumentError(
                f"from_checkpoints: checkpoint {number} must be a state of the model; "
                f"{str(error).splitlines()[-1].strip()}"
            ) from error
    weights = replay.weights.read()
    if not bool(weights.isfinite().all()):
        raise DataError(
            "from_checkpoints: weights must be finite; got one that is not",
            where=f"checkpoint {number}",
        )
    buffers = {name: value.detach().clone() for name, value in replay.model.named_buffers()}
    return weights, buffers, eta


def _counts(steps: int | Sequence[int], n_checkpoints: int) -> list[int]:
    if n_checkpoints < 2:
        raise ArgumentError(
            f"from_checkpoints: checkpoints must be at least two, the last the trained model; got "
            f"{n_checkpoints}"
        )
    listed = [steps] * (n_checkpoints - 1) if isinstance(steps, int) else list(steps)
    if len(listed) != n_checkpoints - 1:
        raise ShapeError(
            f"from_checkpoints: steps must be one number for each of {n_checkpoints - 1} "
            f"stretches; got {len(listed)}"
        )
    return [
        int(check_number("from_checkpoints", "steps", one, "positive", integer=True))
        for one in listed
    ]


def _finite(gram: Tensor) -> Tensor:
    if not bool(gram.isfinite().all()):
        raise DataError("from_checkpoints: gradients must be finite; got one that is not")
    return gram.double().cpu()


def _tangents(
    replay: Replay,
    per_row: Callable[[Tensor, Tensor], Tensor],
    call: tuple[tuple[Any, ...], dict[str, Any]],
    targets: Tensor,
) -> Tangents:
    args, named = call
    with torch.enable_grad(), TangentTape(replay.model) as tape:
        out = first_tensor(replay.model(*args, **named))
        per_row(out, targets).sum().backward()
        return tape.tangents(len(targets))
