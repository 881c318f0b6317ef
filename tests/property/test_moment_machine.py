"""Moments under any sequence of what they can do: always those of the rows that they should hold.

A machine keeps two stores and, beside each, the list of rows with their weights; after every step
the readings are compared with a batch computation in float64 by numpy alone.

How far they may be off follows from the arithmetic. Rows are added to and taken off sums of
w, w (x - c) and w (x - c)(x - c)ᵀ with a shift c among the rows, so that |x - c| is at most the
range of a column. A step with b rows rounds each sum b + `FEW` times, by one unit at most of what
was held before and what comes, w times the ranges: that much is left behind for good, whatever is
taken away later, since what is taken off is exact and what was added was not. Forgetting divides
what is left behind too, merging adds it up. A store that held 2^10 rows and gave all but one away
has kept the rounding of 2^10: honest, and why no flat tolerance is right both for it and for a
wrong formula in a store of three rows.
"""

import math
import tempfile
import warnings
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from torch import nn

from trivium._core.errors import DataError
from trivium.attention import LinearState, linear_attention
from trivium.dependence import HSICMoments
from trivium.dependence.fourth import Fourth
from trivium.moment import CrossMoments, Moments, merge_tree

N, D = 40, 3
RNG = np.random.default_rng(11)
X = RNG.normal(size=(N, D)) * [1.0, 20.0, 0.1] + [50.0, 200.0, -3.0]
Y = np.array(list("abcd"))[RNG.integers(0, 4, N)]
UNIT = np.finfo(float).eps / 2
FEW = 16  # roundings of a sum by its shift moved, its weight's root and its reading
SPAN = np.ptp(X, axis=0)
SIZE = np.abs(X).max(0)
SHORT = settings(
    max_examples=20,
    stateful_step_count=20,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a failing sequence is short enough; shrinking it takes minutes
    suppress_health_check=list(HealthCheck),
)
PLANTED = settings(SHORT, max_examples=100, database=None)
ROWS = st.lists(
    st.tuples(st.integers(0, N - 1), st.sampled_from([0.0, 0.25, 1.0, 3.0])), max_size=12
)
SIDE = st.integers(0, 1)


class Stores(RuleBasedStateMachine):
    """Two stores that rows come to and go from."""

    weighted = True
    few = FEW
    # What a reading is measured by: 1, the columns' sizes, or products of their ranges.
    sizes: ClassVar[dict[str, Any]] = {}

    def __init__(self):
        super().__init__()
        self.stores = [self.make(), self.make()]
        self.rows, self.left = [[], []], [0.0, 0.0]  # left behind, in units of weight

    def parts(self, rows):
        """Rows and weights as arrays."""
        at = np.array([row for row, _ in rows], dtype=int)
        return at, np.array([weight for _, weight in rows], dtype=float)

    @initialize(first=ROWS, second=ROWS)
    def begin(self, first, second):
        self.add(0, first)
        self.add(1, second)

    @rule(side=SIDE, rows=ROWS)
    def add(self, side, rows):
        rows = rows if self.weighted else [(row, 1.0) for row, _ in rows]
        if rows and not any(weight for _, weight in rows):  # a block without weight is refused
            rows = [*rows, (0, 1.0)]
        self.feed(self.stores[side], *self.parts(rows), sign=1)
        self.leave(side, rows)
        self.rows[side] = self.rows[side] + rows

    def held(self, rows):
        """Their weight."""
        return math.fsum(weight for _, weight in rows)

    def leave(self, side, rows=()):
        """Count what a step with these rows rounds."""
        held = self.held(self.rows[side]) + self.held(rows)
        self.left[side] += (len(rows) + self.few) * UNIT * held

    @precondition(lambda self: any(self.rows))
    @rule(side=SIDE, share=st.sampled_from([0.3, 0.6, 0.9, 1.0]))
    def take_away(self, side, share):
        side = side if self.rows[side] else 1 - side
        n = int(share * len(self.rows[side]))
        gone, kept = self.rows[side][:n], self.rows[side][n:]
        if gone and not any(weight for _, weight in gone):  # as is taking away no weight
            gone, kept = [], self.rows[side]
        self.feed(self.stores[side], *self.parts(gone), sign=-1)
        self.leave(side, gone)
        self.rows[side] = kept

    def join(self, side, other):
        self.rows[side] = self.rows[side] + self.rows[other]
        self.left[side] += self.left[other]
        self.leave(side)

    @rule(side=SIDE)
    def merge(self, side):
        self.stores[side].merge(self.stores[1 - side])
        self.join(side, 1 - side)

    @rule(side=SIDE)
    def add_up(self, side):
        self.stores[side] = self.stores[1 - side] + self.stores[side]
        self.join(side, 1 - side)

    @rule(side=SIDE)
    def start_again(self, side):
        self.stores[side] = self.make()
        self.rows[side], self.left[side] = [], 0.0

    @rule(side=SIDE)
    def merge_a_copy_of_itself(self, side):
        self.stores[side] = merge_tree([self.stores[side], self.stores[side].copy()])
        self.join(side, side)

    @precondition(lambda self: self.weighted)
    @rule(side=SIDE, factor=st.sampled_from([0.01, 0.5, 0.9, 1.0]))
    def decay(self, side, factor):
        self.stores[side].decay(factor)
        self.rows[side] = [(row, weight * factor) for row, weight in self.rows[side]]
        self.left[side] *= factor
        self.leave(side)

    @rule(side=SIDE)
    def copy(self, side):
        kept = self.stores[side]
        self.stores[side] = kept.copy()
        self.feed(kept, np.arange(3), np.ones(3), sign=1)  # the copy must not see it

    @rule(side=SIDE)
    def save_and_load(self, side):
        with tempfile.TemporaryDirectory() as place:
            self.stores[side].save(Path(place, "m"))
            self.stores[side] = type(self.stores[side]).load(Path(place, "m"))

    def totals(self, rows):
        """Each row once, with its whole weight: a reference of 40 rows rounds next to nothing."""
        weights = [[] for _ in range(N)]
        for row, weight in rows:
            weights[row].append(weight)
        at = np.array([row for row in range(N) if weights[row]], dtype=int)
        return at, np.array([math.fsum(weights[row]) for row in at]), rows

    @invariant()
    def holds_its_rows(self):
        for store, rows, left in zip(self.stores, self.rows, self.left, strict=True):
            wanted = self.batch(*self.totals(rows))
            found = self.read(store)
            assert set(found) == set(wanted)
            for name, value in wanted.items():
                assert np.shape(found[name]) == value.shape, name
                gap = np.abs(np.asarray(found[name]) - value)
                may = self.sizes[name] * (left + self.few * UNIT * self.held(rows))
                assert (gap <= may).all(), (name, gap.max(), np.max(gap / (may + 1e-300)))


def scatter(x, weight):
    """Weight, mean times weight and scatter about the mean, straight from the definition."""
    total = weight.sum()
    mean = weight @ x / total if total > 0 else np.zeros(x.shape[1])
    return total, mean, ((x - mean) * weight[:, None]).T @ (x - mean)


class MomentsMachine(Stores):
    """Sums by class; classes may appear at any time."""

    kind = Moments
    sizes: ClassVar = {"count": 0.0, "weight": 1.0, "sum": SIZE, "scatter": np.outer(SPAN, SPAN)}

    def make(self):
        return self.kind(D, classwise=True)

    def feed(self, store, at, weight, sign):
        step = store.update if sign > 0 else store.downdate
        step(X[at], Y[at], weight)

    def read(self, store):
        names = store.classes
        empty = names is None or not len(names)
        found = {"count": np.zeros(4), "weight": np.zeros(4)}
        found |= {"sum": np.zeros((4, D)), "scatter": np.zeros((4, D, D))}
        if not empty:
            place = np.searchsorted(list("abcd"), names)
            found["count"][place] = store.counts
            found["weight"][place] = store.weights
            found["sum"][place] = store.weights[:, None] * torch.nan_to_num(store.means)
            found["scatter"][place] = store.class_scatter
        return found

    def batch(self, at, weight, rows):
        each = [scatter(X[at[Y[at] == name]], weight[Y[at] == name]) for name in "abcd"]
        labels = [Y[row] for row, _ in rows]
        return {
            "count": np.array([float(labels.count(name)) for name in "abcd"]),
            "weight": np.array([one[0] for one in each]),
            "sum": np.array([one[0] * one[1] for one in each]),
            "scatter": np.array([one[2] for one in each]),
        }


class PooledMachine(MomentsMachine):
    """One scatter of all classes, the classes named at the start."""

    sizes: ClassVar = {"weight": 1.0, "sum": SIZE, "within": np.outer(SPAN, SPAN)}

    def make(self):
        return self.kind(D, classes=list("abcd"))

    def read(self, store):
        weight = float(store.weights.sum())
        mean = store.mean.numpy() if weight > 0 else np.zeros(D)
        return {"weight": np.array(weight), "sum": weight * mean, "within": store.within.numpy()}

    def batch(self, at, weight, _):
        each = [scatter(X[at[Y[at] == name]], weight[Y[at] == name]) for name in "abcd"]
        total, mean, _ = scatter(X[at], weight)
        within = np.sum([one[2] for one in each], axis=0)
        return {"weight": np.array(total), "sum": total * mean, "within": within}


class CrossMachine(Stores):
    """Products of two groups of columns."""

    kind = CrossMoments
    sizes: ClassVar = {
        "weight": 1.0,
        "x": SIZE[:2],
        "y": SIZE[2:],
        "cross": np.outer(SPAN[:2], SPAN[2:]),
        "scatter": np.outer(SPAN[:2], SPAN[:2]),
    }

    def make(self):
        return self.kind(2, 1)

    def feed(self, store, at, weight, sign):
        step = store.update if sign > 0 else store.downdate
        step(X[at, :2], X[at, 2:], weight)

    def read(self, store):
        weight = float(store.weight)
        if weight <= 0:
            return {"weight": np.array(weight)}
        return {
            "weight": np.array(weight),
            "x": weight * store.mean_x.numpy(),
            "y": weight * store.mean_y.numpy(),
            "cross": store.cross.numpy(),
            "scatter": store.scatter_x.numpy(),
        }

    def batch(self, at, weight, _):
        total, mean, whole = scatter(X[at], weight)
        if total <= 0:
            return {"weight": np.array(total)}
        found = {"weight": np.array(total), "x": total * mean[:2], "y": total * mean[2:]}
        return found | {"cross": whole[:2, 2:], "scatter": whole[:2, :2]}


MADE = HSICMoments.like(X[:, :2], X[:, 2], n_features=8, random_state=1)
PHI, PSI = (
    each.transform(torch.from_numpy(x)).numpy()
    for each, x in zip(MADE._maps, (X[:, :2], X[:, 2:]), strict=True)
)
BOTH, R = np.hstack([PHI, PSI]), PHI.shape[1]
WIDE = np.ptp(BOTH, axis=0)
# Of features, and of their squared distances from a mean, which are kept as two more columns.
WIDE = np.concatenate([WIDE, [np.square(WIDE[:R]).sum(), np.square(WIDE[R:]).sum()]])
ACROSS = np.linalg.norm(WIDE[:R]) * np.linalg.norm(WIDE[R:-2])


class HSICMachine(Stores):
    """Features of both sides to the fourth order, and what they are for: HSIC, CKA and p."""

    weighted = False
    kind = HSICMoments
    # Moved to another mean, a squared distance has three terms and a product of two nine.
    few = 9 * FEW
    sizes: ClassVar = {"n": 0.0, "sum": np.abs(BOTH).max(0), "second": np.outer(WIDE, WIDE)}

    def make(self):
        return self.kind(*MADE._maps)

    def feed(self, store, at, weight, sign):
        step = store.update if sign > 0 else store.downdate
        step(X[at, :2], X[at, 2])

    def read(self, store):
        held = store._held
        n = float(store.count)
        mean = (held.origin + held.offset).numpy()
        return {"n": np.array(n), "sum": n * mean, "second": held.second.numpy()}

    def batch(self, at, weight, rows):
        n = float(len(rows))
        if not rows:
            return {"n": np.array(n), "sum": 0 * BOTH[0], "second": 0 * np.outer(WIDE, WIDE)}
        away = BOTH[at] - weight @ BOTH[at] / n
        squares = [np.square(part).sum(1) for part in (away[:, :R], away[:, R:])]
        _, _, second = scatter(np.column_stack([away, *squares]), weight)
        return {"n": np.array(n), "sum": weight @ BOTH[at], "second": second}

    @invariant()
    def says_what_the_rows_say(self):
        for store, rows, left in zip(self.stores, self.rows, self.left, strict=True):
            at, weight, _ = self.totals(rows)
            if len(at) < 4:
                continue
            n = len(rows)
            off = left + self.few * UNIT * n
            biased, unbiased = by_grams(PHI[at], PSI[at], weight)
            cross = off * ACROSS  # of the norm of the features' cross scatter
            may = (2 * n * math.sqrt(biased) + cross) * cross
            assert abs(store.statistic("biased") - biased) <= may / n**2 + FEW * UNIT * biased
            # Sums of products of squared distances, three times `off` each.
            more = 3 * off * WIDE[-2] * WIDE[-1] * (1 + 2 / (n - 2) + 1 / (n - 1))
            gap = abs(store.statistic("unbiased") - unbiased)
            assert gap <= (may + more) / (n * (n - 3)) + FEW * UNIT * biased

    def teardown(self):
        """Alignment and p-value, once a run, are those of a store that met all rows in one block.

        Both are made of the scatter's parts. The logarithm of p moves by at most so many times the
        relative change of these as it is itself, and one more for a p near 1.
        """
        for store, rows, left in zip(self.stores, self.rows, self.left, strict=True):
            if len({row for row, _ in rows}) < 4:
                continue
            at = np.array([row for row, _ in rows])
            fresh = self.make().update(X[at, :2], X[at, 2])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found, wanted = store.test(), fresh.test()
            off = self.relative(fresh._held, left + self.few * UNIT * len(rows))
            assert abs(found.cka - wanted.cka) <= 2 * off * abs(wanted.cka)
            logs = math.log(found.p_value), math.log(wanted.p_value)
            assert abs(logs[0] - logs[1]) <= off * (1 + abs(logs[1]))

    @staticmethod
    def relative(held, left):
        """Change of the scatter's parts, each measured by its own norm, all together."""
        parts = (slice(0, R), slice(R, -2), slice(-2, -1), slice(-1, None))
        total = 0.0
        for one, two in ((0, 0), (1, 1), (0, 1), (2, 2), (3, 3)):
            rows, columns = parts[one], parts[two]
            scale = np.linalg.norm(np.outer(WIDE[rows], WIDE[columns]))
            total += left * scale / float(held.second[rows, columns].norm())
        return total


def by_grams(phi, psi, times):
    """HSIC, biased and unbiased, of rows that each come so many times, from Gram matrices."""
    n = times.sum()
    away = [side - times @ side / n for side in (phi, psi)]
    k, m = (side @ side.T for side in away)
    biased = times @ (k * m) @ times / n**2
    own = [np.diagonal(gram) for gram in (k, m)]
    rows = [gram @ times - diagonal for gram, diagonal in zip((k, m), own, strict=True)]
    pairs = times @ (k * m) @ times - times @ (own[0] * own[1])
    sums = (times @ rows[0]) * (times @ rows[1]) / ((n - 1) * (n - 2))
    mixed = 2 * (times @ (rows[0] * rows[1])) / (n - 2)
    return biased, (pairs + sums - mixed) / (n * (n - 3))


TOKENS = torch.randn(3, 1, 2, 12, 3, generator=torch.Generator().manual_seed(4)).double()
FADE = -torch.rand(1, 2, 12, generator=torch.Generator().manual_seed(5)).double()


class StateMachine(RuleBasedStateMachine):
    """Two states of linear attention and the tokens that each should have read, in order."""

    fade = 1.0

    def __init__(self):
        super().__init__()
        self.tokens = [[0], [1]]
        self.states = [self.read_all(tokens) for tokens in self.tokens]

    def read_all(self, tokens, state=None):
        q, k, v = TOKENS[:, :, :, tokens]
        return linear_attention(
            q, k, v, log_decay=FADE[:, :, tokens], state=state, return_state=True
        )[1]

    @rule(side=SIDE, tokens=st.lists(st.integers(0, 11), min_size=1, max_size=6))
    def go_on(self, side, tokens):
        self.states[side] = self.read_all(tokens, self.states[side])
        self.tokens[side] = self.tokens[side] + tokens

    @precondition(lambda self: max(map(len, self.tokens)) < 60)
    @rule(side=SIDE)
    def then_the_other(self, side):
        self.states[side].merge(self.states[1 - side])
        self.tokens[side] = self.tokens[side] + self.tokens[1 - side]

    @rule(side=SIDE)
    def copy(self, side):
        kept = self.states[side]
        self.states[side] = kept.copy().detach().select(torch.tensor([0]))
        kept.merge(self.read_all([5]))

    @rule(side=SIDE)
    def save_and_load(self, side):
        with tempfile.TemporaryDirectory() as place:
            self.states[side].save(Path(place, "s"))
            self.states[side] = LinearState.load(Path(place, "s"))

    @invariant()
    def has_read_its_tokens(self):
        for state, tokens in zip(self.states, self.tokens, strict=True):
            assert state.position.tolist() == [len(tokens)]
            _, k, v = TOKENS[:, 0, :, tokens]
            later = FADE[0][:, tokens].flip(-1).cumsum(-1).flip(-1) - FADE[0][:, tokens]
            keys = (nn.functional.elu(k) + 1) * (self.fade * later).exp()[..., None]
            gap = (state.products[0] - keys.mT @ v).abs().max()
            assert gap <= 1e-12 * max(1.0, len(tokens)), float(gap)


class WrongFade(StateMachine):
    """Wrong on purpose: the reference forgets a little faster."""

    fade = 1 + 1e-6


def test_the_state_of_linear_attention_is_its_tokens():
    run_state_machine_as_test(StateMachine, settings=SHORT)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(WrongFade, settings=PLANTED)


MACHINES = [MomentsMachine, PooledMachine, CrossMachine, HSICMachine]


@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.__name__)
def test_any_order_is_the_batch(machine):
    run_state_machine_as_test(machine, settings=SHORT)


FAULT = 1e-10  # far above what a short sequence rounds, far below any tolerance for a long one


class HeavyDowndate(Moments):
    """Wrong on purpose: leaves 1e-10 of the rows behind."""

    def downdate(self, X, y=None, sample_weight=None):
        return super().downdate(X, y, sample_weight * (1 - FAULT))


class LightMerge(Moments):
    """Wrong on purpose: where both have rows, loses a little of the other's weight."""

    def merge(self, other):
        other = other.copy()
        if other.weights.sum() > 0 and self.weights.sum() > 0:
            other.decay(1 - FAULT)
        return super().merge(other)


class SharedCopy(Moments):
    """Wrong on purpose: a copy that is none."""

    def copy(self):
        return self


class NoDecay(Moments):
    """Wrong on purpose: forgets nothing."""

    def decay(self, factor):
        return self


@pytest.mark.parametrize("wrong", [HeavyDowndate, LightMerge, SharedCopy, NoDecay])
def test_a_planted_fault_is_found(wrong):
    machine = type("Wrong", (MomentsMachine,), {"kind": wrong})
    with pytest.raises((AssertionError, DataError)):
        run_state_machine_as_test(machine, settings=PLANTED)


@pytest.mark.parametrize("name", ["_moved", "_levels"])
def test_a_planted_fault_of_the_fourth_order_is_found(name, monkeypatch):
    right = getattr(Fourth, name)
    monkeypatch.setattr(Fourth, name, lambda self, step: right(self, step * (1 + FAULT)))
    with pytest.raises(AssertionError):
        run_state_machine_as_test(HSICMachine, settings=PLANTED)


def test_a_statistic_that_is_off_is_found(monkeypatch):
    right = HSICMoments.statistic

    def statistic(self, estimator="unbiased"):
        return right(self, estimator) * (1 + FAULT)

    monkeypatch.setattr(HSICMoments, "statistic", statistic)
    with pytest.raises(AssertionError):
        run_state_machine_as_test(HSICMachine, settings=PLANTED)
