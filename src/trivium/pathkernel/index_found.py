"""What an index answers: a few training rows for each query, and their signed totals."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from torch import Tensor

__all__ = ["Found"]

CAUTIONS = {
    "counterfactual": (
        "A first-order counterfactual through Gauss-Newton dynamics in a subspace: an estimate "
        "of recording.without, not exact."
    ),
    "made": (
        "An accounting along one straight chord in a subspace: an estimate of recording.made, "
        "with its completeness error stated; it is no counterfactual."
    ),
    "similar": ("Cosines of gradients, for retrieval: neither an accounting nor a counterfactual."),
}
_SHOWN = 5


@dataclass(frozen=True, repr=False)
class Found:
    """The training rows that matter most to each query.

    Attributes:
        ids: For each query, the largest first.
        values: Their contributions, `(q, top)`.
        net: The signed total over all training rows, `(q,)`.
        absolute: The total of absolute values, `(q,)`: often many times the net.
        kind: What was asked.
        completeness_error: For `"made"`, how far contributions and remainder miss the change of
            the value, relative; none elsewhere.
    """

    ids: Sequence[Sequence[Hashable]]
    values: Tensor
    net: Tensor
    absolute: Tensor
    kind: str
    completeness_error: float | None

    def summary(self) -> str:
        """Return a few lines, one a query, with the share of what is shown."""
        lines = [CAUTIONS[self.kind]]
        if self.completeness_error is not None:
            lines.append(f"Completeness error {self.completeness_error:.1e}.")
        for row, ids in enumerate(self.ids[:_SHOWN]):
            shown = ", ".join(
                f"{one} {float(value):+.3g}"
                for one, value in zip(ids, self.values[row], strict=True)
            )
            whole = float(self.absolute[row])
            share = float(self.values[row].abs().sum()) / whole if whole else 0.0
            net = float(self.net[row])
            lines.append(f"{row}: {shown} ({share:.0%} of all absolute values; net {net:+.3g})")
        if len(self.ids) > _SHOWN:
            lines.append(f"and {len(self.ids) - _SHOWN} more")
        return "\n".join(lines)

    __repr__ = summary
