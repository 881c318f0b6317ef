"""The articles on training without gradients, through the examples that show their claims."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", [name, "--quick", *arguments])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_two_sides_of_one_gradient(monkeypatch, capsys):
    """Cosine high where noise and temperature match, low where they do not."""
    _, *rows, gumbel = run("two_sides.py", monkeypatch, capsys)
    cosines = [[float(c) for c in row.split()[1:]] for row in rows]
    assert len(cosines) == 3
    for place, line in enumerate(cosines):
        assert line[place] > 0.88
        assert max(line) == line[place]
    assert abs(cosines[0][2]) < 0.2
    assert abs(cosines[2][0]) < 0.2
    drawn, exact = (float(number) for number in re.findall(r"\d\.\d{4}", gumbel))
    # 40,000 draws of one answer, at the worst deviation: 4 errors.
    assert drawn == pytest.approx(exact, abs=4 * 0.5 / 40_000**0.5)


def test_a_gate_without_a_gradient(monkeypatch, capsys, tmp_path):
    """The hybrid reads less while it answers better; the whole run is in the example itself."""
    picture = tmp_path / "gate.svg"
    *steps, _ = run("skip_reading.py", monkeypatch, capsys, "--out", str(picture))
    right, read = zip(
        *([float(w.rstrip("%")) for w in line.split() if w.endswith("%")] for line in steps),
        strict=True,
    )
    assert right[-1] > right[0] + 20
    assert read[-1] < read[0] - 30
    assert picture.stat().st_size > 1000
