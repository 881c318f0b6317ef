"""Sequences of tokens, each drawn given those before it."""

import collections.abc
from collections.abc import Callable
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.distributions import constraints

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, ShapeError
from trivium.expectation.gumbel import gumbel_keys
from trivium.expectation.listed import Listed

__all__ = ["Sequence"]

Step = Callable[[Tensor, Any], tuple[Tensor, Any]]


class _Tokens(constraints.Constraint):
    """Tokens of the vocabulary; behind the first eos nothing but eos."""

    is_discrete = True
    event_dim = 1

    def __init__(self, vocabulary: int, eos: int | None) -> None:
        self.vocabulary, self.eos = vocabulary, eos
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        known = ((value >= 0) & (value < self.vocabulary)).all(-1)
        if self.eos is None:
            return known
        ended = value == self.eos
        return known & (ended[..., 1:] | ~ended[..., :-1]).all(-1)


class Sequence(Listed):
    r"""An autoregressive distribution: $p(z) = \prod_t p(z_t \mid z_{<t})$ up to the first eos.

    The parameters live in `step`, usually a module: `log_prob` is differentiable in them.

    Args:
        step: `step(prefix, state) -> (logits, state)`. `prefix` are the tokens so far,
            `(*lead, t)`; `state` is what the call before returned, `None` for t = 0; `logits` are
            those of the next token, `(*lead, v)` or something that expands to it; -inf is never
            drawn. It is called once with a prefix of shape `(0,)` when the distribution is built:
            the shape `(*batch, v)` of its logits tells the batch and the vocabulary. After that
            `lead` is `(*sample, *batch)`.
        length: Most tokens; a value has exactly so many.
        eos: Token that ends a sequence; places behind it are filled with it and have no
            probability of their own. `None`: every sequence is `length` long.
        score: `score(sequence) -> logits` at all places in one call, `(*lead, length, v)`, each
            given the tokens before it: teacher forcing, where the model allows it.
        validate_args: Whether to check values, as torch has it; shapes always are.

    Raises:
        ArgumentError: An argument breaks its rule.
        ShapeError: Logits have another shape.

    Cost: sampling at most `length` calls of step; it stops when all sequences have ended, but not
        in a compiled graph or inside `vmap`. `log_prob` as many calls, or one of score.

    Example:
        >>> import torch
        >>> def step(prefix, state):  # a coin that ends the sequence with 0
        ...     return torch.zeros(2), None
        >>> flips = Sequence(step, length=3, eos=0)
        >>> flips.log_prob(torch.tensor([1, 0, 0])).exp()
        tensor(0.2500)

    Source: Sutskever, Vinyals and Le, Sequence to sequence learning (2014).
    """

    arg_constraints = {}  # noqa: RUF012 - torch's own form
    event_name = "tokens of the vocabulary with nothing but eos behind the first eos"

    def __init__(
        self,
        step: Step,
        length: int,
        eos: int | None = None,
        score: Callable[[Tensor], Tensor] | None = None,
        validate_args: bool | None = None,
    ) -> None:
        for name, value in (("step", step), ("score", score)):
            if not (callable(value) or (name == "score" and value is None)):
                raise ArgumentError(f"Sequence: {name} must be a function; got {value!r}")
        self.length = int(check_number("Sequence", "length", length, "positive", integer=True))
        self.step, self.score = step, score
        with torch.no_grad():
            first = self._logits(step(torch.zeros(0, dtype=torch.long), None))[0]
        self._kind, self._device, self.vocabulary = first.dtype, first.device, first.shape[-1]
        self.eos = eos if eos is None else self._token(eos)
        batch = first.shape[:-1]
        super().__init__(batch, Size((self.length,)), validate_args=validate_args)

    def _token(self, eos: Any) -> int:
        token = int(check_number("Sequence", "eos", eos, "non-negative", integer=True))
        if token >= self.vocabulary:
            raise ArgumentError(
                f"Sequence: eos must be a token of the vocabulary, below {self.vocabulary}; "
                f"got {eos}"
            )
        return token

    @classmethod
    def examples(cls) -> collections.abc.Sequence["Sequence"]:
        """Return rows that end early, with and without teacher forcing, and one of full length."""
        rows, alone = _Pairs(2, 3), _Pairs(0, 2)
        return cls(rows, 3, eos=0), cls(rows, 2, eos=2, score=rows.score), cls(alone, 3)

    @property
    def support(self) -> constraints.Constraint:
        """Tokens, padded with eos."""
        return _Tokens(self.vocabulary, self.eos)

    @property
    def support_size(self) -> int:
        """Number of sequences."""
        if self.eos is None:
            return self.vocabulary**self.length
        count = 1
        for _ in range(self.length):
            count = 1 + (self.vocabulary - 1) * count
        return count

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Draw sequences, token by token, until all have ended.

        Raises:
            ArgumentError: A step leaves no token.
        """
        lead = self._size(sample_shape) + self.batch_shape
        fill = 0 if self.eos is None else self.eos
        found = torch.zeros((*lead, 0), dtype=torch.long, device=self._device)
        alive = torch.ones(lead, dtype=torch.bool, device=self._device)
        state: Any = None
        with torch.no_grad():
            for t in range(self.length):
                logits, state = self._ask(found, state)
                self._check_open(logits, alive)
                drawn = torch.where(alive, gumbel_keys(logits).argmax(-1), fill)
                found = torch.cat([found, drawn[..., None]], -1)
                if self.eos is not None:
                    alive = alive & (drawn != self.eos)
                    if _all_ended(alive):
                        return nn.functional.pad(found, (0, self.length - t - 1), value=self.eos)
        return found

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the logarithm of the probability, up to and with the first eos.

        Raises:
            ShapeError: A value or the logits have another shape.
            ArgumentError: A value is no sequence of tokens, or a step leaves no token.
        """
        self._check_value(value)
        value = value.long()
        lead = torch.broadcast_shapes(value.shape[:-1], self.batch_shape)
        value = value.expand(*lead, self.length)
        logits = self._all_logits(value)
        alive = torch.ones_like(value, dtype=torch.bool)
        if self.eos is not None:
            goes_on = (value[..., :-1] != self.eos).long().cumprod(-1).bool()
            alive = torch.cat([alive[..., :1], goes_on], -1)
        self._check_open(logits, alive)
        # Noughts where nothing counts: what step says behind the end may be anything.
        logs = logits.masked_fill(~alive[..., None], 0.0).log_softmax(-1)
        picked = logs.gather(-1, value[..., None])[..., 0]
        return picked.masked_fill(~alive, 0.0).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """List all sequences.

        Raises:
            ArgumentError: There are too many.
        """
        self._check_small()
        found: list[tuple[int, ...]] = [()]
        for _ in range(self.length):
            found = [
                (*head, token)
                for head in found
                for token in range(self.vocabulary)
                if token == self.eos or not head or head[-1] != self.eos
            ]
        return self._spread(torch.tensor(found, device=self._device), expand)

    def _all_logits(self, value: Tensor) -> Tensor:
        """Logits at all places given the tokens before them."""
        shape = (*value.shape, self.vocabulary)
        if self.score is not None:
            return self._expanded("score", self.score(value), shape)
        found, state = [], None
        for t in range(self.length):
            logits, state = self._ask(value[..., :t], state)
            found.append(logits)
        return torch.stack(found, -2)

    def _ask(self, prefix: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, state = self._logits(self.step(prefix, state))
        return self._expanded("step", logits, (*prefix.shape[:-1], self.vocabulary)), state

    def _logits(self, answer: Any) -> tuple[Tensor, Any]:
        pair = isinstance(answer, tuple) and len(answer) == 2
        if not pair or not isinstance(answer[0], Tensor) or not answer[0].is_floating_point():
            raise ArgumentError(
                f"Sequence: step must return (logits, state); got {type(answer).__name__}"
            )
        if not answer[0].ndim or not answer[0].shape[-1]:
            raise ShapeError("Sequence: step must return logits (*lead, v); got an empty last axis")
        return answer

    def _expanded(self, name: str, logits: Tensor, shape: tuple[int, ...]) -> Tensor:
        try:
            return logits.expand(shape)
        except RuntimeError as error:
            raise ShapeError(
                f"Sequence: {name} must return logits that expand to {tuple(shape)}; "
                f"got shape {tuple(logits.shape)}"
            ) from error

    def _check_open(self, logits: Tensor, alive: Tensor) -> None:
        if self._validate_args:
            good = (logits.max(-1).values.isfinite() & ~logits.isnan().any(-1)) | ~alive
            if not bool(good.all()):
                raise ArgumentError(
                    "Sequence: step must leave a token unmasked, with logits below infinity and "
                    "no NaN; it does not"
                )


def _all_ended(alive: Tensor) -> bool:
    """Whether sampling may stop early; where values cannot be looked at, it goes on."""
    if torch.compiler.is_compiling():
        return False
    try:
        return not bool(alive.any())
    except RuntimeError:  # inside vmap
        return False


class _Pairs(nn.Module):
    """Logits by the token before and the row: the smallest model that needs its prefix."""

    def __init__(self, rows: int, vocabulary: int) -> None:
        super().__init__()
        count = max(rows, 1) * (vocabulary + 1) * vocabulary
        table = torch.linspace(-1, 1, count, dtype=torch.float64).mul(7).sin()
        shape = (rows,) if rows else ()
        self.table = nn.Parameter(table.reshape(*shape, vocabulary + 1, vocabulary))

    def forward(self, prefix: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Look the last token up."""
        if not prefix.shape[-1]:
            return self.table[..., -1, :], None
        seen = nn.functional.one_hot(prefix[..., -1], self.table.shape[-1]).to(self.table)
        return (seen[..., None] * self.table[..., :-1, :]).sum(-2), None

    def score(self, sequence: Tensor) -> Tensor:
        """Look all tokens up at once."""
        seen = nn.functional.one_hot(sequence[..., :-1], self.table.shape[-1]).to(self.table)
        rest = (seen[..., None] * self.table[..., None, :-1, :]).sum(-2)
        first = self.table[..., None, -1, :].expand(*rest.shape[:-2], 1, rest.shape[-1])
        return torch.cat([first, rest], -2)
