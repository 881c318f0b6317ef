"""The score function knows nothing of a support that moves: it is refused, and only then."""

import pytest
import torch
from torch import distributions as laws

from trivium._core.errors import ArgumentError
from trivium.expectation import Pathwise, Score, expect


def shifted(base, loc, scale=1.0, *before):
    return laws.TransformedDistribution(
        base, [*before, laws.transforms.AffineTransform(loc, scale)]
    )


@pytest.mark.parametrize(
    "base",
    [
        laws.Exponential(torch.ones(3)),
        laws.HalfNormal(torch.ones(3)),
        laws.Uniform(torch.zeros(3), 1),
    ],
)
def test_a_shifted_edge_is_refused(base):
    loc = torch.zeros(3, requires_grad=True)
    with pytest.raises(ArgumentError, match="move the support"):
        expect(lambda z: z, shifted(base, loc), Score())
    with pytest.raises(ArgumentError, match="move the support"):
        expect(lambda z: (z > 1).float(), shifted(base, loc))  # the gradient had been 0
    expect(lambda z: z, shifted(base, loc), Pathwise()).sum().backward()
    assert loc.grad.tolist() == [1.0, 1.0, 1.0]


def test_an_edge_away_from_zero_is_refused_when_scaled():
    scale = torch.ones(3, requires_grad=True)
    with pytest.raises(ArgumentError, match="move the support"):
        expect(lambda z: z, shifted(laws.Uniform(torch.zeros(3), 1), 0.0, scale), Score())
    law = laws.TransformedDistribution(
        laws.Exponential(torch.ones(3)),
        [laws.transforms.AffineTransform(1.0, 1.0), laws.transforms.AffineTransform(0, scale)],
    )
    with pytest.raises(ArgumentError, match="move the support"):
        expect(lambda z: z, law, Score())


def test_what_does_not_move_is_served():
    loc, scale = torch.zeros(3, requires_grad=True), torch.ones(3, requires_grad=True)
    served = [
        shifted(laws.Exponential(torch.ones(3)), 0.0, scale),
        shifted(laws.Normal(torch.zeros(3), 1.0), loc, scale),
        # The logistic distribution: the edges of the uniform one are at infinity.
        shifted(
            laws.Uniform(torch.zeros(3), 1.0), loc, scale, laws.transforms.SigmoidTransform().inv
        ),
        laws.Gumbel(loc, scale),
    ]
    for law in served:
        assert expect(lambda z: z, law, Score(), 2).shape == (3,)
