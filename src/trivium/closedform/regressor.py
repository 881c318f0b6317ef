"""Linear regression as a conditional normal, with ridge chosen by exact leave-one-out."""

from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, DataError, NumericalError
from trivium.closedform.average import path_weights
from trivium.closedform.doors import check_dense, check_query, check_scores, check_weights
from trivium.closedform.lone import NEARLY, lone_rows
from trivium.closedform.path import Path, Point, log_prior, walk
from trivium.closedform.shrinkage import floor_of
from trivium.closedform.spectrum import Spectrum, power_of_two, spectrum_of_rows

__all__ = ["ClosedFormRegressor"]

_SMALL = 1e-300


def _leverages(rows: Tensor, weights: Tensor, inverse: Tensor) -> Tensor:
    """Diagonal of the hat matrix, the intercept's part included, per unit of weight."""
    return 1 / weights.sum() + rows.square() @ inverse


class ClosedFormRegressor(RegressorMixin, BaseEstimator):
    """Ridge regression whose ridge is averaged over by exact leave-one-out.

    If (x, y) is normal, E[y | x] = m_y + (x - m_x) (S + gI)^-1 C with S the scatter of x and C
    the cross scatter of x and y. Leaving out row i changes its residual e_i to
    `e_i / (1 - h_i)`, h_i the leverage with the intercept's part 1/n: exact. Ridges g on the path
    are averaged with weights `(leave-one-out error)^(-n/2)` times a weak prior.

    Args:
        ridge: `"loo"`, a number in squared units of X, or None.
        average: Average the rules along the ridge path, or take the best.

    Attributes:
        coef_: (d,), or (t, d) for t targets.
        intercept_: A number, or (t,).
        ridge_: The heaviest ridge.
        path_: Ridges, leave-one-out errors (of standardized targets) and weights.
        loo_prediction_: Prediction of each row by the rule without it (same ridges and weights).
        loo_error_: Their mean squared error.

    Cost:
        Time O(n d min(n, d) + 13 n min(n, d) t).

    Example:
        >>> X = [[0.0], [1.0], [2.0], [3.0]]
        >>> model = ClosedFormRegressor(ridge=None).fit(X, [1.0, 3.0, 5.0, 7.0])
        >>> [round(float(value), 6) for value in model.predict([[10.0]])]
        [21.0]

    Source:
        Golub, Heath and Wahba, Generalized cross-validation, 1979, equation 2.2 (leave-one-out).
    """

    def __init__(self, ridge: str | float | None = "loo", *, average: bool = True) -> None:
        self.ridge = ridge
        self.average = average

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "ClosedFormRegressor":
        """Fit to rows and targets.

        Args:
            X: Rows of finite numbers.
            y: One target a row, or several.
            sample_weight: How many times each row counts.

        Raises:
            DataError: Not numbers, not finite, lengths that differ, fewer than two rows, weights
                that are negative or all zero.
            ArgumentError: A choice that does not exist.
            NumericalError: Coefficients that float64 cannot hold.
        """
        rows, targets, weights = self._checked(X, y, sample_weight)
        single = targets.ndim == 1
        targets = targets.reshape(len(targets), -1)
        codes = torch.zeros(len(rows), dtype=torch.int64)
        spectrum, turned = spectrum_of_rows(rows, codes, weights, 1)
        size = power_of_two(float(targets.abs().max()))
        goal = targets / size
        middle = (goal * weights[:, None]).sum(0) / weights.sum()
        goal = goal - middle
        path, coef, left_out = self._solve(spectrum, turned, goal, weights)
        self.path_ = path
        slope = spectrum.basis.back(coef.mT)
        beta = slope / spectrum.unit * size
        self._center, self._unit = spectrum.center, spectrum.unit
        self._slope = slope * size
        self._middle = middle * size
        bias = self._middle - self._slope @ spectrum.center
        if not bool(torch.isfinite(beta).all() and torch.isfinite(bias).all()):
            raise NumericalError(
                "ClosedFormRegressor: coefficients leave the range of float64; the largest "
                f"absolute value of X is about {spectrum.unit:.3g}",
                remedy="Scale the columns.",
            )
        predicted = (left_out + middle) * size
        share = weights / weights.sum()
        error = ((predicted - targets) / size).square().sum(1) / targets.shape[1]
        self.loo_error_ = float((share @ error) * size * size)
        self.ridge_ = float(path.ridges[path.best]) * spectrum.unit * spectrum.unit
        self.coef_ = beta[0].numpy() if single else beta.numpy()
        self.intercept_ = float(bias[0]) if single else bias.numpy()
        self.loo_prediction_ = predicted[:, 0].numpy() if single else predicted.numpy()
        self._single = single
        return self

    def _checked(self, X: Any, y: Any, sample_weight: Any) -> tuple[Tensor, Tensor, Tensor]:
        caller = "ClosedFormRegressor.fit"
        check_dense(caller, X)
        try:
            rows, targets = validate_data(
                self,
                X,
                y,
                dtype=[np.float64, np.float32],
                multi_output=True,
                y_numeric=True,
                ensure_min_samples=2,
            )
        except ValueError as error:
            raise DataError(f"{caller}: {error}") from error
        weights = check_weights(caller, sample_weight, rows)
        if isinstance(self.ridge, str):
            check_choice("ClosedFormRegressor", "ridge", self.ridge, ("loo",))
        elif self.ridge is not None:
            check_number("ClosedFormRegressor", "ridge", self.ridge, "non-negative")
        if not isinstance(self.average, bool | np.bool_):
            raise ArgumentError(
                f"ClosedFormRegressor: average must be True or False; got {self.average!r}"
            )
        return (
            torch.from_numpy(np.array(rows, dtype=np.float64, order="C")),
            torch.from_numpy(np.array(targets, dtype=np.float64)),
            torch.from_numpy(weights),
        )

    def _solve(
        self, spectrum: Spectrum, rows: Tensor, goal: Tensor, weights: Tensor
    ) -> tuple[Path, Tensor, Tensor]:
        """Path, coefficients (r, t) in the eigenbasis, and leave-one-out predictions."""
        cross = rows.mT @ (goal * weights[:, None])
        removed = weights.clamp_max(1.0)
        spread = (weights @ goal.square()).clamp_min(torch.finfo(goal.dtype).tiny)
        share, total = weights[:, None] / goal.shape[1], float(weights.sum())

        def left_out(ridge: float) -> Tensor:
            inverse = 1 / (spectrum.values + ridge)
            residual = goal - rows @ (cross * inverse[:, None])
            slack = 1 - removed * _leverages(rows, weights, inverse)
            if bool((slack < NEARLY).any()):
                found = lone_rows(
                    spectrum, rows.square(), removed, torch.tensor([[ridge]]).to(rows), 1 / total
                )
                rest = found.rest[0]
                slack = torch.where(found.rows, removed * (rows.square() @ rest), slack)
                left = rows @ (cross * rest[:, None])
                residual = torch.where(found.rows[:, None], left, residual)
            return goal - residual / slack.clamp_min(_SMALL)[:, None]

        def evaluate(ridge: float) -> Point:
            error = float((share * (left_out(ridge) - goal).square() / spread).sum())
            loss = 0.5 * total * float(np.log(max(error, 1e-28)))
            return Point(ridge, 1.0, error, log_prior(ridge, spectrum.mean_variance) - loss)

        floor = floor_of(spectrum)
        if self.ridge == "loo":
            points = walk(lambda some: [evaluate(g) for g in some], spectrum.mean_variance, floor)
        else:
            asked = float(self.ridge or 0.0) / spectrum.unit / spectrum.unit
            smallest = float(spectrum.values.min()) if len(spectrum.values) else 0.0
            points = [evaluate(asked if smallest + asked > floor else floor)]
        logs = np.array([point.log_weight for point in points])
        path = Path(
            ridges=np.array([point.ridge for point in points]),
            scales=np.ones(len(points)),
            losses=np.array([point.loss for point in points]),
            weights=path_weights(logs, average=bool(self.average)),
            sharpness=1.0,
            unit=spectrum.unit,
        )
        ridges, levels = torch.from_numpy(path.ridges), torch.from_numpy(path.weights)
        coef = cross * (levels @ (1 / (spectrum.values + ridges[:, None])))[:, None]
        parts = [w * left_out(float(g)) for g, w in zip(ridges, levels, strict=True) if w > 0]
        return path, coef, torch.stack(parts).sum(0)

    def predict(self, X: Any) -> np.ndarray:
        """Predict the targets of rows."""
        check_is_fitted(self, "coef_")
        rows = check_query(self, "ClosedFormRegressor.predict", X)
        found = self._middle + (rows / self._unit - self._center) @ self._slope.mT
        check_scores("ClosedFormRegressor.predict", found)
        return found[:, 0].numpy() if self._single else found.numpy()
