"""The leading functions: planted shapes are named, and the functions are those of the table."""

from typing import Any

import numpy as np
import pytest

from trivium.dependence import DependenceColumn, DependenceRow, screen

N = 400


def row_of(column: DependenceColumn, target: DependenceColumn) -> DependenceRow:
    return screen([column], target, n_permutations=199).rows[0]


def number(values: Any, name: str = "x") -> DependenceColumn:
    return DependenceColumn(name, "number", values)


def classes(values: Any) -> DependenceColumn:
    return DependenceColumn("y", "category", np.asarray(values).astype(int))


@pytest.fixture(scope="module")
def x() -> Any:
    return np.random.default_rng(0).normal(size=N)


def test_planted_shapes_are_named(x: Any) -> None:
    noise = np.random.default_rng(1).normal(size=N)
    cases = {
        "rising": (x, classes(x + 0.3 * noise > 0)),
        "falling": (x, classes(-x + 0.3 * noise > 0)),
        "U": (x, classes(x**2 + 0.2 * noise > 1)),
        "peak": (x, classes(x**2 + 0.2 * noise < 1)),
        "wave": (x, number(np.sin(3 * x) + 0.1 * noise, "y")),
        "spread": (x, number(np.exp(0.8 * x) * noise, "y")),
    }
    found = {name: row_of(number(a), b) for name, (a, b) in cases.items()}
    assert {name: row.shape for name, row in found.items()} == {name: name for name in cases}
    for row in found.values():
        assert row.functions is not None
        assert row.p_tail < 1e-4
        assert 0.3 < row.functions["correlation"] <= 1


def test_functions_are_means_of_the_rows(x: Any) -> None:
    label = (x > 0.2).astype(int)
    functions = row_of(number(x), classes(label)).functions
    assert functions is not None
    assert functions["y"] == [0, 1]
    low, high = functions["g"]
    # Standardized over the rows, high for the last of two classes.
    assert high > 0 > low
    assert np.mean(label) * high + (1 - np.mean(label)) * low == pytest.approx(0, abs=1e-6)
    assert np.mean(label) * high**2 + (1 - np.mean(label)) * low**2 == pytest.approx(1, abs=1e-5)
    places = functions["x"]
    assert places == sorted(places)
    assert len(places) == len(functions["f"]) <= 30
    assert np.quantile(x, 0.01) <= places[0] < places[-1] <= np.quantile(x, 0.99)


def test_levels_and_words_are_places(x: Any) -> None:
    label = (x > 0).astype(int)
    level = DependenceColumn("c", "category", np.where(np.arange(N) % 9 == 0, -1, label + 3))
    row = row_of(level, classes(label))
    assert row.shape == "levels"
    assert row.functions is not None
    assert row.functions["x"] == [-1, 3, 4]
    assert row.functions["f"][1] < 0 < row.functions["f"][2]
    texts = [f"tea {'fine' if v else 'bad'} cup{i % 3}" for i, v in enumerate(label)]
    row = row_of(DependenceColumn("t", "text", texts), classes(label))
    assert row.functions is not None
    assert row.functions["x"][0] == "bad"
    assert row.functions["x"][-1] == "fine"


def test_what_does_not_depend_or_vary_has_no_functions(x: Any) -> None:
    noise = np.random.default_rng(5).normal(size=N)
    row = row_of(number(noise), classes(x > 0))
    assert (row.shape, row.functions) == ("", None)
    with pytest.warns(match="constant"):
        row = row_of(number(np.ones(N)), classes(x > 0))
    assert (row.p_value, row.p_tail, row.functions) == (1.0, 1.0, None)


def test_only_the_strongest_columns_keep_their_functions(x: Any) -> None:
    rng = np.random.default_rng(3)
    columns = [number(x + rng.normal(size=N) * (1 + i / 9), f"x{i}") for i in range(24)]
    table = screen(columns, classes(x > 0), n_permutations=99)
    assert sum(row.functions is not None for row in table.rows) == 20
    assert all(row.functions is not None for row in table.ranked()[:20])


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_extreme_scales_stay_finite(x: Any, scale: float) -> None:
    functions = row_of(number(x * scale), classes(x > 0)).functions
    assert functions is not None
    assert np.isfinite(functions["x"]).all()
    assert np.isfinite(functions["f"]).all()
