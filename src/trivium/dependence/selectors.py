"""Column selectors with scikit-learn's interface: by test, by lasso, by greedy redundancy."""

from typing import Any

import numpy as np
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.random import RandomState, check_seed
from trivium.dependence.column_products import ColumnProducts, target_features
from trivium.dependence.columns import DependenceColumn
from trivium.dependence.lasso import lasso_path
from trivium.dependence.mrmr import greedy_mrmr
from trivium.dependence.screen import screen
from trivium.dependence.selector_base import Selector, say_if_few

__all__ = ["HSICLasso", "HSICScreen", "HSICmRMR"]


class HSICScreen(Selector):
    """Select the columns that the target depends on, tested one at a time.

    Every column has a p-value from `trivium.dependence.screen`, valid at every sample size; those
    with a q-value of at most `fdr` are selected, or the `k` with the smallest p-values. A repeat of
    a good column is as good: `HSICLasso` and `HSICmRMR` leave repeats out.

    Args:
        k: Number of columns to select, whatever their p-values, exactly as many when as many vary;
            by default as many as pass.
        fdr: Expected share of false discoveries among the columns selected by `k=None`.
        n_permutations: Shifts of the first group, as for `screen`.
        correction: `"bh"` (Benjamini-Hochberg) or `"by"` (any dependence).
        target: `"number"`, `"category"` or `"auto"`: text, booleans and integers with at most 64
            levels that repeat are categories, everything else numbers.
        random_state: Seed.

    Attributes:
        scores_: Debiased centered kernel alignment of each column with y.
        p_values_: p-value of each column; 1 for a constant one.
        q_values_: After false-discovery control.
        support_: Which columns are selected.
        table_: The `DependenceTable`, its columns named by a data frame's names or by their places.

    Cost: That of `screen`.

    Example:
        >>> import numpy as np
        >>> X = np.random.default_rng(0).normal(size=(150, 5))
        >>> HSICScreen().fit(X, X[:, 3] ** 2).get_support(indices=True).tolist()
        [3]

    Source: Gretton et al., A kernel statistical test of independence (2007).
    """

    def __init__(
        self,
        k: int | None = None,
        fdr: float = 0.05,
        *,
        n_permutations: int = 1000,
        correction: str = "bh",
        target: str = "auto",
        random_state: RandomState = 0,
    ) -> None:
        self.k = k
        self.fdr = fdr
        self.n_permutations = n_permutations
        self.correction = correction
        self.target = target
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> "HSICScreen":
        """Test every column against y.

        Args:
            X: Numbers, NaN for missing (a level of its own).
            y: Numbers or labels, none missing.

        Raises:
            DataError: Not numbers, infinite, lengths that differ, fewer than four rows, constant y.
            ArgumentError: An argument breaks its rule.

        Warns:
            TriviumWarning: Constant columns, or fewer that vary than are wanted.
        """
        columns, target = self.checked(X, y)
        caller = "HSICScreen.fit"
        wanted = 0
        if self.k is not None:
            wanted = int(check_number(caller, "k", self.k, "positive", integer=True))
        fdr = check_number(caller, "fdr", self.fdr, "in (0, 1)")
        names = getattr(self, "feature_names_in_", range(len(columns)))
        named = [
            DependenceColumn(str(name), "number", column.numpy())
            for name, column in zip(names, columns, strict=True)
        ]
        table = screen(
            named,
            target,
            fdr=fdr,
            n_permutations=self.n_permutations,
            correction=self.correction,
            random_state=check_seed(self.random_state),
        )
        self.table_ = table
        self.scores_ = np.array([row.cka for row in table.rows])
        self.p_values_ = np.array([row.p_value for row in table.rows])
        self.q_values_ = np.array([row.q_value for row in table.rows])
        if self.k is None:
            self.support_ = self.q_values_ <= fdr
            return self
        first = columns[:, :1]
        varies = ~((columns == first) | (columns.isnan() & first.isnan())).all(1).numpy()
        say_if_few(self, "k", wanted, int(varies.sum()))
        best = np.lexsort((-self.scores_, self.p_values_, ~varies))[:wanted]
        self.support_ = varies & np.isin(np.arange(len(varies)), best)
        return self


class _Chooser(Selector):
    """Select a fixed number of columns from their kernels' products."""

    def __init__(
        self, n_features: int = 10, *, target: str = "auto", lengthscale: str | float = "median"
    ) -> None:
        self.n_features = n_features
        self.target = target
        self.lengthscale = lengthscale

    def _products(self, X: Any, y: Any) -> tuple[ColumnProducts, Tensor, int]:
        """Features of the columns, alignment of each with y, and how many to choose."""
        caller = f"{type(self).__name__}.fit"
        wanted = int(check_number(caller, "n_features", self.n_features, "positive", integer=True))
        if isinstance(self.lengthscale, str):
            check_choice(caller, "lengthscale", self.lengthscale, ("median",))
        else:
            check_number(caller, "lengthscale", self.lengthscale, "positive")
        columns, target = self.checked(X, y)
        products = ColumnProducts(columns, self.lengthscale)
        relevance = products.alignment(target_features(target, self.lengthscale))
        return products, relevance, wanted

    def _publish(self, relevance: Tensor, order: tuple[int, ...], scores: Any) -> None:
        self.relevance_ = relevance.numpy()
        self.order_ = np.array(order, dtype=np.int64)
        self.scores_ = scores
        self.support_ = np.isin(np.arange(len(scores)), self.order_)


class HSICLasso(_Chooser):
    r"""Select columns that together explain the target, leaving out those that repeat others.

    The non-negative lasso on centered kernels scaled to norm 1,
    $\min_{\alpha \ge 0} \tfrac12 \lVert \bar L - \sum_k \alpha_k \bar K_k \rVert_F^2 + \lambda
    \sum_k \alpha_k$, along its whole path until `n_features` columns are in it. Kernels are
    compared by products of their features; no Gram matrix is formed.

    Args:
        n_features: Number of columns to select: exactly as many when as many vary.
        target: `"number"`, `"category"` or `"auto"`: text, booleans and integers with at most 64
            levels that repeat are categories, everything else numbers.
        lengthscale: Of the Gaussian kernels: `"median"` of each column's own distances, or a number
            of standard deviations (1 is what pyHSICLasso has).

    Attributes:
        scores_: Coefficients at the end of the path, 0 for columns that are not selected.
        relevance_: Centered kernel alignment of each column with y, alone.
        order_: The selected columns in the order in which they entered.
        support_: Which columns are selected.
        path_: The `LassoPath`: penalties, coefficients, and how many columns were filled in
            because the path ended before.

    Cost: O(n d r² + n d r r_s s) time for s columns seen, r features a column (about 14); O(n d r)
    memory.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(200, 4))
        >>> X = np.column_stack([x, 2.54 * x[:, 0]])  # the last is the first in other units
        >>> HSICLasso(2).fit(X, x[:, 0] + np.abs(x[:, 1])).get_support(indices=True).tolist()
        [0, 1]

    Source: Yamada, Jitkrittum, Sigal, Xing and Sugiyama, High-dimensional feature selection by
    feature-wise kernelized lasso, Neural Computation 26 (2014) 185, equation 5.
    """

    def fit(self, X: Any, y: Any) -> "HSICLasso":
        """Walk the path.

        Args:
            X: Numbers, NaN for missing (a level of its own).
            y: Numbers or labels, none missing.

        Raises:
            DataError: Not numbers, infinite, lengths that differ, fewer than four rows, constant y.
            ArgumentError: An argument breaks its rule.

        Warns:
            TriviumWarning: Fewer columns vary than are wanted.
        """
        products, relevance, wanted = self._products(X, y)
        say_if_few(self, "n_features", wanted, int((~products.constant).sum()))
        self.path_ = lasso_path(relevance, products.column, wanted, ~products.constant)
        self._publish(relevance, self.path_.order, self.path_.coefficients[-1].numpy())
        return self


class HSICmRMR(_Chooser):
    """Select columns one by one: much dependence on the target, little on those chosen before.

    Each step adds the column with the largest alignment with y minus its mean alignment with the
    columns chosen before, alignment being normalized HSIC.

    Args:
        n_features: Number of columns to select: exactly as many when as many vary.
        target: As for `HSICLasso`.
        lengthscale: The same.

    Attributes:
        scores_: Relevance minus redundancy when the column was chosen, -inf for the others.
        relevance_: Centered kernel alignment of each column with y, alone.
        order_: The selected columns in the order chosen.
        support_: Which columns are selected.

    Cost: O(n d r² + n d r² s) time for s columns, O(n d r) memory.

    Example:
        >>> import numpy as np
        >>> x = np.random.default_rng(0).normal(size=(200, 4))
        >>> X = np.column_stack([x, 2.54 * x[:, 0]])  # the last is the first in other units
        >>> HSICmRMR(2).fit(X, x[:, 0] + np.abs(x[:, 1])).get_support(indices=True).tolist()
        [0, 1]

    Source: Peng, Long and Ding, IEEE TPAMI 27 (2005) 1226, equation 7.
    """

    def fit(self, X: Any, y: Any) -> "HSICmRMR":
        """Choose the columns.

        Args:
            X: As for `HSICLasso.fit`, with its errors and warnings.
            y: The same.
        """
        products, relevance, wanted = self._products(X, y)
        say_if_few(self, "n_features", wanted, int((~products.constant).sum()))
        order, gains = greedy_mrmr(relevance, products.column, wanted, ~products.constant)
        scores = np.full(len(products), -np.inf)
        scores[list(order)] = gains
        self._publish(relevance, order, scores)
        return self
