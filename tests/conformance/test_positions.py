"""Every position encoding of the room keeps the public laws; wrong ones are caught."""

import copy

import pytest
import torch

from trivium._core.families import members
from trivium.position import NoPosition, Offset, Position
from trivium.testing import check_position

ENCODINGS = [
    (encoding, causal)
    for member in members("trivium.position", Position)
    for encoding in member.examples()
    for causal in (True, False)
    if not ((encoding.causal_only and not causal) or (encoding.bidirectional_only and causal))
]


@pytest.mark.parametrize(
    ("encoding", "causal"), ENCODINGS, ids=lambda value: type(value).__name__[:20]
)
def test_laws(encoding, causal):
    check_position(copy.deepcopy(encoding), causal)


class Near(Offset):
    """An encoding of a user's own, as the documentation shows it."""

    def curve(self, r):
        return -r.abs()[..., None] * torch.tensor([0.5, 0.1], dtype=torch.float64)


@pytest.mark.parametrize("causal", [True, False])
def test_three_lines_of_ones_own(causal):
    check_position(Near(), causal)


class CountsItself(Position):
    """Wrong: numbers the tokens of a call, not their positions."""

    def embed(self, x, i):
        return x + torch.arange(x.shape[1], dtype=x.dtype)[:, None]


class KeyOfNow(NoPosition):
    """Wrong: keys depend on how many there are, and are cached."""

    def key(self, k, j):
        return k * k.shape[2]


@pytest.mark.parametrize("wrong", [CountsItself(), KeyOfNow()], ids=lambda w: type(w).__name__)
def test_wrong_encodings_are_caught(wrong):
    with pytest.raises(AssertionError, match=r"^law "):
        check_position(wrong)
