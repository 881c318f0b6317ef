"""Corpus BLEU from summed n-gram counts, and what each sentence does to it."""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, ShapeError
from trivium.objective.count_metric import CountMetric
from trivium.objective.local_gradient import local_expectation
from trivium.objective.logits import check_logits

__all__ = ["CorpusBLEU"]

_SMOOTHING = {"exp": 0.0, "floor": 0.1, "add-k": 1.0, "none": 0.0}
Sentence = Sequence[Hashable]
Grams = list[Counter[tuple[Hashable, ...]]]


@dataclass(frozen=True)
class CorpusBLEU(CountMetric):
    r"""BLEU of a corpus in percent, with one reference for each sentence, as sacrebleu has it.

    $$100 \; e^{\min(0, 1 - r / l)} \prod_{k=1}^{N} (c_k / t_k)^{1/N}$$

    $c_k$ of the $t_k$ k-grams of the predictions occur in their reference (each as often as there);
    l and r are the lengths. All are sums over sentences.

    Sentences are lists of tokens (anything hashable), or integer tensors `(n, length)`.

    Args:
        max_n: N.
        smoothing: What stands for $c_k = 0$: `"exp"` halves $1 / t_k$ once more for each such k;
            `"floor"`: 0.1; `"add-k"`: 1 is added to both for k above 1; `"none"`: BLEU is 0.
        pad: Token at which a sentence ends, not part of it.
        eos: Another such token.

    Raises:
        ArgumentError: An option breaks its rule.

    Example:
        >>> target = [["the", "cat", "sat", "on", "the", "mat"], ["all", "is", "well", "now"]]
        >>> told = [["the", "cat", "sat", "on", "a", "mat"], ["all", "is", "well", "now"]]
        >>> round(CorpusBLEU().value(target, told), 4)
        68.8725

    Source:
        Papineni, Roukos, Ward and Zhu, BLEU (2002); Chen and Cherry (2014) for smoothing; Post, A
        call for clarity (2018).
    """

    max_n: int = 4
    smoothing: str = "exp"
    pad: int | None = None
    eos: int | None = None

    def __post_init__(self) -> None:
        order = check_number("CorpusBLEU", "max_n", self.max_n, "positive", integer=True)
        object.__setattr__(self, "max_n", order)
        check_choice("CorpusBLEU", "smoothing", self.smoothing, _SMOOTHING)

    @classmethod
    def examples(cls) -> Sequence["CorpusBLEU"]:
        """Return one for each smoothing."""
        return (cls(), cls(2, "floor"), cls(3, "add-k"), cls(4, "none"))

    def counts(self, target: Any, prediction: Any) -> Float[Tensor, "n k"]:
        """Return what each sentence adds: N matches, N totals, its length and the reference's.

        The sum over sentences, of any parts of a corpus, is what `score` takes.

        Raises:
            ArgumentError: A sentence is no list of tokens.
            ShapeError: The numbers of sentences differ, or there is none.
        """
        references, told = self._sentences(target), self._sentences(prediction)
        if len(references) != len(told) or not told:
            raise ShapeError(
                "CorpusBLEU: target and prediction must have the same number of sentences, at "
                f"least one; got {len(references)}, {len(told)}"
            )
        grams = [self._grams(sentence) for sentence in references]
        rows = [self._matches(*pair) for pair in zip(grams, told, strict=True)]
        return torch.tensor(rows, dtype=torch.float64)

    def score(self, counts: Float[Tensor, "*draws k"]) -> Float[Tensor, "*draws"]:
        """Return BLEU of summed counts."""
        order = self.max_n
        matches, totals = counts[..., :order], counts[..., order : 2 * order]
        length, reference = counts[..., -2], counts[..., -1]
        some = matches.sum(-1) > 0
        if self.smoothing == "add-k":
            more = torch.full_like(matches[..., :1], _SMOOTHING["add-k"]).expand_as(matches).clone()
            more[..., 0] = 0
            matches, totals = matches + more, totals + more
        none = matches == 0
        if self.smoothing == "exp":
            matches = torch.where(none, 0.5 ** none.cumsum(-1), matches)
        elif self.smoothing == "floor":
            matches = torch.where(none, _SMOOTHING["floor"], matches)
        found = matches > 0
        # Of what is 0 the value is, but not the derivative.
        logs = (torch.where(found, matches, 1.0) / totals.clamp_min(1)).log().mean(-1)
        short = (1 - reference / length.clamp_min(1)).clamp_max(0)
        fits = some & ((totals > 0) & found).all(-1)
        return torch.where(fits, 100 * (short + logs).exp(), 0.0)

    def values(self, target: Any, predictions: Any) -> Float[Tensor, "s"]:
        """Return BLEU of each of s predictions of the corpus; see `CountMetric.values`."""
        sums = [self.counts(target, prediction).sum(0) for prediction in _listed(predictions)]
        if not sums:
            raise ShapeError("CorpusBLEU: predictions must be at least one corpus; got none")
        return self.score(torch.stack(sums))

    def expected(self, probabilities: Any, target: Any, classes: Any = None) -> Float[Tensor, ""]:
        """Refuse: lengths and n-grams of all orders are coupled.

        Raises:
            ArgumentError: Always; the message names the way out.
        """
        raise ArgumentError(
            "CorpusBLEU: expected must have an exact form; n-grams of all orders are coupled",
            remedy="Take expected_among(logits, target, candidates), or expect with Score().",
        )

    def counterfactual(
        self, target: Any, prediction: Any, classes: Any = None
    ) -> Float[Tensor, "n c"]:
        """Return BLEU minus BLEU with sentence i replaced by each of its alternatives.

        Args:
            target: References.
            prediction: One prediction for each.
            classes: For each sentence c alternatives.

        Raises:
            ArgumentError: No alternatives.
            ShapeError: The numbers of sentences or alternatives differ.
        """
        if classes is None:
            raise ArgumentError(
                "CorpusBLEU: classes must be the alternatives of each sentence; got None"
            )
        each = self.counts(target, prediction)
        total = each.sum(0)
        swapped = total - each[:, None] + self._table(target, classes)
        return self.score(total) - self.score(swapped)

    def expected_among(
        self, logits: Float[Tensor, "n c"], target: Any, candidates: Any, samples: int = 16
    ) -> Float[Tensor, ""]:
        """Return the mean BLEU of a corpus whose sentences are drawn from lists of candidates.

        Its backward is the counterfactual gradient: minimum risk training on the metric of the
        whole corpus, not on a sentence-level stand-in.

        Args:
            logits: Of each candidate, -inf for none.
            target: References.
            candidates: For each sentence c candidates.
            samples: Draws.

        Raises:
            ArgumentError: `samples` is no positive whole number, the logits are no floating tensor,
                or a candidate is no list of tokens.
            ShapeError: The shapes do not fit.
            DataError: The logits have NaN, or a row that cannot be normalized.

        Cost: n-grams of the n c candidates once; O(samples n c N) after that.

        Source: Och (2003); Shen et al., Minimum risk training (2016).
        """
        check_number("CorpusBLEU", "samples", samples, "positive", integer=True)
        logits = check_logits("CorpusBLEU", logits)
        table = self._table(target, candidates).to(logits.device)
        if logits.shape != table.shape[:2]:
            raise ShapeError(
                f"CorpusBLEU: logits must have shape {tuple(table.shape[:2])}, one for each "
                f"candidate; got {tuple(logits.shape)}"
            )
        p = logits.double().softmax(1)
        drawn = Categorical(probs=p.detach(), validate_args=False).sample((samples,))

        def chosen(z: Int[Tensor, "s n"]) -> Tensor:
            return table[torch.arange(len(table), device=z.device), z]

        def swaps(z: Int[Tensor, "s n"]) -> Tensor:
            own = chosen(z)
            return self.score((own.sum(1, keepdim=True) - own)[:, :, None] + table)

        found = local_expectation(p, drawn, lambda z: self.score(chosen(z).sum(1)), swaps)
        return found.to(logits.dtype)

    def _table(self, target: Any, candidates: Any) -> Float[Tensor, "n c k"]:
        grams = [self._grams(sentence) for sentence in self._sentences(target)]
        lists = [self._sentences(each) for each in _listed(candidates)]
        sizes = {len(each) for each in lists}
        if len(lists) != len(grams) or len(sizes) != 1 or 0 in sizes:
            raise ShapeError(
                f"CorpusBLEU: candidates must be as many, at least one, for each of "
                f"{len(grams)} sentences; got {len(lists)} lists of {sorted(sizes)}"
            )
        rows = [
            [self._matches(own, sentence) for sentence in each]
            for own, each in zip(grams, lists, strict=True)
        ]
        return torch.tensor(rows, dtype=torch.float64)

    def _sentences(self, found: Any) -> list[Sentence]:
        ends = {token for token in (self.pad, self.eos) if token is not None}
        rows = [_plain(row) for row in _listed(found)]
        return [list(takewhile(lambda token: token not in ends, row)) for row in rows]

    def _grams(self, sentence: Sentence) -> Grams:
        return [Counter(_runs(sentence, k)) for k in range(1, self.max_n + 1)]

    def _matches(self, reference: Grams, told: Sentence) -> list[int]:
        found = [
            sum((Counter(_runs(told, k)) & grams).values()) for k, grams in enumerate(reference, 1)
        ]
        totals = [max(0, len(told) - k + 1) for k in range(1, self.max_n + 1)]
        return [*found, *totals, len(told), sum(reference[0].values())]


def _listed(found: Any) -> list[Any]:
    """The items of a list, an array or a tensor.

    Raises:
        ArgumentError: It is none, or a text.
    """
    plain = found.tolist() if isinstance(found, Tensor | np.ndarray) else found
    if isinstance(plain, str | bytes) or not isinstance(plain, Iterable):
        raise ArgumentError(
            f"CorpusBLEU: sentences must be lists of tokens; got {type(plain).__name__}",
            remedy="Split texts into tokens first.",
        )
    return list(plain)


def _plain(row: Any) -> list[Hashable]:
    """The tokens of a sentence, which must be equal where they look equal."""
    tokens = _listed(row)
    try:
        strange = any(isinstance(token, Tensor) for token in set(tokens))
    except TypeError:
        strange = True
    if strange:
        raise ArgumentError(
            "CorpusBLEU: tokens must be hashable values, and no tensors; got "
            f"{type(tokens[0]).__name__}",
            remedy="Take .tolist() of a tensor of tokens.",
        )
    return tokens


def _runs(sentence: Sentence, k: int) -> Iterable[tuple[Hashable, ...]]:
    return zip(*(sentence[start:] for start in range(k)), strict=False)
