"""Building an index: find the subspace, measure the curvature in it, go back through the run."""

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ResourceError
from trivium.pathkernel.asked import BUDGET
from trivium.pathkernel.index import Index
from trivium.pathkernel.index_curvature import curvatures
from trivium.pathkernel.index_member import Member, State
from trivium.pathkernel.index_reduced import reduce_run
from trivium.pathkernel.index_stability import stable
from trivium.pathkernel.index_stretch import stretches
from trivium.pathkernel.index_subspace import SPARE, find_subspace

if TYPE_CHECKING:
    from trivium.pathkernel.recording import Recording

__all__ = ["build_index"]

KINDS = ("counterfactual", "made", "similar")
_COPIES = 3


def build_index(
    recording: "Recording",
    k: int = 128,
    kind: str = "counterfactual",
    *,
    stride: int = 50,
    seed: int = 0,
    rows: Sequence[Hashable] | None = None,
    budget: int = BUDGET,
) -> Index:
    r"""Build a compact index of a recorded run; `Recording.index` calls this.

    $C_i(x) = \langle z_i, V \nabla f(x) \rangle$ with the k principal directions V of what the
    rows moved. `"counterfactual"`: $z_i$ from the unrolled dynamics within V, with Gauss-Newton
    curvature and the optimizer's own map (Adam's preconditioner as given); `"made"`: $z_i$ is the
    row's displacement, and the query's gradient that of the straight chord from the first weights
    to the last, with the value's exact change imposed; `"similar"`: cosines of displacement and
    gradient, for retrieval.

    Args:
        recording: The training.
        k: Directions; with all p and `stride=1` the index is exact: the unrolled Gauss-Newton
            derivative, or the accounting of one chord.
        kind: Which question.
        stride: Steps that share one evaluation of the rows' gradients and of the curvature, in
            their middle.
        seed: Of the random range finder.
        rows: Ids to keep; all by default. Indexes of parts merge into that of the whole.
        budget: Bytes for the directions.

    Returns:
        The index: `query`, `contributions`, `merge`, `save`.

    Raises:
        ArgumentError: An unknown kind, a number out of range, an id that was not recorded, batch
            normalization, or a recording that is still open.
        DataError: The recording has no step, or replaying it does not meet its checkpoints.
        ResourceError: The directions do not fit the budget.

    Cost:
        One replay; for each stride two backwards of its rows and O(n k p), and for the
        counterfactual four forwards of its rows a direction; O(k³ + b k²) a step. Memory O(k p),
        and O(p + n k) for each stride; clipped steps keep their gradient, O(p) each.

    Example:
        >>> import torch
        >>> from torch.nn import functional as F
        >>> from trivium.pathkernel import record
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(32, 5), torch.randint(3, (32,))
        >>> net = torch.nn.Linear(5, 3)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with record(net, optimizer, F.cross_entropy) as recording:
        ...     for ids in torch.arange(32).reshape(4, 8):
        ...         recording.batch(ids)
        ...         optimizer.zero_grad()
        ...         F.cross_entropy(net(x[ids]), y[ids]).backward()
        ...         optimizer.step()
        >>> index = recording.index(k=8)
        >>> index.query(x[:2], top=3).values.shape
        torch.Size([2, 3])
    """
    directions = int(check_number("index", "k", k, "positive", integer=True))
    apart = int(check_number("index", "stride", stride, "positive", integer=True))
    check_choice("index", "kind", kind, KINDS)
    replay = recording.run("index").replay
    if recording.couples_rows:
        raise ArgumentError(
            "index: a row's gradient must not depend on its batch; got batch normalization",
            remedy="Ask recording.made or recording.without, which go through the batch.",
        )
    _check_budget(recording, directions, budget)
    run = list(stretches(recording.run("index"), apart))
    n_rows = recording.rows.n_rows
    generator = torch.Generator().manual_seed(seed)
    subspace = find_subspace(replay, run, n_rows, directions, generator)
    curved = kind == "counterfactual"
    curvature = curvatures(replay, run, subspace.basis) if curved else None
    if curvature is not None:
        curvature = [stable(one, held) for one, held in zip(curvature, run, strict=True)]
    reduced = reduce_run(run, subspace, curvature, n_rows)
    first, last = recording.checkpoints.held[0], recording.checkpoints.held[-1]
    kept = _kept(recording, rows)
    none = torch.zeros(len(subspace.basis), dtype=torch.float64)
    member = Member(
        tuple(recording.ids[i] for i in kept.tolist()),
        subspace.basis,
        reduced.rows[kept],
        sum(reduced.remainders.values(), none),
        State(first.weights, first.buffers) if kind == "made" else None,
        State(last.weights, last.buffers),
        subspace.captured,
    )
    return Index(kind, (member,), recording.model, replay.loss)


def _kept(recording: "Recording", rows: Sequence[Hashable] | None) -> Tensor:
    if rows is None:
        return torch.arange(recording.rows.n_rows)
    place = {one: number for number, one in enumerate(recording.ids)}
    unknown = [one for one in rows if one not in place]
    if unknown:
        raise ArgumentError(f"index: rows must be ids that were recorded; got {unknown[0]!r}")
    return torch.tensor([place[one] for one in rows], dtype=torch.long)


def _check_budget(recording: "Recording", k: int, budget: int) -> None:
    weights = recording.weights
    n_directions = min(k + SPARE, weights.n_weights)
    size = _COPIES * n_directions * weights.n_weights * weights.tensors[0].element_size()
    allowed = int(check_number("index", "budget", budget, "positive", integer=True))
    if size > allowed:
        raise ResourceError(
            f"index: {counted(n_directions, 'direction')} in "
            f"{counted(weights.n_weights, 'weight')} need "
            f"{size / 1e6:.1f} MB; got a budget of {allowed / 1e6:.1f} MB",
            remedy="Take fewer directions k, or raise budget.",
        )
