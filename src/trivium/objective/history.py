"""The whole of a zeroth-order training as numbers: which seeds, and how far along each."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from trivium._core.atomic import atomic_write
from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, DataError
from trivium._core.exact_json import digest, from_json, to_json
from trivium.objective.seeded import NOISE_BLOCK, seeded_noise, stretches

__all__ = ["History", "Move", "checked_move", "make_moves", "moved_parameters", "replay"]

Move = tuple[tuple[int, float], ...]
_CHUNK = 2**16
_FORMAT = "trivium zeroth-order history 2"


@dataclass
class History:
    """Moves in their order; each is a few pairs (seed, coefficient): θ ← θ + Σ coefficient · u.

    A pair takes 16 bytes whatever the size of the module, so a fine-tuned model of any size is its
    start and some kilobytes.

    Args:
        shapes: Name and shape of each parameter that moves, in order.
        moves: The moves so far.
    """

    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    moves: list[Move]

    def __len__(self) -> int:
        return len(self.moves)

    def save(self, path: str | Path) -> None:
        """Write it as JSON, whole or not at all; floats come back to the same bits.

        Raises:
            OutputError: It cannot be written; what was there before is intact.
            ResourceError: The disk is full; what was there before is intact.
        """
        document = {
            "format": _FORMAT,
            "block": NOISE_BLOCK,
            "shapes": [[name, list(shape)] for name, shape in self.shapes],
            "moves": [[list(pair) for pair in move] for move in self.moves],
        }
        atomic_write(path, to_json(document | {"sha256": digest(document)}), "History.save")

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read what `save` wrote.

        Raises:
            DataError: It cannot be read, is no history, is damaged, or has another block size.
        """
        try:
            text = Path(path).read_bytes()
            document = from_json(text)
            whole = to_json(document).encode() == text
            if document.pop("sha256") != digest(document) or not whole:
                raise ValueError("its SHA-256 is not that of its content")
            if document["format"] != _FORMAT or document["block"] != NOISE_BLOCK:
                raise ValueError("another format")
            shapes = tuple((str(n), tuple(map(_size, s))) for n, s in document["shapes"])
            return cls(shapes, [checked_move(move) for move in document["moves"]])
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(
                f"History.load: path must hold a history that this version wrote; got {path} "
                f"({error})"
            ) from error


def _size(found: Any) -> int:
    if type(found) is not int or found < 0:
        raise ValueError("a size is no integer of at least 0")
    return found


def checked_move(move: Any) -> Move:
    """Return a move, from a file or another machine, as pairs of an integer and a number.

    Raises:
        ValueError: It is none.
        TypeError: It is none.
    """
    found = []
    for seed, coefficient in move:
        if isinstance(seed, bool) or not 0 <= index(seed) < 2**63:
            raise ValueError("a seed is no integer in [0, 2**63)")
        if isinstance(coefficient, str | bool) or not math.isfinite(coefficient):
            raise ValueError("a coefficient is no finite number")
        found.append((index(seed), float(coefficient)))
    return tuple(found)


def moved_parameters(module: nn.Module, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Return the parameters that require a gradient, each once, without a gradient.

    Args:
        module: The module.
        names: Only these, by their own name or that of a submodule.

    Raises:
        ArgumentError: A name that is not there, a lazy or a complex parameter, or none at all.
    """
    if isinstance(names, str):
        raise ArgumentError(
            f"ZerothOrderStep: names must be a list of names; got {names!r}",
            remedy=f"Give [{names!r}].",
        )
    known = {n: p for n, p in module.named_parameters() if p.requires_grad}
    found: dict[str, Tensor] = {}
    for wanted in [""] if names is None else names:
        here = {n: p for n, p in known.items() if not wanted or f"{n}.".startswith(f"{wanted}.")}
        if not here:
            what = f"{wanted!r}" if wanted else "something to train"
            raise ArgumentError(
                f"ZerothOrderStep: module must have {what}; got no such parameter that requires a "
                "gradient"
            )
        found |= here
    if not found:
        raise ArgumentError("ZerothOrderStep: names must name at least one parameter; got none")
    for name, value in found.items():
        if isinstance(value, UninitializedParameter):
            raise ArgumentError(
                f"ZerothOrderStep: {name} must have a shape; got a lazy parameter",
                remedy="Run the module once first.",
            )
        if not value.is_floating_point():
            raise ArgumentError(
                f"ZerothOrderStep: {name} must be of real numbers; got {value.dtype}",
                remedy="Leave it out with names=, or set its requires_grad to False.",
            )
    return {name: found[name].detach() for name in known if name in found}


def replay(module: nn.Module, history: History, chunk: int = _CHUNK) -> None:
    """Make the moves of a history on a module that stands where the history began.

    Each move is added in float32 and rounded to the parameter's dtype, as when it was first made:
    the result has the same bits, for any `chunk`, on the same kind of device.

    Args:
        module: Changed in place.
        history: The moves.
        chunk: Entries made at a time.

    Raises:
        ArgumentError: The module's parameters are not those of the history, or an argument breaks
            its rule; the module is unchanged.

    Cost: time k p for k pairs and p parameters; memory `chunk`.
    """
    if not isinstance(module, nn.Module) or not isinstance(history, History):
        raise ArgumentError(
            "replay: module and history must be a torch module and a History; "
            f"got {type(module).__name__} and {type(history).__name__}"
        )
    check_number("replay", "chunk", chunk, "positive", integer=True)
    known = {name: parameter.detach() for name, parameter in module.named_parameters()}
    for name, shape in history.shapes:
        if name not in known or tuple(known[name].shape) != shape:
            got = f"shape {tuple(known[name].shape)}" if name in known else "none of this name"
            raise ArgumentError(
                f"replay: module must have the parameters of the history; got {got} for {name} "
                f"{shape}"
            )
    tensors = {name: known[name] for name, _ in history.shapes}
    make_moves(tensors, history.moves, chunk)


def make_moves(tensors: dict[str, Tensor], moves: Sequence[Move], chunk: int) -> None:
    """Add moves in place, a chunk at a time; entries do not mix, so chunks do not change bits."""
    with torch.no_grad():
        for stream, tensor in enumerate(tensors.values()):
            size = tensor.numel()
            whole = tensor.view(-1) if tensor.is_contiguous() else tensor.reshape(-1)
            for bounds in stretches(size, chunk):
                part = whole[slice(*bounds)]
                for move in moves:
                    total = part.to(torch.promote_types(part.dtype, torch.float32))
                    for seed, coefficient in move:
                        drawn = seeded_noise(seed, stream, bounds, size, tensor.device)
                        total = total.add(drawn, alpha=coefficient)
                    part.copy_(total)
            if not tensor.is_contiguous():
                tensor.copy_(whole.view(tensor.shape))
