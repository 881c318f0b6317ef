"""The choice of an estimator by what the distribution and f allow."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Size, Tensor

from trivium._core.errors import ArgumentError
from trivium.expectation.estimator import GradientEstimator
from trivium.expectation.exact import Exact, combinations
from trivium.expectation.factors import factors
from trivium.expectation.problem import Problem
from trivium.expectation.score import Score
from trivium.expectation.support_size import support_size

__all__ = ["Automatic"]

_FEW = 64


@dataclass(frozen=True)
class Automatic(GradientEstimator):
    """Exact, else through the samples, else the score function with the optimal baseline.

    Its order is that of variance: no noise, least noise, any f. f counts as differentiable when
    its values are connected to the samples by a graph; a step that is hidden inside a graph (a
    comparison times a differentiable value) cannot be seen: name `Score()` then.

    Cost: one call of f, two where f couples few draws of a small support.
    """

    @classmethod
    def examples(cls) -> Sequence["Automatic"]:
        """Return an instance."""
        return (cls(),)

    def serves(self, problem: Problem) -> str:
        """Any distribution."""
        return ""

    def estimate(self, problem: Problem) -> Float[Tensor, "*lead"]:
        """Choose and estimate; see `GradientEstimator.estimate`.

        Raises:
            ArgumentError: The distribution has neither samples with a gradient that f keeps, nor a
                log-probability that knows all parameters; and as there.
        """
        parts, size = factors(problem), support_size(problem.distribution)
        exact = Exact(budget=_FEW)
        inside = parts.reduced(len(problem.batch))  # draws that every value couples
        if size and combinations(size, inside) <= _FEW:
            if combinations(size, parts.batch.numel()) <= _FEW:
                return exact.estimate(problem)
            seen = _Seen(problem.f)
            probe = replace(problem, f=seen)
            support = parts.distribution.enumerate_support(expand=True)
            values = probe.values(support, size)
            if combinations(size, parts.reduced(values.ndim - 1)) <= _FEW:
                return exact.estimate(replace(problem, f=seen.again))
        if problem.distribution.has_rsample:
            return self._through_samples(problem)
        return _by_score(problem)

    def _through_samples(self, problem: Problem) -> Float[Tensor, "*lead"]:
        z = problem.distribution.rsample(Size((problem.samples,)))
        if not z.requires_grad:
            return problem.values(z).mean(0)
        values = problem.values(z)
        if _reaches(values, z):
            return values.mean(0)
        return _by_score(problem)


def _by_score(problem: Problem) -> Float[Tensor, "*lead"]:
    score = Score()
    why = score.serves(problem)
    if why:
        raise ArgumentError(
            f"expect: f must be a differentiable function of the samples of "
            f"{type(problem.distribution).__name__}, as Score cannot serve it: {why}"
        )
    return score.estimate(problem)


def _reaches(values: Tensor, z: Tensor) -> bool:
    """Whether the graph of `values` leads to `z`."""
    if torch.compiler.is_compiling() or values.grad_fn is None:
        return torch.compiler.is_compiling()
    goal, seen, waiting = z.grad_fn, set(), [values.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is goal:
            return True
        for parent, _ in node.next_functions:
            if parent is not None and parent not in seen:
                seen.add(parent)
                waiting.append(parent)
    return False


class _Seen:
    """f, with its first answer kept: it is asked twice about the same samples."""

    def __init__(self, f: Callable[[Any], Any]) -> None:
        self.f, self.kept = f, None

    def __call__(self, z: Any) -> Any:
        self.kept = self.f(z)
        return self.kept

    def again(self, z: Any) -> Any:
        """Return the answer kept, once, and then ask."""
        kept, self.kept = self.kept, None
        return self.f(z) if kept is None else kept
