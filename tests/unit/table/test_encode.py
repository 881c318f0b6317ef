"""Whole tables: names, scales, what is missing or odd, and a saved encoder to the last bit."""

import sys
import types

import numpy as np
import pyarrow as pa
import pytest

from trivium._core.errors import (
    ArgumentError,
    DataError,
    MissingExtraError,
    ModelError,
    TriviumWarning,
)
from trivium.store import from_json, load_model, save_model, to_json
from trivium.table.encode import TableEncoder
from trivium.table.options import ReadOptions
from trivium.table.table import Column, Kind, Table

RNG = np.random.default_rng(0)
N = 120


def _column(name, kind, cells):
    cells = [None if cell is None else str(cell) for cell in cells]
    missing = np.array([cell is None for cell in cells], dtype=bool)
    values = None
    if kind in {Kind.number, Kind.integer}:
        values = np.array([np.nan if cell is None else float(cell) for cell in cells])
    if kind is Kind.datetime:
        values = np.array([_seconds(cell) for cell in cells])
    return Column(name, kind, pa.array(cells, pa.large_string()), values, missing)


def _seconds(cell):
    return np.nan if cell is None else np.datetime64(cell, "s").astype(float)


def _table(columns):
    return Table(tuple(columns), len(columns[0]) if columns else 0, "test.csv")


def _some_missing(cells):
    return [None if i % 17 == 3 else cell for i, cell in enumerate(cells)]


def _mixed(n=N):
    words = ["egg", "nest", "blood", "snow", "krill"]
    days = np.datetime64("2020-01-01") + RNG.integers(0, 900, size=n)
    return _table(
        [
            _column("id", Kind.identifier, [f"N{i}" for i in range(n)]),
            _column("mass", Kind.number, _some_missing(RNG.normal(4000, 800, size=n))),
            _column("count", Kind.integer, RNG.integers(0, 9, size=n)),
            _column("size", Kind.number, 10.0 ** RNG.uniform(-300, 300, size=n)),
            _column("island", Kind.category, _some_missing(RNG.choice(["A", "B", "C"], size=n))),
            _column("laid", Kind.datetime, _some_missing(days)),
            _column("notes", Kind.text, [" ".join(RNG.choice(words, size=6)) for _ in range(n)]),
            _column("place", Kind.constant, ["Anvers"] * n),
        ]
    )


@pytest.fixture(scope="module")
def table():
    return _mixed()


@pytest.fixture(scope="module")
def encoder(table):
    return TableEncoder().fit(table)


def test_names_and_owners_match_the_matrix(table, encoder):
    X = encoder.transform(table)
    assert X.shape == (N, len(encoder.feature_names))
    assert X.dtype == np.float64
    assert len(set(encoder.feature_names)) == X.shape[1]
    assert len(encoder.column_of_feature) == X.shape[1]
    assert list(dict.fromkeys(encoder.column_of_feature)) == list(table.names[1:-1])
    assert "island: = A" in encoder.feature_names


def test_every_block_is_centered_with_total_variance_one(table, encoder):
    X = encoder.transform(table)
    assert np.isfinite(X).all()
    owners = np.array(encoder.column_of_feature)
    for name in set(owners):
        block = X[:, owners == name]
        assert block.var(axis=0).sum() == pytest.approx(1.0, rel=1e-9)
        np.testing.assert_allclose(block.mean(axis=0), 0, atol=1e-9)


def test_columns_are_matched_by_name(table, encoder):
    wanted = encoder.transform(table)
    extra = _column("more", Kind.number, range(N))
    turned = Table((extra, *table.columns[::-1]), N, "new.csv")
    np.testing.assert_array_equal(encoder.transform(turned), wanted)


def test_rows_do_not_depend_on_their_company(table, encoder):
    wanted = encoder.transform(table)[[5, 3]]
    np.testing.assert_allclose(encoder.transform(table.take([5, 3])), wanted, atol=1e-12)


def test_a_missing_column_is_refused_by_name(table, encoder):
    without = Table(tuple(c for c in table.columns if c.name not in {"mass", "laid"}), N, "new.csv")
    with pytest.raises(DataError, match="missing 'mass', 'laid'") as caught:
        encoder.transform(without)
    assert caught.value.code == "E-COLUMN"
    near = Table((*without.columns, _column("Mass ", Kind.number, range(N))), N, "new.csv")
    with pytest.raises(DataError, match="Did you mean 'Mass '"):
        encoder.transform(near)
    # What was left out is not asked for.
    encoder.transform(table.drop(["id", "place"]))


def _instead(table, *columns):
    names = {column.name for column in columns}
    others = (column for column in table.columns if column.name not in names)
    return Table((*columns, *others), table.n_rows, "new.csv")


def test_text_among_numbers_warns_and_counts_as_missing(table, encoder):
    cells = ["4000", "heavy", None, *["4100.5"] * (N - 3)]
    new = _instead(table, _column("mass", Kind.text, cells))
    with pytest.warns(TriviumWarning, match="column mass.*1 cell with no number"):
        found = encoder.transform(new)
    X, notices = encoder.encode(new)
    assert [notice.code for notice in notices] == ["W-UNREADABLE"]
    np.testing.assert_array_equal(X, found)
    flag = encoder.feature_names.index("mass: missing")
    assert (X[:3, flag] > 0).tolist() == [False, True, True]


@pytest.mark.parametrize("kind", [Kind.constant, Kind.identifier, Kind.category, Kind.text])
def test_columns_taken_for_another_kind_are_read_again(table, encoder, kind):
    few = table.take([0, 1, 2])
    wanted = encoder.transform(few)
    other = [
        Column(c.name, kind, c.strings, None, c.missing)
        for c in few.columns
        if c.name in {"mass", "count", "laid", "island"}
    ]
    X, notices = encoder.encode(_instead(few, *other))
    assert X.tobytes() == wanted.tobytes()
    assert notices == ()


def test_numbers_are_read_again_with_the_files_decimal_mark(table, encoder):
    few = table.take([0, 1])
    comma = _instead(few, _column("mass", Kind.constant, ["4100,5", "4100,5"]))
    point = _instead(few, _column("mass", Kind.number, ["4100.5", "4100.5"]))
    X = encoder.transform(comma, ReadOptions(decimal=","))
    np.testing.assert_array_equal(X, encoder.transform(point))


def test_unknown_levels_warn_and_are_zeros(table, encoder):
    new = _instead(table.take([0]), _column("island", Kind.constant, ["D"]))
    with pytest.warns(TriviumWarning, match="not in the data that was learnt from: 'D'"):
        encoder.transform(new)


def test_saved_encoder_gives_the_same_bits(table, encoder, tmp_path):
    tensors, manifest = encoder.state()
    save_model(tmp_path / "model", tensors, manifest)
    loaded = TableEncoder.from_state(*load_model(tmp_path / "model"))
    assert loaded.transform(table).tobytes() == encoder.transform(table).tobytes()
    assert loaded.feature_names == encoder.feature_names
    assert loaded.explain() == encoder.explain()
    again = loaded.state()
    assert to_json(again[1]) == to_json(manifest)
    for name in tensors:
        assert again[0][name].tobytes() == tensors[name].tobytes()


@pytest.mark.parametrize(
    "damage",
    [
        lambda t, m: m.pop("blocks"),
        lambda t, m: m["blocks"][0].update(way="pickle"),
        lambda t, m: m["blocks"][0]["arrays"].pop("center"),
        lambda t, m: m["blocks"][0]["arrays"]["knots"].__setitem__(2, [10**9]),
        lambda t, m: m["blocks"][0].update(facts=None),
        lambda t, m: t.pop("float64"),
        lambda t, m: m.update(text_encoder=3),
        lambda t, m: m.update(seed="x"),
        lambda t, m: m["blocks"][3]["facts"].update(levels=["A"]),
    ],
)
def test_a_damaged_state_is_a_model_error(encoder, damage):
    tensors, manifest = encoder.state()
    manifest = from_json(to_json(manifest))
    damage(tensors, manifest)
    with pytest.raises(ModelError, match="must describe an encoder"):
        TableEncoder.from_state(tensors, manifest)


def test_explain_has_a_line_for_every_column(table, encoder):
    entries = encoder.explain()
    assert sorted(entry["column"] for entry in entries) == sorted(table.names)
    assert sum(entry["features"] for entry in entries) == len(encoder.feature_names)
    how = {entry["column"]: entry["how"] for entry in entries}
    assert how["size"].startswith("normal score of the rank")
    assert how["mass"] == "standardized, 3 smooth curves of the rank, missing marked"
    assert "year (2 harmonics)" in how["laid"]
    assert how["place"] == "left out: constant"


def test_roles_tell_how_to_read_a_new_file(encoder):
    assert encoder.roles == {
        "number": ("mass", "count", "size"),
        "date": ("laid",),
        "category": ("island",),
        "text": ("notes",),
    }


def test_nothing_to_learn_from_is_refused(table, encoder):
    for columns in ((), (table.column("id"), table.column("place"))):
        with pytest.raises(DataError, match="at least one column must carry") as caught:
            TableEncoder().fit(_table(list(columns)))
        assert caught.value.code == "E-NO-COLUMNS"
    with pytest.raises(DataError, match="at least one column"):
        TableEncoder().fit(table.take([]))
    with pytest.raises(DataError, match="fit must come before"):
        TableEncoder().transform(table)
    assert encoder.transform(table.take([])).shape == (0, len(encoder.feature_names))


def test_a_text_that_never_varies_is_zeros():
    rng = np.random.default_rng(0)
    words = ["one", "two", "three", "four", "five", "six"]
    texts = [" ".join(rng.permutation(words)) for _ in range(50)]
    table = _table([_column("steps", Kind.text, texts), _column("x", Kind.number, range(50))])
    encoder = TableEncoder().fit(table)
    X = encoder.transform(table)
    owners = np.array(encoder.column_of_feature)
    assert (X[:, owners == "steps"] == 0).all()


def test_wide_tables_have_no_curves():
    X = np.random.default_rng(0).normal(size=(20, 300))
    wide = _table([_column(f"x{i}", Kind.number, X[:, i]) for i in range(300)])
    assert len(TableEncoder().fit(wide).feature_names) == 300


def test_curves_show_what_is_not_monotone():
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, size=300)
    target = (np.abs(x) > 0.5) - 0.5
    table = _table([_column("x", Kind.number, x)])
    X = TableEncoder().fit(table).transform(table)
    assert abs(np.corrcoef(X[:, 0], target)[0, 1]) < 0.1
    fitted = X @ np.linalg.lstsq(X, target, rcond=None)[0]
    assert np.corrcoef(fitted, target)[0, 1] > 0.9


class _Model:
    """Stands for a sentence encoder: vectors from the letters."""

    def __init__(self, name, local_files_only):
        assert local_files_only  # nothing is ever fetched
        if name == "none":
            raise OSError("no such model")
        self.size = 12 if name == "letters" else 5

    def encode(self, texts, **_):
        found = [[text.count(chr(97 + i)) + 0.1 for i in range(self.size)] for text in texts]
        return np.array(found, dtype=np.float32).reshape(len(texts), self.size)


@pytest.fixture
def sentence_package(monkeypatch):
    package = types.ModuleType("sentence_transformers")
    package.SentenceTransformer = _Model
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)


@pytest.mark.usefixtures("sentence_package")
def test_a_sentence_encoder_is_used_when_asked(table):
    encoder = TableEncoder("sentence-transformers:letters").fit(table)
    X = encoder.transform(table)
    loaded = TableEncoder.from_state(*encoder.state())
    assert loaded.transform(table).tobytes() == X.tobytes()
    entry = next(entry for entry in encoder.explain() if entry["column"] == "notes")
    assert entry["how"].startswith("sentence vectors of letters")
    assert encoder.roles["text"] == ("notes",)
    tensors, manifest = encoder.state()
    manifest["blocks"][-1]["facts"]["model"] = "other"
    with pytest.raises(DataError, match="must give 12 numbers"):
        TableEncoder.from_state(tensors, manifest).transform(table)
    with pytest.raises(ArgumentError, match="installed model"):
        TableEncoder("sentence-transformers:none").fit(table)


def test_a_missing_sentence_encoder_names_the_extra(table, monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtraError, match=r"trivium\[text\]"):
        TableEncoder("sentence-transformers:any").fit(table)


@pytest.mark.parametrize("name", ["bert", "", "sentence-transformer:x"])
def test_another_text_encoder_is_refused(name):
    with pytest.raises(ArgumentError, match="text_encoder must be"):
        TableEncoder(name)
