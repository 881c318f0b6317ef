"""A linear readout of fixed features: ridge from one pass of moments, or softmax by L-BFGS."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.linalg import eigh_psd
from trivium.moment import CrossMoments

__all__ = ["READOUTS", "Readout", "standard_rows"]

READOUTS = ("ridge", "softmax")
_RIDGES = torch.logspace(-6, 3, 19, dtype=torch.float64).tolist()
_DECAY = 1e-4


def standard_rows(outputs: Float[Tensor, "n *d"]) -> Float[Tensor, "n m"]:
    """Flatten each row and give it mean 0 and variance 1."""
    flat = outputs.reshape(len(outputs), -1)
    return torch.nn.functional.layer_norm(flat, flat.shape[1:])


@dataclass(frozen=True)
class Readout:
    """Logits `rows weightᵀ + bias` of standardised rows.

    Args:
        weight: Weight of each class.
        bias: Bias of each class.
    """

    weight: Float[Tensor, "c m"]
    bias: Float[Tensor, " c"]

    def logits(self, outputs: Float[Tensor, "n *d"]) -> Float[Tensor, "n c"]:
        """Return the logits of a last layer's outputs, in float64."""
        return standard_rows(outputs).double() @ self.weight.mT + self.bias

    @classmethod
    def fit(
        cls, kind: str, outputs: Float[Tensor, "n *d"], targets: Float[Tensor, "n c"]
    ) -> "Readout":
        """Fit to outputs of a last layer and one-hot labels.

        Args:
            kind: `"ridge"` or `"softmax"`.
            outputs: What the last layer gives.
            targets: One-hot labels.
        """
        rows = standard_rows(outputs).double()
        return _ridge(rows, targets.double()) if kind == "ridge" else _softmax(rows, targets)


def _ridge(rows: Tensor, targets: Tensor) -> Readout:
    r"""Least squares on one-hot labels, ridge by generalized cross-validation on the moments.

    With f the fitted scores and $\sigma^2$ the error per class that cross-validation expects,
    $p_k \propto \exp(-\lVert f - e_k \rVert^2 / 2 \sigma^2)$, so the logits are $f / \sigma^2$.
    """
    moments = CrossMoments(rows.shape[1], targets.shape[1]).update(rows, targets)
    values, vectors = eigh_psd("HSICBottleneck.fit", moments.scatter_x)
    turned = vectors.mT @ moments.cross
    total = moments.scatter_y.trace()
    scale = float(values.mean().clamp_min(torch.finfo(values.dtype).tiny))
    best, error = torch.zeros_like(turned), float("inf")
    for ridge in _RIDGES:
        solved = turned / (values + ridge * scale)[:, None]
        inner = 2 * (solved * turned).sum() - (values[:, None] * solved.square()).sum()
        freedom = 1 + float((values / (values + ridge * scale)).sum())
        left = max(1.0, len(rows) - freedom)
        guess = float((total - inner).clamp_min(0)) * len(rows) / left**2
        if guess < error:
            best, error = vectors @ solved, guess
    sharpness = targets.shape[1] / max(error, 1e-6)
    weight = best.mT * sharpness
    return Readout(weight, moments.mean_y * sharpness - weight @ moments.mean_x)


def _softmax(rows: Tensor, targets: Tensor) -> Readout:
    """Multinomial regression with a small weight decay, to convergence."""
    codes = targets.argmax(1)
    weight = rows.new_zeros(targets.shape[1], rows.shape[1], requires_grad=True)
    bias = rows.new_zeros(targets.shape[1], requires_grad=True)
    search = torch.optim.LBFGS(
        [weight, bias], max_iter=200, tolerance_grad=1e-6, line_search_fn="strong_wolfe"
    )

    def closure() -> float:
        search.zero_grad()
        loss = torch.nn.functional.cross_entropy(rows @ weight.mT + bias, codes)
        loss = loss + _DECAY * weight.square().sum()
        loss.backward()
        return float(loss.detach())

    search.step(closure)
    return Readout(weight.detach(), bias.detach())
