"""Streams depend on seed and purpose alone; families are found by walking."""

import numpy as np
import pytest
import torch

from trivium._core.errors import ArgumentError
from trivium._core.families import gather, members
from trivium._core.random import check_seed, derive, numpy_generator, torch_generator


def test_streams_repeat_and_differ_by_purpose() -> None:
    assert derive(1, "a", 2) == derive(1, "a", 2)
    assert len({derive(1, "a"), derive(1, "b"), derive(2, "a"), derive(1, "a", 0)}) == 4
    assert derive(1, "ab", "c") != derive(1, "a", "bc")
    first, second = (numpy_generator(3, "x").random(4) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    torch.testing.assert_close(
        torch.rand(3, generator=torch_generator(3, "x")),
        torch.rand(3, generator=torch_generator(3, "x")),
    )


def test_seed_from_generators_and_nothing() -> None:
    assert check_seed(np.random.default_rng(0)) == check_seed(np.random.default_rng(0))
    assert check_seed(np.random.RandomState(0)) == check_seed(np.random.RandomState(0))
    assert check_seed(None) != check_seed(None)
    assert check_seed(np.int32(7)) == 7


@pytest.mark.parametrize("seed", [-1, 1.5, True, "0", 2**63])
def test_bad_seed(seed: object) -> None:
    with pytest.raises(ArgumentError, match="random_state must be"):
        check_seed(seed)  # type: ignore[arg-type]


def test_members_of_the_kernel_room_have_examples() -> None:
    from trivium.kernel import Kernel

    found = members("trivium.kernel", Kernel)
    assert {"Gaussian", "Delta", "Linear"} <= {member.__name__ for member in found}
    assert all(member.examples() for member in found)
    assert Kernel not in found
    assert gather("trivium.kernel")["Gaussian"] in found
