"""The greedy rule against the formula, term by term."""

import pytest
import torch

from trivium.dependence.mrmr import greedy_mrmr, leftmost_largest


def brute_force(relevance, a, n):
    """Peng's equation 7 as it is written."""
    chosen, scores = [], []
    for _ in range(n):
        best = None
        for k in range(len(relevance)):
            if k in chosen:
                continue
            redundancy = sum(a[k][j] for j in chosen) / len(chosen) if chosen else 0.0
            if best is None or relevance[k] - redundancy > best[0]:
                best = relevance[k] - redundancy, k
        scores.append(best[0])
        chosen.append(best[1])
    return chosen, scores


def draw(seed, d=15):
    generator = torch.Generator().manual_seed(seed)
    features = torch.rand(d, 6, generator=generator, dtype=torch.float64)
    features = features / features.norm(dim=1, keepdim=True)
    return features @ features.mT, torch.rand(d, generator=generator, dtype=torch.float64)


def check(found, relevance, a, n):
    order, scores = brute_force(relevance.tolist(), a.tolist(), n)
    assert list(found[0]) == order
    assert list(found[1]) == pytest.approx(scores, abs=1e-12)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("n", [1, 2, 7, 15])
def test_order_and_scores_are_those_of_the_formula(seed, n):
    a, relevance = draw(seed)
    check(greedy_mrmr(relevance, lambda k: a[k], n), relevance, a, n)


def test_redundancy_summed_instead_of_averaged_is_told():
    a, relevance = draw(0)
    order, scores = [0], [float(relevance[0])]
    wrong = torch.ones(15, dtype=torch.bool)
    while len(order) < 7:
        score = torch.where(wrong, relevance - a[order].sum(0), -torch.inf)
        score[order] = -torch.inf
        order.append(int(score.argmax()))
        scores.append(float(score.max()))
    with pytest.raises(AssertionError):
        check((order, scores), relevance, a, 7)


def test_only_allowed_columns_and_no_more_than_there_are():
    a, relevance = draw(1, 5)
    allowed = torch.tensor([True, False, True, False, True])
    order, scores = greedy_mrmr(relevance, lambda k: a[k], 9, allowed)
    assert sorted(order) == [0, 2, 4]
    assert len(scores) == 3


def test_only_the_columns_that_serve_are_asked_for():
    a, relevance = draw(2)
    asked = []
    order, _ = greedy_mrmr(relevance, lambda k: asked.append(k) or a[k], 4)
    assert asked == list(order[:3])


def test_of_equal_columns_the_leftmost():
    assert leftmost_largest(torch.tensor([0.1, 0.5, 0.5 + 1e-13, 0.2], dtype=torch.float64)) == 1
    assert leftmost_largest(torch.tensor([0.1, 0.5, 0.5 + 1e-6, 0.2], dtype=torch.float64)) == 2
