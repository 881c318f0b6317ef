"""The study: tasks by hand, equal decoders, a stop that resumes, figures that are the runs'."""

import dataclasses
import json
import tarfile
from pathlib import Path

import pytest
import torch

from trivium._core.errors import ArgumentError, DataError, TriviumWarning
from trivium.parallel import SerialExecutor
from trivium.position import Buckets, Learned, NoPosition
from trivium.study import (
    FULL,
    QUICK,
    TASKS,
    Job,
    build_encoding,
    contestants,
    position_study,
    read_study_text,
    run_job,
)
from trivium.study.catalog import catalog, find, studied_losses
from trivium.study.decoder import count, equal_decoder
from trivium.study.presets import Preset, ready
from trivium.study.tasks import IGNORED, task_rows

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
SIZES = {"length": 8, "size": 4, "batch": 4, "steps": 2, "task_steps": 2, "seeds": 2, "rows": 2}
TINY = Preset("quick", 8, 2, 1, **SIZES, rates=(1e-3, 1e-2))


def answer_of(name, question):
    """Solve a task in plain Python."""
    if name == "copy":
        return question
    if name == "reverse":
        return question[::-1]
    if name == "sort":
        return sorted(question)
    if name == "parity":
        return [sum(question) % 2]
    a, b = question[: len(question) // 2], question[len(question) // 2 + 1 :]
    total = sum(x * 10**k for k, x in enumerate(a)) + sum(x * 10**k for k, x in enumerate(b))
    return [total // 10**k % 10 for k in range(len(a) + 1)]


@pytest.mark.parametrize("name", TASKS)
def test_answers_are_right_and_alone_are_asked_for(name):
    rows = task_rows(name, 20, 6, torch.Generator().manual_seed(0), width=20)
    assert rows.tokens.shape == rows.targets.shape == (20, 20)
    for tokens, targets in zip(rows.tokens.tolist(), rows.targets.tolist(), strict=True):
        equals = tokens.index(11)
        question = tokens[1:equals]
        found = [target for target in targets if target != IGNORED]
        assert found == answer_of(name, question)
        assert targets[:equals] == [IGNORED] * equals
        assert tokens[equals + 1 : equals + len(found)] == found[:-1]


def test_decoders_have_equally_many_parameters():
    sizes = FULL.sizes("text")
    plain = count(equal_decoder(70, NoPosition(), sizes))
    unit = FULL.n_layers * (2 * FULL.d_model + 1)
    for member, options in contestants("full").values():
        encoding = build_encoding(member, sizes, ready(options, sizes))
        assert abs(count(equal_decoder(70, encoding, sizes)) - plain) <= unit
    large = build_encoding(Learned, sizes)
    assert count(large) > 10 * unit


def test_the_full_study_has_every_causal_member():
    names = contestants("full")
    assert len(names) >= 20
    assert names["Buckets"] == (Buckets, {"bidirectional": False})
    missing = {entry.name for entry in catalog() if entry.layers != "bidirectional"} - set(names)
    assert missing == {"Combined", "Multiplicative"}  # made of others; one of them is a contestant


@pytest.mark.parametrize("name", contestants("full"))
def test_every_contestant_runs(name):
    text = read_study_text()
    tiny = dataclasses.replace(TINY, name="full")
    for kind in ("text", "tasks"):
        run = run_job(Job(kind, name, 1e-3, 0), tiny, text)
        assert torch.isfinite(torch.tensor(run["validation"]))


def test_a_run_is_the_same_twice_and_learns():
    text = read_study_text()
    preset = dataclasses.replace(QUICK, steps=30, rows=4)
    first, again = (run_job(Job("text", "Rotary", 1e-2, 1), preset, text) for _ in range(2))
    assert first["loss"] == again["loss"]
    untrained = run_job(Job("text", "Rotary", 1e-9, 1), preset, text)
    assert first["loss"]["1"] < untrained["loss"]["1"] - 0.5


def test_a_study_stops_and_resumes(tmp_path):
    seen = []
    part = position_study(
        TINY, out=tmp_path, workers=1, most=3, progress=lambda a, b, name: seen.append((a, b))
    )
    total = 5 * 2 * 3
    assert (part.figures["runs"], part.figures["complete"]) == (3, False)
    assert seen == [(1, total), (2, total), (3, total)]
    kept = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "runs").iterdir()}
    cut = tmp_path / "runs" / sorted(kept)[0]
    cut.write_bytes(cut.read_bytes()[:40])
    del kept[cut.name]
    with pytest.warns(TriviumWarning, match=f"{cut.name} is damaged; what it held is done again"):
        whole = position_study(TINY, out=tmp_path, workers=1)
    assert whole.figures["complete"]
    assert len(whole.figures["all_runs"]) == total
    assert all((tmp_path / "runs" / n).stat().st_mtime_ns == at for n, at in kept.items())
    written = json.loads((tmp_path / "study.json").read_text())
    assert written["encodings"] == json.loads(json.dumps(whole.to_dict()["encodings"]))
    for name, entry in written["encodings"].items():
        runs = [r for r in written["all_runs"] if (r["encoding"], r["kind"]) == (name, "text")]
        rate = max((r for r in runs if r["seed"] == 0), key=lambda r: r["validation"])["rate"]
        losses = sorted(r["loss"]["2"] for r in runs if r["rate"] == rate)
        assert entry["text"]["seeds"] == len(losses) == 2
        found = entry["text"]["loss"]["2"]
        assert (found["least"], found["most"]) == (losses[0], losses[-1])
        assert found["median"] == pytest.approx(sum(losses) / 2)
    assert str(whole).count("Rotary") == 3
    losses, curves, tasks, _ = whole.plot().axes
    assert len(losses.lines) == 3
    assert len(curves.lines) == 5 + 1  # and the length of training
    assert len(tasks.texts) == 5 * 10
    with pytest.raises(DataError, match="out must be empty or hold runs of the same study"):
        position_study(dataclasses.replace(TINY, steps=3), out=tmp_path, workers=1)


def test_the_catalog_quotes_the_study_that_is_kept():
    kept = json.loads((RESULTS / "position_study_full.json").read_text())
    assert kept["complete"]
    assert kept["preset"] == json.loads(json.dumps(FULL.to_dict()))
    assert list(kept["encodings"]) == list(contestants("full"))
    for name, entry in kept["encodings"].items():
        assert entry["text"]["seeds"] == entry["tasks"]["seeds"] == 5
        for at, loss in studied_losses()[name].items():
            assert loss == pytest.approx(entry["text"]["loss"][at]["median"], abs=5e-5)
    assert {e.name for e in catalog() if e.loss is None} == {
        "Combined",
        "ZeroPadding",
        "Multiplicative",
    }


def test_a_hierarchical_table_has_to_go_on_beyond_the_training():
    member, options = contestants("full")["Learned, hierarchical"]
    for kind, length in (("text", FULL.length), ("tasks", 2 * FULL.size + 2)):
        sizes = FULL.sizes(kind)
        assert build_encoding(member, sizes, ready(options, sizes)).max_length == length
        assert sizes["max_length"] == 4 * length


def test_texts(tmp_path):
    own = read_study_text()
    assert own.n_symbols <= 96
    assert min(len(own.validation), len(own.test)) > 50_000
    assert int(own.train.max()) < own.n_symbols
    file = tmp_path / "mine.txt"
    file.write_text("To be, or not to be. " * 2000)
    mine = read_study_text(file)
    assert len(mine.train) == 8 * len(mine.validation) == 8 * len(mine.test)
    file.write_text("short")
    with pytest.raises(DataError, match="20,000 characters or more; got 5"):
        read_study_text(file)
    with pytest.raises(DataError, match="readable UTF-8"):
        read_study_text(tmp_path / "none.txt")
    archive = tmp_path / "plays.tar.gz"
    for name in ("hamlet", "macbeth", "tempest"):
        (tmp_path / f"{name}_gut.txt").write_text(name * 5000)
    with tarfile.open(archive, "w:gz") as made:
        for name in ("hamlet", "macbeth", "tempest"):
            made.add(tmp_path / f"{name}_gut.txt", f"s/{name}_gut.txt")
    plays = read_study_text(archive)
    assert len(plays.train) == 30_000
    assert len(plays.validation) == len(plays.test) == 35_000
    with tarfile.open(archive, "w:gz") as made:
        made.add(tmp_path / "hamlet_gut.txt", "s/hamlet_gut.txt")
    with pytest.raises(DataError, match="without macbeth_gut"):
        read_study_text(archive)


def test_what_is_refused(tmp_path):
    with pytest.raises(ArgumentError, match="preset must be one of 'quick', 'full'; got 'big'"):
        position_study("big", out=tmp_path)
    with pytest.raises(ArgumentError, match="workers must be"):
        position_study(TINY, out=tmp_path, workers=0)
    with pytest.raises(ArgumentError, match="one of workers and executor must be given; got both"):
        position_study(TINY, out=tmp_path, workers=1, executor=SerialExecutor())
    with pytest.raises(ArgumentError, match="name must be one of"):
        find("Rotory")
