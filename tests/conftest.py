"""One seed for every random test, one torch thread, no network."""

import numpy as np
import pytest
import torch

torch.set_num_threads(1)

# Probability that the whole suite raises a false alarm; each statistical test divides it.
SUITE_LEVEL = 1e-3


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)
