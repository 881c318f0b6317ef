"""The gradient estimator for the head and the network, by its variance at equal cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.distributions import Categorical

from trivium._core.counted import counted
from trivium._core.errors import ModelError
from trivium.audit.tune_metric import TuneMetric, UserMetric
from trivium.expectation import GradientEstimator, Score
from trivium.expectation.compare import compare
from trivium.expectation.problem import Problem
from trivium.objective import LabelMetric
from trivium.objective.expected_metric import expected_metric

__all__ = ["SAMPLES", "Choice", "choose_estimator", "named_choice"]

SAMPLES = 8
_BASELINES = ("optimal", "mean", "leave-one-out")
_ROWS = 512
_REPEATS, _REPEATS_SLOW = 32, 8


@dataclass(frozen=True)
class Choice:
    """The estimator that trains, and what it was measured against.

    Args:
        estimator: For `expected_metric`.
        name: In words.
        figures: For each: `name`, `deviation` of the gradient, `work` in multiplications of one
            step, and `price`, variance times work.
        why: The reason in words.
    """

    estimator: GradientEstimator | str
    name: str
    figures: tuple[dict[str, Any], ...]
    why: str


@dataclass(frozen=True)
class _ByCounts(GradientEstimator):
    """The counterfactual gradient, as a member that can be compared."""

    metric: LabelMetric
    target: Int[Tensor, "n"]

    @classmethod
    def examples(cls) -> Sequence["_ByCounts"]:
        """None: it belongs to one table."""
        return ()

    def serves(self, problem: Problem) -> str:
        """The problem it was made for."""
        return ""

    def estimate(self, problem: Problem) -> Float[Tensor, "*lead"]:
        """Return the value with its gradient."""
        logits = problem.distribution.logits  # type: ignore[attr-defined]
        return expected_metric(logits, self.target, self.metric, "counterfactual", problem.samples)


def choose_estimator(
    scores: Float[np.ndarray, "n c"],
    codes: Int[np.ndarray, " n"],
    metric: TuneMetric,
    seed: int,
) -> Choice:
    """Measure estimators on these rows and return the one of least variance at equal cost.

    The variance is that of the gradient with respect to the scores, over calls with 8 draws; the
    cost is counted in multiplications, never timed. An exact gradient has no variance: it is taken
    where it costs no more than the counterfactual one, which has little.

    Args:
        scores: Scores of the rows, of which at most 512 are used.
        codes: Their classes.
        metric: What is maximized.
        seed: Seed of the draws.

    Raises:
        DataError: A function of the user's fails.
    """
    scores, codes = scores[:_ROWS], codes[:_ROWS]
    n, c = scores.shape
    target = torch.from_numpy(codes)
    inner = metric.metric
    local = float(SAMPLES * n * c) * (c + 1)
    if isinstance(inner, LabelMetric) and not inner.obstacle(target, metric.codes):
        work = inner.exact_work(n, c)
        if work <= local:
            only = {"name": "exact", "deviation": 0.0, "work": work, "price": 0.0}
            return Choice("exact", "exact", (only,), "it is exact, and costs no more than draws")
    named: dict[str, GradientEstimator] = {
        f"score, baseline {name}": Score(name) for name in _BASELINES
    }
    works = dict.fromkeys(named, float(SAMPLES * n * c))
    if isinstance(inner, LabelMetric):
        named["counterfactual"] = _ByCounts(inner, target)
        works["counterfactual"] = local
    logits = torch.from_numpy(scores).clone()
    law = Categorical(logits=logits, validate_args=False)
    repeats = _REPEATS_SLOW if isinstance(inner, UserMetric) else _REPEATS
    found = compare(_values(metric, target), law, named, SAMPLES, repeats, random_state=seed)
    figures: tuple[dict[str, Any], ...] = tuple(
        {
            "name": row.name,
            "deviation": row.deviation,
            "work": works[row.name],
            "price": row.deviation**2 * works[row.name],
        }
        for row in found.rows
    )
    best = min(figures, key=lambda one: (one["price"], one["work"]))
    chosen: GradientEstimator | str
    chosen = "counterfactual" if best["name"] == "counterfactual" else named[best["name"]]
    why = f"least variance times work, of {len(figures)} measured on {counted(n, 'row')}"
    return Choice(chosen, best["name"], figures, why)


def named_choice(name: str) -> Choice:
    """Return the choice of a name that `choose_estimator` gave.

    Raises:
        ModelError: It never gave it.
    """
    known: dict[str, GradientEstimator | str] = {one: one for one in ("exact", "counterfactual")}
    known |= {f"score, baseline {one}": Score(one) for one in _BASELINES}
    if name not in known:
        raise ModelError(f"explain: the estimator must be one of {', '.join(known)}; got {name!r}")
    return Choice(known[name], name, (), "")


def _values(metric: TuneMetric, target: Tensor) -> Callable[[Tensor], Tensor]:
    """The metric of draws of all labels."""
    inner = metric.metric
    if isinstance(inner, LabelMetric):
        return lambda z: inner.coded_values(target, z.long(), metric.codes)
    codes = target.numpy()
    return lambda z: torch.tensor(
        [inner(codes, row) for row in z.long().numpy()], dtype=torch.float64
    )
