"""The moments of changed labels and dropped rows, by up- and down-dating, not by a new pass.

Moving weight in and out of class k changes its count N to N', its mean m to m' and the scatter by

    W' = W + Σ_in (z - m)(z - m)ᵀ - Σ_out (z - m)(z - m)ᵀ - Σ_k N'_k (m'_k - m_k)(m'_k - m_k)ᵀ,

rank (changed rows + classes). All in the coordinates of the old eigenbasis, in which every row of
the fit lies.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError
from trivium._core.linalg import eigh_psd
from trivium.closedform.fitting import Sample
from trivium.closedform.learned import Learned, learn
from trivium.closedform.leave_one_out import LeftOut
from trivium.closedform.spectrum import Spectrum

__all__ = ["Change", "check_change", "relearn", "updated"]


@dataclass(frozen=True)
class Change:
    """Rows whose class changes, and rows that go.

    Args:
        codes: New class of every row.
        kept: Which rows stay.
    """

    codes: Int[Tensor, " n"]
    kept: Bool[Tensor, " n"]


def _check_rows(rows: Any, name: str, n_rows: int) -> np.ndarray:
    index = np.atleast_1d(np.asarray(rows))
    if index.size == 0:
        return np.empty(0, dtype=np.int64)
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise ArgumentError(f"what_if: {name} must be row numbers; got {rows!r}")
    if index.min() < 0 or index.max() >= n_rows:
        bad = int(index.min() if index.min() < 0 else index.max())
        raise ArgumentError(f"what_if: {name} must be in [0, {n_rows}); got {bad}")
    if len(np.unique(index)) < len(index):
        raise ArgumentError(f"what_if: {name} must be distinct; got {rows!r}")
    return index.astype(np.int64)


def check_change(rows: Any, labels: Any, drop: Any, codes: Tensor, classes: np.ndarray) -> Change:
    """Check a change against the rows of a fit.

    Raises:
        ArgumentError: A row that does not exist or is named twice, labels that do not match the
            rows in number, or a label that no row of the fit has.
    """
    changed = _check_rows(rows, "rows", len(codes))
    dropped = _check_rows(drop, "drop", len(codes))
    if np.intersect1d(changed, dropped).size:
        raise ArgumentError("what_if: a row must be in rows or in drop; got one in both")
    given = np.empty(0, classes.dtype) if labels is None else np.atleast_1d(np.asarray(labels))
    if len(given) != len(changed):
        raise ArgumentError(
            f"what_if: labels must be one for each of {counted(len(changed), 'row')}; got "
            f"{len(given)}"
        )
    new, kept = codes.clone(), torch.ones(len(codes), dtype=torch.bool)
    known = {label: code for code, label in enumerate(classes.tolist())}
    for row, label in zip(changed.tolist(), given.tolist(), strict=True):
        if label not in known:
            raise ArgumentError(
                f"what_if: labels must be among the classes {list(known)[:20]}; got {label!r}"
            )
        new[row] = known[label]
    kept[torch.from_numpy(dropped)] = False
    return Change(new, kept)


def updated(
    spectrum: Spectrum,
    rows: Float[Tensor, "n r"],
    codes: Int[Tensor, " n"],
    weights: Float[Tensor, " n"],
    change: Change,
) -> tuple[Spectrum, Tensor]:
    """Return the spectrum after a change, and the residuals of the kept rows in its basis.

    Args:
        spectrum: Spectrum of the fit.
        rows: Rows of the fit in the coordinates of its eigenbasis.
        codes: Their classes.
        weights: Their weights.
        change: What changes.

    Cost: O(k r² + r³ + n r²) for k changed rows; the last term turns the residuals.
    """
    leaves = ~change.kept | (change.codes != codes)
    enters = change.kept & leaves
    moved = torch.cat((rows[leaves], rows[enters]))
    where = torch.cat((codes[leaves], change.codes[enters]))
    signed = torch.cat((-weights[leaves], weights[enters]))
    counts = spectrum.counts.index_add(0, where, signed)
    counts = torch.where(counts > 1e-12 * spectrum.total, counts, 0.0)
    away = moved - spectrum.means[where]
    shift = torch.zeros_like(spectrum.means).index_add_(0, where, away * signed[:, None])
    shift = torch.where((counts > 0)[:, None], shift / counts.clamp_min(1e-300)[:, None], 0.0)
    scatter = torch.diag(spectrum.values) + away.mT @ (away * signed[:, None])
    scatter = scatter - shift.mT @ (shift * counts[:, None])
    means = spectrum.means + shift
    center = (means * counts[:, None]).sum(0) / counts.sum()
    values, vectors = eigh_psd("what_if", scatter)
    residual = (rows - means[change.codes])[change.kept] @ vectors
    means = torch.where((counts > 0)[:, None], means - center, 0.0)
    new = Spectrum(
        spectrum.center + spectrum.basis.back(center[None])[0],
        spectrum.unit,
        spectrum.basis.rotated(vectors),
        values,
        means @ vectors,
        counts,
    )
    return new, residual


def relearn(learned: Learned, rows: Any, labels: Any, drop: Any, classes: np.ndarray) -> Learned:
    """Return what would be learned with other labels or without some rows, on the same path.

    Raises:
        ArgumentError: As `check_change`; or the fit had rows of weight zero.
    """
    sample = learned.sample
    if sample is None or len(learned.kept) < learned.n_rows:
        raise ArgumentError("ClosedFormClassifier.what_if: fit without rows of weight 0 first")
    codes = sample.rows.codes
    change = check_change(rows, labels, drop, codes, classes)
    coordinates = sample.coordinates(learned.spectrum)
    spectrum, residual = updated(learned.spectrum, coordinates, codes, sample.weights, change)
    weights = sample.weights[change.kept]
    left_out = LeftOut(residual, change.codes[change.kept], weights.clamp_max(1.0))
    return learn(spectrum, Sample(left_out, weights), learned.rule, learned.path)
