"""A bottleneck in a file: the same predictions, anything else refused."""

import json
import os

import numpy as np
import pytest
import torch
from torch import nn

from trivium._core.errors import ModelError, OutputError
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.dependence import HSICBottleneck

KIND = "trivium.hsic_bottleneck/1"


def rows_and_labels(labels=("ä", "b", "c")):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, len(labels), 80)
    return rng.normal(size=(80, 4)) + codes[:, None], np.array(labels)[codes]


def fitted(layers=(6, 5), **options):
    return HSICBottleneck(layers, epochs=2, batch_size=16, **options).fit(*rows_and_labels())


@pytest.mark.parametrize("readout", ["ridge", "softmax"])
@pytest.mark.parametrize("labels", [("ä", "b", "c"), (3, 1, 7), (0.5, 2.0, 1.0), (True, False)])
def test_round_trip(tmp_path, readout, labels):
    X, y = rows_and_labels(labels)
    model = HSICBottleneck([6, 5], readout, kernel="gaussian", epochs=2, random_state=9).fit(X, y)
    model.save(tmp_path / "m")
    again = HSICBottleneck.load(tmp_path / "m")
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert np.array_equal(again.predict(X), model.predict(X))
    assert again.classes_.dtype == model.classes_.dtype
    assert (again.layers, again.readout, again.kernel, again.seed) == (
        [6, 5],
        readout,
        "gaussian",
        9,
    )
    assert again.report(X, y, X, y) == model.report(X, y, X, y)
    assert os.listdir(tmp_path) == ["m"]


def test_modules_are_given_again(tmp_path):
    torch.manual_seed(0)
    shared = nn.Linear(6, 6)
    layers = [nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), 5, nn.Identity()]
    layers[0].extend([shared, nn.ReLU(), shared])
    model = fitted(layers)
    model.save(tmp_path / "m")
    given = [nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6)), 5, nn.Identity()]
    given[0].extend([shared, nn.ReLU(), shared])
    before = given[0][0].weight.clone()
    again = HSICBottleneck.load(tmp_path / "m", given)
    X = rows_and_labels()[0]
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    assert torch.equal(given[0][0].weight, before)
    with pytest.raises(ModelError, match="layer 0 was a module; pass layers of the same shapes"):
        HSICBottleneck.load(tmp_path / "m")
    with pytest.raises(ModelError, match="layer 0 was a module; pass layers of the same shapes"):
        HSICBottleneck.load(tmp_path / "m", [6, 5, nn.Identity()])
    with pytest.raises(ModelError, match="layers must be 3 modules; got 2"):
        HSICBottleneck.load(tmp_path / "m", given[:2])
    with pytest.raises(ModelError, match="layer 0 must fit the file"):
        HSICBottleneck.load(tmp_path / "m", [nn.Linear(4, 6), 5, nn.Identity()])


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "m"
    fitted().save(path)
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    for place in range(start, len(data), 101):
        damaged = bytearray(data)
        damaged[place] ^= 1
        path.write_bytes(bytes(damaged))
        with pytest.raises(ModelError, match=r"HSICBottleneck.load: .*checksum does not fit"):
            HSICBottleneck.load(path)
    for cut in (0, 5, start, len(data) - 1):
        path.write_bytes(data[:cut])
        with pytest.raises(ModelError, match=r"HSICBottleneck.load: the file must be"):
            HSICBottleneck.load(path)
    with pytest.raises(ModelError, match="FileNotFound"):
        HSICBottleneck.load(tmp_path / "none")


def rewritten(path, change):
    """Write the file again, whole, with what `change` made of its parts."""
    tensors, about = read_tensors("test", path, KIND)
    change(tensors, about)
    write_tensors("test", path, KIND, tensors, about)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t, a: a.pop("classes"), "'classes' is missing"),
        (lambda t, a: t.pop("readout.bias"), "'readout.bias' is missing"),
        (lambda t, a: t.pop("layer.1.1.weight"), "'1.weight' is missing"),
        (lambda t, a: t.pop("layer.1.1.bias"), "layer 1 must fit the file"),
        (lambda t, a: a.update(classes="null"), "classes and readout must fit together"),
        (
            lambda t, a: a.update(classes=json.dumps({"kind": "int", "labels": [1, 2]})),
            "classes and readout must fit together",
        ),
        (lambda t, a: a.update(classes="{"), "HSICBottleneck.load: the labels are damaged"),
        (lambda t, a: a["options"].update(kernel="cosine"), "kernel must be one of"),
        (lambda t, a: a["options"].update(extra=1), "unexpected keyword argument 'extra'"),
    ],
)
def test_files_that_are_whole_and_wrong_are_refused(tmp_path, change, message):
    path = tmp_path / "m"
    fitted().save(path)
    rewritten(path, change)
    with pytest.raises(ModelError, match=message):
        HSICBottleneck.load(path)


def test_saving_needs_a_fit_and_a_place(tmp_path):
    with pytest.raises(ModelError, match=r"HSICBottleneck.save: the model must be fitted"):
        HSICBottleneck([4]).save(tmp_path / "m")
    with pytest.raises(OutputError, match=r"HSICBottleneck.save: could not write"):
        fitted().save(tmp_path / "no" / "m")
