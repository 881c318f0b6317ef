"""The score of a row as an exact sum over training rows: the dual form of the closed form.

The weight of class k is `w_k = A m_k` with `m_k = Σ_{i in k} ω_i (x_i - m) / ω_k`, m the grand
mean and A the averaged inverse of the ridged scatter. So the score of a query x is

    s_k(x) = Σ_{i in k} φ_i(x) + b_k,   φ_i(x) = ω_i (x_i - m)ᵀ A (x - m) / ω_{y_i},

with nothing left over. A and the biases b are taken as given: what is attributed is the row's
part in its class mean, not its small part in the scatter, the temperature and the biases (for
those, `what_if` refits without the row). Centering on the grand mean makes φ independent of where
the origin lies, and Σ_k ω_k m_k = 0: a query at the grand mean owes nothing to any row.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.closedform.fitting import Sample
from trivium.closedform.learned import Learned

__all__ = ["Influence", "explain"]


@dataclass(frozen=True)
class Influence:
    """Exact contributions of training rows to the scores of queries.

    Args:
        contributions: (q, n); what row i adds to the score of its own class.
        codes: (n,) class of each training row, as a position in `classes`.
        intercept: (K,) what is left of each score without any row.
        classes: The labels.
        completeness_error: Largest difference of the sums and `decision_function`, relative to
            the largest score or 1.

    Example:
        >>> from trivium.closedform import ClosedFormClassifier
        >>> X = [[0.0], [1.0], [4.0], [5.0]]
        >>> found = ClosedFormClassifier().fit(X, [0, 0, 1, 1]).influence([[0.5], [6.0]])
        >>> found.contributions.shape, found.completeness_error < 1e-6
        ((2, 4), True)
    """

    contributions: np.ndarray
    codes: np.ndarray
    intercept: np.ndarray
    classes: np.ndarray
    completeness_error: float

    def _sums(self) -> np.ndarray:
        member = np.eye(len(self.classes))[self.codes]
        return self.contributions @ member

    def scores(self) -> np.ndarray:
        """Return (q, K) logits, mean zero over classes: sums of contributions plus intercept."""
        sums = self._sums() + self.intercept
        return sums - sums.mean(1, keepdims=True)

    def toward(self, label: object) -> np.ndarray:
        """Return (q, n) contributions to the mean-zero logit of one class.

        A row of that class counts `1 - 1/K` of its contribution, any other `-1/K`: rows of other
        classes oppose where they resemble the query. The sum over rows plus the intercept is the
        logit of `decision_function`.
        """
        share = (self.codes == self._code(label)) - 1 / len(self.classes)
        return self.contributions * share

    def margin(self, first: object, second: object) -> np.ndarray:
        """Return (q, n) contributions to the difference of the logits of two classes."""
        a, b = self._code(first), self._code(second)
        sign = (self.codes == a).astype(float) - (self.codes == b)
        return self.contributions * sign

    def _code(self, label: object) -> int:
        found = np.flatnonzero(self.classes == label)
        if len(found) != 1:
            raise ArgumentError(
                f"Influence: the class must be one of {self.classes.tolist()}; got {label!r}"
            )
        return int(found[0])


def _contributions(learned: Learned, sample: Sample, queries: Tensor) -> Tensor:
    """Return `(q, n)` products `(x - m)ᵀ A (x_i - m)`, each row times its share of its class."""
    spectrum, path = learned.spectrum, learned.path
    codes = sample.rows.codes
    levels = torch.from_numpy(path.sharpness * path.scales * path.weights)
    inverse = 1 / (spectrum.values + torch.from_numpy(path.ridges)[:, None])
    metric = spectrum.counts.sum() * (levels @ inverse)
    share = path.pull.keep(spectrum.counts) / spectrum.counts.clamp_min(1e-300)
    rows = sample.coordinates(spectrum) * (sample.weights * share[codes])[:, None]
    return spectrum.coordinates(queries) @ (rows * metric).mT


def explain(learned: Learned, queries: Tensor, classes: np.ndarray) -> Influence:
    """Say exactly what each row of the fit adds to the scores of `queries`.

    Raises:
        ArgumentError: The rule is a blend (not linear in the rows).

    Cost: O(q n r).
    """
    if not learned.head.linear or learned.sample is None:
        raise ArgumentError(
            "ClosedFormClassifier.influence needs a linear rule; this one is a blend",
            remedy='Fit with covariance="shared".',
        )
    full = np.zeros((len(queries), learned.n_rows))
    codes = np.zeros(learned.n_rows, dtype=np.int64)
    full[:, learned.kept] = _contributions(learned, learned.sample, queries).numpy()
    codes[learned.kept] = learned.sample.rows.codes.numpy()
    bias = torch.nan_to_num(learned.head.bias, neginf=0.0).numpy()
    found = Influence(full, codes, bias, classes, 0.0)
    wanted = learned.head.logits(queries).numpy()
    error = np.abs(found.scores() - wanted).max(initial=0.0)
    scale = max(1.0, np.abs(wanted).max(initial=0.0))
    return replace(found, completeness_error=float(error / scale))
