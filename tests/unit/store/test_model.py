"""A saved model comes back bit for bit, or is refused; nothing in it runs."""

import hashlib
import json
import os

import numpy as np
import pytest

from trivium._core.errors import ArgumentError, ModelError, OutputError
from trivium._core.exact_json import digest
from trivium.store import from_json, load_model, save_model
from trivium.store.model import CARD_FILE, MANIFEST_FILE, TENSOR_FILE, _render

TENSORS = {
    "weight": np.random.default_rng(0).normal(size=(5, 3)),
    "scalar": np.array(1.5, dtype=np.float32),
    "empty": np.zeros((0, 3)),
    "codes": np.arange(4, dtype=np.int64)[::2],
    "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big": np.arange(3, dtype=">f8"),
    "flags": np.array([True, False]),
}
MANIFEST = {
    "classes": ["企鹅", "="],
    "ridge": 0.1 + 0.2,
    "nested": {"nan": float("inf"), "n": None},
}


@pytest.fixture
def model(tmp_path):
    save_model(tmp_path / "model", TENSORS, MANIFEST)
    return tmp_path / "model"


def _rewrite(model, change):
    """Change the manifest and put a right checksum on it, as a forger would."""
    found = from_json((model / MANIFEST_FILE).read_bytes())
    change(found)
    found.pop("checksum", None)
    found["checksum"] = digest(found)
    (model / MANIFEST_FILE).write_bytes(_render(found))


def test_round_trip_is_exact(model):
    tensors, manifest = load_model(model)
    assert manifest == MANIFEST
    assert tensors.keys() == TENSORS.keys()
    for name, wanted in TENSORS.items():
        assert tensors[name].shape == wanted.shape
        assert tensors[name].dtype == wanted.dtype.newbyteorder("<")
        np.testing.assert_array_equal(tensors[name], wanted)


def test_same_model_same_bytes(model, tmp_path):
    save_model(tmp_path / "again", dict(reversed(TENSORS.items())), MANIFEST)
    for name in (MANIFEST_FILE, TENSOR_FILE):
        assert (model / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", [MANIFEST_FILE, TENSOR_FILE])
def test_damage_at_any_offset_is_refused(model, name):
    rng = np.random.default_rng(1)
    path = model / name
    intact = path.read_bytes()
    refused = 0
    for _ in range(150):
        place, other = int(rng.integers(len(intact))), int(rng.integers(1, 256))
        damaged = bytearray(intact)
        damaged[place] ^= other if rng.random() < 0.5 else 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with pytest.raises(ModelError) as caught:
            load_model(model)
        assert caught.value.exit_code == 3
        assert caught.value.code == "E-MODEL"
        refused += 1
    assert refused == 150
    path.write_bytes(intact)
    load_model(model)


@pytest.mark.parametrize("name", [MANIFEST_FILE, TENSOR_FILE])
def test_truncated_extended_or_missing_is_refused(model, name):
    path = model / name
    intact = path.read_bytes()
    for data in (b"", intact[:-1], intact[: len(intact) // 2], intact + b"\n"):
        path.write_bytes(data)
        with pytest.raises(ModelError, match="damaged"):
            load_model(model)
    path.unlink()
    with pytest.raises(ModelError, match="cannot be read"):
        load_model(model)


# Unpickled, it runs os.mkdir("boom"): protocol 0, written out, for nothing here imports pickle.
BOMB = b"cos\nmkdir\n(Vboom\ntR."


def test_nothing_is_unpickled(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (MANIFEST_FILE, TENSOR_FILE):
        intact = (model / name).read_bytes()
        (model / name).write_bytes(BOMB)
        with pytest.raises(ModelError):
            load_model(model)
        (model / name).write_bytes(intact)
    # Even when the manifest vouches for it.
    (model / TENSOR_FILE).write_bytes(BOMB)
    checksum = hashlib.sha256(BOMB).hexdigest()
    _rewrite(model, lambda m: m["tensors"].update(bytes=len(BOMB), sha256=checksum))
    with pytest.raises(ModelError, match="must be safetensors"):
        load_model(model)
    assert not (tmp_path / "boom").exists()


def test_newer_schema_says_so(model):
    _rewrite(model, lambda m: m.update(schema=2))
    with pytest.raises(ModelError, match="newer trivium"):
        load_model(model)


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.pop("tensors"),
        lambda m: m.update(extra=1),
        lambda m: m.update(schema=0),
        lambda m: m.update(schema="1"),
        lambda m: m.update(format="other"),
        lambda m: m["tensors"].update(more=1),
        lambda m: m["tensors"]["entries"].pop("weight"),
        lambda m: m["tensors"]["entries"]["weight"].update(shape=[3, 5]),
        lambda m: m.update(tensors=[]),
        lambda m: m.update(manifest=None),
    ],
)
def test_a_forged_manifest_is_refused(model, change):
    _rewrite(model, change)
    with pytest.raises(ModelError):
        load_model(model)


def test_duplicate_key_is_refused(model):
    path = model / MANIFEST_FILE
    path.write_text(path.read_text().replace('"schema": 1,', '"schema": 1,\n "schema": 1,'))
    with pytest.raises(ModelError, match="must stand once"):
        load_model(model)


def test_reformatted_manifest_is_refused(model):
    path = model / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text())))
    with pytest.raises(ModelError, match="checksum"):
        load_model(model)


@pytest.mark.skipif(os.name == "nt", reason="POSIX links and pipes")
@pytest.mark.parametrize("name", [MANIFEST_FILE, TENSOR_FILE])
def test_links_and_pipes_are_refused(model, tmp_path, name):
    (model / name).rename(tmp_path / "elsewhere")
    (model / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelError, match="must not be a link"):
        load_model(model)
    (model / name).unlink()
    os.mkfifo(model / name)
    with pytest.raises(ModelError, match="regular file"):
        load_model(model)


def test_not_a_folder(tmp_path):
    with pytest.raises(ModelError, match="nothing is there"):
        load_model(tmp_path / "none")
    (tmp_path / "model.pkl").write_bytes(b"")
    with pytest.raises(ModelError, match="got a file"):
        load_model(tmp_path / "model.pkl")


def test_save_refuses_other_types_and_existing(model):
    for bad in (np.array(["a"]), np.array([None]), np.array([1j])):
        with pytest.raises(ArgumentError, match="tensors must be"):
            save_model(model.parent / "other", {"x": bad}, {})
    assert not (model.parent / "other").exists()
    with pytest.raises(OutputError, match="must be free"):
        save_model(model, {}, {})
    save_model(model, {}, {"a": 1}, overwrite=True)
    assert load_model(model) == ({}, {"a": 1})


def test_a_card_is_written_and_never_read(model, tmp_path):
    place = tmp_path / "carded"
    save_model(place, TENSORS, MANIFEST, card=lambda checksum: f"manifest {checksum} 企鹅\n")
    checksum = hashlib.sha256((place / MANIFEST_FILE).read_bytes()).hexdigest()
    assert (place / CARD_FILE).read_text("utf-8") == f"manifest {checksum} 企鹅\n"
    # The model's own files know nothing of it.
    for name in (MANIFEST_FILE, TENSOR_FILE):
        assert (place / name).read_bytes() == (model / name).read_bytes()
    (place / CARD_FILE).chmod(0)
    assert load_model(place)[1] == MANIFEST


def test_a_card_is_replaced_with_its_model_and_alone_is_kept(model, tmp_path):
    save_model(model, {}, {"a": 1}, card=str, overwrite=True)
    save_model(model, {}, {"a": 2}, overwrite=True)
    assert sorted(os.listdir(model)) == [MANIFEST_FILE, TENSOR_FILE]
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / CARD_FILE).write_text("a project of mine")
    with pytest.raises(OutputError, match="only a model may be replaced"):
        save_model(mine, {}, {}, card=str, overwrite=True)
    assert (mine / CARD_FILE).read_text() == "a project of mine"


def test_a_card_that_cannot_be_written_leaves_no_model(tmp_path):
    with pytest.raises(ZeroDivisionError):
        save_model(tmp_path / "model", {}, {}, card=lambda checksum: str(1 / 0))
    assert not list(tmp_path.iterdir())
