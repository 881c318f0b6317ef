"""One task over files of `scale.py`, in a process of its own, so that its memory is its own.

Prints one JSON object: wall seconds, CPU seconds and peak memory of this process and of its
workers, and what the task found.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

N_CLASSES = 10
GROUP = 1 << 16
HELD_OUT = 100_000


def rule(d: int) -> np.ndarray:
    """Return the planted weights."""
    return np.random.default_rng(0).standard_normal((d, N_CLASSES)).astype("f4") / np.sqrt(d)


def rows(n: int, d: int, *seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and classes drawn by a softmax of the planted rule."""
    random = np.random.default_rng(seed)
    x = random.standard_normal((n, d), dtype="f4")
    return x, (4 * x @ rule(d) + random.gumbel(size=(n, N_CLASSES))).argmax(1)


def names(d: int) -> list[str]:
    """Return the columns of numbers."""
    return [f"x{j}" for j in range(d)]


def generate(folder: Path, kind: str, n: int, d: int, n_files: int) -> None:
    """Write what is missing of a data set, block by block."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(n_files):
        path = folder / f"part-{number:02d}.{kind}"
        if path.exists():
            continue
        temporary = path.with_suffix(".tmp")
        blocks = (
            rows(min(GROUP, n // n_files - start), d, 1, number, start)
            for start in range(0, n // n_files, GROUP)
        )
        (_parquet if kind == "parquet" else _text)(temporary, kind, d, blocks)
        temporary.rename(path)


def _parquet(path: Path, _: str, d: int, blocks: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = [(name, pa.float32()) for name in names(d)]
    schema = pa.schema([*columns, ("label", pa.string()), ("code", pa.int8())])
    texts = np.array([f"class {k}" for k in range(N_CLASSES)])
    with pq.ParquetWriter(path, schema, use_dictionary=["label"]) as file:
        for x, y in blocks:
            table = [*np.ascontiguousarray(x.T), texts[y], y.astype("i1")]
            file.write_table(pa.table(table, schema=schema))


def _text(path: Path, kind: str, d: int, blocks: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
    with path.open("w") as file:
        if kind == "csv":
            file.write(",".join([*names(d), "label"]) + "\n")
            line = ",".join(["%.6g"] * d) + ",class %d\n"
        else:
            cells = ",".join(f'"{name}":%.6g' for name in names(d))
            line = "{" + cells + ',"label":"class %d"}\n'
        for x, y in blocks:
            file.writelines(line % (*row, k) for row, k in zip(x.tolist(), y.tolist(), strict=True))


# ---- the limits -------------------------------------------------------------------------


def disk(folder: Path, *, cold: bool) -> dict[str, Any]:
    """Read the files and do nothing with them."""
    buffer, total = bytearray(1 << 22), 0
    for path in sorted(folder.iterdir()):
        with path.open("rb", buffering=0) as file:
            if cold:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            while size := file.readinto(buffer):
                total += size
    return {"bytes": total}


def decode(folder: Path, d: int) -> dict[str, Any]:
    """Decode all numbers of Parquet by Arrow, and do nothing with them."""
    import pyarrow.parquet  # noqa: F401 - not timed

    watch = Watch()
    n = sum(len(batch) for batch in _batches(folder, d))
    return {"rows": n, **watch.read()}


def _batches(folder: Path, d: int, batch: int = GROUP, more: tuple[str, ...] = ()) -> Iterator:
    import pyarrow.parquet as pq

    for path in sorted(folder.iterdir()):
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch, columns=[*names(d), *more], use_threads=False)


def decode_csv(folder: Path, d: int) -> dict[str, Any]:
    """Parse CSV by Arrow, in its stream of blocks, and do nothing with it."""
    import pyarrow.csv as pa_csv

    n, watch = 0, Watch()
    for path in sorted(folder.iterdir()):
        options = pa_csv.ReadOptions(use_threads=False, block_size=32 << 20)
        n += sum(len(batch) for batch in pa_csv.open_csv(path, options))
    return {"rows": n, **watch.read()}


def product(n: int, d: int, dtype: str) -> dict[str, Any]:
    """Multiply as many tiles of rows as there are, all of them the same in memory."""
    import torch

    torch.set_num_threads(1)
    size = 1 << ((4 << 20) // (4 * d)).bit_length() - 1
    watch = Watch()
    tile = torch.randn(size, d).to(getattr(torch, dtype))
    total = torch.zeros(d, d, dtype=torch.float64)
    for _ in range(n // size):
        total += tile.mT @ tile
    return {"rows": n // size * size, **watch.read()}


# ---- ours -------------------------------------------------------------------------------


def _ready(_: int) -> None:
    """Import what the work needs, and stay long enough for the other workers to start too."""
    import trivium.closedform
    import trivium.table  # noqa: F401

    time.sleep(1)


class Watch:
    """The seconds of a piece of work, of this process and of its workers, and their memory."""

    def __init__(self) -> None:
        self.begun = (time.perf_counter(), time.process_time(), _workers()[0])

    def read(self) -> dict[str, Any]:
        """Return what was used so far."""
        begun, own, theirs = self.begun
        cpu, memory = _workers()
        return {
            "wall": time.perf_counter() - begun,
            "cpu": time.process_time() - own + cpu - theirs,
            "memory": _peak("self"),
            "worker": memory,
        }


def _peak(process: str) -> int:
    """Return the peak memory of a process."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _workers() -> tuple[float, int]:
    """Return CPU seconds of all processes below this one, and the peak memory of the largest."""
    family, found = {os.getpid()}, [0.0]
    peaks = [0]
    for path in sorted(Path("/proc").glob("[0-9]*/stat"), key=lambda path: int(path.parent.name)):
        try:
            facts = path.read_text().rpartition(")")[2].split()
            if int(facts[1]) in family:
                family.add(int(path.parent.name))
                found.append((int(facts[11]) + int(facts[12])) / os.sysconf("SC_CLK_TCK"))
                peaks.append(_peak(path.parent.name))
        except OSError:
            continue
    return sum(found), max(peaks)


@contextmanager
def _executor(workers: int) -> Iterator[Any]:
    """Start workers, with what they need imported."""
    from trivium.parallel import open_executor

    name = "serial" if workers == 1 else "processes"
    with open_executor(name, n_workers=None if workers == 1 else workers) as executor:
        executor.map(_ready, range(workers))
        yield executor


def fit(folder: Path, d: int, workers: int) -> dict[str, Any]:
    """One pass: moments and a sample, then the closed form."""
    from trivium.closedform import ClosedFormClassifier
    from trivium.table import NumericParts, open_parts

    with _executor(workers) as executor:
        watch = Watch()
        parts = open_parts(folder, executor=executor)
        opened = watch.read()["wall"]
        numbers = NumericParts(parts, label="label", columns=names(d), executor=executor)
        fitted = numbers.fit(ClosedFormClassifier())
        used = watch.read()
    bits = hashlib.sha256(fitted.coef_.tobytes() + fitted.intercept_.tobytes()).hexdigest()
    x, y = rows(HELD_OUT, d, 2)
    found = np.concatenate([fitted.predict(part) for part in np.split(x, 20)])
    accuracy = float((found == [f"class {k}" for k in y]).mean())
    facts = {"opened": opened, "accuracy": accuracy, "bits": bits[:16]}
    return {"rows": parts.n_rows, **used, **facts}


def hsic(folder: Path, d: int, workers: int) -> dict[str, Any]:
    """HSIC of all columns and the class, by features, with its p-value."""
    from trivium.kernel import Delta
    from trivium.table import NumericParts, open_parts

    with _executor(workers) as executor:
        watch = Watch()
        numbers = NumericParts(open_parts(folder), columns=names(d), executor=executor)
        found = numbers.hsic(names(d), "code", kernel_y=Delta())
        test = found.test()
        used = watch.read()
    bits = hashlib.sha256(found.state()[0]["second"].numpy().tobytes()).hexdigest()
    facts = {"statistic": test.statistic, "p": test.p_value, "features": repr(found)}
    return {"rows": found.count, "bits": bits[:16], **used, **facts}


# ---- peers ------------------------------------------------------------------------------


def dask_product(folder: Path, d: int, workers: int) -> dict[str, Any]:
    """Dask's own XᵀX over the row groups of the same files."""
    import dask
    import dask.array as da
    import pyarrow.parquet as pq

    @dask.delayed
    def group(path: str, number: int) -> np.ndarray:
        with pq.ParquetFile(path) as file:
            table = file.read_row_group(number, columns=names(d), use_threads=False)
        return np.column_stack([column.to_numpy() for column in table.columns])

    watch = Watch()
    parts = []
    for path in sorted(folder.iterdir()):
        meta = pq.ParquetFile(path).metadata
        parts += [
            da.from_delayed(group(str(path), i), (meta.row_group(i).num_rows, d), "f4")
            for i in range(meta.num_row_groups)
        ]
    x = da.concatenate(parts)
    options = {"scheduler": "synchronous"} if workers == 1 else {"num_workers": workers}
    found = (x.T @ x).compute(**options)
    return {"rows": len(x), **watch.read(), "trace": float(np.trace(found))}


def sgd(folder: Path, d: int) -> dict[str, Any]:
    """One pass of scikit-learn's logistic regression by stochastic gradients."""
    from sklearn.linear_model import SGDClassifier

    watch = Watch()
    model, n = SGDClassifier(loss="log_loss", random_state=0), 0
    for batch in _batches(folder, d, 1 << 14, ("code",)):
        x = np.column_stack([column.to_numpy() for column in batch.columns[:-1]])
        model.partial_fit(x, batch.columns[-1].to_numpy(), classes=np.arange(N_CLASSES))
        n += len(x)
    used = watch.read()
    x, y = rows(HELD_OUT, d, 2)
    return {"rows": n, **used, "accuracy": float((model.predict(x) == y).mean())}


def incremental_pca(folder: Path, d: int) -> dict[str, Any]:
    """One pass of scikit-learn's incremental principal components."""
    from sklearn.decomposition import IncrementalPCA

    watch = Watch()
    model, n = IncrementalPCA(64), 0
    for batch in _batches(folder, d, 1 << 14):
        x = np.column_stack([column.to_numpy() for column in batch.columns])
        model.partial_fit(x)
        n += len(x)
    return {"rows": n, **watch.read()}


def truth(d: int) -> dict[str, Any]:
    """Return the accuracy of the planted rule."""
    x, y = rows(HELD_OUT, d, 2)
    return {"rows": HELD_OUT, "accuracy": float(((x @ rule(d)).argmax(1) == y).mean())}


def main() -> None:
    """Run the task that the first argument describes."""
    asked = json.loads(sys.argv[1])
    task = globals()[asked.pop("task")]
    if "folder" in asked:
        asked["folder"] = Path(asked["folder"])
    watch = Watch()
    found = task(**asked) or {}
    print(json.dumps({**watch.read(), **found}))


if __name__ == "__main__":
    main()
