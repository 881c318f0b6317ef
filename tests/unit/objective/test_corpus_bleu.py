"""Corpus BLEU: counts that merge, replacements of one sentence, lists of candidates."""

import itertools

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.objective import CorpusBLEU

TARGET = [[1, 2, 3, 4, 5], [6, 7, 8, 9], [1, 2, 6, 7, 8, 9, 3]]
TOLD = [[1, 2, 3, 4, 9], [6, 7, 8, 9, 9, 9], [1, 2, 6, 7]]
OTHERS = [
    [[1, 2, 3, 4, 9], [1, 2, 3, 4, 5], [5]],
    [[6, 7, 8, 9, 9, 9], [6, 7, 8], []],
    [[1, 2, 6, 7], [6, 7, 8, 9], [1, 2, 6, 7, 8, 9, 9, 9, 9]],
]


@pytest.mark.parametrize("bleu", CorpusBLEU.examples(), ids=repr)
def test_replacing_a_sentence_equals_counting_anew(bleu):
    found = bleu.counterfactual(TARGET, TOLD, OTHERS)
    now = bleu.value(TARGET, TOLD)
    for i, each in enumerate(OTHERS):
        for j, sentence in enumerate(each):
            other = [*TOLD[:i], sentence, *TOLD[i + 1 :]]
            assert found[i, j].item() == pytest.approx(now - bleu.value(TARGET, other), abs=1e-12)
    assert found[:, 0].abs().max() == 0
    assert found.abs().max() > 1


def test_counts_of_parts_add_up():
    bleu = CorpusBLEU()
    whole = bleu.value(TARGET, TOLD)
    parts = bleu.counts(TARGET[:1], TOLD[:1]).sum(0) + bleu.counts(TARGET[1:], TOLD[1:]).sum(0)
    assert bleu.score(parts).item() == whole
    # The planted wrong one: BLEU is no mean of the BLEU of sentences.
    each = [bleu.value([t], [z]) for t, z in zip(TARGET, TOLD, strict=True)]
    assert abs(sum(each) / 3 - whole) > 1


def test_padded_tensors_are_their_sentences():
    padded = torch.tensor([[1, 2, 3, 4, 9, 0, 0], [6, 7, 8, 9, 9, 9, 0], [1, 2, 6, 7, 0, 5, 5]])
    assert CorpusBLEU(pad=0).value(TARGET, padded) == CorpusBLEU().value(TARGET, TOLD)
    assert CorpusBLEU(eos=0).value(TARGET, padded) == CorpusBLEU().value(TARGET, TOLD)
    assert CorpusBLEU().value(TARGET, padded) != CorpusBLEU().value(TARGET, TOLD)
    two = CorpusBLEU(pad=0).values(TARGET, torch.stack((padded, padded.flip(0))))
    assert two.shape == (2,)
    assert two[0] > two[1]


def test_rows_of_tensors_are_their_numbers():
    """A tensor is equal to itself alone: its entries must not be taken for tokens."""
    rows = torch.tensor([[1, 2, 3, 4, 5], [6, 7, 8, 9, 1]])
    told = rows.clone()
    told[0, 4] = 0
    value = CorpusBLEU().value(rows.tolist(), told.tolist())
    assert 0 < value < 100
    assert CorpusBLEU().value(list(rows), list(told)) == value
    assert CorpusBLEU().value(list(rows.numpy()), told.tolist()) == value


def test_edges():
    bleu = CorpusBLEU()
    assert bleu.value(TARGET, TARGET) == pytest.approx(100)
    assert bleu.value(TARGET, [[99]] * 3) == 0
    assert bleu.value(TARGET, [[]] * 3) == 0
    assert bleu.value([[1, 2]], [[1, 2]]) == 0  # no 4-grams at all


def chosen(bleu, p):
    """Mean BLEU over all choices, with its graph."""
    total = 0.0
    for pick in itertools.product(range(3), repeat=3):
        told = [OTHERS[i][j] for i, j in enumerate(pick)]
        weight = p[0, pick[0]] * p[1, pick[1]] * p[2, pick[2]]
        total = total + weight * bleu.value(TARGET, told)
    return total


def test_choice_among_candidates_is_unbiased(monkeypatch):
    bleu = CorpusBLEU(2)
    leaf = torch.tensor([[0.1, 0.4, -1], [0, 0.5, 0.2], [1, -1, 0]]).double().requires_grad_()
    exact = torch.autograd.grad(chosen(bleu, leaf.softmax(1)), leaf)[0]
    p, mean, level = leaf.detach().softmax(1), torch.zeros(3, 3).double(), 0.0
    for pick in itertools.product(range(3), repeat=3):
        z = torch.tensor(pick)
        monkeypatch.setattr(torch.distributions.Categorical, "sample", lambda *_, z=z: z[None])
        value = bleu.expected_among(leaf, TARGET, OTHERS, samples=1)
        weight = p[torch.arange(3), z].prod()
        mean += weight * torch.autograd.grad(value, leaf)[0]
        level += float(weight * value.detach())
    assert torch.allclose(mean, exact, rtol=0, atol=1e-12)
    assert level == pytest.approx(float(chosen(bleu, p)))
    monkeypatch.undo()
    masked = torch.tensor([[0.0, 0, -torch.inf]] * 3, requires_grad=True)
    bleu.expected_among(masked, TARGET, OTHERS).backward()
    assert masked.grad[:, 2].abs().max() == 0
    assert torch.isfinite(masked.grad).all()


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda b: CorpusBLEU(0), ArgumentError, "max_n must be an integer, positive; got 0"),
        (lambda b: CorpusBLEU(smoothing="most"), ArgumentError, "smoothing must be one of 'exp'"),
        (lambda b: b.value(TARGET, TOLD[:2]), ShapeError, "the same number of sentences.*got 3, 2"),
        (lambda b: b.value([], []), ShapeError, "at least one"),
        (lambda b: b.value("a b", "a b"), ArgumentError, "must be lists of tokens; got str"),
        (lambda b: b.value(None, TOLD), ArgumentError, "lists of tokens; got NoneType"),
        (lambda b: b.value(np.arange(3), np.arange(3)), ArgumentError, "of tokens; got int"),
        (lambda b: b.value([b"ab"], [b"ab"]), ArgumentError, "lists of tokens; got bytes"),
        (lambda b: b.value([[["a"]]], [[["a"]]]), ArgumentError, "hashable values, and no tensors"),
        (
            lambda b: b.value([list(torch.arange(3))], [list(torch.arange(3))]),
            ArgumentError,
            r"no tensors; got Tensor\. Take \.tolist",
        ),
        (lambda b: b.values(TARGET, []), ShapeError, "at least one corpus"),
        (
            lambda b: b.expected_among(torch.zeros(3, 0), TARGET, [[], [], []]),
            ShapeError,
            r"at least one, for each of 3 sentences; got 3 lists of \[0\]",
        ),
        (
            lambda b: b.expected_among(torch.zeros(3, 3).long(), TARGET, OTHERS),
            ArgumentError,
            "logits must be a floating tensor; got torch.int64",
        ),
        (
            lambda b: b.expected_among(torch.full((3, 3), -torch.inf), TARGET, OTHERS),
            DataError,
            "logits must be finite; got -inf",
        ),
        (lambda b: b.value(["a b"], ["a b"]), ArgumentError, "Split texts into tokens first"),
        (lambda b: b.expected([0.5], TARGET), ArgumentError, "Take expected_among"),
        (lambda b: b.counterfactual(TARGET, TOLD), ArgumentError, "alternatives of each sentence"),
        (
            lambda b: b.counterfactual(TARGET, TOLD, [[[1]], [[1]], [[1], [2]]]),
            ShapeError,
            r"as many, at least one, for each of 3 sentences; got 3 lists of \[1, 2\]",
        ),
        (
            lambda b: b.expected_among(torch.zeros(3, 2), TARGET, OTHERS),
            ShapeError,
            r"logits must have shape \(3, 3\)",
        ),
        (
            lambda b: b.expected_among(torch.full((3, 3), torch.nan), TARGET, OTHERS),
            DataError,
            "logits must be finite",
        ),
        (
            lambda b: b.expected_among(torch.zeros(3, 3), TARGET, OTHERS, samples=0),
            ArgumentError,
            "samples must be an integer",
        ),
    ],
)
def test_bad_input_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call(CorpusBLEU())
