"""Directions evaluated by many workers: seeds go out, numbers come back, replicas keep up."""

import threading
import uuid
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trivium._core.errors import ArgumentError
from trivium.objective.history import Move
from trivium.objective.zeroth_order import ZerothOrderStep
from trivium.parallel import Executor, given_executor

__all__ = ["Replicas"]

_MOVES = 2  # sent with every block; a worker that missed more is sent the module
_BLOCKS = 32  # of a step
Pairs = list[tuple[float, float]]


class Replicas:
    """What evaluates the directions of a `ZerothOrderStep` on an executor.

    Each worker keeps a replica of the module and makes the steps itself, from the seeds and
    coefficients of the moves that it has not made yet. The module travels once to each worker;
    then a step costs a few hundred bytes for a block of directions, whatever the module's size. A
    worker that is new, or that has missed more than two moves, is sent the module again. A worker
    keeps one replica: that of the run that it last worked for.

    Values depend on the seeds and on the module alone, so a training has the same bits on every
    executor, and those of `step(loss)` in one thread where the loss draws nothing at random. Where
    it does (dropout), the generator is seeded by the direction's seed.

    Args:
        zeroth: The training. Between steps its module changes by `step` and `apply` alone.
        loss: Called with a module, 2 k times a step; returns one number. It travels with the
            module, so data that it needs is best bound by `functools.partial`.
        executor: Where directions are evaluated, with one thread each: in this process, on a copy
            of the module, by default.

    Raises:
        ArgumentError: An argument breaks its rule.

    Cost:
        Memory of one more module for each worker.

    Example:
        >>> import torch
        >>> def size(module):
        ...     return module.weight.square().sum()
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Linear(2, 1)
        >>> zeroth = ZerothOrderStep(model, std=0.01, lr=0.1, directions=4, seed=0)
        >>> replicas = Replicas(zeroth, size)
        >>> values = [zeroth.step(evaluate=replicas) for _ in range(20)]
        >>> values[-1] < 0.1 * values[0]
        True

    Source: Salimans et al., Evolution strategies as a scalable alternative to reinforcement
    learning (2017), section 2.1 (seeds and scalars); replicas that follow the moves are ours.
    """

    def __init__(
        self,
        zeroth: ZerothOrderStep,
        loss: Callable[[nn.Module], Any],
        executor: Executor | None = None,
    ) -> None:
        if not isinstance(zeroth, ZerothOrderStep):
            raise ArgumentError(
                f"Replicas: zeroth must be a ZerothOrderStep; got {type(zeroth).__name__}"
            )
        if not callable(loss):
            raise ArgumentError(f"Replicas: loss must be callable; got {type(loss).__name__}")
        self.zeroth, self.loss = zeroth, loss
        self.executor = given_executor("Replicas", executor)
        self._run = uuid.uuid4().hex

    def __call__(self, seeds: Sequence[int]) -> Pairs:
        """Return the two values of each direction, as `ZerothOrderStep.step` asks for them.

        Raises:
            ArgumentError: The loss is no number.
            ResourceError: The executor lost its workers again and again.
        """
        moves = self.zeroth.history.moves
        size = -(-len(seeds) // _BLOCKS)
        asked = [
            _Asked(self._run, len(moves), tuple(moves[-_MOVES:]), tuple(seeds[low : low + size]))
            for low in range(0, len(seeds), size)
        ]
        found = self.executor.map(_follow, asked)
        behind = [number for number, pairs in enumerate(found) if pairs is None]
        if behind:
            sent = _Sent(_plain(self.zeroth), self.loss, len(moves))
            again = self.executor.map(_start, [asked[number] for number in behind], shared=sent)
            for number, pairs in zip(behind, again, strict=True):
                found[number] = pairs
        return [pair for pairs in found for pair in pairs]


@dataclass(frozen=True)
class _Asked:
    """One block of directions: whose, after how many moves, the last of these, and the seeds."""

    run: str
    at: int
    moves: tuple[Move, ...]
    seeds: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Sent:
    """What a worker without a replica is sent, and how many moves it has made."""

    zeroth: ZerothOrderStep
    loss: Callable[[nn.Module], Any]
    at: int


@dataclass
class _Replica:
    run: str
    zeroth: ZerothOrderStep
    loss: Callable[[nn.Module], Any]
    at: int

    def pairs(self, asked: _Asked) -> Pairs | None:
        """Catch up and evaluate; `None` where too much was missed."""
        missed = asked.at - self.at
        if not 0 <= missed <= len(asked.moves):
            return None
        for move in asked.moves[len(asked.moves) - missed :]:
            self.zeroth.apply(move)
            self.zeroth.history.moves.clear()
            self.at += 1
        return [self._pair(seed) for seed in asked.seeds]

    def _pair(self, seed: int) -> tuple[float, float]:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return self.zeroth.pair(seed, lambda: self.loss(self.zeroth.module))


_kept = threading.local()  # a thread may not evaluate on a module that another one is moving


def _follow(asked: _Asked) -> Pairs | None:
    """Evaluate on the replica that this worker keeps, if it is there and not far behind."""
    replica: _Replica | None = getattr(_kept, "replica", None)
    if replica is None or replica.run != asked.run:
        return None
    return replica.pairs(asked)


def _start(asked: _Asked, sent: _Sent) -> Pairs | None:
    """Evaluate on a new replica, unless an earlier block of this step has made it."""
    found = _follow(asked)
    if found is None:
        _kept.replica = _Replica(asked.run, deepcopy(sent.zeroth), sent.loss, sent.at)
        found = _follow(asked)
    return found


def _plain(zeroth: ZerothOrderStep) -> ZerothOrderStep:
    """Return the step without its past and its schedule: what a replica needs."""
    found = object.__new__(ZerothOrderStep)
    found.__dict__.update(zeroth.__dict__)
    found.lr = 1.0
    found.history = type(zeroth.history)(zeroth.history.shapes, [])
    return found
