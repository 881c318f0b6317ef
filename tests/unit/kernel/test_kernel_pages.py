"""The code on the kernel's pages runs as printed."""

import re
from pathlib import Path

import pytest
import torch

DOCS = Path(__file__).parents[3] / "docs"


@pytest.mark.parametrize("page", ["primitives/kernel.md", "how-to/add-a-kernel.md"])
def test_page_runs(page):
    torch.manual_seed(0)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
    assert blocks
    space = {"__name__": "page"}
    for block in blocks:
        exec(compile(block, page, "exec"), space)
