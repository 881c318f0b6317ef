"""One pass over rows against the symmetric rank-k product alone, interleaved, one thread.

Run as `OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/moment/one_pass.py`.
"""

import time

import numpy as np
import torch
from scipy.linalg.blas import ssyrk

from trivium._core.blocks import tile_rows
from trivium.moment import Moments

D, ROWS, ROUNDS = 384, 40_960, 9


def main():
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((ROWS, D), dtype=np.float32)
    y, w = rng.integers(0, 2, ROWS), rng.random(ROWS)
    step = tile_rows(D, 4)
    tasks = {
        "rank-k product": lambda: [
            ssyrk(1.0, x[i : i + step].T, lower=1) for i in range(0, ROWS, step)
        ],
        "moments": lambda: Moments(D).update(x, y),
        "moments, weighted": lambda: Moments(D).update(x, y, w),
        "moments, classwise": lambda: Moments(D, classwise=True).update(x, y),
    }
    seconds = {name: [] for name in tasks}
    for _ in range(ROUNDS):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            seconds[name].append(time.process_time() - start)
    base = np.median(seconds["rank-k product"])
    for name, found in seconds.items():
        middle = np.median(found)
        print(f"{name:20} {middle:.3f} CPU s, {middle / base:.2f} of the product alone")


if __name__ == "__main__":
    main()
