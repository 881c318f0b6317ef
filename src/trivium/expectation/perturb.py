"""Parameters perturbed at random: the zeroth-order gradient as an expectation like any other."""

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Size, Tensor, nn
from torch.distributions import Distribution
from torch.nn.parameter import UninitializedParameter

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.expectation.directions import FactoredDirections, draw_directions
from trivium.expectation.first_order import refuse_second
from trivium.expectation.groups import group_size, middle
from trivium.expectation.parameters import Visit, rebuilt
from trivium.expectation.population import Population
from trivium.expectation.score_norm import score_length

__all__ = ["Perturb"]

_NO_SCORE = ("it is no score", "Pass rank=None.")


class Perturb(Distribution):
    r"""θ + std·u, with u standard normal: $E_u[f(\theta + \mathrm{std}\, u)]$ for any f.

    Inside `expect` its gradient is the zeroth-order one, $E[(f - b)\, u / \mathrm{std}]$, and lands
    in the parameters' `.grad`: any torch optimizer becomes a zeroth-order optimizer, and
    `differentiable_loss + expect(...)` a hybrid. f receives a `Population` z: `z(x)` is the
    module's output for all members, `(samples, ...)`; f returns a value for each member.

    With `rank`, $u = A B^\top / \sqrt r$ for each weight of an `nn.Linear` (each matrix, of
    tensors), applied in factors; other tensors keep a full u. u has mean 0 and covariance I and is
    symmetric, so the gradient of a linear f is right whatever the rank; but u is *not* normal, and
    for other f the gradient is that of no smoothed f: it is a perturbation, not a score, and has
    no second derivative.

    Args:
        target: A module (parameters that require a gradient are perturbed), a tensor, a sequence
            of tensors or a mapping of names to tensors.
        std: Size of the steps, positive.
        rank: r; none for full directions.
        antithetic: Draw directions in pairs u, −u: what is even in u cancels, any baseline too.
            Samples must be even.
        orthogonal: Make the directions of one population orthogonal, over all parameters together.

    Raises:
        ArgumentError: An argument breaks its rule; nothing to perturb; a rank above what a matrix
            has; rank together with orthogonal.

    Cost: memory k p for k directions of p parameters (k (d + o) r for factored weights of o × d);
    time of one forward of a batch k times as large; orthogonal: k² p.

    Example:
        >>> import torch
        >>> from trivium.expectation import expect
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Linear(2, 1)
        >>> x, y = torch.randn(32, 2), torch.ones(32, 1)
        >>> step = torch.optim.SGD(model.parameters(), lr=0.3)
        >>> for _ in range(60):
        ...     wrong = expect(
        ...         lambda m: ((m(x) - y).abs() > 0.5).float().mean((1, 2)),
        ...         Perturb(model, std=0.3),
        ...         samples=32,
        ...     )
        ...     step.zero_grad()
        ...     wrong.backward()
        ...     step.step()
        >>> ((model(x) - y).abs() > 0.5).float().mean().item()
        0.0

    Source:
        Spall, IEEE TAC 37 (1992); Nesterov and Spokoiny, Foundations of Computational Mathematics
        17 (2017); Salimans et al., Evolution strategies (2017); Choromanski et al., Structured
        evolution with compact architectures (2018), for orthogonal directions; Sarkar et al.,
        Evolution strategies at the hyperscale (2025), for low rank.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    has_rsample = False

    def __init__(
        self,
        target: nn.Module | Tensor | Sequence[Tensor] | Mapping[str, Tensor],
        std: float,
        rank: int | None = None,
        antithetic: bool = True,
        orthogonal: bool = False,
    ) -> None:
        self.module = target if isinstance(target, nn.Module) else None
        self.tensors = _named(target)
        self.std = float(check_number("Perturb", "std", std, "positive"))
        for name, value in (("antithetic", antithetic), ("orthogonal", orthogonal)):
            if not isinstance(value, bool):
                raise ArgumentError(f"Perturb: {name} must be True or False; got {value!r}")
        if rank is not None and orthogonal:
            raise ArgumentError("Perturb: rank must be None where directions are orthogonal")
        self.rank = rank
        self.ranks = {} if rank is None else self._ranks(rank)
        self.antithetic, self.orthogonal = antithetic, orthogonal
        count = sum(tensor.numel() for tensor in self.tensors.values())
        super().__init__(Size(), Size((count,)), validate_args=False)

    def _ranks(self, rank: int) -> dict[str, int]:
        """Rank by name, of the matrices that get factored directions."""
        wanted = int(check_number("Perturb", "rank", rank, "positive", integer=True))
        matrices = {n: t for n, t in self.tensors.items() if t.ndim == 2}
        if self.module is not None:
            linear = {id(m.weight) for m in self.module.modules() if isinstance(m, nn.Linear)}
            matrices = {n: t for n, t in matrices.items() if id(t) in linear}
        if not matrices:
            what = "tensors" if self.module is None else type(self.module).__name__
            raise ArgumentError(f"Perturb: rank must have a matrix to apply to; got none in {what}")
        least = min([min(matrix.shape) for matrix in matrices.values()])
        if wanted > least:
            name = next(name for name, matrix in matrices.items() if min(matrix.shape) == least)
            raise ArgumentError(
                f"Perturb: rank must be at most {least}, the smaller side of {name} "
                f"{tuple(matrices[name].shape)}; got {wanted}"
            )
        return dict.fromkeys(matrices, wanted)

    @property
    def mean(self) -> Population:  # type: ignore[override]
        """A population of one member, θ itself."""
        return Population(self._still(), {}, self.std, 1, self.module)

    @property
    def mode(self) -> Population:  # type: ignore[override]
        """θ itself."""
        return self.mean

    def _still(self) -> dict[str, Tensor]:
        return {name: tensor.detach() for name, tensor in self.tensors.items()}

    def sample(self, sample_shape: Size = Size()) -> Population:  # type: ignore[override] # noqa: B008
        """Draw a population of `sample_shape.numel()` members.

        Raises:
            ArgumentError: An odd number in antithetic pairs.
        """
        members = Size(sample_shape).numel()
        if self.antithetic and members % 2:
            raise ArgumentError(
                f"Perturb: samples must be even for antithetic pairs; got {members}",
                remedy="Draw an even number, or pass antithetic=False.",
            )
        still = self._still()
        drawn = draw_directions(still, members, self.ranks, self.antithetic, self.orthogonal)
        return Population(still, drawn, self.std, members, self.module)

    def log_prob(self, value: Population) -> Float[Tensor, " n"]:  # type: ignore[override]
        r"""Return a function of θ whose gradient at θ is u / std for each member.

        For full directions the logarithm of the density, $-\frac12 \lVert u \rVert^2$ and its
        constant, with all its derivatives. For factored ones the linear part alone.
        """
        first = next(iter(self.tensors.values()))
        constant = -self.event_shape[0] * math.log(self.std * math.sqrt(2 * math.pi))
        total = torch.full((len(value),), constant, device=first.device)
        for name, tensor in self.tensors.items():
            found = value.directions[name]
            if isinstance(found, FactoredDirections):
                once = refuse_second(tensor, "a factored perturbation", *_NO_SCORE)
                term = found.slope(once, self.std)
            else:
                # (z − θ)/std = u − delta, where delta is 0 and has the gradient of θ / std.
                delta = tensor - tensor.detach()
                delta = delta.to(torch.promote_types(delta.dtype, torch.float32)) / self.std
                term = found.along(delta) - (found.squared() + delta.square().sum()) / 2
            total = total + term.to(total.device)
        return total

    def __repr__(self) -> str:
        """Say what is perturbed and how."""
        what = "tensors" if self.module is None else type(self.module).__name__
        rank = "" if self.rank is None else f", rank={self.rank}"
        return f"Perturb({what} of {self.event_shape[0]}, std={self.std:g}{rank})"


def _named(target: Any) -> dict[str, Tensor]:
    found: dict[str, Tensor]
    if isinstance(target, nn.Module):
        found = {n: p for n, p in target.named_parameters() if p.requires_grad}
    elif isinstance(target, Tensor):
        found = {"0": target}
    elif isinstance(target, Mapping):
        found = dict(target)
    elif isinstance(target, Sequence) and not isinstance(target, str):
        found = {str(place): value for place, value in enumerate(target)}
    else:
        raise ArgumentError(f"Perturb: target must be a module or tensors; got {target!r}")
    for name, value in found.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            kind = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise ArgumentError(f"Perturb: {name} must be a floating-point tensor; got {kind}")
        if isinstance(value, UninitializedParameter):
            raise ArgumentError(
                f"Perturb: {name} must have a shape; got a lazy parameter",
                remedy="Run the module once first.",
            )
    if not sum(value.numel() for value in found.values()):
        raise ArgumentError(
            "Perturb: target must have something to perturb; got no parameter that requires a "
            "gradient"
        )
    return found


@group_size.register(Perturb)
def _(distribution: Perturb) -> int:
    return 2 if distribution.antithetic else 1


@middle.register(Perturb)
def _(distribution: Perturb, name: str) -> Population:
    return distribution.mean


@score_length.register(Perturb)
def _(distribution: Perturb, z: Population) -> Tensor:
    lengths = [found.squared() for found in z.directions.values()]
    return torch.stack([length.to(lengths[0]) for length in lengths]).sum(0) / distribution.std**2


@rebuilt.register(Perturb)
def _(distribution: Perturb, prefix: str, visit: Visit, copies: Any) -> Perturb:
    # The module is run with the tensors of a population: it may stay the same.
    twin = copy.copy(distribution)
    twin.tensors = {name: visit(prefix + name, value) for name, value in twin.tensors.items()}
    return twin
