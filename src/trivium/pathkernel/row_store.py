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

    Attributes:
        ids: The rows' ids, in the order in which they were first seen.
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
        place = self._place
        try:
            found = [place[one] for one in ids]
        except KeyError:
            for one in ids:
                if one not in place:
                    place[one] = len(self.ids)
                    self.ids.append(one)
            found = [place[one] for one in ids]
        return torch.tensor(found, dtype=torch.long)

    def note(self, ids: Sequence[Hashable], leaves: Sequence[Tensor], step: int) -> Tensor:
        """Keep the leaves of new rows, compare those of known ones, and return their places.

        Args:
            ids: The rows' ids, b of them; one may come several times.
            leaves: What the step saw, each `(b, ...)`.
            step: For the message.

        Returns:
            Their places, `(b,)`.

        Raises:
            ShapeError: A leaf has another shape than before; nothing was kept.
            DataError: A known row looks different now: data augmentation without its own ids.
        """
        self._check_form(leaves, step)
        known = self.n_rows
        places = self.places(ids)
        if self.n_rows > known:
            self._grow(leaves)
            new = places >= known
            for kept, leaf in zip(self._kept, leaves, strict=True):
                here = new.to(leaf.device)
                kept[places[new].to(kept.device)] = leaf.detach()[here].to(kept.device)
        if self.n_rows < known + len(ids):  # some were known, or came twice in this batch
            self._compare(places, leaves, step)
        return places

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

    def _check_form(self, leaves: Sequence[Tensor], step: int) -> None:
        now = [(leaf.shape[1:], leaf.dtype) for leaf in leaves]
        before = [(kept.shape[1:], kept.dtype) for kept in self._kept]
        if before and now != before:
            raise ShapeError(
                f"record: rows must keep one shape and dtype; got {_said(now)} at step "
                f"{step} after {_said(before)}",
                remedy="Pad all batches to one length, or record(..., augmented=True), which "
                "keeps each step's own copy.",
            )

    def _grow(self, leaves: Sequence[Tensor]) -> None:
        if not self._kept:
            self._kept = [leaf.new_empty((self.n_rows, *leaf.shape[1:])) for leaf in leaves]
        for number, kept in enumerate(self._kept):
            if len(kept) < self.n_rows:
                room = max(self.n_rows, 2 * len(kept))
                grown = kept.new_empty((room, *kept.shape[1:]))
                grown[: len(kept)] = kept
                self._kept[number] = grown

    def _compare(self, places: Tensor, leaves: Sequence[Tensor], step: int) -> None:
        for kept, leaf in zip(self._kept, leaves, strict=True):
            before = kept[places.to(kept.device)]
            seen = leaf.detach().to(kept.device)
            if torch.equal(before, seen):
                continue
            numbers = before.is_floating_point() or before.is_complex()
            both = before.isnan() & seen.isnan() if numbers else torch.zeros_like(before).bool()
            rows = ((before != seen) & ~both).reshape(len(places), -1).any(1)
            if not bool(rows.any()):  # not-a-number never equals itself
                continue
            row = self.ids[int(places[rows.cpu()][0])]
            raise DataError(
                f"record: a row must stay what it was; got another input or target for row {row!r}",
                where=f"step {step}",
                remedy="Give each augmented copy its own id, or record(..., augmented=True), which "
                "keeps each step's own copy.",
            )


def _said(forms: Sequence[tuple[torch.Size, torch.dtype]]) -> str:
    return ", ".join(f"{tuple(shape)} {dtype}" for shape, dtype in forms)
