"""A count in a sentence has its noun and its verb in the right form."""

import pytest

from trivium._core.counted import counted, noun
from trivium.report import numbers


@pytest.mark.parametrize(
    ("n", "thing", "said"),
    [
        (0, "row", "0 rows"),
        (1, "row", "1 row"),
        (2, "class", "2 classes"),
        (1, "class", "1 class"),
        (3, "category", "3 categories"),
        (3, "day", "3 days"),
        (2, "box", "2 boxes"),
        (2, "branch", "2 branches"),
        (1797, "blank line", "1,797 blank lines"),
    ],
)
def test_one_and_several(n: int, thing: str, said: str) -> None:
    assert counted(n, thing) == said
    assert numbers.counted(n, thing) == said


def test_forms_of_their_own() -> None:
    assert counted(2, "axis", "axes") == "2 axes"
    assert [noun(n, "has", "have") for n in (0, 1, 2)] == ["have", "has", "have"]
    assert numbers.counted(None, "row") == "n/a rows"
