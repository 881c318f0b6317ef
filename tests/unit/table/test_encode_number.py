"""Number and date columns: marks, calendars against Python's datetime, odd cells named."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from trivium._core.errors import DataError
from trivium.table.encode_number import DateEncoder, NumberEncoder, phase
from trivium.table.table import Column, Kind


def _column(kind, cells, values=None):
    missing = np.array([cell is None for cell in cells], dtype=bool)
    return Column("c", kind, pa.array(cells, pa.string()), values, missing)


def _numbers(values):
    cells = [None if np.isnan(value) else repr(float(value)) for value in values]
    return _column(Kind.number, cells, np.asarray(values, dtype=float))


def _dates(days):
    cells = [str(np.datetime64("1970-01-01") + int(day)) for day in days]
    return _column(Kind.datetime, cells, np.asarray(days) * 86_400.0)


def test_missing_is_marked_only_where_it_was_learnt():
    plain = NumberEncoder.fit(_numbers([1.0, 2, 3, 5, 8]), 3)
    marked = NumberEncoder.fit(_numbers([1.0, np.nan, 3, 5, 8]), 3)
    assert "missing" not in plain.names
    assert marked.names[-1] == "missing"
    block, _ = marked.block(_numbers([np.nan, 3.0]))
    assert block[:, -1].tolist() == [1.0, 0.0]
    assert (block[0, :-1] == 0).all()
    block, _ = plain.block(_numbers([np.nan]))
    assert (block == 0).all()


def test_a_column_without_values_is_refused():
    encoder = NumberEncoder.fit(_numbers([1.0, 2, 3, 5, 8]), 3)
    with pytest.raises(DataError, match="must hold numbers or dates; got kind text"):
        encoder.block(_column(Kind.text, ["a"]))


@pytest.mark.parametrize("period", ["year", "week", "day"])
def test_phase_is_the_calendars(period):
    rng = np.random.default_rng(0)
    moments = [
        datetime(1900, 1, 1, tzinfo=UTC) + timedelta(seconds=int(s))
        for s in rng.integers(0, 7_000_000_000, size=300)
    ]
    found = phase(np.array([m.timestamp() for m in moments]), period)
    for moment, value in zip(moments, found, strict=True):
        day = moment.replace(hour=0, minute=0, second=0)
        start, length = {
            "year": (
                moment.replace(month=1, day=1, hour=0, minute=0, second=0),
                (datetime(moment.year + 1, 1, 1) - datetime(moment.year, 1, 1)).days,
            ),
            "week": (day - timedelta(days=day.weekday()), 7),
            "day": (day, 1),
        }[period]
        assert value == pytest.approx((moment - start) / timedelta(days=length), abs=1e-9)


@pytest.mark.parametrize(
    ("days", "periods"),
    [
        (range(730), ("year", "week")),
        (range(300), ("week",)),
        (range(10), ()),
        (range(0, 7000, 7), ("year",)),
        ([round(365.25 * year) for year in range(30)], ("week",)),
        (np.arange(0, 3, 1 / 24), ("day",)),
        (np.arange(0, 1, 1 / 24), ()),
        ([], ()),
    ],
)
def test_periods_are_those_the_dates_can_show(days, periods):
    assert DateEncoder.fit(_dates_exact(days), 3).periods == periods


def _dates_exact(days):
    return _column(Kind.datetime, ["x"] * len(days), np.asarray(days, dtype=float) * 86_400)


def test_waves_span_any_effect_of_the_weekday():
    days = np.arange(0, 700)
    block, _ = DateEncoder.fit(_dates(days), 0).block(_dates(days))
    effect = np.random.default_rng(0).normal(size=7)[days % 7]
    design = np.column_stack([np.ones(len(days)), block])
    fitted = design @ np.linalg.lstsq(design, effect, rcond=None)[0]
    np.testing.assert_allclose(fitted, effect, atol=1e-9)


def test_names_count_the_features():
    for column in (_dates(range(900)), _dates_exact([0.0, np.nan, 400.0, 1.0])):
        encoder = DateEncoder.fit(column, 3)
        assert encoder.block(column)[0].shape[1] == len(encoder.names)
        assert "trend" in encoder.how()


def test_state_with_another_period_is_refused():
    arrays, facts = DateEncoder.fit(_dates(range(900)), 3).state()
    with pytest.raises(ValueError, match="unknown periods"):
        DateEncoder.from_state(arrays, facts | {"periods": ["moon"]})
