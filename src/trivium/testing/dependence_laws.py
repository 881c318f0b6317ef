"""Laws that every test of independence keeps; a test of your own is held to the same."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

__all__ = ["INDEPENDENCE_LAWS", "check_independence_test", "rejection_bound"]

Array = NDArray[np.float64]
PValue = Callable[[Array, Array, int], float]
Law = Callable[[PValue], None]

ALARM = 1e-4  # probability that a valid test is accused by the law of its level


def rejection_bound(simulations: int, level: float, alarm: float = ALARM) -> int:
    """Return the number of rejections that a valid test exceeds with probability at most `alarm`.

    Args:
        simulations: Independent data sets.
        level: Where the test rejects, p ≤ level.
        alarm: Probability of a false accusation.

    Example:
        >>> rejection_bound(200, 0.05)
        23
    """
    return int(binom.isf(alarm, simulations, level))


def check_independence_test(test: PValue) -> None:
    """Hold a test to every law.

    Args:
        test: `test(x, y, seed) -> p`, for two float arrays `(n,)`.

    Raises:
        AssertionError: A law is broken; the message says which and by how much.

    Cost: about 700 calls with 12 to 40 rows.
    """
    for law in INDEPENDENCE_LAWS:
        law(test)


def _p_value_is_a_probability(test: PValue) -> None:
    rng = np.random.default_rng(1)
    for seed in range(20):
        x = rng.normal(size=12)
        for y in (x, rng.normal(size=12)):
            p = test(x, y, seed)
            _holds(bool(0 < p <= 1), f"p must be in (0, 1]; got {p}")


def _same_seed_same_p_value(test: PValue) -> None:
    x, y = np.random.default_rng(2).normal(size=(2, 30))
    first, second = test(x, y, 7), test(x, y, 7)
    _holds(bool(first == second), f"one seed gave p = {first} and p = {second}")


def _level_is_kept(test: PValue) -> None:
    """Rejections of independent data, with rows so few that 1/(1 + B) is felt."""
    rng = np.random.default_rng(3)
    simulations = 600
    draws = rng.normal(size=(simulations, 2, 16))
    p_values = np.array([test(x, y, seed) for seed, (x, y) in enumerate(draws)])
    for level in (0.02, 0.05, 0.2):
        found, most = int((p_values <= level).sum()), rejection_bound(simulations, level)
        _holds(
            found <= most,
            f"p <= {level} in {found} of {simulations} independent data sets; "
            f"a valid test exceeds {most} with probability {ALARM:g}",
        )


def _dependence_is_found(test: PValue) -> None:
    rng = np.random.default_rng(4)
    x, noise = rng.uniform(-1, 1, 40), 0.05 * rng.normal(size=40)
    for name, y in (("a line", x), ("a parabola", x**2), ("a wave", np.sin(4 * x))):
        p = test(x, y + noise, 0)
        _holds(bool(p <= 0.05), f"a clear dependence, {name}, got p = {p}")


def _holds(condition: bool, message: str) -> None:
    if not condition:
        raise AssertionError(f"independence test: {message}")


INDEPENDENCE_LAWS: tuple[Law, ...] = (
    _p_value_is_a_probability,
    _same_seed_same_p_value,
    _level_is_kept,
    _dependence_is_found,
)
