"""One run within an index: its basis, its rows, and where a query's gradient is taken."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, ModelError
from trivium.pathkernel.queries import Queries

__all__ = ["Member", "State"]


@dataclass(frozen=True)
class State:
    """Weights and buffers of a model.

    Attributes:
        weights: `(p,)`.
        buffers: By name.
    """

    weights: Tensor
    buffers: dict[str, Tensor]


@dataclass(frozen=True)
class Member:
    """What an index keeps of one run.

    Attributes:
        ids: The training rows' ids, n of them.
        basis: V, `(k, p)`, orthonormal rows.
        rows: The rows' embeddings, `(n, k)`.
        remainder: The embedding of what no row made, `(k,)`.
        start: The model before the training; only for the accounting.
        end: The model after it.
        captured: Share of the rows' squared displacement that lies in the basis.
    """

    ids: tuple[Hashable, ...]
    basis: Tensor
    rows: Tensor
    remainder: Tensor
    start: State | None
    end: State
    captured: float

    def embed(self, queries: Queries) -> tuple[Tensor, Tensor | None]:
        """Return the queries in the basis, `(q, k)`, and the change that is accounted for."""
        if self.start is None:
            found = queries.gradient(self.end.weights, self.end.buffers).products(self.basis)
            return found.T.double().cpu(), None
        buffers = self.start.buffers
        start, end = self.start.weights, self.end.weights
        change = queries.value(end, buffers) - queries.value(start, buffers)
        middle = queries.gradient(start.lerp(end, 0.5), buffers)
        step = end - start
        length = step.double().square().sum().clamp_min(torch.finfo(torch.float64).tiny)
        correction = (change - middle.products(step[None])[0].double()) / length
        found = middle.products(self.basis).T.double().cpu()
        along = (self.basis @ step).double().cpu()
        return found + torch.outer(correction.cpu(), along), change.cpu()

    def same_run(self, other: "Member") -> bool:
        """Return whether both hold rows of one run in one basis."""
        return torch.equal(self.basis, other.basis) and torch.equal(
            self.end.weights, other.end.weights
        )

    def joined(self, other: "Member") -> "Member":
        """Return both members' rows in their one basis.

        Raises:
            ArgumentError: A row is in both.
        """
        both = set(self.ids) & set(other.ids)
        if both:
            raise ArgumentError(
                f"merge: parts of one run must hold different rows; got {len(both)} in both, "
                f"such as {next(iter(both))!r}"
            )
        return Member(
            self.ids + other.ids,
            self.basis,
            torch.cat([self.rows, other.rows]),
            self.remainder,
            self.start,
            self.end,
            self.captured,
        )

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file holds of it."""
        found = {"basis": self.basis, "rows": self.rows, "remainder": self.remainder}
        for name, state in (("start", self.start), ("end", self.end)):
            if state is not None:
                found[f"{name}.weights"] = state.weights
                found |= {f"{name}.buffers.{key}": value for key, value in state.buffers.items()}
        return found

    @classmethod
    def read(cls, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> "Member":
        """Return what `tensors` and `about` describe.

        Raises:
            ModelError: Something is missing or does not fit together.
        """
        try:
            found = cls(
                tuple(about["ids"]),
                tensors["basis"],
                tensors["rows"],
                tensors["remainder"],
                _state(tensors, "start") if about["accounted"] else None,
                _state(tensors, "end"),
                float(about["captured"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"load: the file must hold an index; got {error!r}") from error
        k = len(found.basis)
        if found.rows.shape != (len(found.ids), k) or found.basis.shape[1:] != (
            found.end.weights.shape
        ):
            raise ModelError(
                "load: ids, rows and basis must fit together; got "
                f"{len(found.ids)} ids, rows {tuple(found.rows.shape)}, basis "
                f"{tuple(found.basis.shape)} for {counted(len(found.end.weights), 'weight')}"
            )
        return found


def _state(tensors: Mapping[str, Tensor], name: str) -> State:
    prefix = f"{name}.buffers."
    buffers = {
        key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)
    }
    return State(tensors[f"{name}.weights"], buffers)
