r"""The principal subspace of what the rows moved: a range finder that never holds n by p.

Row i's displacement is $D_i = \sum_t -\eta_t P_t g_{t,i}$, its own piece of every step. One pass
draws $Y = \Omega D$ for a random $\Omega$ with $k + 16$ rows and orthonormalizes it, a second pass
projects the rows onto it; a small singular value decomposition turns that onto the first k.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.kernel.tangents import Tangents
from trivium.pathkernel.index_gathered import Form, form_of, gathered, tangents
from trivium.pathkernel.index_stretch import Stretch
from trivium.pathkernel.notes import Piece
from trivium.pathkernel.replay import Replay

__all__ = ["Coordinates", "Subspace", "find_subspace"]

_RATE = ("weight", "gradient")
SPARE = 16
_WRITTEN, _MANY = 100_000_000, 32  # bytes, directions
_NOTHING = 100  # roundings: below, a direction moved no row


@dataclass(frozen=True)
class Coordinates:
    """Gradients of rows in the subspace, for one form of batch.

    Attributes:
        place: Which column each row has, `(n,)`; none where the columns are those of the one piece.
        values: `(k, columns)`.
    """

    place: Tensor | None
    values: Tensor

    def of(self, piece: Piece) -> Tensor:
        """Return the gradients of a piece's rows, `(k, b)`."""
        return self.values if self.place is None else self.values[:, self.place[piece.places]]


@dataclass(frozen=True)
class Subspace:
    """An orthonormal basis and the rows' gradients in it.

    Attributes:
        basis: V, `(k, p)`.
        gradients: For each stretch, by form of batch.
        captured: Share of the rows' squared displacement that lies in the basis.
    """

    basis: Tensor
    gradients: Sequence[dict[Form, Coordinates]]
    captured: float


def find_subspace(
    replay: Replay, run: Sequence[Stretch], n_rows: int, k: int, generator: torch.Generator
) -> Subspace:
    """Return the k principal directions of the rows' displacements.

    Args:
        replay: The private model.
        run: The stretches of the run.
        n_rows: Training rows n.
        k: Directions; all of p where k is not less.
        generator: Of the random sketch.

    Cost:
        Two backwards of each stretch's rows and O(n k p) for each; O(k p) memory, and O(n k) for
        each stretch.

    Source:
        Halko, Martinsson and Tropp 2011, "Finding structure with randomness", algorithm 4.1.
    """
    like = run[0].weights
    n_weights = len(like)
    whole = k >= n_weights
    if whole:
        basis = torch.eye(n_weights, dtype=like.dtype, device=like.device)
    else:
        basis = _range(replay, run, n_rows, min(k + SPARE, n_weights), generator)
    gradients = [_project(replay, one, basis, n_rows) for one in run]
    moved = torch.zeros((len(basis), n_rows), dtype=torch.float64)
    for one, found in zip(run, gradients, strict=True):
        for step in one.steps:
            amount = one.profile.rate * step.scales.get(_RATE, 0.0) * step.factor
            for piece in step.pieces:
                part = found[form_of(piece)].of(piece).double().cpu()
                moved.index_add_(1, piece.places, amount * part)
    if whole:
        return Subspace(basis, gradients, 1.0)
    left, sizes, _ = torch.linalg.svd(moved, full_matrices=False)
    nothing = _NOTHING * torch.finfo(like.dtype).eps * sizes[0]
    kept = max(1, min(k, int((sizes > nothing).sum())))
    turn = left[:, :kept].T.to(like.dtype).to(like.device)
    turned = [
        {form: Coordinates(one.place, turn @ one.values) for form, one in found.items()}
        for found in gradients
    ]
    seen = float(sizes[:kept].square().sum() / sizes.square().sum())
    return Subspace(turn @ basis, turned, seen)


def _range(
    replay: Replay, run: Sequence[Stretch], n_rows: int, r: int, generator: torch.Generator
) -> Tensor:
    """Return an orthonormal basis of a random sketch of the displacements, `(r, p)`."""
    like = run[0].weights
    draws = torch.randn((r, n_rows), generator=generator, dtype=torch.float64)
    draws = draws.to(like.dtype).to(like.device)
    sketch = torch.zeros((r, len(like)), dtype=like.dtype, device=like.device)
    for one in run:
        amounts = _amounts(one, n_rows)
        shape = one.profile.shapes.get("gradient")
        replay.put(one.weights, one.buffers)
        for some in gathered(one):
            seen = amounts[form_of(some.form)][some.places] * some.fresh
            if some.alone:  # a row twice in one batch counts twice already
                seen = amounts[form_of(some.form)][some.places] / _counts(some.places)
            weights = draws[:, some.places] * seen.to(like.dtype).to(like.device)
            found = _combine(tangents(replay, some), weights)
            sketch += found if shape is None else found * shape
    basis: Tensor = torch.linalg.qr(sketch.T)[0].T
    return basis.contiguous()


def _combine(found: Tangents, weights: Tensor) -> Tensor:
    return weights @ found.dense() if _small(found, weights) else found.combine(weights)


def _products(found: Tangents, directions: Tensor) -> Tensor:
    if _small(found, directions):
        return directions @ found.dense().T
    return found.products(directions)


def _small(found: Tangents, directions: Tensor) -> bool:
    """Return whether many directions are cheaper by one product with written-out gradients."""
    size = found.n_rows * found.layout.n_parameters * found.like.element_size()
    return size <= _WRITTEN and len(directions) >= _MANY


def _amounts(one: Stretch, n_rows: int) -> dict[Form, Tensor]:
    """Return how far a unit of each row's gradient moved the weights in a stretch."""
    found: dict[Form, Tensor] = {}
    for step in one.steps:
        amount = one.profile.rate * step.scales.get(_RATE, 0.0) * step.factor
        for piece in step.pieces:
            total = found.setdefault(form_of(piece), torch.zeros(n_rows, dtype=torch.float64))
            total.index_add_(
                0, piece.places, torch.full((len(piece.places),), amount, dtype=torch.float64)
            )
    return found


def _counts(places: Tensor) -> Tensor:
    _, inverse, counts = places.unique(return_inverse=True, return_counts=True)
    return counts[inverse]


def _project(replay: Replay, one: Stretch, basis: Tensor, n_rows: int) -> dict[Form, Coordinates]:
    shape = one.profile.shapes.get("gradient")
    directions = basis if shape is None else basis * shape
    replay.put(one.weights, one.buffers)
    parts: dict[Form, list[Tensor]] = {}
    rows: dict[Form, list[Tensor]] = {}
    alone: set[Form] = set()
    for some in gathered(one):
        form = form_of(some.form)
        values = _products(tangents(replay, some), directions)
        parts.setdefault(form, []).append(values[:, some.fresh])
        rows.setdefault(form, []).append(some.places[some.fresh])
        if some.alone:
            alone.add(form)
    found = {}
    for form, blocks in parts.items():
        place = None
        if form not in alone:
            seen = torch.cat(rows[form])
            place = torch.full((n_rows,), -1, dtype=torch.long)
            place[seen] = torch.arange(len(seen))
        found[form] = Coordinates(place, torch.cat(blocks, 1))
    return found
