"""The demonstration table holds what its truth says, and grading can fail."""

import csv
import io
from collections import Counter

import numpy as np
import pytest

from trivium._core.errors import ArgumentError
from trivium.closedform import ClosedFormClassifier
from trivium.table import TableEncoder, demo, demo_table, grade, read_table, split_label

KINDS = {
    "review_id": "identifier",
    "hotel": "constant",
    "wait_minutes": "number",
    "room_celsius": "number",
    "booked_by": "category",
    "arrival": "datetime",
    "comment": "text",
    "visit_steps": "text",
    "room_number": "integer",
    "walk_meters": "number",
    "paid_with": "category",
    "printed_on": "datetime",
    "weather_note": "text",
    "recommends": "category",
}


def _columns(text):
    rows = list(csv.reader(io.StringIO(text)))
    return dict(zip(rows[0], zip(*rows[1:], strict=True), strict=True))


@pytest.fixture(scope="module")
def made():
    return demo_table(1000, seed=0)


@pytest.fixture(scope="module")
def columns(made):
    return _columns(made.csv)


@pytest.fixture(scope="module")
def clean(made, columns):
    """The labels before any was flipped, as -1 and 1."""
    labels = np.where(np.array(columns["recommends"]) == "yes", 1, -1)
    labels[np.array(made.truth["flipped_rows"]) - 1] *= -1
    return labels


def test_same_seed_same_table(made):
    again = demo_table(1000, seed=0)
    assert again == made
    assert demo_table(1000, seed=1).csv != made.csv


def test_kinds_are_inferred_as_planted(made, tmp_path):
    (tmp_path / "demo.csv").write_text(made.csv)
    table = read_table(tmp_path / "demo.csv")
    assert {column.name: str(column.kind) for column in table.columns} == KINDS
    assert table.n_rows == 1000


def test_flipped_rows_are_those_flipped(made, columns, monkeypatch):
    monkeypatch.setattr(demo, "_FLIPPED", 0.0)
    straight = demo_table(1000, seed=0)
    other = set(made.truth["duplicate_rows"] + straight.truth["duplicate_rows"])
    pairs = zip(columns["recommends"], _columns(straight.csv)["recommends"], strict=True)
    differ = {row for row, (a, b) in enumerate(pairs, start=1) if a != b}
    assert differ - other == set(made.truth["flipped_rows"]) - other
    assert len(made.truth["flipped_rows"]) == 50


def test_duplicate_rows_are_equal(made, columns):
    rows = list(zip(*columns.values(), strict=True))
    pairs = made.truth["duplicate_rows"]
    assert len(pairs) == 8
    for first, second in zip(pairs[::2], pairs[1::2], strict=True):
        assert rows[first - 1] == rows[second - 1]
    assert len(set(rows)) == 1000 - 4


def _correlation(values, labels):
    known = np.isfinite(values)
    return np.corrcoef(values[known], labels[known])[0, 1]


def _floats(cells):
    return np.array([float(cell) if cell else np.nan for cell in cells])


def test_one_number_acts_steadily_and_one_at_both_ends(columns, clean):
    assert _correlation(_floats(columns["wait_minutes"]), clean) < -0.2
    celsius = _floats(columns["room_celsius"])
    assert abs(_correlation(celsius, clean)) < 0.1
    assert _correlation(np.abs(celsius - 21), clean) < -0.2


def test_words_act_in_one_text_and_order_alone_in_the_other(columns, clean):
    good = np.array(
        [any(w in text.split() for w in demo._GOOD.split()) for text in columns["comment"]]
    )
    assert _correlation(good.astype(float), clean) > 0.2
    steps = [text.split() for text in columns["visit_steps"]]
    known = np.array([bool(words) for words in steps])
    for words in filter(None, steps):
        places = sorted(words.index(mark) for mark in demo._MARKS)
        assert places[1] - places[0] > 1
        assert len(words) == len(set(words)) == 9
    for word in (*demo._STEPS.split(), *demo._MARKS):
        presence = np.array([word in words for words in steps], dtype=float)
        if 0 < presence[known].mean() < 1:
            assert abs(_correlation(presence[known], clean[known])) < 0.12
    last = [words.index("apology") > words.index("complaint") for words in steps if words]
    assert _correlation(np.array(last, dtype=float), clean[known]) > 0.1


def test_every_planted_column_has_a_few_missing(columns, made):
    for name in (*made.truth["informative"], *made.truth["null"]):
        assert 0 < Counter(columns[name])[""] < 60


@pytest.mark.parametrize("seed", [0, 1])
def test_a_good_model_finds_the_flipped_labels(seed, tmp_path):
    made = demo_table(1000, seed=seed)
    (tmp_path / "demo.csv").write_text(made.csv)
    table = read_table(tmp_path / "demo.csv")
    label = split_label(table, made.label)
    table = table.drop([made.label])
    model = ClosedFormClassifier().fit(TableEncoder().fit(table).transform(table), label.codes)
    flipped = np.array(made.truth["flipped_rows"]) - 1
    clean = label.codes.copy()
    clean[flipped] = 1 - clean[flipped]
    found = model.loo_proba_
    assert (found.argmax(axis=1) == clean).mean() > 0.93
    own = found[np.arange(1000), label.codes]
    assert np.isin(flipped, np.argsort(own)[:50]).mean() >= 0.8


@pytest.mark.parametrize("n_rows", [0, 99, -5, 2.5, "many"])
def test_too_few_rows_are_refused(n_rows):
    with pytest.raises(ArgumentError, match="demo_table"):
        demo_table(n_rows)


def test_few_rows_are_filled(made):
    small = demo_table(100, seed=3)
    assert len(small.csv.splitlines()) == 101
    assert small.truth["rows"] == 100


def _aspects(order):
    tests = {"presence": 0.6, "order": order, "distance": 0.4}
    return [{"aspect": aspect, "q_value": q_value} for aspect, q_value in tests.items()]


def _report(truth, **change):
    names = [*truth["informative"], *truth["null"], truth["order_only"]]
    good = {
        "depend": [
            {"column": name, "q_value": 0.002 if name in truth["informative"] else 0.5}
            | ({"aspects": _aspects(0.001)} if name == truth["order_only"] else {})
            for name in names
        ],
        "flags": {
            "items": [
                {"row": row, "rank": rank}
                for rank, row in enumerate(truth["flipped_rows"][:45], start=1)
            ]
        },
        "data": {
            "schema": [
                {"column": name, "used": name not in {truth["identifier"], truth["constant"]}}
                for name in KINDS
            ],
            "checks": [{"code": "W-DUPLICATE-ROWS", "message": "4 rows repeat"}],
        },
    }
    return good | change


def _grades(report, truth):
    return {entry["what"]: entry["grade"] for entry in grade(report, truth)}


def test_a_right_report_is_graded_found(made):
    grades = _grades(_report(made.truth), made.truth)
    assert len(grades) == 10
    assert set(grades.values()) == {"found"}


def test_a_wrong_report_is_graded_missed(made):
    truth = made.truth
    wrong = {
        "depend": [
            {"column": name, "q_value": 0.5 if name in truth["informative"] else 0.001}
            for name in (*truth["informative"], *truth["null"])
        ],
        "flags": {"items": [{"row": row, "rank": row} for row in range(1, 51)]},
        "data": {"schema": [{"column": name, "used": True} for name in KINDS], "checks": []},
    }
    for report in (_report(truth, **wrong), {}):
        grades = _grades(report, truth)
        assert set(grades.values()) == {"missed"}


def test_the_order_of_words_is_graded_by_its_own_test(made):
    report = _report(made.truth)
    row = next(row for row in report["depend"] if row["column"] == "visit_steps")
    for q_value, wanted in ((0.001, "found"), (0.3, "missed")):
        row["aspects"] = _aspects(q_value)
        assert _grades(report, made.truth)["column visit_steps"] == wanted
    # That the words themselves matter is no sign of their order.
    row["aspects"] = [{"aspect": "presence", "q_value": 0.001}]
    entry = next(e for e in grade(report, made.truth) if e["what"] == "column visit_steps")
    assert (entry["grade"], entry["found"]) == ("missed", "order was not tested")


def test_flags_beyond_the_first_five_percent_do_not_count(made):
    items = [{"row": row, "rank": 51 + rank} for rank, row in enumerate(made.truth["flipped_rows"])]
    report = _report(made.truth, flags={"items": items})
    assert _grades(report, made.truth)["wrong labels"] == "missed"
