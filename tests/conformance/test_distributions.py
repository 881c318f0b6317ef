"""Every distribution over sets, orders and sequences keeps the laws; planted wrong ones do not."""

import pytest
import torch

from trivium._core.families import members
from trivium.expectation import Listed, Permutation, Sequence, Subset
from trivium.testing.distribution_laws import DISTRIBUTION_LAWS, check_distribution

FAMILY = members("trivium.expectation", Listed)
CASES = [
    pytest.param(example, id=f"{member.__name__}-{i}")
    for member in FAMILY
    for i, example in enumerate(member.examples())
]


def test_the_family_is_found():
    assert {member.__name__ for member in FAMILY} >= {"Permutation", "Sequence", "Subset"}


@pytest.mark.parametrize("law", DISTRIBUTION_LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("distribution", CASES)
def test_member_keeps_the_law(distribution, law):
    law(distribution)


LOGITS = torch.tensor([0.5, -1.0, 2.0, 0.0], dtype=torch.float64)


class InOneOrder(Subset):
    """The classic mistake: the probability of the set is taken to be that of one order."""

    def log_prob(self, value):
        order = value.topk(self.k).indices
        return (
            Permutation(self.logits)
            ._terms(torch.cat([order, (1 - value).topk(len(self.logits) - self.k).indices], -1))[0][
                ..., : self.k
            ]
            .sum(-1)
        )


class WithReplacement(Subset):
    """Draws in which an item may come twice."""

    def sample(self, sample_shape=()):
        weights = self.logits.softmax(-1)
        draws = torch.multinomial(weights, self.k * sample_shape[0], replacement=True)
        return self._ones(draws.reshape(*sample_shape, self.k))


class Upwards(Permutation):
    """Sorted the wrong way round."""

    def sample(self, sample_shape=()):
        return super().sample(sample_shape).flip(-1)


class Detached(Permutation):
    """The gradient does not reach the normalization."""

    def log_prob(self, value):
        right = super().log_prob(value)
        chosen = self.logits.expand(value.shape).gather(-1, value).sum(-1)
        return chosen + (right - chosen).detach()


class GoesOn(Sequence):
    """What is behind the end is counted."""

    def log_prob(self, value):
        logs = self._all_logits(value).log_softmax(-1)
        return logs.gather(-1, value[..., None])[..., 0].sum(-1)


class Lowest(Permutation):
    """The least likely order for the mode."""

    @property
    def mode(self):
        return super().mode.flip(-1)


class Twice(Subset):
    """A support with a value listed twice."""

    def enumerate_support(self, expand=True):
        found = super().enumerate_support(expand)
        return torch.cat([found[:1], found[:-1]])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (InOneOrder(LOGITS, 2), "probabilities must sum to 1"),
        (WithReplacement(LOGITS, 2), "a sample is not in the support"),
        (Upwards(LOGITS), "frequencies differ from probabilities"),
        (Detached(LOGITS), "the mean of the score must be 0"),
        (GoesOn(Sequence.examples()[0].step, 3, eos=0), "probabilities must sum to 1"),
        (Lowest(LOGITS), "the mode is less likely"),
        (Twice(LOGITS, 2), "of which 5 differ"),
    ],
)
def test_a_wrong_one_is_caught(wrong, message):
    with pytest.raises(AssertionError, match=message):
        check_distribution(wrong)
