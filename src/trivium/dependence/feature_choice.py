"""Feature maps for a pair of variables, fixed from a sample."""

import torch
from torch import Tensor

from trivium._core.errors import ArgumentError
from trivium.kernel import (
    Coordinates,
    Delta,
    FeatureMap,
    Kernel,
    Linear,
    Nystroem,
    OneHot,
    OrthogonalFourier,
    RandomFourier,
)

__all__ = ["FEATURES", "check_fitted", "features_of", "fitted_map"]

FEATURES = ("auto", "nystroem", "fourier", "orthogonal")
_LEFT_OUT = {torch.float64: 1e-6, torch.float32: 1e-5}  # share of the trace; rounding is below it


def fitted_map(
    rows: Tensor, kernel: Kernel, features: str, n_features: int, seed: int
) -> FeatureMap:
    """Return a fitted map of a resolved kernel.

    Args:
        rows: Sample, `(n, d)`.
        kernel: Kernel.
        features: `"auto"`: exact features where the kernel has them, else `"nystroem"`, landmarks
            by incomplete Cholesky, as few as leave out less than 1e-6 of the trace (1e-5 in
            float32); `"fourier"`; `"orthogonal"`.
        n_features: Most features.
        seed: Seed.

    Raises:
        ArgumentError: The kernel has no such features.
    """
    if features == "auto" and isinstance(kernel, Delta):
        return OneHot(kernel=kernel, n_features=n_features).fit(rows, seed)
    if features == "auto" and isinstance(kernel, Linear):
        return Coordinates(kernel=kernel, n_features=n_features).fit(rows, seed)
    if features in ("fourier", "orthogonal"):
        maker = RandomFourier if features == "fourier" else OrthogonalFourier
        return maker(kernel=kernel, n_features=n_features + n_features % 2).fit(rows, seed)
    factor = kernel.factor(rows, n_features, _LEFT_OUT.get(_precision(rows), 1e-5), seed)
    rank = max(1, factor.values.shape[1])
    return Nystroem(kernel=kernel, n_features=rank, landmarks="greedy").fit(rows, seed)


def check_fitted(caller: str, name: str, feature_map: FeatureMap) -> FeatureMap:
    """Return a feature map that is fitted and whose rows are values.

    Raises:
        ArgumentError: It is not.
    """
    if not isinstance(feature_map, FeatureMap):
        raise ArgumentError(
            f"{caller}: {name} must be a feature map of trivium.kernel; got "
            f"{type(feature_map).__name__}",
            remedy=f"{caller}.like takes a sample and kernels.",
        )
    if feature_map.n_columns is None:
        raise ArgumentError(
            f"{caller}: {name} must be fitted, so that it is the same everywhere; got "
            f"{feature_map!r}",
            remedy="Use the map that fit(x) returns.",
        )
    if feature_map.kernel.inputs == "matrix":
        raise ArgumentError(
            f"{caller}: {name} must map values, which mean the same in every part; got row "
            f"numbers of a stored matrix"
        )
    return feature_map


def features_of(feature_map: FeatureMap, rows: Tensor) -> tuple[Tensor, float]:
    """Return the features of rows, and the sum of the kernel's diagonal over them.

    Landmarks in float64 raise rows in float32 to float64, as their inverse has no fewer digits.
    """
    points = getattr(feature_map, "points", None)
    if isinstance(points, Tensor) and points.is_floating_point():
        rows = rows.to(torch.promote_types(rows.dtype, points.dtype))
    found: Tensor = feature_map.transform(rows)
    return found, float(feature_map.kernel.diagonal(rows).sum(dtype=torch.float64))


def _precision(rows: Tensor) -> torch.dtype:
    return rows.dtype if rows.is_floating_point() else torch.get_default_dtype()
