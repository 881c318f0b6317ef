"""Temperatures that move: a number, or a schedule that the caller owns and steps."""

from collections.abc import Callable
from typing import Any

import torch

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError

__all__ = ["Exponential", "Linear", "Schedule", "check_temperature", "temperature_now"]


class Schedule:
    """A value that depends on a step, which its owner counts.

    Args:
        curve: Any function of the step, 0 at the start.
        place: Steps gone.

    Raises:
        ArgumentError: The curve cannot be called, or `place` is negative.

    Example:
        >>> temperature = Schedule(lambda step: 1 / (1 + step))
        >>> temperature.step()
        >>> float(temperature), temperature(3)
        (0.5, 0.25)
    """

    def __init__(self, curve: Callable[[int], float], place: int = 0) -> None:
        if not callable(curve):
            raise ArgumentError(f"Schedule: curve must be a function of the step; got {curve!r}")
        self.curve = curve
        self.place = int(check_number("Schedule", "place", place, "non-negative", integer=True))

    def step(self) -> None:
        """Go one step on."""
        self.place += 1

    def __call__(self, step: int) -> float:
        """Return the value at a step.

        Raises:
            ArgumentError: The curve returned something that is no number.
        """
        found = self.curve(step)
        try:
            return float(found)
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"Schedule: curve must return a number; got {found!r} at step {step}"
            ) from error

    def __float__(self) -> float:
        return self(self.place)

    def __repr__(self) -> str:
        """Say the value now."""
        return f"{type(self).__name__}({float(self):.4g} at step {self.place})"


class Exponential(Schedule):
    """From `start` to `end` in `steps` steps along $a (b / a)^{t / T}$, and stay there.

    Args:
        start: a.
        end: b.
        steps: T.

    Raises:
        ArgumentError: A number breaks its rule.

    Example:
        >>> temperature = Exponential(1.0, 0.01, steps=2)
        >>> temperature.step()
        >>> round(float(temperature), 6)
        0.1

    Source: Jang, Gu and Poole, Categorical reparameterization with Gumbel-Softmax (2017).
    """

    def __init__(self, start: float, end: float, steps: int) -> None:
        a, b, last = _checked("Exponential", start, end, steps)
        super().__init__(lambda step: a * (b / a) ** _gone(step, last))


class Linear(Schedule):
    """From `start` to `end` in `steps` steps along a line, and stay there.

    Args:
        start: First value.
        end: Last value.
        steps: Steps between them.

    Raises:
        ArgumentError: A number breaks its rule.

    Example:
        >>> temperature = Linear(1.0, 0.5, steps=2)
        >>> temperature(1)
        0.75
    """

    def __init__(self, start: float, end: float, steps: int) -> None:
        a, b, last = _checked("Linear", start, end, steps)
        super().__init__(lambda step: a + (b - a) * _gone(step, last))


def _checked(caller: str, start: float, end: float, steps: int) -> tuple[float, float, int]:
    first = float(check_number(caller, "start", start, "positive"))
    last = float(check_number(caller, "end", end, "positive"))
    return first, last, int(check_number(caller, "steps", steps, "positive", integer=True))


def _gone(step: int, steps: int) -> float:
    """Share of the way, 0 before its start and 1 behind its end."""
    return min(1.0, max(0.0, step / steps))


def check_temperature(caller: str, value: Any) -> float | Schedule:
    """Return a positive number or a schedule; a function of the step becomes a schedule.

    Raises:
        ArgumentError: It is neither, or the schedule is not positive now.
    """
    if callable(value) and not isinstance(value, Schedule):
        value = Schedule(value)
    if isinstance(value, Schedule):
        temperature_now(caller, value)
        return value
    if getattr(value, "requires_grad", False):
        raise ArgumentError(
            f"{caller}: temperature must be a number that is not learned; got {value!r}",
            remedy="Score(control=Rebar()) learns its temperature.",
        )
    return _positive(caller, value, value)


def temperature_now(caller: str, temperature: float | Schedule) -> float:
    """Return the number that a temperature is now; a schedule may have left its range.

    Raises:
        ArgumentError: The schedule is not positive now.
    """
    if not isinstance(temperature, Schedule):
        return temperature
    if torch.compiler.is_compiling():  # the number is a variable of the graph
        return temperature.__float__()  # `float` of an object is beyond torch 2.6
    return _positive(caller, float(temperature), temperature)


def _positive(caller: str, number: Any, shown: Any) -> float:
    try:
        return float(check_number(caller, "temperature", number, "positive"))
    except ArgumentError as error:
        raise ArgumentError(
            f"{caller}: temperature must be a positive number, a schedule or a function of the "
            f"step; got {shown!r}"
        ) from error
