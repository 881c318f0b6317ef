"""One seed for every random test, one torch thread, no network."""

import time

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

torch.set_num_threads(1)

# A busy machine is no fault of what is tested, and a red test is red the next time, too.
settings.register_profile(
    "busy", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("busy")

# Probability that the whole suite raises a false alarm; each statistical test divides it.
SUITE_LEVEL = 1e-3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)


@pytest.fixture
def slowness() -> float:
    """How many times slower this machine is than the one of our figures, now; at least 1."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        sum(i * i for i in range(200_000))
        best = min(best, time.process_time() - start)
    return max(1.0, best / 0.01)
