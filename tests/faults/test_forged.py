"""Files whose checksums are right and whose content is not: read, or refused by name.

`TRIVIUM_FUZZ=N` forges N times as many, `TRIVIUM_FUZZ_SEED=S` others.
"""

import json
import os
import random
import shutil
import warnings

import numpy as np
import pytest
import torch
from test_damage import MADE, files

from trivium._core.errors import DataError, ModelError, TriviumError
from trivium._core.exact_json import digest, from_json
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.store import load_model
from trivium.store import model as store

MORE = int(os.environ.get("TRIVIUM_FUZZ", "1"))
SEED = int(os.environ.get("TRIVIUM_FUZZ_SEED", "0"))
OTHERS = [None, True, -1, 0, 1, 2**40, 2**70, 0.5, 1e308, "", "x", "é\0", [], [1], {}, {"a": 1}]


def places(value, path=()):
    """Yield the way to every value of nested plain data."""
    yield path
    if isinstance(value, dict):
        for key in value:
            yield from places(value[key], (*path, key))
    elif isinstance(value, list):
        for at in range(len(value)):
            yield from places(value[at], (*path, at))


def changed(value, rng):
    """Return nested plain data with one thing changed, dropped, doubled or put elsewhere."""
    value = json.loads(json.dumps(value))
    ways = [path for path in places(value) if path]
    if not ways:
        return rng.choice(OTHERS)
    *way, last = rng.choice(ways)
    inside = value
    for key in way:
        inside = inside[key]
    how = rng.randrange(6)
    if how == 0:
        del inside[last]
    elif how == 1 and isinstance(inside, list):
        inside.insert(last, inside[last])
    elif how == 2 and isinstance(inside, dict):
        inside[str(rng.choice(OTHERS))] = rng.choice(OTHERS)
    elif how == 3 and isinstance(inside[last], int | float):
        inside[last] += rng.choice([-1, 1, 0.5, 1e9])
    elif how == 4:
        key = rng.choice(ways)[-1]
        if isinstance(inside, dict) and isinstance(key, str):
            inside[key] = inside.pop(last)
    else:
        inside[last] = rng.choice(OTHERS)
    return value


def warped(tensors, rng):
    """Return tensors with one of them of another shape or type, not finite, renamed or gone."""
    tensors = dict(tensors)
    if not tensors:
        return {"x": torch.zeros(3)}
    name = rng.choice(sorted(tensors))
    value = tensors.pop(name)
    how = rng.randrange(8)
    flat = value.reshape(-1)
    if how == 0:
        return tensors
    if how == 1:
        name += "x"
    elif how == 2:
        value = flat[: len(flat) // 2]
    elif how == 3:
        value = torch.cat([flat, flat])
    elif how == 4:
        value = value.to(rng.choice([torch.float32, torch.float64, torch.int64, torch.bool]))
    elif how == 5 and value.is_floating_point():
        value = torch.full_like(value, rng.choice([float("nan"), float("inf"), -1e30]))
    elif how == 6:
        value = value[None]
    else:
        value = (value * 0 - 1 if value.dtype is not torch.bool else ~value).to(value.dtype)
    return {**tensors, name: value}


def forge(path, rng):
    """Change what a file says, and make its checksums fit."""
    data = path.read_bytes()
    if path.name == "tensors.safetensors":
        folder = path.parent
        tensors, manifest = load_model(folder)
        held = {name: torch.from_numpy(np.array(value)) for name, value in tensors.items()}
        card = (folder / "README.md").read_bytes() if (folder / "README.md").exists() else None
        shutil.rmtree(folder)
        plain = {name: value.numpy() for name, value in warped(held, rng).items()}
        store.save_model(folder, plain, manifest)
        if card is not None:
            (folder / "README.md").write_bytes(card)
        return True
    if data[:1] == b"{":
        found = from_json(data.decode())
        if "checksum" not in found:
            return False
        body = {key: value for key, value in found.items() if key != "checksum"}
        if isinstance(body.get("manifest"), dict) and rng.random() < 0.8:
            body["manifest"] = changed(body["manifest"], rng)
        else:
            body = changed(body, rng)
        if not isinstance(body, dict):
            return False
        path.write_bytes(store._render({**body, "checksum": digest(body)}))
        return True
    size = int.from_bytes(data[:8], "little")
    kind = json.loads(data[8 : 8 + size])["__metadata__"].get("format")
    if kind is None:
        return False
    tensors, about = read_tensors("test", path, kind)
    if rng.random() < 0.6 and about:
        about = changed(about, rng)
    else:
        tensors = warped(tensors, rng)
    if isinstance(about, dict):
        write_tensors("test", path, kind, tensors, about)
    return isinstance(about, dict)


@pytest.mark.parametrize("name", sorted(MADE))
def test_what_fits_its_checksum_is_read_or_refused(name, tmp_path):
    write, read = MADE[name]
    path = tmp_path / ("evidence" if name == "evidence" else "saved")
    write(path)
    rng = random.Random(f"{name} {SEED}")
    whole = {one: one.read_bytes() for one in files(path)}
    chosen = sorted(whole)
    faults = []
    for number in range(6 * MORE):
        one = rng.choice(chosen)
        before = one.read_bytes()
        try:
            if not forge(one, rng) or one.read_bytes() == before:
                continue
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(path)
            except TriviumError as error:
                assert error.exit_code in (2, 3), error  # noqa: PT017 - it may also be read
        except Exception as error:
            faults.append(f"{number}, {one.name}: {type(error).__name__}: {error}"[:300])

        finally:
            for place, data in whole.items():
                place.parent.mkdir(exist_ok=True)
                place.write_bytes(data)
    assert not faults, "\n".join(faults)


def test_notes_that_cannot_be_repeated_are_refused_by_their_file(tmp_path):
    """Whatever the model would make of them: what they lead to is read, or they are named."""
    write, read = MADE["recording"]
    path = tmp_path / "saved"
    write(path)
    rng = random.Random(f"notes {SEED}")
    whole = {one: one.read_bytes() for one in files(path)}
    chosen = sorted(one for one in whole if one.name.startswith(("part-", "state-")))
    named = 0
    for _ in range(40 * MORE):
        one = rng.choice(chosen)
        if forge(one, rng):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    read(path)
            except ModelError as error:
                named += one.name in f"{error} {error.where}"
            except DataError as error:  # they can be repeated, and lead elsewhere
                assert "record: " in str(error)  # noqa: PT017 - it may also be read
        for place, data in whole.items():
            place.write_bytes(data)
    assert named > 20 * MORE
