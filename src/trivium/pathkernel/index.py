"""A compact index of a recorded run: the price of a question is one gradient."""

import os
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError
from trivium._core.tensor_file import as_written, read_tensors, write_tensors
from trivium.pathkernel.completeness import relative_miss
from trivium.pathkernel.index_found import CAUTIONS, Found
from trivium.pathkernel.index_member import Member
from trivium.pathkernel.quantity import Quantity
from trivium.pathkernel.queries import Queries
from trivium.pathkernel.replay import Replay
from trivium.pathkernel.row_store import RowStore
from trivium.pathkernel.sgd import SGDRecurrence

__all__ = ["Index"]

_FORM = "trivium.index/1"


@dataclass(frozen=True, repr=False)
class Index:
    r"""Training rows in k principal directions of one run, or of several; made by `index`.

    $C_i(x) = \langle z_i, V \nabla f(x) \rangle$ with the rows' embeddings $z_i$.

    Attributes:
        kind: `"counterfactual"`, `"made"` or `"similar"`.
        members: One for each run.
        model: Of their architecture; never changed.
        loss: The training loss.
    """

    kind: str
    members: tuple[Member, ...]
    model: nn.Module
    loss: Callable[..., Tensor] | None

    @property
    def ids(self) -> list[Hashable]:
        """The training rows' ids, in the order of contributions."""
        return list(dict.fromkeys(one for member in self.members for one in member.ids))

    @property
    def n_bytes(self) -> int:
        """Memory of all tensors."""
        return sum(t.nbytes for member in self.members for t in member.tensors().values())

    def contributions(
        self, x: Any, of: str | Quantity = "logit", y: Tensor | None = None
    ) -> Tensor:
        """Return what each training row did to a quantity of each query, `(q, n)` in float64.

        Args:
            x: The rows asked about, as for `Recording.made`.
            of: The quantity, as for `Recording.made`.
            y: Their classes or targets.

        Returns:
            In the order of `ids`; for `kind="similar"` cosines. Of several runs the mean.

        Raises:
            ArgumentError: An unknown quantity, no rows, or classes out of range.
            ShapeError: Another number of targets than rows, or `of` returns no number a row.

        Cost:
            One forward and backward of the queries for each run (and two forwards more for
            `kind="made"`), O(q k p), and O(q k n).
        """
        return self._asked("contributions", x, of, y)[0]

    def query(
        self, x: Any, top: int = 5, of: str | Quantity = "logit", y: Tensor | None = None
    ) -> Found:
        """Return the training rows that matter most to each query.

        Args:
            x: The rows asked about.
            top: How many training rows each.
            of: The quantity, as for `Recording.made`.
            y: Their classes or targets.

        Returns:
            The largest by absolute value (for `kind="similar"` the largest), with signed totals.

        Raises:
            ArgumentError: As for `contributions`, or top is not a positive integer.
            ShapeError: As for `contributions`.
        """
        k = int(check_number("query", "top", top, "positive", integer=True))
        values, error = self._asked("query", x, of, y)
        size = values if self.kind == "similar" else values.abs()
        order = size.argsort(1, descending=True)[:, :k]
        ids = self.ids
        return Found(
            [[ids[int(i)] for i in row] for row in order],
            values.gather(1, order),
            values.sum(1),
            values.abs().sum(1),
            self.kind,
            error,
        )

    def merge(self, *others: "Index") -> "Index":
        """Return one index of all: rows of the same run side by side, different runs averaged.

        Args:
            others: Of the same kind and architecture.

        Raises:
            ArgumentError: Another kind or number of weights, or a row of one run twice.
        """
        members = list(self.members)
        for other in others:
            if other.kind != self.kind:
                raise ArgumentError(
                    f"merge: indexes must be of one kind; got {self.kind!r} and {other.kind!r}"
                )
            for member in other.members:
                if member.basis.shape[1] != members[0].basis.shape[1]:
                    raise ArgumentError(
                        "merge: indexes must be of one architecture; got "
                        f"{members[0].basis.shape[1]} and "
                        f"{counted(member.basis.shape[1], 'weight')}"
                    )
                for place, known in enumerate(members):
                    if known.same_run(member):
                        members[place] = known.joined(member)
                        break
                else:
                    members.append(member)
        return Index(self.kind, tuple(members), self.model, self.loss)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file that runs no code: safetensors with a checksum.

        Raises:
            ArgumentError: An id is neither an integer nor a string.
            OutputError: It cannot be written.
            ResourceError: The disk is full.
        """
        for one in self.ids:
            if isinstance(one, bool) or not isinstance(one, int | str):
                raise ArgumentError(f"save: ids must be integers or strings; got {one!r}")
        tensors = {
            f"{number}.{name}": value
            for number, member in enumerate(self.members)
            for name, value in member.tensors().items()
        }
        members = [
            {
                "ids": list(one.ids),
                "accounted": one.start is not None,
                "captured": one.captured,
            }
            for one in self.members
        ]
        write_tensors("save", path, _FORM, tensors, {"kind": self.kind, "members": members})

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        model: nn.Module,
        loss: Callable[..., Tensor] | None = None,
    ) -> "Index":
        """Read what `save` wrote.

        Args:
            path: The file.
            model: Of the architecture that was trained; its weights do not matter.
            loss: The training loss, for `of="loss"`.

        Raises:
            ModelError: Missing, damaged, or not an index.
            ArgumentError: The model has another number of weights.
        """
        tensors, about = read_tensors("load", path, _FORM)
        members = []
        with as_written("load", path, "an index"):
            for number, one in enumerate(about["members"]):
                head = f"{number}."
                own = {k.removeprefix(head): v for k, v in tensors.items() if k.startswith(head)}
                members.append(Member.read(own, one))
            found = cls(about["kind"], tuple(members), model, loss)
            replay, wanted = found._replay(), members[0].basis.shape[1]
        if replay.weights.n_weights != wanted:
            raise ArgumentError(
                f"load: model must have the {counted(wanted, 'trainable weight')} that were "
                "recorded; "
                f"got {replay.weights.n_weights}"
            )
        return found

    def summary(self) -> str:
        """Say what it holds, what it is not, and how much of the rows' effect it sees."""
        shares = ", ".join(f"{member.captured:.3f}" for member in self.members)
        return (
            f"Index ({self.kind}) of {counted(len(self.ids), 'training row')} in "
            f"{counted(len(self.members[0].basis), 'direction')} of "
            f"{self.members[0].basis.shape[1]:,} "
            f"weights, {len(self.members)} run{'s' * (len(self.members) != 1)}, "
            f"{self.n_bytes / 1e6:.1f} MB; share of the rows' squared displacement: {shares}.\n"
            f"{CAUTIONS[self.kind]}"
        )

    __repr__ = summary

    def _asked(
        self, caller: str, x: Any, of: str | Quantity, y: Tensor | None
    ) -> tuple[Tensor, float | None]:
        replay = self._replay()
        place = {one: number for number, one in enumerate(self.ids)}
        whole, missed, changes = torch.zeros(0), [], []
        for member in self.members:
            end = member.end
            queries = Queries(caller, replay, x, of, y, end.weights, end.buffers)
            asked, change = member.embed(queries)
            rows = member.rows
            if self.kind == "similar":
                asked, rows = _unit(asked), _unit(rows)
            if not len(whole):
                whole = torch.zeros((len(asked), len(place)), dtype=torch.float64)
            found = asked @ rows.T
            columns = torch.tensor([place[one] for one in member.ids])
            whole.index_add_(1, columns, found / len(self.members))
            if change is not None:
                missed.append(found.sum(1) + asked @ member.remainder)
                changes.append(change)
        if not changes:
            return whole, None
        total, change = torch.stack(missed).mean(0), torch.stack(changes).mean(0)
        return whole, relative_miss(total, change, whole.abs().sum(1))

    def _replay(self) -> Replay:
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(parameters, lr=0.0)
        loss = self.loss if self.loss is not None else _no_loss
        return Replay(self.model, optimizer, loss, SGDRecurrence(), RowStore())


def _no_loss(*_: object) -> Tensor:
    raise ArgumentError('query: of="loss" needs the training loss; pass it to Index.load')


def _unit(rows: Tensor) -> Tensor:
    size = rows.norm(dim=-1, keepdim=True)
    return rows / size.where(size > 0, 1.0)
