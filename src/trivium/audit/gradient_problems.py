"""Expectations on which `trivium gradients` compares estimators: a few of ours, or the user's."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, Normal

from trivium._core.checks import check_choice
from trivium._core.errors import ArgumentError
from trivium.expectation import Permutation, Subset

__all__ = ["PROBLEMS", "GradientProblem", "find_problem", "import_problem"]


_NOT_FOUND = "Modules of this folder and installed ones are found, by names without .py."


@dataclass(frozen=True)
class GradientProblem:
    """An expectation to compare gradient estimators on.

    Args:
        name: How it is called.
        about: A line about it.
        f: The function.
        distribution: What it is averaged over.
        estimators: Those to compare, as `compare` takes them.
    """

    name: str
    about: str
    f: Callable[[Any], Any]
    distribution: Distribution
    estimators: Any = "all"


def _bernoulli() -> GradientProblem:
    logits = torch.linspace(-1.5, 1.5, 6, dtype=torch.float64)

    def f(z: Tensor) -> Tensor:
        return (z - 0.45).square().mean(-1)

    about = "six coupled Bernoulli draws, f = mean (z - 0.45)^2"
    return GradientProblem("bernoulli", about, f, Bernoulli(logits=logits))


def _classifier() -> GradientProblem:
    rng = torch.Generator().manual_seed(0)
    right = torch.randint(0, 10, (200,), generator=rng)
    logits = 0.5 * torch.randn(200, 10, dtype=torch.float64, generator=rng)
    hot = torch.nn.functional.one_hot(right, 10)
    low, high = 0.0, 20.0
    for _ in range(60):  # the margin at which the right class has 97.7 % on average
        margin = (low + high) / 2
        share = (logits + margin * hot).softmax(-1).gather(-1, right[:, None]).mean()
        low, high = (margin, high) if float(share) < 0.977 else (low, margin)

    def f(z: Tensor) -> Tensor:
        return (z == right).double()

    about = "200 rows of a softmax classifier that is right 97.7 % of the time, f = 1 when right"
    return GradientProblem("classifier", about, f, Categorical(logits=logits + low * hot))


def _normal() -> GradientProblem:
    loc = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)
    scale = torch.tensor([1.0, 0.5, 0.3, 2.0], dtype=torch.float64)

    def f(z: Tensor) -> Tensor:
        return (z.sum(-1) - 1).square()

    about = "four coupled normal draws, f = (sum z - 1)^2"
    return GradientProblem("normal", about, f, Normal(loc, scale))


def _subset() -> GradientProblem:
    values = torch.linspace(-1, 2, 8, dtype=torch.float64)

    def f(z: Tensor) -> Tensor:
        return (z @ values).square()

    about = "3 of 8 items without replacement, f = (sum of their values)^2"
    return GradientProblem("subset", about, f, Subset(values.sin(), 3))


def _ranking() -> GradientProblem:
    gains = torch.tensor([3.0, 0.0, 1.0, 0.0, 2.0], dtype=torch.float64)
    discounts = 1 / torch.arange(2, 7, dtype=torch.float64).log2()

    def f(z: Tensor) -> Tensor:
        return (gains[z] * discounts).sum(-1)

    about = "orders of 5 documents, f = discounted cumulative gain"
    return GradientProblem("ranking", about, f, Permutation(gains.cos()))


PROBLEMS: dict[str, Callable[[], GradientProblem]] = {
    "bernoulli": _bernoulli,
    "classifier": _classifier,
    "normal": _normal,
    "ranking": _ranking,
    "subset": _subset,
}


def find_problem(name: str) -> GradientProblem:
    """Return one of ours.

    Raises:
        ArgumentError: An unknown name; the message lists those that are known.
    """
    return PROBLEMS[check_choice("gradients", "PROBLEM", name, PROBLEMS)]()


def import_problem(path: str) -> GradientProblem:
    """Call the user's function and return what it describes.

    Args:
        path: `package.module:function`; it is imported from here too. The function takes nothing
            and returns `(f, distribution)` or `(f, distribution, estimators)`.

    Raises:
        ArgumentError: It cannot be imported or called, or returns something else.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise ArgumentError(f"gradients: --f must be as package.module:function; got {path!r}")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        found = getattr(import_module(module), name)()
    except Exception as error:  # the user's own code: anything can happen in it
        raise ArgumentError(
            f"gradients: --f {path} must return (f, distribution); "
            f"it raised {type(error).__name__}: {error}",
            remedy=_NOT_FOUND if isinstance(error, ModuleNotFoundError) else None,
        ) from error
    finally:
        if here in sys.path:
            sys.path.remove(here)
    parts = found if isinstance(found, tuple) else (found,)
    if len(parts) not in (2, 3) or not callable(parts[0]) or not isinstance(parts[1], Distribution):
        kinds = ", ".join(type(part).__name__ for part in parts)
        raise ArgumentError(
            f"gradients: --f {path} must return (f, distribution) or (f, distribution, "
            f"estimators); got ({kinds})"
        )
    return GradientProblem(path, str(parts[1]), *parts)
