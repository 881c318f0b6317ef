"""A linear readout of fixed features: ridge from one pass of moments, or softmax by L-BFGS."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from trivium._core.linalg import eigh_psd
from trivium.dependence.bottleneck_layers import standard_rows
from trivium.moment import CrossMoments

__all__ = ["READOUTS", "Readout"]

READOUTS = ("ridge", "softmax")
_RIDGES = torch.logspace(-6, 3, 19, dtype=torch.float64).tolist()
_DECAY = 2e-4
_LEAST_ERROR = 1e-6


@dataclass(frozen=True)
class Readout:
    """Logits of standardized rows: `sharpness (rows weightᵀ + bias)`.

    Args:
        weight: Weight of each class.
        bias: Bias of each class.
        ridge: Factor of the sum of squared weights beside the sum of errors over the rows.
        sharpness: What scores are multiplied by to be logits.
    """

    weight: Float[Tensor, "c m"]
    bias: Float[Tensor, " c"]
    ridge: float
    sharpness: float = 1.0

    def logits(self, outputs: Float[Tensor, "n *d"]) -> Float[Tensor, "n c"]:
        """Return the logits of a last layer's outputs, in float64."""
        scores = standard_rows(outputs).double() @ self.weight.mT + self.bias
        return self.sharpness * scores

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


def _ridge(rows: Float[Tensor, "n m"], targets: Float[Tensor, "n c"]) -> Readout:
    r"""Least squares on one-hot labels, ridge by generalized cross-validation on the moments.

    With v the eigenvalues of the scatter and t the cross scatter along its eigenvectors, the sum
    of squared errors at ridge r is what no weights explain plus
    $\sum_v t_v^2 / v \, (r / (v + r))^2$, and the degrees of freedom left are
    $n - 1 - \mathrm{rank} + \sum_v r / (v + r)$: sums of non-negative terms, exact also where
    rows are fewer than columns. With f the fitted scores and $\sigma^2$ the error per class
    that cross-validation expects, $p_k \propto \exp(-\lVert f - e_k \rVert^2 / 2 \sigma^2)$,
    so the logits are $f / \sigma^2$.
    """
    moments = CrossMoments(rows.shape[1], targets.shape[1]).update(rows, targets)
    values, vectors = eigh_psd("HSICBottleneck.fit", moments.scatter_x)
    kept = values > len(values) * torch.finfo(values.dtype).eps * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    turned = vectors.mT @ moments.cross
    explained = turned.square().sum(1) / values
    free = len(rows) - 1 - len(values)
    outside = float((moments.scatter_y.trace() - explained.sum()).clamp_min(0)) if free > 0 else 0.0
    scale = float(values.mean()) if len(values) else 1.0
    best, error = scale, float("inf")
    for ridge in _RIDGES:
        left = ridge * scale / (values + ridge * scale)
        freedom = free + float(left.sum())
        guess = len(rows) * (outside + float((explained * left.square()).sum())) / freedom**2
        if guess < error:
            best, error = ridge * scale, guess
    # Contiguous, as it is when read from a file: the same products, the same bits.
    weight = (vectors @ (turned / (values + best)[:, None])).mT.contiguous()
    bias = moments.mean_y - weight @ moments.mean_x
    return Readout(weight, bias, best, targets.shape[1] / max(error, _LEAST_ERROR))


def _softmax(rows: Float[Tensor, "n m"], targets: Float[Tensor, "n c"]) -> Readout:
    """Multinomial regression with a small weight decay, to convergence."""
    codes = targets.argmax(1)
    weight = rows.new_zeros(targets.shape[1], rows.shape[1], requires_grad=True)
    bias = rows.new_zeros(targets.shape[1], requires_grad=True)
    search = torch.optim.LBFGS(
        [weight, bias],
        max_iter=500,
        tolerance_grad=1e-8,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        search.zero_grad()
        loss = nn.functional.cross_entropy(rows @ weight.mT + bias, codes)
        loss = loss + _DECAY / 2 * weight.square().sum()
        loss.backward()
        return float(loss.detach())

    search.step(closure)
    return Readout(weight.detach(), bias.detach(), _DECAY * len(rows))
