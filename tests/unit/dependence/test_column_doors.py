"""What is no column is refused by name."""

import numpy as np
import pytest

from trivium._core.errors import ArgumentError
from trivium.dependence import DependenceColumn, screen, screen_pairs, sequence_tests

NUMBERS = np.arange(8.0)
COLUMN = DependenceColumn("x", "number", NUMBERS)


@pytest.mark.parametrize(
    ("given", "kind"),
    [({"x": NUMBERS}, "dict"), ([NUMBERS], "ndarray"), (NUMBERS, "ndarray"), ("x", "str")],
)
def test_a_table_is_no_list_of_columns(given, kind):
    with pytest.raises(ArgumentError, match=f"screen: columns must be of Depend.* got {kind}"):
        screen(given, COLUMN)
    with pytest.raises(ArgumentError, match=f"screen_pairs: columns must .* got {kind}"):
        screen_pairs(given)


def test_numbers_are_no_target():
    with pytest.raises(ArgumentError, match="screen: target must be of Depend"):
        screen([COLUMN], NUMBERS)
    with pytest.raises(ArgumentError, match="sequence_tests: target must be of Depend"):
        sequence_tests(["a b"] * 8, NUMBERS)
