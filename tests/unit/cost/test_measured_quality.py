"""What the study of quality writes is a table that `compare` takes as it is."""

import json
from pathlib import Path

import pytest

from trivium._core.errors import ArgumentError
from trivium.cost import TransformerShape, compare

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results" / "attention_quality.json"


@pytest.fixture
def quality():
    if not RESULTS.exists():
        pytest.skip("the benchmark's results are not in this copy")
    return json.loads(RESULTS.read_text())["cells"]["quality/text"]["quality"]


def test_the_study_is_a_quality_table(quality):
    shape = TransformerShape.from_config("gpt2")
    found = compare((shape, list(quality)), [256, 512], quality=quality)
    assert {entry.name: entry.quality for entry in found.entries} == quality
    for entry in found.entries:
        rivals = [other for other in found.entries if other is not entry]
        beaten = [o for o in rivals if o.flops <= entry.flops and o.quality >= entry.quality]
        assert entry.best == (not beaten)


def test_a_table_of_other_designs_is_refused(quality):
    shape = TransformerShape.from_config("gpt2")
    with pytest.raises(ArgumentError, match="quality must be of eager"):
        compare((shape, ["eager"]), [256], quality=quality)
