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

from trivium.pathkernel.index_gathered import form_of
from trivium.pathkernel.index_stretch import HeldStep, Profile, Stretch
from trivium.pathkernel.index_subspace import Subspace

__all__ = ["Reduced", "reduce_run"]

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
        """Return a number, or $(V \\circ \\rho) V^\\top$."""
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


def reduce_run(
    run: Sequence[Stretch],
    subspace: Subspace,
    curvatures: Sequence[Tensor] | None,
    n_rows: int,
) -> Reduced:
    """Go back through the run in the subspace.

    Args:
        run: The stretches, the last one first.
        subspace: The basis and the rows' gradients in it.
        curvatures: $(V \\circ \\pi)\\, G\\, V^\\top$ of each stretch; none for the accounting, where
            the path is what it was.
        n_rows: Training rows n.

    Cost:
        O(k³ + b k²) a step.
    """
    k = len(subspace.basis)
    eye = torch.eye(k, dtype=torch.float64)
    weight, states = eye, dict[str, Tensor]()
    rows = torch.zeros((k, n_rows), dtype=torch.float64)
    remainders: dict[str, Tensor] = {}
    maps: _Maps | None = None
    for number, one in enumerate(run):
        before, maps = maps, _Maps(subspace.basis, one.profile)
        if before is not None:
            states = {name: _rewritten(c, name, before, maps) for name, c in states.items()}
        found = subspace.gradients[number]
        pull = maps.products(one.weights * one.strength, "pull") if curvatures is None else None
        for step in reversed(one.steps):
            parts = _pull_back(maps, step, weight, states)
            states = {n: c for n, c in parts.items() if n not in ("weight", "gradient", "pull")}
            u = parts.get("gradient")
            if u is not None:
                accounted = curvatures is None
                u = u * step.factor if accounted else _unclipped(maps, step, u)
                for piece in step.pieces:
                    values = found[form_of(piece)].of(piece).double().cpu()
                    rows.index_add_(1, piece.places, u @ values)
            if curvatures is None:
                if "pull" in parts and pull is not None and bool(pull.any()):
                    _add(remainders, "weight decay", parts["pull"] @ pull)
                continue
            weight = parts.get("weight", torch.zeros_like(weight))
            if u is not None:
                weight = weight + u @ curvatures[number]
            if "pull" in parts:
                weight = weight + _times(parts["pull"], maps.decay)
    if maps is not None:
        for name, c in states.items():
            held = run[-1].state.get(name)
            if held is not None and bool(held.any()):
                _add(remainders, "earlier state", c @ maps.products(held, name))
    return Reduced(rows.T.contiguous(), remainders)


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
