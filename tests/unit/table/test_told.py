"""Wide tables tell of their columns, in reading and in encoding, and seldom."""

import sys
from pathlib import Path

import pytest

from trivium.audit import AuditOptions, fit_only
from trivium.cli.console import StageLines
from trivium.table import TableEncoder, read_table
from trivium.table.told import told

N = 450


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "wide.csv"
    lines = [",".join([*(f"c{i}" for i in range(N)), "y"])]
    lines += [",".join([*(f"{r * i % 7}.5" for i in range(N)), "ab"[r % 2]]) for r in range(9)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_columns_are_told_while_they_are_read_and_encoded(wide: Path) -> None:
    seen: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        seen.append((done, total))

    table = read_table(wide, progress=progress)
    assert seen[-1] == (N + 1, N + 1)
    assert 100 < len(seen) <= 230
    assert seen == sorted(set(seen))
    seen.clear()
    encoder = TableEncoder().fit(table.drop(["y"]), progress=progress)
    learnt = len(encoder.types)
    assert seen[-1] == (learnt, learnt)
    seen.clear()
    X = encoder.transform(table, progress=progress)
    assert seen[-1] == (learnt, learnt)
    assert X.tobytes() == TableEncoder().fit(table.drop(["y"])).transform(table).tobytes()


def test_few_are_told_one_by_one() -> None:
    seen: list[tuple[int, int]] = []
    assert list(told([1, 2, 3], lambda *at: seen.append(at))) == [1, 2, 3]
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert list(told([1, 2], None)) == [1, 2]
    assert list(told([], lambda *at: seen.append(at))) == []


class Listener:
    def __init__(self) -> None:
        self.bars: dict[str, list[tuple[int, int]]] = {}

    def begin(self, name: str) -> None:
        self.bars[name] = []

    def step(self, done: int, total: int) -> None:
        [*self.bars.values()][-1].append((done, total))

    def end(self, name: str, did: str, seconds: float) -> None:
        pass


def test_the_bars_of_read_and_encode_have_counts(wide: Path, tmp_path: Path) -> None:
    heard = Listener()
    fit_only(AuditOptions(data=wide, label="y"), tmp_path / "model", heard)
    assert [*heard.bars] == ["read", "encode"]
    assert heard.bars["read"][-1] == (N + 1, N + 1)
    done, total = heard.bars["encode"][-1]
    assert done == total > N
    assert heard.bars["encode"] == sorted(set(heard.bars["encode"]))


def test_a_bar_moves_only_after_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with StageLines() as lines:
        lines.step(1, 2)
        lines.begin("read")
        lines.begin("encode")
        lines.step(3, 4)
        (task,) = lines._bar.tasks
        assert (task.description, task.completed, task.total) == ("encode", 3, 4)
        lines.end("encode", "done", 0.1)
        assert lines._bar.tasks == []
        lines.step(1, 2)
