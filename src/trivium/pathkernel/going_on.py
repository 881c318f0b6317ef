"""What a training needs to go on as if it had never stopped: rates, generators, schedulers."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from trivium._core.errors import ArgumentError

__all__ = ["going_on", "random_now", "restore"]


def random_now(keep: Mapping[str, Any]) -> dict[str, Any]:
    """Return the states of the generators of torch, Python and NumPy, and of those kept."""
    kind, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 - the user's own
    found: dict[str, Any] = {
        "cpu": torch.get_rng_state(),
        "python": random.getstate(),
        "kept": {k: g.get_state() for k, g in keep.items() if isinstance(g, torch.Generator)},
        "numpy": (kind, torch.from_numpy(np.asarray(keys, dtype=np.int64)), *rest),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        found["cuda"] = torch.cuda.get_rng_state_all()
    return found


def going_on(
    optimizer: Optimizer, keep: Mapping[str, Any], randomness: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what a resumed training needs beside weights, buffers and the optimizer's state.

    Args:
        optimizer: Its groups' numbers are kept.
        keep: Objects with a `state_dict`, and generators of torch, by name.
        randomness: What `random_now` returned after the step.
    """
    groups = [
        {name: value for name, value in group.items() if name != "params"}
        for group in optimizer.param_groups
    ]
    kept = {k: one.state_dict() for k, one in keep.items() if not isinstance(one, torch.Generator)}
    drawn = dict(randomness)
    return {"groups": groups, "keep": {**kept, **drawn.pop("kept")}, "random": drawn}


def restore(optimizer: Optimizer, keep: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Put the optimizer's groups, the generators and what was kept back.

    Raises:
        ArgumentError: Other things are to be kept than were.
    """
    if not found:
        raise ArgumentError(
            "record: a recording to resume must have been made with store=FOLDER; this one was "
            "made in memory and saved"
        )
    if set(keep) != set(found["keep"]):
        raise ArgumentError(
            f"record: keep must name what was kept, {sorted(found['keep'])}; got {sorted(keep)}"
        )
    for group, numbers in zip(optimizer.param_groups, found["groups"], strict=True):
        for name, value in numbers.items():
            held = group.get(name)
            if isinstance(held, Tensor) and isinstance(value, Tensor):
                held.copy_(value)  # a rate that compiled code may hold on to
            else:
                group[name] = value
    for name, one in keep.items():
        state = found["keep"][name]
        if isinstance(one, torch.Generator):
            one.set_state(state.cpu())
        else:
            one.load_state_dict(state)
    states = found["random"]
    torch.set_rng_state(states["cpu"])
    random.setstate(states["python"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state_all([one.cpu() for one in states["cuda"]])
