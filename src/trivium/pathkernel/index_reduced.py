r"""The unrolled dynamics in a subspace: every matrix is k by k.

With orthonormal rows V the adjoint of the weights is kept as $M V$, that of anything else that the
optimizer holds as $C\,(V \circ \pi)$ with the shape $\pi$ of the optimizer's map. One step back:
$U = \sum_{out} C_{out} R_{out,g}$, rows add $U\,(V \circ \pi)\, g_i$, and
$M \leftarrow M R + U S$ with the Gauss-Newton curvature $S = (V \circ \pi)\, G\, V^\top$.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trivium.pathkernel.index_gathered import Form, form_of
from trivium.pathkernel.index_stretch import HeldStep, Profile, Stretch
from trivium.pathkernel.index_subspace import Coordinates, Subspace

__all__ = ["Reduced", "reduce_run"]

_INPUTS = ("weight", "gradient", "pull")
_CLIP_GUARD = 1e-6  # what clip_grad_norm_ adds to the norm


@dataclass
class Reduced:
    """What is kept of a run.

    Attributes:
        rows: Each row's embedding, `(n, k)`: its contribution is the product with a gradient.
        remainders: The embedding of what no row made, by name, `(k,)`.
    """

    rows: Tensor
    remainders: dict[str, Tensor]


class _Maps:
    """The optimizer's map of one stretch on coordinates."""

    def __init__(self, basis: Tensor, profile: Profile) -> None:
        self.basis, self.profile = basis, profile
        self.ratios = {key: self.matrix(value) for key, value in profile.ratios.items()}
        self.decay = self.matrix(profile.decay)

    def matrix(self, ratio: float | Tensor) -> float | Tensor:
        r"""Return a number, or $(V \circ \rho) V^\top$."""
        if isinstance(ratio, float):
            return ratio
        return ((self.basis * ratio) @ self.basis.T).double().cpu()

    def coordinates(self, vector: Tensor, name: str) -> Tensor:
        r"""Return c with $c\,(V \circ \pi)$ near a vector."""
        shape = self.profile.shapes.get(name)
        if shape is not None:
            vector = torch.where(shape != 0, vector / shape, 0.0)
        return (self.basis @ vector).double().cpu()

    def products(self, vector: Tensor, name: str) -> Tensor:
        r"""Return $(V \circ \pi)$ times a vector."""
        shape = self.profile.shapes.get(name)
        return (self.basis @ (vector if shape is None else shape * vector)).double().cpu()


class _Sweep:
    """The recurrence, backwards over the run.

    Args:
        k: Directions.
        n_rows: Training rows n.
        accounted: The path is what it was: no curvature, and decay is a named remainder.
    """

    def __init__(self, k: int, n_rows: int, accounted: bool) -> None:
        self.weight = torch.eye(k, dtype=torch.float64)
        self.states: dict[str, Tensor] = {}
        self.rows = torch.zeros((k, n_rows), dtype=torch.float64)
        self.remainders: dict[str, Tensor] = {}
        self.maps: _Maps | None = None
        self.accounted = accounted

    def stretch(
        self, one: Stretch, maps: _Maps, found: dict[Form, Coordinates], curvature: Tensor | None
    ) -> None:
        """Go back through one stretch."""
        if self.maps is not None:
            self.states = {n: _rewritten(c, n, self.maps, maps) for n, c in self.states.items()}
        self.maps = maps
        pull = maps.products(one.weights * one.strength, "pull")
        for step in reversed(one.steps):
            parts = _pull_back(maps, step, self.weight, self.states)
            self.states = {n: c for n, c in parts.items() if n not in _INPUTS}
            u = parts.get("gradient", torch.zeros_like(self.weight))
            u = u * step.factor if self.accounted else _unclipped(maps, step, u)
            for piece in step.pieces:
                values = found[form_of(piece)].of(piece).double().cpu()
                self.rows.index_add_(1, piece.places, u @ values)
            if self.accounted:
                if "pull" in parts and bool(pull.any()):
                    _add(self.remainders, "weight decay", parts["pull"] @ pull)
                continue
            self.weight = parts.get("weight", torch.zeros_like(self.weight))
            if curvature is not None:
                self.weight = self.weight + u @ curvature
            if "pull" in parts:
                self.weight = self.weight + _times(parts["pull"], maps.decay)

    def close(self, first: Stretch) -> None:
        """Name what an optimizer that had a state before the first step still did."""
        for name, c in self.states.items():
            held = first.state.get(name)
            if held is not None and self.maps is not None and bool(held.any()):
                _add(self.remainders, "earlier state", c @ self.maps.products(held, name))


def reduce_run(
    run: Sequence[Stretch],
    subspace: Subspace,
    curvatures: Sequence[Tensor] | None,
    n_rows: int,
) -> Reduced:
    r"""Go back through the run in the subspace.

    Args:
        run: The stretches, the last one first.
        subspace: The basis and the rows' gradients in it.
        curvatures: $(V \circ \pi)\, G\, V^\top$ of each stretch; none for the accounting.
        n_rows: Training rows n.

    Cost:
        O(k³ + b k²) a step.
    """
    sweep = _Sweep(len(subspace.basis), n_rows, curvatures is None)
    for number, one in enumerate(run):
        maps = _Maps(subspace.basis, one.profile)
        curvature = None if curvatures is None else curvatures[number]
        sweep.stretch(one, maps, subspace.gradients[number], curvature)
    sweep.close(run[-1])
    return Reduced(sweep.rows.T.contiguous(), sweep.remainders)


def _pull_back(
    maps: _Maps, step: HeldStep, weight: Tensor, states: dict[str, Tensor]
) -> dict[str, Tensor]:
    outs = {"weight": weight, **states}
    parts: dict[str, Tensor] = {}
    for (out, name), scale in step.scales.items():
        ratio = maps.ratios.get((out, name))
        if ratio is None or out not in outs:
            continue
        _add(parts, name, _times(outs[out], ratio * scale))
    return parts


def _times(c: Tensor, ratio: float | Tensor) -> Tensor:
    return c * ratio if isinstance(ratio, float) else c @ ratio


def _add(into: dict[str, Tensor], name: str, amount: Tensor) -> None:
    into[name] = into[name] + amount if name in into else amount


def _rewritten(c: Tensor, name: str, old: _Maps, new: _Maps) -> Tensor:
    """Write coordinates in the shape of another stretch."""
    before, after = old.profile.shapes.get(name), new.profile.shapes.get(name)
    if before is None and after is None:
        return c
    ratio = torch.ones_like(old.basis[0]) if before is None else before
    if after is not None:
        ratio = torch.where(after != 0, ratio / after, 0.0)
    return _times(c, new.matrix(ratio))


def _unclipped(maps: _Maps, step: HeldStep, adjoint: Tensor) -> Tensor:
    """Go back through clipping by norm; a power of two is a loss scale."""
    factor, gradient = step.factor, step.gradient
    if gradient is None:
        return adjoint * factor
    mantissa = math.frexp(factor)[0]
    if abs(mantissa - 0.5) < _CLIP_GUARD or abs(mantissa - 1) < _CLIP_GUARD:
        return adjoint * factor
    norm = float(gradient.norm())
    along = adjoint @ maps.products(gradient, "gradient") / (norm * (norm + _CLIP_GUARD))
    return factor * (adjoint - torch.outer(along, maps.coordinates(gradient, "gradient")))
