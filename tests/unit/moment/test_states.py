"""Moments taken apart into plain things, and put together again."""

import numpy as np
import pytest
import torch

from trivium._core.coded import CodedLabels
from trivium._core.errors import DataError, ModelError
from trivium._core.packed import pack, unpack
from trivium.dependence import HSICMoments
from trivium.moment import CrossMoments, Moments

ROWS = np.random.default_rng(0).normal(size=(40, 3))
SEVERAL = {
    "moments": Moments(3).update(ROWS, np.resize(["a", "b"], 40)),
    "cross": CrossMoments(1, 2).update(ROWS[:, :1], ROWS[:, 1:]),
    "hsic": HSICMoments.like(ROWS[:, :1], ROWS[:, 1:], n_features=8).update(
        ROWS[:, :1], ROWS[:, 1:]
    ),
}


def bits(moments):
    return {name: value.numpy().tobytes() for name, value in moments.state()[0].items()}


@pytest.mark.parametrize("name", SEVERAL)
def test_round_trip_through_plain_data(name):
    held = SEVERAL[name]
    again = type(held).from_state(*unpack(*pack(held.state())))
    assert bits(again) == bits(held)
    assert bits(again.merge(held)) == bits(held.copy().merge(held))
    before = bits(held)
    for tensor in held.state()[0].values():
        if tensor.is_floating_point():
            tensor.add_(1)
    assert bits(held) == before


@pytest.mark.parametrize("name", SEVERAL)
def test_damage_is_refused(name):
    kind = type(SEVERAL[name])
    tensors, about = SEVERAL[name].state()
    second = tensors["second"]
    with pytest.raises(ModelError, match=r"second|Moments"):
        kind.from_state({**tensors, "second": second[:-1]}, about)
    with pytest.raises(ModelError):
        kind.from_state({**tensors, "second": second * torch.nan}, about)
    with pytest.raises(ModelError):
        kind.from_state(tensors, {})


def test_states_of_another_class_are_refused():
    with pytest.raises(ModelError, match="must hold CrossMoments"):
        CrossMoments.from_state(*SEVERAL["moments"].state())
    tensors, about = SEVERAL["cross"].state()
    with pytest.raises(ModelError, match="n_x"):
        CrossMoments.from_state(tensors, {**about, "more": {"n_x": 3}})


def test_coded_labels_are_labels():
    names = np.array(["a", "b", "never", "z"])
    codes = np.array([0, 3, 0, 1] * 10)
    coded = Moments(3).update(ROWS, CodedLabels(codes, names))
    plain = Moments(3).update(ROWS, names[codes])
    assert coded.classes.tolist() == plain.classes.tolist() == ["a", "b", "z"]
    assert torch.equal(coded.within, plain.within)
    assert torch.equal(coded.means, plain.means)
    with pytest.raises(DataError, match="must hold only the classes"):
        Moments(3, classes=["a", "b"]).update(ROWS, CodedLabels(codes, names))
