"""Laws that the counts of a Transformer keep; a family of your own is held to the same."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trivium._core.errors import TriviumError
from trivium.cost import TransformerShape

__all__ = ["COST_LAWS", "check_cost"]

_DESIGNS = ("eager", "sdpa")


class _Held:
    """A shape beside a model of it on the meta device, and sizes to count at."""

    def __init__(self, shape: TransformerShape, model: nn.Module, lengths: Sequence[int]) -> None:
        self.shape, self.model, self.lengths = shape, model, tuple(lengths)

    def counted(self, n: int, batch: int, *, train: bool = False) -> int:
        """Return the FLOPs that torch counts for a call on ids `(batch, n)`."""
        ids = torch.zeros(batch, n, dtype=torch.long, device="meta")
        self.model.train(train)
        with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(train):
            found = self.model(ids)
            if train:
                _first(found).sum().backward()
        return int(counter.get_total_flops())


def _first(found: Any) -> Tensor:
    return found if isinstance(found, Tensor) else found[0]


def forward_is_torchs(held: _Held) -> None:
    """The FLOPs of a forward pass are those that torch counts, to the last one."""
    for n in held.lengths:
        for batch in (1, 3):
            ours, theirs = held.shape.table(n, batch).flops, held.counted(n, batch)
            if ours != theirs:
                raise AssertionError(
                    f"{batch} rows of {n} tokens: {ours:,} FLOPs, torch {theirs:,}"
                )


def training_is_torchs(held: _Held) -> None:
    """The FLOPs of a training step are those that torch counts."""
    for n in held.lengths:
        ours = held.shape.table(n, 2, mode="train").flops
        theirs = held.counted(n, 2, train=True)
        if ours != theirs:
            raise AssertionError(f"training, {n} tokens: {ours:,} FLOPs, torch {theirs:,}")


def parameters_are_the_models(held: _Held) -> None:
    """The numbers of matrices and tables are those of the model; vectors are left out."""
    kept = (*held.model.parameters(), *held.model.buffers())
    theirs = sum(each.numel() for each in kept if each.ndim > 1)
    ours = held.shape.peak(held.lengths[0]).weights // 4
    if ours != theirs:
        raise AssertionError(f"{ours:,} parameters, the model has {theirs:,}")


def kernels_do_not_change_flops(held: _Held) -> None:
    """Softmax attention in one kernel has the FLOPs of the same operator by operator."""
    for n in held.lengths:
        eager, fused = (held.shape.table(n, attention=design).flops for design in _DESIGNS)
        if eager != fused:
            raise AssertionError(f"{n} tokens: eager {eager:,}, fused {fused:,}")


def bytes_are_whole(held: _Held) -> None:
    """Peak memory is at least the weights, and grows with the batch and with training."""
    n = held.lengths[-1]
    one, more = (held.shape.peak(n, batch=batch).total for batch in (1, 4))
    trained = held.shape.peak(n, batch=1, mode="train").total
    weights = held.shape.peak(n).weights
    if not weights <= one < more or not one < trained:
        raise AssertionError(
            f"peak bytes {one:,} of one row, {more:,} of four, {trained:,} in training; "
            f"the weights have {weights:,}"
        )


def misuse_refused(held: _Held) -> None:
    """A length of 0, a batch of 0 and a mode of no kind get our own errors."""
    table: Any = held.shape.table
    cases: dict[str, Callable[[], Any]] = {
        "no tokens": lambda: table(0),
        "no rows": lambda: table(4, 0),
        "an unknown mode": lambda: table(4, mode="dream"),
    }
    for name, call in cases.items():
        try:
            call()
        except TriviumError:
            continue
        raise AssertionError(f"accepts {name}")


COST_LAWS = (
    forward_is_torchs,
    training_is_torchs,
    parameters_are_the_models,
    kernels_do_not_change_flops,
    bytes_are_whole,
    misuse_refused,
)


def check_cost(
    shape: TransformerShape, build: Callable[[], nn.Module], lengths: Sequence[int] = (5, 8, 17)
) -> None:
    """Hold the counts of a shape to every law in `COST_LAWS`, beside a model of it.

    Args:
        shape: What `TransformerShape.from_config` returned.
        build: Makes the model, which takes ids `(batch, n)`; called on the meta device, so its
            weights take no memory. Its attention must be products that torch counts.
        lengths: Tokens of a row to count at.

    Raises:
        AssertionError: A law is broken; the message names the law and both figures.

    Cost:
        A few passes without arithmetic.

    Example:
        >>> from trivium.cost.blocks import Dense, Embedding, Residual
        >>> from trivium.cost.shape import Layer, Stack
        >>> layer = Layer((Dense("mix", "ffn", ("b", "n"), 4, 4), Residual(4)))
        >>> stack = Stack("layers", (layer,), before=(Embedding(4, table=40),))
        >>> shape = TransformerShape("one", "one", (stack,), causal=False)
        >>> check_cost(shape, lambda: nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 4)))
    """
    with torch.device("meta"):
        model = build()
    held = _Held(shape, model, lengths)
    for law in COST_LAWS:
        try:
            law(held)
        except AssertionError as error:
            raise AssertionError(f"law {law.__name__}: {shape.name}: {error}") from error
