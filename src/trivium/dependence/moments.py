"""HSIC, its alignment and its p-value from moments: one pass, any partition, any machine."""

import os
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, DataError
from trivium._core.random import RandomState, check_seed
from trivium.dependence.feature_choice import FEATURES, check_fitted, fitted_map
from trivium.dependence.fourth import Fourth
from trivium.dependence.map_saved import check_same
from trivium.dependence.moments_read import alignment, estimate, readable, tail_test, tell_residual
from trivium.dependence.moments_rows import add_rows, take_away
from trivium.dependence.moments_saved import (
    plain_moments,
    read_moments,
    whole_moments,
    write_moments,
)
from trivium.dependence.pair import as_pair
from trivium.dependence.result import TestResult
from trivium.kernel import FeatureMap, Kernel

__all__ = ["HSICMoments"]


class HSICMoments:
    r"""HSIC of two variables with fixed features, from moments that merge and un-merge exactly.

    With features $\varphi(x)$ and $\psi(y)$ that do not depend on the rows, HSIC is
    $\lVert \mathrm{cov}(\varphi, \psi) \rVert^2$, and all that its null distribution needs is in
    one scatter of the features and of their squared distances from the mean: the eigenvalues of
    both kernels and $\sum_i \lVert \varphi_i - \bar\varphi \rVert^4$, hence the exact mean and
    variance over all permutations. So the statistic *and* its p-value can be had from rows that
    nobody holds together. Nothing of a single row is kept.

    Args:
        features_x: Fitted feature map of `trivium.kernel`: landmarks (`Nystroem`), frequencies
            (`RandomFourier`, `OrthogonalFourier`), levels (`OneHot`), `Coordinates`; or see `like`.
        features_y: The same for y.

    Raises:
        ArgumentError: Not a fitted feature map, or one of row numbers.

    Cost:
        Time n (r + s)² / 2 and the features; memory (r + s)² and one block of at most 4 MiB of
        features, whatever n is.

    Example:
        >>> import numpy as np
        >>> x = np.linspace(-1, 1, 60)
        >>> first, second = (HSICMoments.like(x, x**2) for _ in range(2))
        >>> total = first.update(x[:25], x[:25] ** 2) + second.update(x[25:], x[25:] ** 2)
        >>> total.count, bool(total.test().p_value < 1e-4)
        (60, True)

    Source:
        Gretton et al., Measuring statistical dependence with Hilbert-Schmidt norms (2005); Pébay,
        SAND2008-6212 (2008); Kazi-Aoual et al., Computational Statistics and Data Analysis 20
        (1995).
    """

    def __init__(self, features_x: FeatureMap, features_y: FeatureMap) -> None:
        self.features_x = check_fitted("HSICMoments", "features_x", features_x)
        self.features_y = check_fitted("HSICMoments", "features_y", features_y)
        self._held = Fourth.empty(features_x.n_features, features_y.n_features)

    @classmethod
    def like(
        cls,
        x_sample: Any,
        y_sample: Any,
        kernel_x: Kernel | str = "auto",
        kernel_y: Kernel | str = "auto",
        n_features: int = 128,
        features: str = "auto",
        random_state: RandomState = 0,
    ) -> "HSICMoments":
        """Return moments of no rows, their kernels and features fixed from a sample.

        The sample is not added, and no part of it is kept but landmarks and levels.

        Args:
            x_sample: Some rows of x, of the precision of those to come.
            y_sample: As many rows of y.
            kernel_x: A kernel, or `"auto"` as for `hsic`.
            kernel_y: The same for y.
            n_features: Most features of each side.
            features: `"auto"`: levels for `Delta`, the rows for `Linear`, else `"nystroem"`: as
                few landmarks as leave out less than 1e-6 of the sample's trace. `"fourier"` or
                `"orthogonal"`: random frequencies, which hold wherever later rows fall.
            random_state: Seed.

        Raises:
            ArgumentError: A choice breaks its rule, or a kernel has no such features.
            ShapeError: Samples that do not match.
            DataError: Fewer than 4 rows, a value that is not finite, or a constant sample.
        """
        caller = "HSICMoments.like"
        check_choice(caller, "features", features, FEATURES)
        count = int(check_number(caller, "n_features", n_features, "positive", integer=True))
        seed = check_seed(random_state)
        pair = as_pair(caller, x_sample, y_sample, kernel_x, kernel_y)
        if pair.constant:
            raise DataError(
                f"{caller}: {pair.constant[0]}_sample must vary; got equal rows",
                remedy="A sample of more rows, or feature maps of your own.",
            )
        first = fitted_map(pair.x, pair.kernel_x, features, count, seed)
        return cls(first, fitted_map(pair.y, pair.kernel_y, features, count, seed))

    @property
    def _maps(self) -> tuple[FeatureMap, FeatureMap]:
        return self.features_x, self.features_y

    @property
    def count(self) -> int:
        """Rows."""
        return self._held.count

    @property
    def residual(self) -> tuple[float, float]:
        """Share of each kernel's trace that its features leave out, over the rows held.

        It shows landmarks that do not cover the rows. Random frequencies have the whole trace;
        their error, about r^(-1/2) in each entry of the Gram matrix, does not show here.
        """
        return self._held.residual

    def __repr__(self) -> str:
        """Say how much is held."""
        sizes = (self.features_x.n_features, self.features_y.n_features)
        return f"HSICMoments({sizes[0]} by {sizes[1]} features, {self.count} rows)"

    @torch.no_grad()
    def update(self, x: Any, y: Any = None) -> "HSICMoments":
        """Add rows: all of them, or on an error none.

        Args:
            x: One column or several: numpy, torch (any device with float64), sparse, Arrow, a
                Dask array; or an iterable of blocks `(x, y)`.
            y: As many rows beside a matrix.

        Raises:
            ArgumentError: No y, or rows with weights, with which the null would not hold.
            ShapeError: Lengths or numbers of columns that differ.
            DataError: Not numbers, or a value that is not finite; the row is named.
            NumericalError: Fourth powers of the features overflow.
        """
        self._held = add_rows("HSICMoments.update", x, y, self._maps, self._held)
        return self

    @torch.no_grad()
    def downdate(self, x: Any, y: Any = None) -> "HSICMoments":
        """Take away rows that were added before: all of them, or on an error none.

        Raises:
            DataError: As `update`; or the rows were never added, as far as sums can tell.
            ArgumentError: As `update`.
            ShapeError: As `update`.
            NumericalError: As `update`.
        """
        caller = "HSICMoments.downdate"
        nothing = Fourth.empty(self.features_x.n_features, self.features_y.n_features)
        part = add_rows(caller, x, y, self._maps, nothing)
        self._held = take_away(caller, self._held, part)
        return self

    def merge(self, other: "HSICMoments") -> "HSICMoments":
        """Add the rows of `other`, exactly, without seeing them.

        Raises:
            ArgumentError: Not HSIC moments, or other feature maps, to the last bit.
        """
        caller = "HSICMoments.merge"
        if not isinstance(other, HSICMoments):
            raise ArgumentError(f"{caller}: other must be HSICMoments; got {type(other).__name__}")
        check_same(caller, "features_x", self.features_x, other.features_x)
        check_same(caller, "features_y", self.features_y, other.features_y)
        self._held = self._held.plus(other._held)
        return self

    def __add__(self, other: "HSICMoments") -> "HSICMoments":
        """Return the moments of the rows of both."""
        return self.copy().merge(other)

    def __radd__(self, other: int) -> "HSICMoments":
        """Let `sum(parts)` start from 0."""
        return self.copy() if other == 0 else NotImplemented

    def copy(self) -> "HSICMoments":
        """Return moments of the same rows that share nothing that changes."""
        new = type(self).__new__(type(self))
        vars(new).update(vars(self))
        return new

    def statistic(self, estimator: str = "unbiased") -> float:
        """Return HSIC of the features' kernels, to rounding as `hsic` from their Gram matrices.

        Args:
            estimator: `"unbiased"`, `"biased"` or `"n-1"`, as for `hsic`.

        Raises:
            ArgumentError: An unknown choice.
            DataError: Fewer than 4 rows.

        Warns:
            TriviumWarning: A variable is constant (the result is 0).
        """
        held = readable("HSICMoments.statistic", self._held, estimator, "the result is 0")
        return 0.0 if held is None else estimate(held, estimator)

    def cka(self, estimator: str = "unbiased") -> float:
        """Return the centered kernel alignment, HSIC on a scale up to 1; debiased by default.

        Args:
            estimator: As for `statistic`.

        Raises:
            ArgumentError: An unknown choice.
            DataError: Fewer than 4 rows.

        Warns:
            TriviumWarning: A variable is constant (the result is 0).
        """
        held = readable("HSICMoments.cka", self._held, estimator, "the result is 0")
        return 0.0 if held is None else alignment(held, estimator)

    def test(self) -> TestResult:
        """Test independence by the saddlepoint tail of the weighted chi-square.

        The eigenvalues, the statistic and the exact mean and variance over all permutations are
        those of the complete features, as `hsic_tails` has them. Asymptotic in n: not exact
        at small n, as the shifts of `independence_test` are, but deep in the tail.

        Raises:
            DataError: Fewer than 4 rows.

        Warns:
            TriviumWarning: A variable is constant (p = 1), or landmarks leave more than a tenth of
                a kernel's trace out.

        Cost:
            O(r³ + s³) and O(r s) for each of about 60 steps, whatever the number of rows.
        """
        started = time.process_time()
        caller = "HSICMoments.test"
        varying = readable(caller, self._held, "unbiased", "p = 1") is not None
        if varying:
            tell_residual(caller, self.residual)
        found = tail_test(self._held, self._maps, constant=not varying)
        return replace(found, residual=max(self.residual), seconds=time.process_time() - started)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Take moments and feature maps apart into tensors and what JSON can hold.

        Raises:
            ArgumentError: A feature map or a kernel is not one of `trivium.kernel`.
        """
        return plain_moments("HSICMoments.state", self._held, self._maps)

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "HSICMoments":
        """Put together what `state` took apart.

        Raises:
            ModelError: Something is missing or does not fit together.
        """
        return cls._of(*whole_moments("HSICMoments.from_state", tensors, about))

    @classmethod
    def _of(cls, held: Fourth, maps: tuple[FeatureMap, FeatureMap]) -> "HSICMoments":
        new = cls(*maps)
        new._held = held
        return new

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write moments and feature maps to a safetensors file, whole or not at all.

        Raises:
            OutputError: It cannot be written; what was there before is intact.
            ResourceError: The disk is full; what was there before is intact.
            ArgumentError: A feature map or a kernel is not one of `trivium.kernel`.
        """
        write_moments(path, self._held, self._maps)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "HSICMoments":
        """Read what `save` wrote; everything is checked before it is used, and nothing can run.

        Raises:
            ModelError: Missing, damaged, or not HSIC moments.
        """
        return cls._of(*read_moments(path))
