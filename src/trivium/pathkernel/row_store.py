"""The training rows that a recording saw, each kept once."""

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from trivium._core.errors import DataError, ShapeError

__all__ = ["RowStore"]


class RowStore:
    """Rows by id: what the model was given for each, and what the loss compared it with.

    A row is kept when it is first seen; later sights must be equal, or accounting would be about
    rows that no longer exist.
    """

    def __init__(self) -> None:
        self.ids: list[Hashable] = []
        self._place: dict[Hashable, int] = {}
        self._kept: list[Tensor] = []

    @property
    def n_rows(self) -> int:
        """Rows with an id."""
        return len(self.ids)

    @property
    def n_bytes(self) -> int:
        """Memory of the rows."""
        return sum(leaf[: self.n_rows].nbytes for leaf in self._kept)

    def places(self, ids: Sequence[Hashable]) -> Tensor:
        """Return the place of each id, making one for those not seen before."""
        found = []
        for one in ids:
            place = self._place.get(one)
            if place is None:
                place = self._place[one] = len(self.ids)
                self.ids.append(one)
            found.append(place)
        return torch.tensor(found, dtype=torch.long)

    def keep(self, places: Tensor, known: int, leaves: Sequence[Tensor], step: int) -> None:
        """Keep the leaves of new rows and compare those of known ones.

        Args:
            places: The rows' places, `(b,)`.
            known: Rows whose leaves are kept already: places below it.
            leaves: What the step saw, each `(b, ...)`.
            step: For the message.

        Raises:
            ShapeError: A leaf has another shape than before.
            DataError: A known row looks different now: data augmentation without its own ids.
        """
        if not self._kept:
            self._kept = [leaf.new_empty((0, *leaf.shape[1:])) for leaf in leaves]
        for number, leaf in enumerate(leaves):
            kept = self._kept[number]
            if kept.shape[1:] != leaf.shape[1:] or kept.dtype != leaf.dtype:
                raise ShapeError(
                    f"record: rows must keep one shape and dtype; got {tuple(leaf.shape[1:])} "
                    f"{leaf.dtype} at step {step} after {tuple(kept.shape[1:])} {kept.dtype}",
                    remedy="Pad all batches to one length, or record(..., augmented=True), which "
                    "keeps each step's own copy.",
                )
            if len(kept) < self.n_rows:
                room = max(self.n_rows, 2 * len(kept))
                grown = kept.new_empty((room, *kept.shape[1:]))
                grown[: len(kept)] = kept
                self._kept[number] = kept = grown
            old = places < known
            new = ~old
            if bool(new.any()):
                kept[places[new].to(kept.device)] = leaf.detach()[new.to(leaf.device)]
            if bool(old.any()):
                seen = leaf.detach()[old.to(leaf.device)] if bool(new.any()) else leaf.detach()
                before = kept[places[old].to(kept.device)]
                if not torch.equal(before, seen):
                    self._refuse(places[old], before, seen, step)

    def leaves(self, places: Tensor) -> list[Tensor]:
        """Return what is kept of the rows at `places`."""
        return [leaf[places.to(leaf.device)] for leaf in self._kept]

    def all_leaves(self) -> list[Tensor]:
        """Return what is kept of all rows, in order."""
        return [leaf[: self.n_rows] for leaf in self._kept]

    def fill(self, ids: Sequence[Hashable], leaves: Sequence[Tensor]) -> None:
        """Put back the rows of a saved recording."""
        self.ids = list(ids)
        self._place = {one: i for i, one in enumerate(self.ids)}
        self._kept = list(leaves)

    def _refuse(self, places: Tensor, before: Tensor, seen: Tensor, step: int) -> None:
        differs = (before != seen).reshape(len(places), -1).any(1)
        if not bool(differs.any()):  # not-a-number never equals itself
            return
        row = self.ids[int(places[differs.cpu()][0])]
        raise DataError(
            f"record: a row must stay what it was; got another input or target for row {row!r}",
            where=f"step {step}",
            remedy="Give each augmented copy its own id, or record(..., augmented=True), which "
            "keeps each step's own copy.",
        )
