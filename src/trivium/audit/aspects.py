"""Text in three aspects: which words, in which order, how far apart; each beyond the last."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from trivium.audit.options import Screening
from trivium.audit.state import Section
from trivium.dependence import (
    AspectTest,
    DependenceColumn,
    benjamini_hochberg,
    benjamini_yekutieli,
    sequence_tests,
)
from trivium.parallel import BlockJournal, Executor

__all__ = ["text_aspects"]

_CORRECTIONS = {"bh": benjamini_hochberg, "by": benjamini_yekutieli}
_FEWEST = 4


@dataclass(frozen=True, eq=False)
class _Texts:
    """What the tests of every column read."""

    columns: tuple[DependenceColumn, ...]
    target: DependenceColumn
    count: int
    rows: int
    seed: int


def _test(place: int, given: _Texts) -> list[Section]:
    """Return the three tests of one column, as plain data."""
    found = sequence_tests(
        given.columns[place].values,
        given.target,
        n_permutations=given.count,
        max_rows=given.rows,
        random_state=given.seed,
    )
    return [asdict(test) for test in (found.presence, found.order, found.distance)]


def text_aspects(
    columns: Sequence[DependenceColumn],
    target: DependenceColumn,
    how: Screening,
    executor: Executor,
    journal: BlockJournal | None = None,
    n_others: int = 0,
) -> dict[str, list[Section]]:
    """Test each text column for words, order and distance; return the list of each column.

    The false-discovery rate is held within each aspect over the text columns, apart from the
    columns' own q-values: "does order matter anywhere" is a question of its own. There are
    enough draws that a single text among them can be found. Each column is a block of the
    executor, kept in the journal. Texts that are not tested, `n_others`, count as p = 1.
    """
    count = max(how.permutations, math.ceil((len(columns) + n_others) / how.fdr))
    # Too few texts to ask anything: the column's own test has said so.
    asked = tuple(
        column for column in columns if int((~column.missing & ~target.missing).sum()) >= _FEWEST
    )
    given = _Texts(asked, target, count, how.texts, how.seed)
    found = executor.map(_test, range(len(asked)), shared=given, journal=journal) if asked else []
    tests = {
        column.name: [AspectTest(**each) for each in tests]
        for column, tests in zip(asked, found, strict=True)
    }
    aspects: dict[str, list[Section]] = {name: [] for name in tests}
    for each in zip(*tests.values(), strict=True):
        p_values = [test.p_value for test in each] + [1.0] * n_others
        q_values = _CORRECTIONS[how.correction](p_values)[: len(each)]
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
