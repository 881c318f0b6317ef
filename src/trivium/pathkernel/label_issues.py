"""Labels that a recorded training contradicts, without any retraining."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from trivium._core.checks import check_choice
from trivium._core.errors import ArgumentError, DataError
from trivium.kernel.tangent_tape import TangentTape
from trivium.kernel.tangents import Tangents
from trivium.parallel import Executor
from trivium.pathkernel.asked import BUDGET, answer
from trivium.pathkernel.label_result import LabelIssues
from trivium.pathkernel.made import account
from trivium.pathkernel.packed import Call
from trivium.pathkernel.products import traced
from trivium.pathkernel.progress import Progress, Ticker
from trivium.pathkernel.quantity import first_tensor
from trivium.pathkernel.queries import Queries
from trivium.pathkernel.recording import Recording
from trivium.pathkernel.replay import Replay
from trivium.pathkernel.run import Run
from trivium.pathkernel.sums import Sums

__all__ = ["label_issues"]

_SCORES = ("margin", "support", "self")
_POINTS = 12  # of the path, at least, for an average over it
_CHORD = 20  # steps in one straight piece, for support: complete at any length


def label_issues(
    recording: Recording,
    score: str = "margin",
    *,
    budget: int = BUDGET,
    progress: Progress | None = None,
    executor: Executor | None = None,
) -> LabelIssues:
    r"""Rank the training rows by how much the training contradicts their labels.

    Args:
        recording: A recorded training of a classifier.
        score: What is looked at. `"margin"`: the average over the run of the log-odds of the
            row's own label; rows with a wrong label are fitted late. `"support"`: how much all
            other rows together had moved that log-odds, averaged over the run: what step s of t
            made counts for the rest of it, $\sum_{j \ne i} \sum_s (1 - s/t)\, C_{s,j}(x_i)$.
            `"self"`: the mean squared length of the row's
            own gradient over the steps that used it.
        budget: Bytes for what is held at once.
        progress: Called with the work done and in all; by default a bar on a terminal.
        executor: Where `"support"` asks its blocks of rows, as for `Recording.made`; the others
            are one pass here.

    Returns:
        Ids by falling suspicion, with scores and suggested labels. No threshold comes with it:
        how many labels are wrong is not known from the scores.

    Raises:
        ArgumentError: An unknown score, or the targets are not classes.
        DataError: The recording keeps no rows (`augmented=True`) or no steps.
        ResourceError: Not even one row fits the budget, or an executor lost its workers again and
            again.

    Cost:
        `"margin"`: a forward of all rows at each checkpoint. `"self"`: one replay. `"support"`:
        as `made` for all rows in chords of at least 20 steps: cheap for plain SGD, n (q, p) passes
        for other optimizers.

    Example:
        >>> import torch
        >>> from torch.nn import functional as F
        >>> from trivium.pathkernel import record
        >>> _ = torch.manual_seed(0)
        >>> x = torch.randn(64, 5)
        >>> y = (x[:, 0] > 0).long()
        >>> y[7] = 1 - y[7]
        >>> net = torch.nn.Linear(5, 2)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
        >>> with record(net, optimizer, F.cross_entropy) as recording:
        ...     for step in range(80):
        ...         ids = torch.arange(8) + 8 * (step % 8)
        ...         recording.batch(ids)
        ...         optimizer.zero_grad()
        ...         F.cross_entropy(net(x[ids]), y[ids]).backward()
        ...         optimizer.step()
        >>> found = label_issues(recording)
        >>> found.ranked[0], int(found.suggested[7]) == 1 - int(y[7])
        (7, True)

    Source:
        Pleiss et al. 2020, "Identifying mislabeled data using the area under the margin ranking";
        Pruthi et al. 2020, section 4.1 (self-influence).
    """
    check_choice("label_issues", "score", score, _SCORES)
    replay, last = recording.run("label_issues").replay, recording.checkpoints.held[-1]
    call, target = _rows(recording)
    replay.restore(last)
    queries = Queries("label_issues", replay, call, "margin", target, last.weights, last.buffers)
    points = list(_path(recording, closely=score == "margin"))
    with Ticker("label_issues", len(points), progress if score == "margin" else None) as ticker:
        margin, log_prob = _averages(queries, points, ticker.tick)
    if score == "margin":
        suspicion = -margin
    elif score == "self":
        suspicion = _own_length(recording, progress)
    else:
        suspicion = -_support(recording, call, target, budget, progress, executor)
    labels = target.reshape(-1).long().cpu()
    suggested = log_prob.scatter(1, labels[:, None], -torch.inf).argmax(1)
    return LabelIssues(list(recording.ids), suspicion, labels, suggested, score)


def _rows(recording: Recording) -> tuple[Call, Tensor]:
    leaves = recording.rows.all_leaves()
    packed = recording.notes[0].pieces[0].inputs
    if not leaves or packed is None:
        raise DataError(
            "label_issues: the recording must keep its rows; record(augmented=True) does not"
        )
    target = leaves[-1]
    if target.ndim > 1 and target[0].numel() == 1:
        target = target.reshape(-1)
    whole = not target.is_floating_point() or bool(((target == 0) | (target == 1)).all())
    if target.ndim != 1 or not whole:
        raise ArgumentError(
            "label_issues: the training's targets must be one class a row; got shape "
            f"{tuple(target.shape)} of {target.dtype}"
        )
    return Call(*packed.unpack(leaves[:-1])), target


def _path(recording: Recording, *, closely: bool) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Give weights and buffers along the run: its checkpoints, or more where they are few."""
    held = recording.checkpoints.held[1:]
    if not closely or len(held) >= min(_POINTS, recording.n_steps):
        yield from ((one.weights, one.buffers) for one in held)
        return
    apart = max(1, recording.n_steps // _POINTS)
    for steps, buffers in recording.run("label_issues").backwards(Replay.backward):
        after = [*(step.buffers for step in steps[1:]), buffers]
        for step, then in zip(steps, after, strict=True):
            if (step.number + 1) % apart == 0:
                yield step.after, then


def _averages(
    queries: Queries,
    points: list[tuple[Tensor, dict[str, Tensor]]],
    tick: Callable[[int], None],
) -> tuple[Tensor, Tensor]:
    """Return the mean margin, `(n,)`, and the mean log-probability of each class, `(n, c)`."""
    margin = torch.zeros(queries.n_rows, dtype=torch.float64)
    log_prob: Tensor | float = 0.0
    with torch.no_grad():
        for weights, buffers in points:
            output = queries.output(weights, buffers)
            margin += queries.of(output).double().cpu() / len(points)
            logits = first_tensor(output).reshape(queries.n_rows, -1).double().cpu()
            if logits.shape[1] == 1:
                logits = torch.cat([torch.zeros_like(logits), logits], 1)
            log_prob = log_prob + logits.log_softmax(1) / len(points)
            tick(1)
    assert isinstance(log_prob, Tensor)  # a path has a point
    return margin, log_prob


def _own_length(recording: Recording, progress: Progress | None) -> Tensor:
    """Return the mean squared length of each row's gradients, `(n,)`."""
    total = torch.zeros(recording.rows.n_rows, dtype=torch.float64)
    count = torch.zeros_like(total)
    run = recording.run("label_issues")
    with (
        Ticker("label_issues", recording.n_steps, progress) as ticker,
        TangentTape(run.replay.model) as tape,
    ):
        for steps, _ in run.backwards(traced(tape)):
            for step in steps:
                for piece, trace in zip(step.note.pieces, step.traces, strict=True):
                    assert isinstance(trace, Tangents)
                    squares: Tensor = trace.gram(trace).diagonal().double().cpu()
                    size = len(piece.places)  # a mean loss divides by it
                    total.index_add_(0, piece.places, squares * float(size * step.factor) ** 2)
                    count.index_add_(0, piece.places, torch.ones_like(squares))
            ticker.tick(len(steps))
    return total / count.clamp_min(1)


def _support(
    recording: Recording,
    call: Call,
    target: Tensor,
    budget: int,
    progress: Progress | None,
    executor: Executor | None,
) -> Tensor:
    """Return what the other rows made of each row's margin, averaged over the run, `(n,)`."""
    chord = recording.chord * max(1, round(_CHORD / recording.chord))
    sweep = partial(_account, chord=chord, n_steps=recording.n_steps)
    found = []
    n = recording.rows.n_rows
    most = max(1, budget // (8 * n))
    with Ticker("label_issues", -(-n // most) * recording.n_steps, progress) as ticker:
        for a in range(0, n, most):
            some = slice(a, min(a + most, n))
            asked = (_sliced(call, some, n), "margin", target[some])
            begun = ticker.done

            def told(done: int, total: int, begun: int = begun) -> None:
                ticker.tick(begun + round(done / total * recording.n_steps) - ticker.done)

            parts = answer("label_issues", recording, asked, budget, told, sweep, executor)
            rows = parts["contributions"]
            found.append(rows.sum(1) - rows[:, some].diagonal())
    return torch.cat(found)


def _account(
    run: Run,
    queries: Queries,
    sums: Sums,
    _: bool,
    tick: Callable[[int], None],
    *,
    chord: int,
    n_steps: int,
) -> None:
    """What a step made counts for the rest of the run."""
    sums.weights = 1 - torch.arange(n_steps, dtype=torch.float64) / n_steps
    account(run, queries, sums, chord=chord, tick=tick)


def _sliced(call: Call, some: slice, n_rows: int) -> Call:
    def cut(leaf: object) -> object:
        is_row = isinstance(leaf, Tensor) and leaf.ndim > 0 and len(leaf) == n_rows
        return leaf[some] if is_row else leaf  # type: ignore[index]

    return Call(tuple(pytree.tree_map(cut, call.arguments)), dict(pytree.tree_map(cut, call.named)))
