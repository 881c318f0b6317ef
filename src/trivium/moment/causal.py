"""The cross moment read step by step: the causal state of linear attention."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.checks import check_finite, check_shapes
from trivium._core.errors import DataError, NumericalError
from trivium.moment.guards import check_factor

__all__ = ["Prefix", "prefix"]


@dataclass(frozen=True)
class Prefix:
    """State after some steps: S = Σ w_s φ_s ψ_sᵀ and z = Σ w_s φ_s.

    Args:
        products: S.
        mass: z.
    """

    products: Float[Tensor, "r v"]
    mass: Float[Tensor, " r"]

    def read(self, query: Float[Tensor, " r"]) -> Float[Tensor, " v"]:
        """Return φ(q)ᵀ S / φ(q)ᵀ z, the weighted mean of the values so far.

        Raises:
            NumericalError: The query puts no mass on what was seen.
        """
        mass = query.to(self.mass) @ self.mass
        if float(mass.detach()) == 0:
            raise NumericalError("Prefix.read: the query must meet some mass; got 0")
        return query.to(self.products) @ self.products / mass


def prefix(
    features: Float[Tensor, "s r"],
    values: Float[Tensor, "s v"],
    weight: Float[Tensor, " s"] | None = None,
    *,
    start: Prefix | None = None,
    decay: float = 1.0,
) -> Iterator[Prefix]:
    """Yield the states S_t = decay · S_{t−1} + w_t φ_t ψ_tᵀ, t = 1 … s, in float64, of values.

    No gradient flows: the state that has one is `linear_attention(..., return_state=True)`.

    Without decay the last state is `CrossMoments.products` of the same rows, and starting from
    the state of the first part of a sequence goes on as if it had never been cut.

    Args:
        features: φ_t.
        values: ψ_t.
        weight: w_t ≥ 0; ones by default.
        start: State before the first step; zeros by default.
        decay: Factor in (0, 1] on everything seen, at each step.

    Raises:
        ShapeError: Lengths that differ.
        DataError: NaN or infinity, or a negative weight.
        ArgumentError: A decay outside (0, 1].

    Cost:
        Time s r v; memory r v for each state that is kept.

    Example:
        >>> phi, psi = torch.ones(3, 1), torch.tensor([[1.0], [2.0], [6.0]])
        >>> [state.read(torch.ones(1)).item() for state in prefix(phi, psi)]
        [1.0, 1.5, 3.0]

    Source:
        Katharopoulos et al., "Transformers are RNNs", 2020, eq. 18 to 20.
    """
    shown = {"features": (features, "s r"), "values": (values, "s v")}
    if weight is not None:
        shown["weight"] = (weight, "s")
    check_shapes("prefix", shown)
    for name, (value, _) in shown.items():
        check_finite("prefix", name, value)
    if weight is not None and bool((weight < 0).any()):
        raise DataError(f"prefix: weight must be non-negative; got {float(weight.min()):g}")
    return _steps(features, values, weight, start, check_factor("prefix", decay))


def _steps(
    features: Tensor, values: Tensor, weight: Tensor | None, start: Prefix | None, decay: float
) -> Iterator[Prefix]:
    phi, psi = features.detach().double(), values.detach().double()
    fresh = Prefix(phi.new_zeros(phi.shape[1], psi.shape[1]), phi.new_zeros(phi.shape[1]))
    before = start or fresh
    state = Prefix(before.products.detach(), before.mass.detach())
    for step, (row, value) in enumerate(zip(phi, psi, strict=True)):
        scaled = row if weight is None else row * weight[step].detach().double()
        state = Prefix(
            state.products * decay + torch.outer(scaled, value), state.mass * decay + scaled
        )
        yield state
