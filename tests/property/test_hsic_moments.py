"""HSIC from moments is that of the whole, for any partition and order; rows come and go."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from trivium.dependence import HSICMoments
from trivium.dependence.fourth import Fourth
from trivium.kernel import Coordinates, Linear

N = 60
RNG = np.random.default_rng(3)
X = RNG.normal(size=N) + 50
Y = np.abs(X - 50) + RNG.normal(size=N)
MADE = {
    "landmarks": HSICMoments.like(X, Y),
    "frequencies": HSICMoments.like(X, Y, features="fourier", n_features=16),
    "linear": HSICMoments(*(Coordinates(kernel=Linear()).fit(torch.zeros(2, 1)) for _ in range(2))),
}
CUTS = st.lists(st.integers(1, N - 1), unique=True, max_size=8).map(sorted)


def readings(moments):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = moments.test()
    return np.array([result.statistic, result.statistic_unbiased, result.cka, result.p_value])


def agree(found, wanted, tolerance):
    assert found.count == wanted.count
    error = np.abs(readings(found) / readings(wanted) - 1)
    assert (error <= tolerance).all(), error


def partition_is_whole(kind, cuts, order, tolerance=1e-10):
    rows = np.array(order)
    pieces = [p for p in np.split(rows, cuts) if len(p)]
    parts = [MADE[kind].copy().update(X[piece], Y[piece]) for piece in pieces]
    whole = MADE[kind].copy().update(X, Y)
    agree(sum(parts), whole, tolerance)
    agree(sum(reversed(parts)), whole, tolerance)
    half = len(parts) // 2
    agree(sum(parts[half:]) + sum(parts[:half], MADE[kind].copy()), whole, tolerance)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.sampled_from(sorted(MADE)), CUTS, st.permutations(range(N)))
def test_any_partition_in_any_order_is_the_whole(kind, cuts, order):
    partition_is_whole(kind, cuts, order)


def test_the_law_can_fail(monkeypatch):
    order, step = list(range(N)), Fourth._moved
    monkeypatch.setattr(Fourth, "_moved", lambda self, gap: step(self, gap * (1 + 1e-6)))
    with pytest.raises(AssertionError):
        partition_is_whole("landmarks", [20, 40], order)


FEATURES = [
    each.transform(torch.from_numpy(side)[:, None]).numpy()
    for each, side in zip(MADE["landmarks"]._maps, (X, Y), strict=True)
]
# Ranges of features and of their squared distances: what an entry of the moments is measured by.
WIDE = np.ptp(np.hstack(FEATURES), axis=0)
R = FEATURES[0].shape[1]
WIDE = np.concatenate([WIDE, [np.square(WIDE[:R]).sum(), np.square(WIDE[R:]).sum()]])
SIZE = np.abs(np.hstack(FEATURES)).max(0)
FEW = 9 * 16  # see test_moment_machine


class ComeAndGo(RuleBasedStateMachine):
    """Two stores of rows and, beside each, the list of the rows that it should hold."""

    def __init__(self):
        super().__init__()
        self.moments, self.rows = [MADE["landmarks"].copy() for _ in range(2)], [[], []]
        self.left = [0.0, 0.0]  # rounding left behind, in rows

    def blocks(self, rows):
        return [(X[piece], Y[piece]) for piece in np.array_split(rows, 2) if len(piece)]

    def leave(self, side, n):
        """Count what two steps of so many rows round: see test_moment_machine."""
        self.left[side] += 2 * (n + FEW) * 2.0**-53 * (n + len(self.rows[side]))

    @rule(side=st.integers(0, 1), rows=st.lists(st.integers(0, N - 1), max_size=20))
    def add(self, side, rows):
        self.moments[side].update(self.blocks(rows))
        self.leave(side, len(rows))
        self.rows[side] += rows

    @rule(side=st.integers(0, 1), share=st.floats(0, 1))
    def take_away(self, side, share):
        n = int(share * len(self.rows[side]))
        self.moments[side].downdate(self.blocks(self.rows[side][:n]))
        self.leave(side, n)
        self.rows[side] = self.rows[side][n:]

    @precondition(lambda self: all(self.rows))
    @rule(side=st.integers(0, 1))
    def merge_and_leave(self, side):
        self.moments[side].merge(self.moments[1 - side])
        self.rows[side] = self.rows[side] + self.rows[1 - side]
        self.left[side] += self.left[1 - side]
        self.leave(side, 0)
        self.moments[1 - side] = self.moments[side].copy().downdate(self.blocks(self.rows[side]))
        self.rows[1 - side], self.left[1 - side] = [], 0.0

    @invariant()
    def holds_its_rows(self):
        for moments, rows, left in zip(self.moments, self.rows, self.left, strict=True):
            assert moments.count == len(rows)
            held = moments._held
            if not rows:
                assert not held.second.any()
                continue
            wanted = MADE["landmarks"].copy().update(X[rows], Y[rows])._held
            may = left + 2 * (len(rows) + FEW) * 2.0**-53 * len(rows)
            gap = (held.second - wanted.second).abs().numpy()
            assert (gap <= may * np.outer(WIDE, WIDE)).all()
            gap = (held.origin + held.offset - wanted.origin - wanted.offset).abs().numpy()
            assert (len(rows) * gap <= may * SIZE).all()


TestComeAndGo = ComeAndGo.TestCase
TestComeAndGo.settings = settings(
    max_examples=15, stateful_step_count=15, deadline=None, derandomize=True
)
