"""A call of the model, as it was heard."""

import contextlib
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from trivium.pathkernel.notes import Piece
from trivium.pathkernel.packed import Packed

__all__ = ["Forward", "drawing_from", "random_states"]


@dataclass
class Forward:
    """A call of the model whose loss has not been propagated yet.

    Attributes:
        ids: The rows' ids, where they were noted.
        step: The step that it was made for.
        inputs: The call without its rows.
        leaves: The rows' tensors.
        modes: The training flag of each module.
        autocast: The autocast dtype by device type, where it was on.
        random: The generators' states before it, where it drew from them.
        outputs: The tensors that it returned.
        piece: The loss that was propagated.
    """

    ids: list[Hashable] | None
    step: int
    inputs: Packed
    leaves: list[Tensor]
    modes: tuple[bool, ...]
    autocast: dict[str, torch.dtype]
    random: dict[str, Tensor]
    outputs: list[Tensor] = field(default_factory=list)
    piece: Piece | None = None


def random_states(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the generators that a forward may draw from."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


@contextlib.contextmanager
def drawing_from(states: dict[str, Tensor], device: torch.device) -> Iterator[None]:
    """Draw from the generators as they were, and leave those of the caller untouched."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, enabled=bool(states)):
        if "cpu" in states:
            torch.set_rng_state(states["cpu"])
        if "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], device)
        yield
