"""Temperatures that move: their curves, and a refusal where they leave their range."""

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli

from trivium._core.errors import ArgumentError
from trivium.expectation import (
    Exponential,
    Linear,
    Relaxed,
    Schedule,
    Score,
    StraightThrough,
    expect,
)


@pytest.mark.parametrize("kind", [Exponential, Linear])
def test_curves_stay_at_both_ends(kind):
    curve = kind(1.0, 0.25, steps=2)
    assert [curve(step) for step in (-3, 0, 2, 9)] == [1.0, 1.0, 0.25, 0.25]
    assert curve(1) == (0.5 if kind is Exponential else 0.625)


@pytest.mark.parametrize(
    "choose",
    [
        Relaxed,
        lambda t: Relaxed(t, hard=True),
        lambda t: Relaxed(t, rao=2),
        lambda t: StraightThrough(1, t),
        lambda t: StraightThrough(2, t),
        lambda t: Score(control=Relaxed(t)),
    ],
)
def test_a_schedule_that_has_reached_zero_is_refused_in_use(choose):
    temperature = Schedule(lambda step: 1.0 - step)
    estimator = choose(temperature)
    bits = Bernoulli(logits=torch.zeros(2, requires_grad=True))
    assert expect(lambda z: z, bits, estimator, 2).shape == (2,)
    temperature.step()
    with pytest.raises(ArgumentError, match=r"temperature must be .*; got Schedule.0 at step 1"):
        expect(lambda z: z, bits, estimator, 2)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Schedule(3), "curve must be a function of the step; got 3"),
        (lambda: Schedule(lambda step: 1.0, place=-1), "place must be an integer, non-negative"),
        (lambda: Relaxed(lambda step: "warm"), "curve must return a number; got 'warm' at step 0"),
        (lambda: Relaxed(lambda step: 0.0), "temperature must be a positive number"),
        (lambda: Exponential(1.0, 0.0, 5), "end must be a number, positive; got 0.0"),
        (lambda: Linear(1.0, 0.5, 0), "steps must be an integer, positive; got 0"),
        (
            lambda: Relaxed(nn.Parameter(torch.tensor(0.5))),
            r"not learned; got Parameter[^.]*\.5000, requires_grad=True\)\. Score\(c",
        ),
    ],
)
def test_bad_input_is_named(build, message):
    with pytest.raises(ArgumentError, match=message):
        build()
