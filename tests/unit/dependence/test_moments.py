"""HSIC from moments: equal to the complete features' own, whatever the source; each guard."""

import json
import warnings
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import sparse

from trivium._core.errors import (
    ArgumentError,
    DataError,
    ModelError,
    NumericalError,
    OutputError,
    ShapeError,
    TriviumWarning,
)
from trivium._core.tensor_file import read_tensors, write_tensors
from trivium.dependence import HSICMoments, hsic, independence_test
from trivium.dependence.tail import Spectrum, hsic_tails
from trivium.kernel import (
    Coordinates,
    Delta,
    Gaussian,
    Laplace,
    Linear,
    Nystroem,
    OneHot,
    OrthogonalFourier,
    Precomputed,
    RandomFourier,
)
from trivium.moment import merge_tree
from trivium.testing.live_bytes import LiveBytes


def data(n=300, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return x, np.cos(2 * x) + 1.5 * rng.normal(size=n)


def plane(x):
    return torch.from_numpy(np.stack([x, x**2], 1))


X, Y = data()
CODES = np.random.default_rng(1).integers(0, 5, 300)
CASES = {
    "landmarks": lambda: (HSICMoments.like(X, Y), X, Y),
    "few landmarks": lambda: (HSICMoments.like(X, Y, n_features=6), X, Y),
    "levels": lambda: (HSICMoments.like(CODES, Y), CODES, Y),
    "pooled levels": lambda: (HSICMoments.like(CODES, CODES % 2, n_features=3), CODES, CODES % 2),
    "linear": lambda: (HSICMoments.like(plane(X), Y, Linear(1.0), Linear()), plane(X), Y),
    "fourier": lambda: (
        HSICMoments.like(X, Y, 2 * Gaussian() + Laplace(), n_features=21, features="fourier"),
        X,
        Y,
    ),
    "orthogonal": lambda: (
        HSICMoments.like(plane(X), Y, n_features=20, features="orthogonal"),
        plane(X),
        Y,
    ),
}


@pytest.fixture(params=CASES)
def case(request):
    made, x, y = CASES[request.param]()
    rows = [torch.as_tensor(each).double() for each in (x, y)]
    phi, psi = made.features_x.transform(rows[0]), made.features_y.transform(rows[1])
    return made, x, y, phi, psi


@pytest.fixture
def _double():
    """`hsic` answers in the default dtype for row numbers."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize("estimator", ["unbiased", "biased", "n-1"])
def test_statistic_is_that_of_the_gram_matrices(case, estimator):
    made, x, y, phi, psi = case
    made.update(x, y)
    k, kernel = Precomputed(phi @ phi.mT), Precomputed(psi @ psi.mT)
    for normalize, ours in ((None, made.statistic), ("cka", made.cka)):
        wanted = hsic(k.rows, kernel.rows, k, kernel, estimator=estimator, normalize=normalize)
        assert ours(estimator) == pytest.approx(float(wanted), rel=1e-10, abs=1e-12)


def test_p_value_is_that_of_the_complete_features(case):
    made, x, y, phi, psi = case
    result = made.update(x, y).test()
    first, second = Spectrum.of(phi.mT), Spectrum.of(psi.mT)
    biased = torch.tensor([made.statistic("biased")]).double()
    wanted = float(hsic_tails(biased, [first], second))
    assert result.p_value == pytest.approx(wanted, rel=1e-9)
    assert result.statistic == made.statistic("biased")
    assert result.statistic_unbiased == made.statistic()
    assert result.cka == made.cka()
    assert (result.n_rows, result.n_permutations) == (300, 0)
    assert "asymptotic" in result.method


def test_with_all_the_rank_it_is_the_saddlepoint_of_independence_test():
    ours = HSICMoments.like(X, Y).update(X, Y).test()
    theirs = independence_test(X, Y, null="saddlepoint", aggregate=False)
    assert np.log(ours.p_value) == pytest.approx(np.log(theirs.p_value), rel=1e-4)
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-4)
    assert ours.kernels == theirs.kernels
    assert ours.lengthscales == theirs.lengthscales
    assert ours.residual < 1e-5


def sources():
    x, y = X[:, None], Y[:, None]
    cuts = range(0, 300, 64)
    batch = pa.table({"x": X})
    return {
        "columns": (X, Y),
        "matrices": (x, y),
        "lists": (X.tolist(), Y.tolist()),
        "torch": (torch.from_numpy(X), torch.from_numpy(Y)),
        "iterator": ((((X[i : i + 64], y[i : i + 64])) for i in cuts), None),
        "list of blocks": ([(x[i : i + 64], Y[i : i + 64]) for i in cuts], None),
        "sparse x": (sparse.csr_matrix(x), Y),
        "arrow": (batch, pa.table({"y": Y})),
        "arrow column": (X, pa.array(Y)),
        "arrow batches": (
            ((pa.record_batch({"x": X[i : i + 64]}), pa.array(Y[i : i + 64])) for i in cuts),
            None,
        ),
    }


@pytest.mark.parametrize("name", sources())
def test_sources(name):
    made = HSICMoments.like(X, Y)
    wanted = made.copy().update(X, Y).test()
    found = made.update(*sources()[name]).test()
    assert found.n_rows == 300
    assert found.p_value == pytest.approx(wanted.p_value, rel=1e-9)


def test_dask_and_delayed_blocks():
    dask = pytest.importorskip("dask")
    da = pytest.importorskip("dask.array")
    made = HSICMoments.like(X, Y)
    wanted = made.copy().update(X, Y).statistic()
    x, y = da.from_array(X[:, None], chunks=(70, 1)), da.from_array(Y, chunks=70)
    late = [dask.delayed((X[i : i + 100, None], Y[i : i + 100])) for i in (0, 100, 200)]
    for source in ((x, y), (late, None)):
        assert made.copy().update(*source).statistic() == pytest.approx(wanted, rel=1e-10)


def test_memory_is_that_of_a_block_whatever_the_rows():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 120_000)).astype(np.float32)
    made = HSICMoments.like(x[:500], y[:500], n_features=50, features="fourier")
    peaks = []
    for n in (30_000, 120_000):
        with LiveBytes() as live:
            made.copy().update(x[:n], y[:n])
        peaks.append(live.peak)
    assert peaks[1] <= 1.05 * peaks[0]
    assert peaks[1] < 16 * 2**20  # the features of all rows are 48 MB


def test_codes_and_mixed_precision():
    made = HSICMoments.like(CODES, Y.astype(np.float32))
    single = made.update(CODES.astype(np.int16), Y.astype(np.float32)).test()
    wide = HSICMoments.like(CODES, Y).update(CODES, Y).test()
    assert single.p_value == pytest.approx(wide.p_value, rel=1e-2)
    # Landmarks in float64 are not used in float32.
    raised = HSICMoments.like(X, Y).update(X.astype(np.float32), Y.astype(np.float32)).test()
    both = HSICMoments.like(X, Y).update(X, Y).test()
    assert raised.statistic == pytest.approx(both.statistic, rel=1e-6)


def test_merging_summing_and_taking_away():
    made = HSICMoments.like(X, Y)
    whole = made.copy().update(X, Y)
    parts = [made.copy().update(X[i : i + 50], Y[i : i + 50]) for i in range(0, 300, 50)]
    for total in (sum(parts), merge_tree(parts), parts[3] + sum(parts[:3]) + sum(parts[4:])):
        assert total.count == 300
        assert total.test().p_value == pytest.approx(whole.test().p_value, rel=1e-9)
        assert total.statistic() == pytest.approx(whole.statistic(), rel=1e-10)
    assert [part.count for part in parts] == [50] * 6
    back = whole.copy().downdate(X[100:], Y[100:])
    wanted = made.copy().update(X[:100], Y[:100])
    assert back.statistic() == pytest.approx(wanted.statistic(), rel=1e-9)
    assert back.residual == pytest.approx(wanted.residual, abs=1e-9)
    assert whole.copy().downdate(X, Y).count == 0
    assert (
        repr(whole) == f"HSICMoments({made.features_x.n_features} by "
        f"{made.features_y.n_features} features, 300 rows)"
    )
    assert made.__radd__(1) is NotImplemented


def test_file_holds_moments_and_maps(case, tmp_path):
    made, x, y, *_ = case
    made.update(x[:200], y[:200])
    made.save(tmp_path / "m")
    again = HSICMoments.load(tmp_path / "m")
    assert again.test().p_value == made.test().p_value
    assert again.residual == made.residual
    assert repr(again) == repr(made)
    # The maps are the same to the last bit: rows may be added and parts merged on the other side.
    assert again.update(x[200:], y[200:]).count == 300
    assert made.merge(HSICMoments.load(tmp_path / "m")).count == 400


def change(path, target, tensors=None, **more):
    found, about = read_tensors("test", path, "trivium.hsic_moments/1")
    write_tensors(
        "test", target, "trivium.hsic_moments/1", {**found, **(tensors or {})}, {**about, **more}
    )


def altered(about, **fields):
    return {**json.loads(json.dumps(about)), **fields}


def test_damaged_and_foreign_files_are_refused(tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    HSICMoments.like(X, Y).update(X, Y).save(good)
    tensors, about = read_tensors("test", good, "trivium.hsic_moments/1")
    x = about["x"]
    faults = [
        {"count": -1},
        {"count": "300"},
        {"single": 1},
        {"x": None},
        {"x": altered(x, **{"class": "Exec"})},
        {"x": altered(x, kernel={"class": "HSICMoments"})},
        {"x": altered(x, kernel={"class": "Gaussian", "lengthscale": -1.0})},
        {"x": altered(x, kernel={"class": "Sum", "parts": []})},
        {"x": altered(x, n_features=x["n_features"] + 1)},
        {"x": altered(x, n_columns=2)},
        {"x": altered(x, n_columns=None)},
        {"x": altered(x, unknown=1)},
        {"tensors": {"second": tensors["second"][:-1]}},
        {"tensors": {"second": tensors["second"].float()}},
        {"tensors": {"offset": tensors["offset"] * float("nan")}},
        {"tensors": {"x.points": tensors["x.points"][:-1]}},
        {"tensors": {"x.projection": tensors["x.projection"][:, :-1].contiguous()}},
    ]
    for fault in faults:
        change(good, bad, **fault)
        with pytest.raises(ModelError, match=r"HSICMoments\.load"):
            HSICMoments.load(bad)
    change(good, bad)
    assert HSICMoments.load(bad).count == 300
    raw = bytearray(good.read_bytes())
    raw[-9] ^= 1
    bad.write_bytes(raw)
    with pytest.raises(ModelError, match="checksum does not fit"):
        HSICMoments.load(bad)
    for content in (b"", b"text", good.read_bytes()[:-100]):
        bad.write_bytes(content)
        with pytest.raises(ModelError, match=r"must (hold|be an intact)"):
            HSICMoments.load(bad)
    write_tensors("test", bad, "trivium.other/1", tensors, about)
    with pytest.raises(ModelError, match="other/1"):
        HSICMoments.load(bad)
    with pytest.raises(ModelError):
        HSICMoments.load(tmp_path / "missing")
    with pytest.raises(OutputError):
        HSICMoments.like(X, Y).save(tmp_path / "no" / "folder")


@dataclass(frozen=True)
class Mine(Gaussian):
    """A kernel that no file can name."""


def test_a_kernel_of_ones_own_can_be_used_and_not_saved(tmp_path):
    made = HSICMoments.like(X, Y, Mine(1.0)).update(X, Y)
    assert made.copy().merge(made).count == 600
    with pytest.raises(ArgumentError, match="features_x must be a map of trivium"):
        made.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["features_x", "features_y"])
def test_other_maps_are_not_merged(name):
    base = HSICMoments.like(X, Y)
    nearly = X * (1 + 1e-15) if name == "features_x" else X
    other = HSICMoments.like(nearly, Y if name == "features_x" else Y + 1e-9)
    for part in (base, other):
        part.update(X, Y)
    with pytest.raises(ArgumentError, match=f"{name} must be the same map in both"):
        base.merge(other)
    with pytest.raises(ArgumentError, match="must be HSICMoments"):
        base.merge(3)
    assert base.count == 300


def test_features_are_decided_by_seed_frequencies_and_kernel():
    phi = RandomFourier(kernel=Gaussian(1.0), n_features=8)
    psi = OneHot(kernel=Delta()).fit(torch.arange(3.0))
    x = torch.from_numpy(X)
    one = HSICMoments(phi.fit(x, 0), psi)
    with pytest.raises(ArgumentError, match="features_x"):
        one.merge(HSICMoments(phi.fit(x, 1), psi))
    assert one.merge(HSICMoments(phi.fit(x, 0), psi)).count == 0


def test_constant_variables_have_p_1_and_a_warning():
    made = HSICMoments.like(X, Y)
    for x, y, names in (
        (np.full(50, 0.7), Y[:50], "x"),
        (X[:50], np.full(50, -3.3), "y"),
        (np.full(50, 1e3), np.full(50, 0.1), "x and y"),
    ):
        part = made.copy().update(x[:20], y[:20]).update(x[20:], y[20:])
        with pytest.warns(TriviumWarning, match=f"features of {names} must vary; .* p = 1"):
            result = part.test()
        assert (result.p_value, result.statistic, result.cka) == (1.0, 0.0, 0.0)
        with pytest.warns(TriviumWarning, match="the result is 0"):
            assert part.statistic() == 0.0
        with pytest.warns(TriviumWarning, match="the result is 0"):
            assert part.cka() == 0.0


def test_nearly_constant_is_not_constant():
    made = HSICMoments.like(X, Y)
    shrunk = made.update(X * 1e-4, Y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert 0 < shrunk.test().p_value <= 1
        assert shrunk.statistic("biased") > 0


def test_landmarks_that_do_not_cover_the_rows_are_told():
    made = HSICMoments.like(X, Y).update(X + 4, Y)
    assert made.residual[0] > 0.1
    assert made.residual[1] < 1e-5
    with pytest.warns(TriviumWarning, match="features of x leave"):
        assert made.test().residual == made.residual[0]
    assert HSICMoments.like(X, Y, features="fourier").update(X + 4, Y).residual[0] < 1e-12


def test_alignment_of_a_kernel_that_tells_nothing_is_zero():
    made = HSICMoments.like(CODES[:8], Y[:8], Delta())
    made.update(np.array([0.0, 7, 7, 7, 7]), Y[:5])  # unmet levels count as one
    assert np.isfinite(made.cka())
    one = HSICMoments.like(np.arange(300), Y, Delta(), n_features=8)
    assert one.update(np.array([0.0, 1, 2, 3, 4]), Y[:5]).cka() == 0.0


def bad_nan(place):
    x = X.copy()
    x[250] = np.nan
    args = (x, Y) if place == "x" else (Y, x)
    HSICMoments.like(X, Y).update(
        (args[0][i : i + 100], args[1][i : i + 100]) for i in (0, 100, 200)
    )


@pytest.mark.parametrize(
    ("build", "error", "words"),
    [
        (lambda m: m.update(X), ArgumentError, "y must be given"),
        (lambda m: m.update([(X, Y, np.ones(300))]), ArgumentError, "no weights"),
        (lambda m: m.update(X, sparse.csr_matrix(Y[:, None])), ArgumentError, "dense"),
        (lambda m: m.update([(X, Y)], Y), ArgumentError, "inside the blocks"),
        (lambda m: m.update([(X, Y, Y, Y)]), ArgumentError, "block must be"),
        (lambda m: m.update(3, Y), ArgumentError, "iterable of row blocks"),
        (lambda m: m.update("no"), ArgumentError, "iterable of row blocks"),
        (lambda m: m.update(X, Y[:-1]), ShapeError, "axis n is 300"),
        (lambda m: m.update(np.stack([X, X], 1), Y), ShapeError, "1 and 1 columns"),
        (lambda m: m.update(X, np.stack([X, X], 1)), ShapeError, "1 and 1 columns"),
        (lambda m: m.update(X, ["a"] * 300), DataError, "numeric"),
        (lambda m: bad_nan("x"), DataError, r"x must be finite; got nan .*row 250, column 0"),
        (lambda m: bad_nan("y"), DataError, r"y must be finite; got nan .*row 250, column 0"),
        (lambda m: m.update(X, np.full(300, np.inf)), DataError, "got inf and 299 more"),
        (lambda m: m.downdate(X, Y), DataError, "count would become -300"),
        (lambda m: m.update(X / 99, Y).downdate(X[:99], Y[:99]), DataError, "scatter would"),
        (lambda m: m.test(), DataError, "at least 4 rows; got 0"),
        (lambda m: m.update(X[:3], Y[:3]).statistic(), DataError, "at least 4 rows; got 3"),
        (lambda m: m.update(X[:3], Y[:3]).cka(), DataError, "at least 4 rows"),
        (lambda m: m.update(X, Y).statistic("best"), ArgumentError, "estimator must be one of"),
        (lambda m: HSICMoments(Gaussian(), m.features_y), ArgumentError, "must be a feature map"),
        (
            lambda m: HSICMoments(m.features_x, Nystroem(kernel=Gaussian())),
            ArgumentError,
            "features_y must be fitted",
        ),
        (lambda m: HSICMoments.like(X, Y, features="best"), ArgumentError, "features must be"),
        (lambda m: HSICMoments.like(X, Y, n_features=0), ArgumentError, "n_features"),
        (lambda m: HSICMoments.like(X, Y[:-1]), ShapeError, "like"),
        (lambda m: HSICMoments.like(X, Y * 0), DataError, "y_sample must vary"),
        (lambda m: HSICMoments.like(CODES, Y, features="fourier"), ArgumentError, "stationary"),
    ],
)
def test_bad_input(build, error, words):
    made = HSICMoments.like(X, Y)
    with pytest.raises(error, match=words):
        build(made)


def test_row_numbers_mean_nothing_elsewhere():
    kernel = Precomputed(torch.eye(5, dtype=torch.float64))
    rows = Nystroem(kernel=kernel, n_features=3).fit(kernel.rows)
    with pytest.raises(ArgumentError, match="row numbers of a stored matrix"):
        HSICMoments(rows, rows)


def test_an_error_changes_nothing():
    made = HSICMoments.like(X, Y).update(X, Y)
    before = made.test()
    for method in (made.update, made.downdate):
        with pytest.raises(DataError):
            method([(X[:50], Y[:50]), (X[:50], Y[:50] * np.nan)])
    assert made.count == 300
    assert made.test().p_value == before.p_value


def test_overflow_is_told():
    wide = Coordinates(kernel=Linear()).fit(torch.zeros(2, 1))
    made = HSICMoments(wide, wide)
    rows = np.array([1e20, -1e20, 0, 1], np.float32)
    with pytest.raises(NumericalError, match=r"finite in torch\.float32; .* 1e\+20"):
        made.update(rows, rows)
    assert made.update(rows.astype(float), rows.astype(float)).count == 4
    with pytest.raises(DataError, match="finite"):
        made.update(np.array([np.inf, 0]), np.zeros(2))


def test_no_rows_change_nothing():
    made = HSICMoments.like(X, Y).update(X[:0], Y[:0])
    assert made.count == 0
    assert made.update([]).residual == (0.0, 0.0)


def test_orthogonal_and_odd_sizes_are_evened():
    made = HSICMoments.like(plane(X), Y, n_features=7, features="orthogonal")
    assert isinstance(made.features_x, OrthogonalFourier)
    assert made.features_x.n_features == 8
