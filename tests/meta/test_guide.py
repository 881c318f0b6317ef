"""Each page "Add a ..." is done as it says: its file in a copy of the room, and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trivium

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "how-to"
ROOMS = {
    "add-a-kernel.md": "kernel",
    "add-a-gradient-estimator.md": "expectation",
    "add-an-encoding.md": "position",
    "add-an-attention.md": "attention",
    "add-a-cost-rule.md": "cost/families",
}
# Family and member that `trivium list` must name afterwards.
FOUND = [
    ("kernels", "InverseMultiquadric"),
    ("gradient estimators", "CrossFitted"),
    ("position encodings", "Steps"),
    ("features of linear attention", "TwoSided"),
    ("attention layers", "AverageAttention"),
    ("types of Transformer", "low_rank"),
]
# What turns the page's right member into a wrong one, and what the laws say of it.
WRONG = [
    ("add-a-kernel.md", "(distance + 1).rsqrt()", "1 - distance", "positive_semidefinite"),
    ("add-a-kernel.md", "(distance + 1).rsqrt()", "0.5 * (distance + 1).rsqrt()", "law"),
    ("add-a-gradient-estimator.md", "* base).mean(0)", "* 0 + base).mean(0)", "value has the mean"),
    ("add-a-gradient-estimator.md", ".exp()     # 1", " + 1     # 1", "derivative 2"),
    ("add-an-encoding.md", "r.abs().clamp", "(r - r.max()).abs().clamp", "law"),
    ("add-an-attention.md", "functional.softplus(torch", "functional.gelu(torch", "positive"),
    ("add-an-attention.md", "return 2 * head_dim", "return head_dim", "width_is_declared"),
    ("add-an-attention.md", "before.total[:, None]", "0", "state_is_the_past"),
    ("add-an-attention.md", "x.where(keep, 0).cumsum(1)", "x.cumsum(1)", "padding_ignored"),
    ("add-a-cost-rule.md", "tokens, self.rank, self.width)", "tokens, self.rank, 2)", "forward"),
    ("add-a-cost-rule.md", "table=fields.count", "table=2 * fields.count", "parameters"),
    ("add-an-optimizer.md", "weight - options", "weight - 2 * options", "step 1 must"),
]


def blocks(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (GUIDE / page).read_text("utf-8"), re.M | re.S)


def new_files(page: str) -> dict[str, str]:
    """Return what the page says to write: name to content, with the imports of the file before."""
    text = (GUIDE / page).read_text("utf-8")
    named = re.findall(r"in a file\s+`(\w+\.py)`.*?```python\n(.*?)^```", text, re.I | re.M | re.S)
    first = re.match(r".*?(?=^__all__)", named[0][1], re.M | re.S)
    assert first
    return {
        name: code if place == 0 else first[0] + code for place, (name, code) in enumerate(named)
    }


PROBE = """
import json, sys
from pathlib import Path
import torch
import trivium, trivium.testing as laws
from trivium._core.families import members
from trivium.cost import TransformerShape
torch.set_num_threads(1)

def held(room, base, check, *names):
    module = __import__(f"trivium.{room}", fromlist=["x"])
    for member in members(f"trivium.{room}", getattr(module, base)):
        if member.__name__ in names:
            for example in member.examples():
                check(example)

def estimator(one):
    from torch.distributions import Bernoulli
    theta = torch.tensor([0.4, -0.8])
    by = lambda t: Bernoulli(logits=t)
    laws.check_gradient_estimator(one, by, lambda z: z.sum(-1) ** 2, theta)

held("kernel", "Kernel", laws.check_kernel, "InverseMultiquadric")
held("expectation", "GradientEstimator", estimator, "CrossFitted")
held("position", "Position", laws.check_position, "Steps")
held("attention", "AttentionFeatures", laws.check_attention_features, "TwoSided")
held("attention", "AttentionLayer", laws.check_attention, "AverageAttention")
config = json.loads(Path("config.json").read_text())
flops = TransformerShape.from_config(config).table(128).flops
from trivium.attention import LinearAttention
from trivium.audit import catalog
LinearAttention(8, 2, feature_map="two-sided")
print(json.dumps({"home": trivium.__file__, "catalog": catalog(), "flops": flops}))
"""


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Copy the package, write each page's files into their room, and ask the copy in a process."""
    place = tmp_path_factory.mktemp("guide")
    home = place / "trivium"
    shutil.copytree(
        Path(trivium.__file__).parent, home, ignore=shutil.ignore_patterns("__pycache__")
    )
    for page, room in ROOMS.items():
        for name, code in new_files(page).items():
            file = home / room / name
            assert not file.exists()
            # What the page runs below its class is no part of the file.
            file.write_text(re.sub(r"^check_\w+\(.*\n", "", code, flags=re.M), "utf-8")
    config = re.search(
        r"^config = (\{.*?^\})", (GUIDE / "add-a-cost-rule.md").read_text(), re.M | re.S
    )
    assert config
    (place / "config.json").write_text(json.dumps(eval(config[1])))
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        cwd=place,
        env=os.environ | {"PYTHONPATH": str(place), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["home"] == str(home / "__init__.py")
    return found


@pytest.mark.parametrize(("family", "member"), FOUND)
def test_one_new_file_is_found_and_keeps_the_laws(
    copied: dict[str, Any], family: str, member: str
) -> None:
    assert member in copied["catalog"][family]


def test_without_the_files_nothing_is_found() -> None:
    from trivium.audit import catalog

    here = catalog()
    assert not [member for family, member in FOUND if member in here[family]]


def test_the_new_type_of_transformer_is_counted(copied: dict[str, Any]) -> None:
    width, inner, rank, n, layers = 24, 96, 4, 128, 2
    each = 4 * n * width**2 + 2 * n * n * width + 2 * n * rank * (width + inner)
    assert copied["flops"] == 2 * layers * each


@pytest.mark.parametrize(("page", "right", "wrong", "said"), WRONG)
def test_a_wrong_one_fails(
    page: str, right: str, wrong: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code = "\n".join(blocks(page))
    assert code.count(right) >= 1
    code = code.replace(right, wrong)
    space: dict[str, Any] = {"__name__": "page"}
    with pytest.raises(AssertionError, match=said):
        exec(compile(code, page, "exec"), space)


def test_contributing_leads_to_every_page() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    pages = sorted(path.name for path in GUIDE.glob("add-*.md"))
    assert len(pages) == 6
    assert [page for page in pages if f"docs/how-to/{page}" not in text] == []
