"""Laws that every feature map keeps."""

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor

from trivium._core.errors import ArgumentError, TriviumError
from trivium.kernel.feature_map import FeatureMap
from trivium.testing.gradient_law import check_gradient
from trivium.testing.kernel_rows import kernel_rows

__all__ = ["FEATURE_MAP_LAWS", "check_feature_map"]

Law = Callable[[FeatureMap, Tensor], None]


def _holds(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(message)


def _kernel_of(features: Tensor) -> Tensor:
    return features @ features.mT


def seed_decides(feature_map: FeatureMap, x: Tensor) -> None:
    """One seed gives the same bits; `fit` leaves the map itself as it was."""
    before = repr(feature_map)
    one, two = feature_map.fit(x, 5).transform(x), feature_map.fit(x, 5).transform(x)
    _holds(torch.equal(one, two), "two fits with one seed differ")
    _holds(repr(feature_map) == before, "fit changed the map itself")


def rows_alone(feature_map: FeatureMap, x: Tensor) -> None:
    """Each row's features depend on that row only, and are n_features wide."""
    fitted = feature_map.fit(x, 5)
    whole = fitted.transform(x)
    _holds(whole.shape == (len(x), fitted.n_features), f"features have shape {whole.shape}")
    _holds(fitted.n_features <= feature_map.n_features, "wider than asked for")
    gap = float((whole[2:5] - fitted.transform(x[2:5])).abs().max())
    _holds(gap <= 1e-9 * max(1.0, float(whole.abs().max())), f"rows see each other: {gap:.3g}")


def dtype_kept(feature_map: FeatureMap, x: Tensor) -> None:
    """Features keep the rows' floating type and device, and float32 is close to float64."""
    if not x.is_floating_point():
        return
    exact = _kernel_of(feature_map.fit(x, 5).transform(x))
    features = feature_map.fit(x.float(), 5).transform(x.float())
    _holds(features.dtype == torch.float32, f"features are {features.dtype} from float32 rows")
    _holds(features.device == x.device, f"features moved to {features.device}")
    gap = float((_kernel_of(features).double() - exact).abs().max()) / float(exact.abs().max())
    _holds(gap <= 2e-3, f"float32 differs from float64 by {gap:.3g}")


def unbiased_over_seeds(feature_map: FeatureMap, x: Tensor) -> None:
    """Averaged over seeds, an unbiased map gives the kernel.

    False alarm below 1e-6 (Hoeffding over independent fits); a bias above about 0.04 k(0) is seen.
    """
    if not feature_map.unbiased:
        return
    rows, n_fits, width = x[:8], 8, 8192
    wide = dataclasses.replace(feature_map, n_features=width)
    total = sum(_kernel_of(wide.fit(rows, seed).transform(rows)) for seed in range(n_fits))
    exact = feature_map.kernel.gram(rows)
    scale = float(exact.diagonal().max())
    bound = math.sqrt(2 * math.log(2 * len(rows) ** 2 / 1e-6) / (n_fits * width / 2))
    gap = float((total / n_fits - exact).abs().max()) / scale
    _holds(gap <= bound, f"mean over seeds is off by {gap:.3g} k(0), beyond {bound:.3g}")


def consistent(feature_map: FeatureMap, x: Tensor) -> None:
    """More features bring the kernel: 16 times the width at least halves the error.

    Random maps divide it by four on average over the seeds taken here.
    """
    if not feature_map.unbiased:
        return
    exact = feature_map.kernel.gram(x)
    errors = []
    for width in (64, 1024):
        sized = dataclasses.replace(feature_map, n_features=width)
        squares = [
            float((_kernel_of(sized.fit(x, seed).transform(x)) - exact).square().mean())
            for seed in range(6)
        ]
        errors.append(math.sqrt(sum(squares) / len(squares)))
    _holds(errors[1] <= errors[0] / 2, f"error goes from {errors[0]:.3g} to {errors[1]:.3g}")


def interpolates(feature_map: FeatureMap, x: Tensor) -> None:
    """An interpolating map is exact at its landmarks, below the kernel elsewhere, exact in full."""
    if not feature_map.interpolates:
        return
    fitted = feature_map.fit(x, 5)
    points = getattr(fitted, "points", None)
    if not isinstance(points, Tensor):
        raise AssertionError("an interpolating map must keep its landmarks as `points`")
    exact = fitted.kernel.gram(x)
    slack = 1e-7 * float(exact.abs().max())
    at_points = fitted.kernel.gram(points)
    gap = float((_kernel_of(fitted.transform(points)) - at_points).abs().max())
    _holds(gap <= slack, f"off by {gap:.3g} at the landmarks")
    left = exact - _kernel_of(fitted.transform(x))
    lowest = float(torch.linalg.eigvalsh((left + left.mT) / 2)[0])
    _holds(lowest >= -len(x) * slack, f"overshoots the kernel: eigenvalue {lowest:.3g}")
    full = dataclasses.replace(feature_map, n_features=len(x)).fit(x, 5)
    gap = float((_kernel_of(full.transform(x)) - exact).abs().max())
    _holds(gap <= slack, f"off by {gap:.3g} with every row a landmark")


def gradient_agrees(feature_map: FeatureMap, x: Tensor) -> None:
    """Features are differentiable in the rows where the kernel is."""
    if not feature_map.kernel.differentiable:
        return
    # A sinusoidal code has two features for each column at least.
    width = max(4, 2 * x[0].numel())
    small = dataclasses.replace(feature_map, n_features=width).fit(x, 5)
    # Away from the landmarks: a kernel may have a kink at distance zero.
    rows = (x[:3] + 0.123).detach().double().requires_grad_()
    check_gradient(small.transform, (rows,))


def misuse_refused(feature_map: FeatureMap, x: Tensor) -> None:
    """A map that is not fitted, other columns and NaN are refused with our own errors."""
    fitted = feature_map.fit(x, 5)
    broken = x.clone()
    if x.is_floating_point():
        broken.reshape(-1)[0] = float("nan")
    cases: list[tuple[str, Callable[[], Tensor]]] = [
        ("an unfitted map", lambda: feature_map.transform(x)),
        ("other columns", lambda: fitted.transform(x[:, :1].repeat(1, 7))),
        ("no rows", lambda: fitted.transform(x[:0])),
    ]
    if x.is_floating_point():
        cases.append(("NaN", lambda: fitted.transform(broken)))
    for name, call in cases:
        try:
            call()
        except TriviumError:
            continue
        raise AssertionError(f"accepts {name}")
    try:
        dataclasses.replace(feature_map, n_features=0)
    except ArgumentError:
        return
    raise AssertionError("accepts n_features = 0")


FEATURE_MAP_LAWS: tuple[Law, ...] = (
    seed_decides,
    rows_alone,
    dtype_kept,
    unbiased_over_seeds,
    consistent,
    interpolates,
    gradient_agrees,
    misuse_refused,
)


def check_feature_map(feature_map: FeatureMap, x: Tensor | None = None) -> None:
    """Hold a feature map to every law in `FEATURE_MAP_LAWS`.

    Args:
        feature_map: An instance that is not fitted.
        x: At least eight rows that its kernel can serve; drawn by `kernel_rows` when left out.

    Raises:
        AssertionError: A law is broken; the message names the law and the figure.

    Example:
        >>> from trivium.kernel import Gaussian, Nystroem
        >>> check_feature_map(Nystroem(kernel=Gaussian(1.0), n_features=8))
    """
    rows = kernel_rows(feature_map.kernel) if x is None else x
    for law in FEATURE_MAP_LAWS:
        try:
            law(feature_map, rows)
        except AssertionError as error:
            raise AssertionError(f"law {law.__name__}: {feature_map!r}: {error}") from error
