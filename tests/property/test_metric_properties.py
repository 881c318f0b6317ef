"""Counts merge in any order; expectations are means; the order of items does not matter."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trivium._core.families import members
from trivium.objective import ClassMetric, CostMatrix, Counts, LabelMetric

ALL = [m for kind in members("trivium.objective", LabelMetric) for m in kind.examples()]
METRICS = [m for m in ALL if not isinstance(m, CostMatrix) or len(m.costs) == 2]
labels = st.integers(2, 12).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 1), min_size=n, max_size=n)] * 2)
)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
@settings(max_examples=8, deadline=None)
@given(pair=labels, cut=st.integers(0, 12), seed=st.integers(0, 9))
def test_counts_merge_in_any_order_and_items_may_be_shuffled(metric, pair, cut, seed):
    target, told = (torch.tensor(part) for part in pair)
    kinds, drawn = range(2), told[None]
    whole = metric.coded_values(target, drawn, kinds)
    order = torch.randperm(len(target), generator=torch.Generator().manual_seed(seed))
    shuffled = metric.coded_values(target[order], drawn[:, order], kinds)
    assert torch.allclose(shuffled, whole, rtol=1e-14, atol=0)
    if isinstance(metric, ClassMetric):
        parts = [Counts.of(target[i], drawn[:, i], 2) for i in (order[:cut], order[cut:])]
        assert torch.equal(metric.score(parts[1] + parts[0], kinds), whole)


@pytest.mark.parametrize("metric", METRICS, ids=repr)
@settings(max_examples=8, deadline=None)
@given(pair=labels, level=st.floats(0, 1))
def test_certain_labels_have_their_value_and_slopes_are_swaps(metric, pair, level):
    """At p of 0 and 1 the mean is the value, and moving p_i by one is changing label i."""
    target, told = (torch.tensor(part) for part in pair)
    kinds = range(2)
    if getattr(metric, "average", "") == "macro" and len(set(pair[0])) < 2:
        return  # which classes are averaged over is random then, and it refuses
    p = told.double().requires_grad_()
    value = metric.coded_expected(torch.stack((1 - p, p), 1), target, kinds)
    now = metric.coded_values(target, told[None], kinds)[0]
    assert abs(value - now) < 1e-12
    swaps = metric.coded_swaps(target, told[None], kinds)[0]
    slope = torch.autograd.grad(value, p)[0]
    assert torch.allclose(slope, swaps[:, 1] - swaps[:, 0], rtol=0, atol=1e-12)
    # The mean is linear in each probability.
    mixed = p.detach().clone()
    mixed[0] = level
    between = metric.coded_expected(torch.stack((1 - mixed, mixed), 1), target, kinds)
    assert abs(between - (level * swaps[0, 1] + (1 - level) * swaps[0, 0])) < 1e-12
