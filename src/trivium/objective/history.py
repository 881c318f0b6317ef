"""The whole of a zeroth-order training as numbers: which seeds, and how far along each."""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from trivium._core.errors import ArgumentError, DataError
from trivium.objective.seeded import NOISE_BLOCK, seeded_noise, stretches

__all__ = ["History", "Move", "make_moves", "moved_parameters", "replay"]

Move = tuple[tuple[int, float], ...]
_CHUNK = 2**16
_FORMAT = "trivium zeroth-order history 1"


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
        """Write it as JSON, whole or not at all; floats come back to the same bits."""
        target = Path(path)
        document = {
            "format": _FORMAT,
            "block": NOISE_BLOCK,
            "shapes": [[name, list(shape)] for name, shape in self.shapes],
            "moves": [[list(pair) for pair in move] for move in self.moves],
        }
        beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        try:
            beside.write_text(json.dumps(document, allow_nan=False), "utf-8")
            beside.replace(target)
        finally:
            beside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "History":
        """Read what `save` wrote.

        Raises:
            DataError: The file is no history, is damaged, or was made with another block size.
        """
        try:
            document = json.loads(Path(path).read_text("utf-8"))
            if document["format"] != _FORMAT or document["block"] != NOISE_BLOCK:
                raise ValueError("another format")
            shapes = tuple((str(n), tuple(int(k) for k in s)) for n, s in document["shapes"])
            return cls(shapes, [_checked(move) for move in document["moves"]])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"History.load: path must hold a history that this version wrote; got {path} "
                f"({error})"
            ) from error


def _checked(move: Any) -> Move:
    found = tuple((seed, float(coefficient)) for seed, coefficient in move)
    if any(type(seed) is not int or not 0 <= seed < 2**63 for seed, _ in found):
        raise ValueError("a seed is no integer in [0, 2**63)")
    if not all(math.isfinite(coefficient) for _, coefficient in found):
        raise ValueError("a coefficient is not finite")
    return found


def moved_parameters(module: nn.Module, names: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Return the parameters that require a gradient, each once, without a gradient.

    Args:
        module: The module.
        names: Only these, by their own name or that of a submodule.

    Raises:
        ArgumentError: A name that is not there, a lazy parameter, or none at all.
    """
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
    for name, value in found.items():
        if isinstance(value, UninitializedParameter):
            raise ArgumentError(
                f"ZerothOrderStep: {name} must have a shape; got a lazy parameter",
                remedy="Run the module once first.",
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
        ArgumentError: The module's parameters are not those of the history; it is unchanged.

    Cost: time k p for k pairs and p parameters; memory `chunk`.
    """
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
