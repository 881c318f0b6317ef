"""A limit of memory, wherever it is reached: no traceback, no end of the process, a figure."""

import json
import re

import pytest
from tests.faults.test_places import MB, last, write

_SAVE = """
import os
import numpy as np, torch
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.store import load_model, save_model

def work():
    {code}

try:
    work()
except (MemoryError, RuntimeError) as error:  # torch has no class of its own for it
    os._exit(5 if isinstance(error, MemoryError) or "DefaultCPUAllocator" in str(error) else 1)
os._exit(0)
"""
_SAVED = {
    "save_model": "save_model('new', {'a': np.zeros(5_000_000)}, {}, overwrite=True)",
    "load_model": "load_model('model')",
    "write_tensors": "write_tensors('save', 'new', 'zeros/1', {'a': torch.zeros(10_000_000)}, {})",
    "read_tensors": "read_tensors('load', 'tensors', 'zeros/1')",
}


@pytest.mark.slow
@pytest.mark.parametrize("spare", [1, 12, 16, 20, 25, 29])
def test_an_audit_ends_with_code_5_and_a_figure(spare, station, tmp_path):
    """From 13 MB on what the station has freed may be enough, and then the run is whole."""
    wide = write(
        tmp_path / "wide.csv",
        [*(f"c{i}" for i in range(120)), "y"],
        [[*(f"{(i * j * 7919) % 1013}.5" for j in range(120)), "ab"[i % 2]] for i in range(3000)],
    )
    out = ["--out", "run", "--permutations", "19", "--folds", "2"]
    ended = station.run("audit", wide, "--label", "y", *out, cwd=tmp_path, memory=spare * MB)
    if spare > 12 and ended.code == 0:
        assert json.loads((tmp_path / "run" / "report.json").read_text())["data"]["rows"]
        return
    assert ended.code == 5, ended
    line = last(ended)
    assert line.startswith("error[E-MEMORY]: out of memory at a peak of")
    assert re.search(r"peak of [\d,]+ MB", line)


@pytest.mark.slow
@pytest.mark.parametrize("name", _SAVED)
def test_forty_megabytes_of_tensors_end_with_memory_error(name, station, tmp_path):
    """The library's own code panics, or ends the process, where its memory is not there."""
    ready = "save_model('model', {'a': np.zeros(5_000_000)}, {})\n" + (
        "write_tensors('save', 'tensors', 'zeros/1', {'a': torch.zeros(10_000_000)}, {})"
    )
    first = _SAVE.format(code=ready.replace("\n", "\n    "))
    assert station.run("list", cwd=tmp_path, before=first).code == 0
    code = _SAVE.format(code=_SAVED[name])
    codes = []
    for spare in range(0, 200, 20):
        ended = station.run("list", cwd=tmp_path, before=code, memory=spare * MB + 1)
        assert "panicked" not in ended.err
        codes.append(ended.code)
    assert {*codes} == {0, 5}, codes
    assert (codes[0], codes[-1]) == (5, 0), codes
