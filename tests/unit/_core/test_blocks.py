"""Every source of rows gives the rows of the matrix it stands for."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy import sparse

from trivium._core.blocks import iter_blocks, tile_rows
from trivium._core.errors import ArgumentError, DataError, ShapeError
from trivium.moment import Moments

X = np.random.default_rng(0).normal(size=(11, 3))
Y = np.arange(11) % 2
W = np.linspace(0.5, 1.0, 11)


def read(source, y=None, w=None, rows=4):
    blocks = list(iter_blocks(source, y, w, block_rows=rows))
    assert [b.start for b in blocks] == list(np.cumsum([0] + [len(b.x) for b in blocks])[:-1])
    assert all(len(b.x) <= rows for b in blocks)
    x = torch.cat([b.x for b in blocks]).numpy()
    beside = [None if b.y is None else np.asarray(b.y) for b in blocks]
    labels = None if beside[0] is None else np.concatenate(beside)
    weight = None if blocks[0].weight is None else torch.cat([b.weight for b in blocks]).numpy()
    return x, labels, weight


def read_only():
    x = X.copy()
    x.flags.writeable = False
    return x


SOURCES = {
    "numpy": lambda: X,
    "fortran": lambda: np.asfortranarray(X),
    "reversed": lambda: X[::-1][::-1],
    "read-only": read_only,
    "big-endian": lambda: X.astype(">f8"),
    "list": X.tolist,
    "torch": lambda: torch.from_numpy(X).requires_grad_(),
    "torch sparse": lambda: torch.from_numpy(X).to_sparse(),
    "csr": lambda: sparse.csr_array(X),
    "csc": lambda: sparse.csc_matrix(X),
    "batch": lambda: pa.record_batch({c: X[:, i] for i, c in enumerate("abc")}),
    "table": lambda: pa.concat_tables(
        [
            pa.table({c: X[:5, i] for i, c in enumerate("abc")}),
            pa.table({c: X[5:, i] for i, c in enumerate("abc")}),
        ]
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_matrices(name):
    x, y, w = read(SOURCES[name](), Y, W)
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)
    assert np.array_equal(w, W)
    assert read(SOURCES[name]())[1:] == (None, None)


def test_arrow_labels_and_weights():
    _, y, w = read(X, pa.array(["a", "b"] * 5 + ["a"]), pa.chunked_array([W[:3], W[3:]]))
    assert y.tolist() == ["a", "b"] * 5 + ["a"]
    assert np.array_equal(w, W)


def test_iterables_of_blocks():
    cuts = [slice(0, 3), slice(3, 11)]
    assert np.array_equal(read([X[c] for c in cuts])[0], X)
    x, y, w = read((X[c], Y[c], W[c]) for c in cuts)
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)
    assert np.array_equal(w, W)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y)), batch_size=5
    )
    assert np.array_equal(read(loader)[1], Y)
    batches = SOURCES["table"]().to_batches()
    assert np.array_equal(read(batches)[0], X)


def test_dask_arrays_and_delayed():
    dask = pytest.importorskip("dask")
    da = pytest.importorskip("dask.array")
    array = da.from_array(X, chunks=(5, 2))
    x, y, w = read(array, da.from_array(Y, chunks=3), W)
    assert np.array_equal(x, X)
    assert np.array_equal(y, Y)
    assert np.array_equal(w, W)
    parts = [dask.delayed(lambda c: (X[c], Y[c]))(c) for c in (slice(0, 7), slice(7, 11))]
    assert np.array_equal(read(parts)[1], Y)
    assert np.array_equal(read(dask.delayed(lambda: X)())[0], X)
    with pytest.raises(ShapeError, match="11 in X but 5"):
        read(array, Y[:5])
    with pytest.raises(ShapeError, match="11 in X but 5"):
        read(array, da.from_array(Y[:5], chunks=5))


def test_dask_is_not_imported_for_others():
    code = (
        "import sys, numpy as np; from trivium.moment import Moments; "
        "Moments(2).update(np.eye(2)); sys.exit('dask' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_dtypes():
    for given, wanted in (
        (np.float16, torch.float32),
        (np.int8, torch.float64),
        (bool, torch.float64),
        (np.float32, torch.float32),
    ):
        assert next(iter_blocks(np.ones((2, 2), given))).x.dtype == wanted
    assert next(iter_blocks(torch.ones(2, 2, dtype=torch.bfloat16))).x.dtype == torch.float32


def test_blocks_are_views():
    block = next(iter_blocks(X))
    assert block.x.data_ptr() == X.ctypes.data


def test_rows_of_a_tile():
    assert tile_rows(384, 4) == 2048
    assert tile_rows(10**9, 8) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("text",), ArgumentError),
        (({"a": 1},), ArgumentError),
        (((X for _ in range(1)), Y), ArgumentError),
        (([(X, Y, W, W)],), ArgumentError),
        (([(None, X)],), ArgumentError),
        ((X[0],), ShapeError),
        ((X, Y[:3]), ShapeError),
        ((X, None, W[:3]), ShapeError),
        ((pa.table({"a": ["x"]}),), DataError),
        ((np.array([["x"]]),), DataError),
    ],
)
def test_refused(arguments, error):
    with pytest.raises(error):
        list(iter_blocks(*arguments))


MEMORY = """
import sys
import numpy as np
from pathlib import Path
from trivium.moment import Moments

def kib(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(name)).split()[1])

dtype, rows = sys.argv[1], 60_000
x = np.ones((rows, 384), dtype)
x += np.arange(rows, dtype=dtype)[:, None] % 7
y = np.arange(rows) % 2
w = np.ones(rows)
Moments(384).update(x[:8], y[:8], w[:8])  # imports and threads, no block yet
m = Moments(384)
Path("/proc/self/clear_refs").write_text("5")  # the peak starts from here, not from the imports
before = kib("VmRSS")
m.update(x, y, w)
print((kib("VmHWM") - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extra_memory_of_one_pass(dtype):
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, dtype], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 20  # MiB, where the data are 92 or 184


def test_sparse_is_never_whole():
    x = sparse.csr_array(np.random.default_rng(0).poisson(0.1, size=(2000, 5)).astype(float))
    m = Moments(5).update(x)
    assert np.allclose(m.total, np.cov(x.toarray().T, ddof=0) * 2000)
