"""Randomness by name: each use of a seed gets its own stream.

A stream depends on the seed and on what it is for, never on the order of calls or on the number
of workers, so results are the same bits however the work is cut.
"""

import hashlib
import secrets

import numpy as np
import torch

from trivium._core.errors import ArgumentError

__all__ = ["RandomState", "check_seed", "derive", "numpy_generator", "torch_generator"]

RandomState = int | np.random.Generator | np.random.RandomState | None
_BITS = 63


def check_seed(random_state: RandomState) -> int:
    """Return a seed in [0, 2**63): the number itself, a draw from a generator, or a fresh one.

    Raises:
        ArgumentError: A negative or non-integer seed.
    """
    if random_state is None:
        return secrets.randbits(_BITS)
    if isinstance(random_state, np.random.Generator):
        return int(random_state.integers(2**_BITS - 1))
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(2**31 - 1))
    whole = isinstance(random_state, int | np.integer) and not isinstance(random_state, bool)
    if whole and 0 <= random_state < 2**_BITS:
        return int(random_state)
    raise ArgumentError(
        f"random_state must be None, an integer in [0, 2**{_BITS}) or a numpy generator; "
        f"got {random_state!r}"
    )


def derive(seed: int, *purpose: str | int) -> int:
    """Return the seed of the stream named by `purpose`."""
    text = "\x1f".join([str(seed), *(str(part) for part in purpose)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_generator(random_state: RandomState, *purpose: str | int) -> np.random.Generator:
    """Return the numpy generator of the stream named by `purpose`."""
    return np.random.default_rng(derive(check_seed(random_state), *purpose))


def torch_generator(
    random_state: RandomState, *purpose: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return the torch generator of the stream named by `purpose`."""
    return torch.Generator(device=device).manual_seed(derive(check_seed(random_state), *purpose))
