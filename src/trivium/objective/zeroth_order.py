"""Training without gradients in the memory of inference: seeded directions, moved in place."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trivium._core.checks import check_number
from trivium._core.counted import counted
from trivium._core.errors import ArgumentError, DataError
from trivium._core.random import check_seed, derive
from trivium.expectation import Schedule, run_with
from trivium.objective.history import History, Move, checked_move, make_moves, moved_parameters
from trivium.objective.seeded import SeededTensor

__all__ = ["ZerothOrderStep"]

Loss = Callable[[], Any]


class ZerothOrderStep:
    r"""One step downhill for any f: two evaluations for each direction, no gradient.

    $\theta \leftarrow \theta - \mathrm{lr}\, \frac1k \sum_i u_i\,
    (f(\theta + \mathrm{std}\, u_i) - f(\theta - \mathrm{std}\, u_i)) / (2\, \mathrm{std})$

    The stored parameters are never touched while f is evaluated: a layer makes its moved weights a
    few rows at a time from the seed and drops them, so what was there is there, to the bit, in any
    precision and also when f raises. No `.grad` is read or written. Buffers stay as they are; both
    evaluations of a direction see the same dropout. The whole run is `history`, pairs (seed,
    coefficient), which `replay` makes again to the same bits.

    Args:
        module: Parameters that require a gradient are trained.
        std: Size of the steps, positive.
        lr: Learning rate, positive, or a schedule that the caller steps.
        directions: k, directions for each step, two evaluations each.
        seed: Names the whole run; a fresh one by default.
        chunk: Entries of a weight made at a time.
        names: Train only these parameters, named as in `named_parameters` or by a submodule. The
            loss must reach them through `module`: what another module holds as well stays still
            there.

    Raises:
        ArgumentError: An argument breaks its rule; no parameter to train.

    Cost:
        2 k evaluations for each step; 3 k p normal draws. Memory over inference: a few chunks, and
        a whole weight where it is used in another way than `nn.Linear` and `nn.Embedding` do.

    Example:
        >>> import torch
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Linear(2, 1).bfloat16()
        >>> x, y = torch.randn(32, 2).bfloat16(), torch.ones(32, 1)
        >>> zeroth = ZerothOrderStep(model, std=0.1, lr=0.1, directions=4, seed=0)
        >>> def wrong():
        ...     return ((model(x) - y).abs() > 0.5).float().mean()
        >>> values = [zeroth.step(wrong) for _ in range(100)]
        >>> values[0] > 0.9, values[-1] < 0.1, model.weight.grad
        (True, True, None)

    Source: Malladi et al., Fine-tuning language models with just forward passes (2023), algorithm
    1; Spall, IEEE TAC 37 (1992). Evaluation without moving the weights, and so exact restoring, is
    our own.
    """

    def __init__(
        self,
        module: nn.Module,
        std: float,
        lr: float | Schedule,
        directions: int = 1,
        *,
        seed: int | None = None,
        chunk: int = 2**16,
        names: Sequence[str] | None = None,
    ) -> None:
        if not isinstance(module, nn.Module):
            raise ArgumentError(
                f"ZerothOrderStep: module must be a torch module; got {type(module).__name__}"
            )
        self.module = module
        self.names = names if names is None or isinstance(names, str) else tuple(names)
        self.std = float(check_number("ZerothOrderStep", "std", std, "positive"))
        self.lr = lr
        self._rate()
        self.directions = int(
            check_number("ZerothOrderStep", "directions", directions, "positive", integer=True)
        )
        self.chunk = int(check_number("ZerothOrderStep", "chunk", chunk, "positive", integer=True))
        self.seed = check_seed(seed)
        tensors = self._tensors()
        self.history = History(tuple((n, tuple(t.shape)) for n, t in tensors.items()), [])

    def step(
        self,
        loss: Loss | None = None,
        evaluate: Callable[[Sequence[int]], Sequence[tuple[float, float]]] | None = None,
    ) -> float:
        """Make one step; return the mean of the values seen.

        Args:
            loss: Called without arguments, 2 k times; uses the module and returns one number.
            evaluate: Instead of a loss: takes the seeds and returns for each the two values that
                `pair` gives. Replicas elsewhere evaluate, and then `apply` what `history` ends on:
                only seeds and numbers travel.

        Raises:
            ArgumentError: Not one of the two was given, or a value is no number.
            DataError: A value is not finite. Nothing has changed then.
        """
        if (loss is None) == (evaluate is None):
            raise ArgumentError("ZerothOrderStep.step: one of loss and evaluate must be given")
        rate = self._rate()
        seeds = self.seeds()
        if evaluate is not None:
            pairs = _pairs(evaluate(seeds), len(seeds))
        elif loss is not None:
            pairs = [self.pair(seed, loss) for seed in seeds]
        bad = [value for pair in pairs for value in pair if not math.isfinite(value)]
        if bad:
            raise DataError(
                f"ZerothOrderStep.step: loss must be finite; got {bad[0]}", code="E-NOT-FINITE"
            )
        scale = -rate / (2 * self.std * len(seeds))
        self.apply(
            tuple((seed, scale * (p - m)) for seed, (p, m) in zip(seeds, pairs, strict=True))
        )
        return sum(plus + minus for plus, minus in pairs) / (2 * len(pairs))

    def seeds(self) -> tuple[int, ...]:
        """Return the seeds of the next step's directions."""
        return tuple(derive(self.seed, len(self.history), k) for k in range(self.directions))

    def pair(self, seed: int, loss: Loss) -> tuple[float, float]:
        """Return the loss at θ + std u and at θ − std u; nothing is changed.

        Raises:
            ArgumentError: The loss is no number.
        """
        devices = {t.device for t in self._tensors().values() if t.device.type == "cuda"}
        with torch.random.fork_rng(sorted(d.index or 0 for d in devices)):
            plus = self._value(seed, self.std, loss)
        return plus, self._value(seed, -self.std, loss)

    def apply(self, move: Move) -> None:
        """Make a move, and remember it.

        Args:
            move: Pairs (seed, coefficient), as `history.moves` has them.

        Raises:
            ArgumentError: A seed is no integer in [0, 2^63), or a coefficient no finite number;
                nothing has changed then.
        """
        try:
            checked = checked_move(move)
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"ZerothOrderStep.apply: move must be pairs (seed, coefficient); got {move!r} "
                f"({error})"
            ) from error
        make_moves(self._tensors(), [checked], self.chunk)
        self.history.moves.append(checked)

    def _value(self, seed: int, scale: float, loss: Loss) -> float:
        moved = {
            name: SeededTensor.along(tensor, seed, stream, scale=scale, chunk=self.chunk)
            for stream, (name, tensor) in enumerate(self._tensors().items())
        }
        with torch.no_grad():
            found = run_with(self.module, moved, loss)
        try:
            return _one_number(found)
        except (TypeError, ValueError, RuntimeError) as error:
            kind = repr(found)
            if isinstance(found, Tensor):
                kind = f"shape {tuple(found.shape)}, {found.dtype}"
            raise ArgumentError(
                f"ZerothOrderStep: loss must return one number; got {kind}"
            ) from error

    def _rate(self) -> float:
        value = float(self.lr) if isinstance(self.lr, Schedule) else self.lr
        return float(check_number("ZerothOrderStep", "lr", value, "positive"))

    def _tensors(self) -> dict[str, Tensor]:
        return moved_parameters(self.module, self.names)


def _one_number(found: Any) -> float:
    if isinstance(found, str | bytes):
        raise TypeError("a text is no number, also where it reads as one")
    return float(found)


def _pairs(found: Any, count: int) -> list[tuple[float, float]]:
    """What `evaluate` returned.

    Raises:
        ArgumentError: It is not so many pairs of numbers.
    """
    try:
        pairs = [(_one_number(plus), _one_number(minus)) for plus, minus in found]
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"ZerothOrderStep.step: evaluate must return {counted(count, 'pair')} of numbers; got "
            f"{found!r}"
        ) from error
    if len(pairs) != count:
        raise ArgumentError(
            f"ZerothOrderStep.step: evaluate must return {counted(count, 'pair')}; got {len(pairs)}"
        )
    return pairs
