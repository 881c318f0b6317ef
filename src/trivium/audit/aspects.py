"""Text in three aspects: which words, in which order, how far apart; each beyond the last."""

import math
from collections.abc import Sequence

from trivium.audit.options import Screening
from trivium.audit.state import Section
from trivium.dependence import (
    AspectTest,
    DependenceColumn,
    benjamini_hochberg,
    benjamini_yekutieli,
    sequence_tests,
)

__all__ = ["text_aspects"]

_CORRECTIONS = {"bh": benjamini_hochberg, "by": benjamini_yekutieli}
_FEWEST = 4


def text_aspects(
    columns: Sequence[DependenceColumn], target: DependenceColumn, how: Screening
) -> dict[str, list[Section]]:
    """Test each text column for words, order and distance; return the list of each column.

    The false-discovery rate is held within each aspect over the text columns, apart from the
    columns' own q-values: "does order matter anywhere" is a question of its own. There are
    enough draws that a single text among them can be found.
    """
    count = max(how.permutations, math.ceil(len(columns) / how.fdr))
    tests: dict[str, tuple[AspectTest, ...]] = {}
    for column in columns:
        # Too few texts to ask anything: the column's own test has said so.
        if int((~column.missing & ~target.missing).sum()) >= _FEWEST:
            found = sequence_tests(
                column.values,
                target,
                n_permutations=count,
                max_rows=how.texts,
                random_state=how.seed,
            )
            tests[column.name] = (found.presence, found.order, found.distance)
    aspects: dict[str, list[Section]] = {name: [] for name in tests}
    for each in zip(*tests.values(), strict=True):
        q_values = _CORRECTIONS[how.correction]([test.p_value for test in each])
        for name, test, q_value in zip(tests, each, q_values.tolist(), strict=True):
            aspects[name].append(
                {
                    "aspect": test.aspect,
                    "p_value": test.p_value,
                    "q_value": q_value,
                    "method": test.method,
                    "evidence": "; ".join(test.evidence),
                }
            )
    return aspects
