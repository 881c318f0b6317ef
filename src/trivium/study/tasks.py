"""Five tasks on symbols whose answers depend on where symbols stand."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

__all__ = ["TASKS", "TaskRows", "task_rows"]

_DIGITS = 10
_PLUS, _EQUALS, _PAD = _DIGITS, _DIGITS + 1, _DIGITS + 2
_FIRST = _PAD + 1  # one symbol for each task begins its rows
IGNORED = -100


@dataclass(frozen=True)
class TaskRows:
    """Rows of one task, all of one length.

    Args:
        tokens: The task's symbol, the question, `=`, and the answer without its last symbol.
        targets: What comes next where the answer is, elsewhere −100.
    """

    tokens: Int[Tensor, "b n"]
    targets: Int[Tensor, "b n"]


def _digits(rows: int, size: int, generator: torch.Generator, below: int = _DIGITS) -> Tensor:
    return torch.randint(below, (rows, size), generator=generator)


def _copy(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x = _digits(rows, size, generator)
    return x, x


def _reverse(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x = _digits(rows, size, generator)
    return x, x.flip(1)


def _sort(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x = _digits(rows, size, generator)
    return x, x.sort(1).values


def _parity(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    x = _digits(rows, size, generator, 2)
    return x, x.sum(1, keepdim=True) % 2


def _addition(rows: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two numbers of half the size each, lowest digits first, and so their sum."""
    k = max(1, size // 2)
    a, b = _digits(rows, k, generator), _digits(rows, k, generator)
    carry, answer = torch.zeros(rows, dtype=torch.int64), []
    for place in range(k):
        total = a[:, place] + b[:, place] + carry
        answer.append(total % _DIGITS)
        carry = total // _DIGITS
    plus = torch.full((rows, 1), _PLUS)
    return torch.cat((a, plus, b), 1), torch.stack([*answer, carry], 1)


TASKS: dict[str, Callable[[int, int, torch.Generator], tuple[Tensor, Tensor]]] = {
    "copy": _copy,
    "reverse": _reverse,
    "addition": _addition,
    "parity": _parity,
    "sort": _sort,
}
N_SYMBOLS = _FIRST + len(TASKS)


def task_rows(
    name: str, rows: int, size: int, generator: torch.Generator, width: int | None = None
) -> TaskRows:
    """Draw rows of a task.

    Args:
        name: One of `TASKS`.
        rows: How many.
        size: Symbols of the question.
        generator: Source of randomness.
        width: Length that rows are padded to, on the right.
    """
    question, answer = TASKS[name](rows, size, generator)
    begin = torch.full((rows, 1), _FIRST + list(TASKS).index(name))
    equals = torch.full((rows, 1), _EQUALS)
    whole = torch.cat((begin, question, equals, answer), 1)
    tokens, targets = whole[:, :-1], whole[:, 1:].clone()
    targets[:, : question.shape[1] + 1] = IGNORED
    if width is not None:
        more = (0, width - tokens.shape[1])
        tokens = torch.nn.functional.pad(tokens, more, value=_PAD)
        targets = torch.nn.functional.pad(targets, more, value=IGNORED)
    return TaskRows(tokens, targets)


def widest(size: int) -> int:
    """Return the tokens of the longest row of a size."""
    return 2 * size + 2
