"""`import trivium` and `trivium --help` stay light; every public name loads."""

import subprocess
import sys

import pytest

import trivium

HEAVY = ("torch", "sklearn", "pandas", "numpy", "pyarrow", "scipy", "rich", "jinja2")
PROBE = f"import sys; print([m for m in {HEAVY!r} if m in sys.modules])"


@pytest.mark.parametrize(
    "before",
    [
        "import trivium",
        "import trivium; dir(trivium)",
        "from trivium.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass",
        "from trivium.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass",
        "import trivium.cost; trivium.cost.TransformerShape.from_config('gpt2').table(9)",
    ],
)
def test_nothing_heavy_is_imported(before: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{PROBE}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


def test_the_probe_can_fail() -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import numpy\n{PROBE}"], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "['numpy']"


@pytest.mark.parametrize("name", trivium.__all__)
def test_public_names_load(name: str) -> None:
    assert getattr(trivium, name) is not None
    assert name in dir(trivium)


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = trivium.nothing
