"""The score of a row as an exact sum over training rows: the dual form of the closed form.

The weight of class k is `w_k = A m_k` with `m_k = Σ_{i in k} ω_i (x_i - m) / ω_k`, m the grand
mean and A the averaged inverse of the ridged scatter. So the score of a query x is

    s_k(x) = Σ_{i in k} φ_i(x) + b_k,   φ_i(x) = ω_i (x_i - m)ᵀ A (x - m) / ω_{y_i},

with nothing left over. A and the biases b are taken as given: what is attributed is the row's
part in its class mean, not its small part in the scatter, the temperature and the biases (for
those, `what_if` refits without the row). Centering on the grand mean makes φ independent of where
the origin lies, and Σ_k ω_k m_k = 0: a query at the grand mean owes nothing to any row.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from trivium._core.errors import ArgumentError

__all__ = ["Influence", "influence_of"]


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


def influence_of(
    queries: Tensor, rows: Tensor, metric: Tensor, codes: Tensor, share: Tensor
) -> Tensor:
    """Return `(q, n)` products `queries diag(metric) rowsᵀ`, each row times its share of its class.

    Cost: O(q n r).
    """
    return queries @ (rows * metric * share[codes][:, None]).mT
