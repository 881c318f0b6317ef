"""Sums about a shift, per group: what is added, taken away, moved and merged.

For group k with shift c_k the state holds the weight w_k = Σ w_i, the first sums
s_k = Σ w_i (x_i − c_k) and the second sums P = Σ w_i (x_i − c_k)(x_i − c_k)ᵀ, pooled over groups or
one for each. Equal shifts add; another shift is reached exactly by

    s_k ← s_k + w_k Δ_k,    P ← P + Σ_k (s_k Δ_kᵀ + Δ_k s_kᵀ + w_k Δ_k Δ_kᵀ),    Δ_k = c_k − c_k′

which with c = mean is the pairwise formula of Chan, Golub and LeVeque (1979) and Pébay (2008).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from trivium.moment.products import group_sums, mirror, symmetric_product

__all__ = ["Sums", "block_sums"]

_CACHED = 100_000  # numbers squared at a time, so that they stay in the processor's cache
_DRIFT = 16.0  # a block this many variances away from its shift is taken about its own means


@dataclass
class Sums:
    """Counts, weights, shifts, first and second sums of k groups (mutable, internal).

    Args:
        count: Rows of each group, int64.
        weight: Σ w_i of each group.
        shift: c_k.
        first: s_k.
        second: P, lower triangle; `(d, d)` pooled or `(k, d, d)`.
    """

    count: Int[Tensor, " k"]
    weight: Float[Tensor, " k"]
    shift: Float[Tensor, "k d"]
    first: Float[Tensor, "k d"]
    second: Float[Tensor, "..."]

    @classmethod
    def zeros(
        cls, k: int, d: int, *, classwise: bool, dtype: torch.dtype, device: torch.device
    ) -> "Sums":
        """Return the sums of no rows."""
        shape = (k, d, d) if classwise else (d, d)
        return cls(
            torch.zeros(k, dtype=torch.int64, device=device),
            torch.zeros(k, dtype=dtype, device=device),
            torch.zeros(k, d, dtype=dtype, device=device),
            torch.zeros(k, d, dtype=dtype, device=device),
            torch.zeros(shape, dtype=dtype, device=device),
        )

    @property
    def classwise(self) -> bool:
        """Whether each group keeps its own second sums."""
        return self.second.ndim == 3

    def without_rows(self) -> "Sums":
        """Return sums of no rows over the same groups, their second sums not yet made."""
        zero = torch.zeros_like(self.first)
        return Sums(
            torch.zeros_like(self.count),
            torch.zeros_like(self.weight),
            self.shift,
            zero,
            self.second.new_empty(0),
        )

    def tensors(self) -> dict[str, Tensor]:
        """Name to tensor."""
        return {
            "count": self.count,
            "weight": self.weight,
            "shift": self.shift,
            "first": self.first,
            "second": self.second,
        }

    def clone(self) -> "Sums":
        """Return a copy that shares nothing."""
        return Sums(**{name: value.clone() for name, value in self.tensors().items()})

    def to(self, dtype: torch.dtype, device: torch.device) -> "Sums":
        """Return the sums in another dtype, on another device; the counts stay integers."""
        moved = {name: value.to(device, dtype) for name, value in self.tensors().items()}
        return Sums(**{**moved, "count": self.count.to(device)})

    def spread(self, index: Int[Tensor, " k"], n_groups: int) -> "Sums":
        """Return the sums over `n_groups` groups, group i of these standing at `index[i]`."""
        k, d = self.first.shape
        if n_groups == k and bool((index == torch.arange(k, device=index.device)).all()):
            return self
        out = Sums.zeros(
            n_groups, d, classwise=self.classwise, dtype=self.first.dtype, device=self.first.device
        )
        for name, value in self.tensors().items():
            if name != "second" or self.classwise:
                getattr(out, name)[index] = value
        if not self.classwise:
            out.second = self.second
        return out

    def offset(self) -> Float[Tensor, "k d"]:
        """Mean of each group minus its shift; zero for a group without weight."""
        weight = self.weight[:, None]
        return torch.where(weight > 0, self.first / torch.where(weight > 0, weight, 1.0), 0.0)

    def centered(self) -> Float[Tensor, "..."]:
        """Scatter about the group means, full and symmetric."""
        offset = self.offset()
        if self.classwise:
            return mirror(self.second) - self.first[:, :, None] * offset[:, None, :]
        return mirror(self.second - self.first.mT @ offset)

    def centered_diagonal(self) -> Float[Tensor, "..."]:
        """Diagonal of `centered()`, at O(k d)."""
        lost = self.first * self.offset()
        diagonal = self.second.diagonal(dim1=-2, dim2=-1)
        return diagonal - (lost if self.classwise else lost.sum(0))

    def move(self, shift: Float[Tensor, "k d"]) -> "Sums":
        """Return the same sums about another shift."""
        if torch.equal(shift, self.shift):
            return self
        step = self.shift - shift
        weighted = self.weight[:, None] * step
        half = self.first + weighted / 2
        products = half[:, :, None] * step[:, None, :] if self.classwise else half.mT @ step
        second = self.second + products + products.mT
        return Sums(self.count, self.weight, shift.clone(), self.first + weighted, second)

    def rebase(self, stale: float, dtype: torch.dtype) -> None:
        """Move the shift to the mean where it is more than sqrt(`stale`) deviations away.

        Args:
            stale: Squared distance, in variances.
            dtype: The new shift is a number of this dtype.
        """
        lost = self.first * self.offset()
        lost = lost if self.classwise else lost.sum(0)
        if bool((lost > stale * self.centered_diagonal().clamp_min(0)).any()):
            shift = (self.shift + self.offset()).to(dtype).to(self.shift)
            moved = self.move(shift)
            self.shift, self.first, self.second = moved.shift, moved.first, moved.second

    def scale_(self, factor: float) -> "Sums":
        """Multiply every weight by `factor`, in place; the counts stay."""
        self.weight *= factor
        self.first *= factor
        self.second *= factor
        return self

    def add_(self, other: "Sums", sign: int = 1) -> "Sums":
        """Add (sign 1) or take away (sign −1) sums about the same shifts, in place."""
        self.count += sign * other.count
        self.weight += sign * other.weight
        self.first += sign * other.first
        self.second += sign * other.second
        return self


def block_sums(
    rows: Float[Tensor, "b d"],
    codes: Int[Tensor, " b"],
    weight: Float[Tensor, " b"] | None,
    state: Sums,
) -> Sums:
    """Sums of one block over the groups of `state`, about the state's shifts.

    A group that has no weight in `state` yet takes the mean of its rows here as its shift, in
    `state` too. The product is made in the dtype of the rows. Where the rows have drifted far
    from the shift, it is made about their own means and moved in float64.

    Cost:
        O(b d²) for the product, O(b d) for the rest.
    """
    k, home = len(state.weight), state.first
    scale = None if weight is None else weight.to(rows.dtype)
    _set_new_shifts(rows, codes, scale, state)
    part = state.without_rows()
    part.count = torch.bincount(codes, minlength=k).to(home.device)
    part.weight = _group_weights(codes, weight, k, torch.float64).to(home)
    part.shift = state.shift.to(rows.device, rows.dtype).to(home)
    shifted, part.first = _shifted(rows, codes, scale, part.shift)
    if _drifted(shifted, part, state):
        part.shift = (part.shift + part.offset()).to(rows.dtype).to(home)
        shifted, part.first = _shifted(rows, codes, scale, part.shift)
    second = _second(shifted, codes, k) if state.classwise else symmetric_product(shifted)
    part.second = second.to(home)
    return part.move(state.shift)


def _set_new_shifts(rows: Tensor, codes: Tensor, scale: Tensor | None, state: Sums) -> None:
    new = (state.weight <= 0).to(rows.device)
    picked = new[codes]
    if not bool(picked.any()):
        return
    if not bool(picked.all()):
        rows, codes = rows[picked], codes[picked]
        scale = None if scale is None else scale[picked]
    k = len(state.weight)
    total = _group_weights(codes, scale, k, rows.dtype)
    means = group_sums(rows, codes, scale, k) / torch.where(total > 0, total, 1)[:, None]
    found = (total > 0).to(state.shift.device)
    state.shift[found] = means.to(state.shift)[found]
    state.first[found] = 0


def _group_weights(codes: Tensor, weight: Tensor | None, k: int, dtype: torch.dtype) -> Tensor:
    if weight is None:
        return torch.bincount(codes, minlength=k).to(dtype)
    return torch.zeros(k, dtype=dtype, device=codes.device).index_add_(0, codes, weight.to(dtype))


def _shifted(
    rows: Tensor, codes: Tensor, scale: Tensor | None, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Rows minus the shift of their group, times the root of their weight; and first sums."""
    k, local = len(shift), shift.to(rows.device, rows.dtype)
    if k == 1:
        shifted = rows - local
    else:
        shifted = torch.index_select(local, 0, codes)
        torch.sub(rows, shifted, out=shifted)
    first = group_sums(shifted, codes, scale, k).to(shift)
    if scale is not None:
        shifted *= scale.sqrt()[:, None]
    return shifted, first


def _second(shifted: Tensor, codes: Tensor, k: int) -> Tensor:
    """One product for each group, over its rows only."""
    d = shifted.shape[1]
    out = shifted.new_zeros(k, d, d)
    order = torch.argsort(codes, stable=True)
    sizes = torch.bincount(codes, minlength=k).tolist()
    for group, index in enumerate(order.split(sizes)):
        if len(index):
            out[group] = symmetric_product(shifted[index])
    return out


def _drifted(shifted: Tensor, part: Sums, state: Sums) -> bool:
    """Whether a float32 product about the shift would lose digits of the variance in the block."""
    rows = max(1, _CACHED // shifted.shape[1])
    raw = torch.stack([piece.square().sum(0) for piece in shifted.split(rows)]).sum(0)
    raw = raw.to(part.first)
    own = (raw - (part.first * part.offset()).sum(0)).clamp_min(0)
    n, met = len(shifted), int((part.count > 0).sum())
    if n >= 2 * met:
        return bool((raw > _DRIFT * own * (n / max(1, n - met))).any())
    # Too few rows of each group to tell from the block alone.
    diagonal = state.centered_diagonal()
    known = (diagonal.sum(0) if state.classwise else diagonal).clamp_min(0)
    share = part.weight.sum() / state.weight.sum().clamp_min(part.weight.sum())
    return bool((raw > _DRIFT * (own + known * share)).any())
