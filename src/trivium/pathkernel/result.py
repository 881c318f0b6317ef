"""What a question to a recording returns: signed contributions of the training rows."""

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor

from trivium._core.checks import check_choice, require
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError
from trivium.pathkernel.completeness import check_complete, tolerance
from trivium.pathkernel.grouped import Grouped, Groups, grouped
from trivium.pathkernel.result_saved import load_attribution, save_attribution
from trivium.pathkernel.result_text import describe
from trivium.pathkernel.top import Top
from trivium.pathkernel.waterfall import draw_waterfall

__all__ = ["Accounting", "Attribution", "Counterfactual"]

_FRAMES = ("pandas", "polars", "pyarrow")
_Kind = TypeVar("_Kind", bound="Attribution")


@dataclass(frozen=True, repr=False)
class Attribution:
    """Contributions of training rows to a quantity of some rows.

    Attributes:
        ids: The training rows' ids, n of them.
        contributions: `(q, n)`, in float64; positive where the row pushed the quantity up.
        steps: The rows' total of each step, `(t, q)`.
        layers: Names of the layers.
        layer_totals: The rows' total of each layer, `(l, q)`.
        before: The quantity before the training, `(q,)`.
        after: The quantity after it, `(q,)`.
        dtype: In which the model was trained; it sets the tolerance of the completeness.
        of: The quantity, in a word.
        remainders: What no row made, by name, each `(q,)`.
        lengths: How long the row's gradients were, all steps together, `(n,)`.
        completeness_error: How far the sums are apart that must be equal, relative.
    """

    ids: Sequence[Hashable]
    contributions: Tensor
    steps: Tensor
    layers: Sequence[str]
    layer_totals: Tensor
    before: Tensor
    after: Tensor
    dtype: torch.dtype = torch.float32
    of: str = "value"
    remainders: dict[str, Tensor] = field(default_factory=dict)
    lengths: Tensor | None = None
    completeness_error: float = field(init=False, default=0.0)

    question: ClassVar[str] = ""
    caution: ClassVar[str] = ""

    @property
    def remainder(self) -> Tensor:
        """What no row made, `(q,)`."""
        total = torch.zeros(len(self.contributions), dtype=torch.float64)
        return sum(self.remainders.values(), total)

    @property
    def tolerance(self) -> float:
        """The completeness error that is allowed: 1e-4 in float32, 1e-10 in float64."""
        return tolerance(self.dtype)

    @property
    def absolute(self) -> Tensor:
        """Sum of the absolute contributions, `(q,)`."""
        return self.contributions.abs().sum(1)

    def top(self, k: int = 5, row: int = 0) -> Top:
        """Return the k largest contributions for and the k largest against, and their share.

        Args:
            k: Rows on each side.
            row: Which of the rows asked about.

        Returns:
            Printable; it says what share of all absolute contributions the shown rows hold, since
            these add up to many times the net change.

        Raises:
            ArgumentError: There is no such row, or k is not positive.
        """
        self._check_row("top", row)
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ArgumentError(f"top: k must be a positive integer; got {k!r}")
        return Top.of(self.ids, self.contributions[row], k, row)

    def by(self, groups: Groups) -> Grouped:
        """Return the signed and the absolute total of each group of training rows.

        Args:
            groups: A label for each row in the order of `ids`, or a mapping or function from an id
                to a label.

        Raises:
            ShapeError: Another number of labels than rows.
            ArgumentError: A row without a label.
        """
        return grouped("by", self.ids, self.contributions, groups)

    def timeline(self) -> Tensor:
        """Return how much the rows of each step added, `(t, q)`; it sums to the rows' total."""
        return self.steps

    def by_layer(self) -> dict[str, Tensor]:
        """Return how much the rows moved the quantity through each layer, `(q,)` each."""
        return dict(zip(self.layers, self.layer_totals, strict=True))

    def normalized(self) -> Tensor:
        """Return contributions over the length of the row's own gradients, `(q, n)`.

        For retrieval: raw contributions name the same few rows, those with the longest gradients,
        for everyone. Each query is scaled to a largest absolute value of 1.

        Raises:
            ArgumentError: The lengths are not known, as where rows share their batch's moments.
        """
        if self.lengths is None:
            raise ArgumentError(
                "normalized: the rows' own gradients must be known; they are not where rows share "
                "their batch's moments",
                remedy='Ask again with credit="activation".',
            )
        known = self.lengths > 0
        found = torch.where(known, self.contributions / self.lengths.where(known, 1.0), 0.0)
        largest = found.abs().amax(1, keepdim=True)
        return found / largest.where(largest > 0, 1.0)

    def plot(
        self,
        row: int = 0,
        k: int = 5,
        groups: Groups | None = None,
        ax: Any = None,
    ) -> Any:
        """Draw a signed waterfall from the value before the training to the value after it.

        Args:
            row: Which of the rows asked about.
            k: Training rows shown on each side; the others are one bar.
            groups: Show groups instead, as for `by`.
            ax: Where to draw; a new figure by default.

        Returns:
            The axes.

        Raises:
            ArgumentError: There is no such row, k is not positive, or a row has no group.
            ShapeError: Another number of labels than rows.
            MissingExtraError: matplotlib is not installed (extra `plot`).
        """
        shown = self.top(k, row)
        if groups is None:
            names = [f"row {one}" if isinstance(one, int) else str(one) for one, _ in shown.rows]
            moves = list(zip(names, [value for _, value in shown.rows], strict=True))
            rest = shown.net - sum(value for _, value in shown.rows)
            others = len(self.ids) - len(shown.rows)
            moves += [(f"all {counted(others, 'other row')}", rest)] if others else []
        else:
            moves = self.by(groups).totals_of(row)
        moves += [(name, float(value[row])) for name, value in self.remainders.items()]
        title = f"{self.of} of row {row}: {self.question}"
        before, after = float(self.before[row]), float(self.after[row])
        return draw_waterfall(type(self).__name__, before, moves, after, title, ax)

    def to_frame(self, row: int | None = None, backend: str = "pandas") -> Any:
        """Return a table with the columns `query`, `id`, `contribution`.

        Args:
            row: Only this one of the rows asked about; all by default.
            backend: `"pandas"`, `"polars"` or `"pyarrow"`.

        Raises:
            ArgumentError: No such row or backend.
            MissingExtraError: The package is not installed; pyarrow always is.
        """
        import narwhals as nw

        check_choice("to_frame", "backend", backend, _FRAMES)
        require(backend, "test", f"to_frame(backend={backend!r})")
        rows = range(len(self.contributions)) if row is None else [row]
        for one in rows:
            self._check_row("to_frame", one)
        n = len(self.ids)
        data = {
            "query": [one for one in rows for _ in range(n)],
            "id": list(self.ids) * len(rows),
            "contribution": self.contributions[list(rows)].reshape(-1).tolist(),
        }
        chosen: Any = backend
        return nw.from_dict(data, backend=chosen).to_native()

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file that runs no code: safetensors with a checksum.

        Raises:
            ArgumentError: An id is neither an integer nor a string.
            OutputError: It cannot be written.
            ResourceError: The disk is full.
        """
        save_attribution(path, self)

    @classmethod
    def load(cls: type[_Kind], path: str | os.PathLike[str]) -> _Kind:
        """Read what `save` wrote.

        Raises:
            ModelError: Missing, damaged, or the answer to another question.
            NumericalError: What it holds is not complete.
        """
        kinds: dict[str, Any] = {one.__name__: one for one in (Accounting, Counterfactual)}
        return load_attribution(path, cls, kinds)

    def summary(self) -> str:
        """Say in words and figures what this is, what it is not, and whether it adds up."""
        return describe(self)

    __repr__ = summary

    def _check_row(self, caller: str, row: int) -> None:
        if isinstance(row, bool) or not isinstance(row, int) or not 0 <= row < len(self.before):
            raise ArgumentError(f"{caller}: row must be in [0, {len(self.before)}); got {row!r}")


@dataclass(frozen=True, repr=False)
class Accounting(Attribution):
    r"""Which rows made this value during this training: complete, and no counterfactual.

    $f_T - f_0 = \sum_i C_i + r$, checked when built; `completeness_error` is what both sides miss
    each other by, over the size of the change.

    Raises:
        NumericalError: They miss each other by more than the tolerance.
    """

    question: ClassVar[str] = "which rows made this value during this training"
    caution: ClassVar[str] = (
        "It is an accounting, not a counterfactual: it does not say what the value would be "
        "without a row; ask recording.without for that."
    )

    def __post_init__(self) -> None:
        change = self.after - self.before
        found = check_complete(
            "made",
            self.contributions.sum(1) + self.remainder,
            change,
            self.absolute,
            self.dtype,
            "contributions and remainder must add up to the change",
        )
        object.__setattr__(self, "completeness_error", found)


@dataclass(frozen=True, repr=False)
class Counterfactual(Attribution):
    r"""What the value would lose without a row, to first order through the whole training.

    $C_i = \partial f(\theta_T) / \partial w_i$, with the weight $w_i$ of row i's loss terms at 1.
    These are derivatives and need not add up to the change: what they leave of it is a remainder
    of that name. What must agree, and is checked when built, is their sum over the rows and over
    the steps, where the batches' own gradients are used.

    Raises:
        NumericalError: The two sums miss each other by more than the tolerance.
    """

    question: ClassVar[str] = "what if this row had not been there"
    caution: ClassVar[str] = (
        "It is a first-order counterfactual, not an accounting: the numbers need not add up to "
        "the change, and without several rows at once their interplay is missed."
    )

    def __post_init__(self) -> None:
        rest = self.after - self.before - self.contributions.sum(1)
        object.__setattr__(self, "remainders", {"not first-order in the rows": rest})
        found = check_complete(
            "without",
            self.contributions.sum(1),
            self.steps.sum(0),
            self.absolute,
            self.dtype,
            "the rows' contributions must add up to those of the steps",
        )
        object.__setattr__(self, "completeness_error", found)
