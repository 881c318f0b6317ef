"""What `label_issues` returns: rows by falling suspicion."""

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trivium._core.checks import check_choice, require
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ModelError
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.pathkernel.result_saved import saved_ids

__all__ = ["LabelIssues"]

_KIND = "trivium.pathkernel.label_issues/1"
_FRAMES = ("pandas", "polars", "pyarrow")
_TENSORS = ("scores", "labels", "suggested")
_WORDS = {
    "margin": "minus the run's average log-odds of the own label",
    "support": "minus what other rows made of the own label's log-odds, on average",
    "self": "mean squared length of the row's own gradient",
}
_INK = "#2f5d8a"


@dataclass(frozen=True, repr=False)
class LabelIssues:
    """Training rows and how much the training contradicts their labels.

    Attributes:
        ids: The rows, in the order of the recording.
        scores: Suspicion, higher is more, `(n,)`.
        labels: As trained on, `(n,)`.
        suggested: The class beside the label that the run found likeliest on average, `(n,)`.
        score: Which score.
    """

    ids: Sequence[Hashable]
    scores: Tensor
    labels: Tensor
    suggested: Tensor
    score: str

    @property
    def order(self) -> Tensor:
        """Places of the rows, the most suspicious first, `(n,)`."""
        return self.scores.argsort(descending=True, stable=True)

    @property
    def ranked(self) -> list[Hashable]:
        """Ids, the most suspicious first."""
        return [self.ids[i] for i in self.order.tolist()]

    def to_frame(self, backend: str = "pandas") -> Any:
        """Return a table with the columns `id`, `score`, `label`, `suggested`, ranked.

        Args:
            backend: `"pandas"`, `"polars"` or `"pyarrow"`.

        Raises:
            ArgumentError: No such backend.
            MissingExtraError: The package is not installed; pyarrow always is.
        """
        import narwhals as nw

        chosen: Any = check_choice("to_frame", "backend", backend, _FRAMES)
        require(backend, "test", f"to_frame(backend={backend!r})")
        order = self.order
        data = {
            "id": self.ranked,
            "score": self.scores[order].tolist(),
            "label": self.labels[order].tolist(),
            "suggested": self.suggested[order].tolist(),
        }
        return nw.from_dict(data, backend=chosen).to_native()

    def plot(self, k: int = 15, ax: Any = None) -> Any:
        """Draw the k most suspicious rows over the spread of all.

        Args:
            k: Rows shown.
            ax: Where to draw; a new figure by default.

        Returns:
            The axes.

        Raises:
            ArgumentError: k is not positive.
            MissingExtraError: matplotlib is not installed (extra `plot`).
        """
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ArgumentError(f"plot: k must be a positive integer; got {k!r}")
        pyplot = require("matplotlib.pyplot", "plot", "LabelIssues.plot")
        shown = self.order[:k].tolist()
        if ax is None:
            _, ax = pyplot.subplots(figsize=(7, 1.6 + 0.28 * len(shown)), layout="constrained")
        places = list(range(len(shown)))
        low, middle, high = self.scores.quantile(self.scores.new_tensor([0.05, 0.5, 0.95])).tolist()
        ax.axvspan(low, high, color="0.92", zorder=0, label="5 to 95 % of all rows")
        ax.axvline(middle, color="0.6", linewidth=0.8, label="median of all rows")
        ax.scatter(
            self.scores[shown].tolist(),
            places,
            color=_INK,
            zorder=3,
        )
        names = [f"{self.ids[i]}: {int(self.labels[i])} → {int(self.suggested[i])}" for i in shown]
        ax.set_yticks(places, names)
        ax.set_ylim(len(shown) - 0.4, -0.6)
        ax.set_xlabel(_WORDS[self.score])
        ax.set_title("row: label → suggested", fontsize=10, loc="left")
        ax.legend(frameon=False, fontsize=8, loc="lower right")
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
        return ax

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file that runs no code.

        Raises:
            ArgumentError: An id is neither an integer nor a string.
            OutputError: It cannot be written.
            ResourceError: The disk is full.
        """
        about = {"ids": saved_ids("save", self.ids), "score": self.score}
        write_tensors("save", path, _KIND, {name: getattr(self, name) for name in _TENSORS}, about)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "LabelIssues":
        """Read what `save` wrote.

        Raises:
            ModelError: Missing, damaged or of another kind.
        """
        tensors, about = read_tensors("load", path, _KIND)
        if set(tensors) != set(_TENSORS) or not {"ids", "score"} <= set(about):
            raise ModelError("load: the file must hold all parts of label issues", where=str(path))
        return cls(about["ids"], score=about["score"], **tensors)

    def __repr__(self) -> str:
        first = self.order[:5].tolist()
        lines = [
            f"LabelIssues of {counted(len(self.ids), 'training row')} by score={self.score!r} "
            f"({_WORDS[self.score]}), most suspicious first; a ranking, without a threshold.",
            f"{'id':>12}{'score':>12}{'label':>8}{'suggested':>11}",
        ]
        lines += [
            f"{self.ids[i]!s:>12}{float(self.scores[i]):>12.4g}{int(self.labels[i]):>8}"
            f"{int(self.suggested[i]):>11}"
            for i in first
        ]
        return "\n".join(lines)
