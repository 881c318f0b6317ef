"""Laws of decay and of relativity for any schedule, any positions and any H."""

import hypothesis.strategies as st
import torch
from hypothesis import given, settings

from trivium.kernel.spectral import Geometric, Power, Quantiles, Schedule, Uniform, cos_sin
from trivium.sinusoid import decay, head_hessian, relativity, toeplitz_share

positive = st.floats(0.05, 20)
schedules = st.one_of(
    st.builds(Geometric, st.floats(1.01, 1e8)),
    st.builds(Power, st.floats(0.05, 20)),
    st.builds(lambda low, width: Uniform(low, low + width), st.floats(0, 5), positive),
    st.lists(positive, min_size=2, max_size=6).map(lambda s: Quantiles(torch.tensor(s))),
)
seeds = st.integers(0, 2**31 - 1)


@given(schedules, st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_decay_is_even_and_at_most_one(schedule: Schedule, x: list[float]) -> None:
    found = decay(x, schedule)
    assert float(found.abs().max()) <= 1 + 1e-9
    assert torch.allclose(decay([-each for each in x], schedule), found, atol=1e-12)


@given(schedules, st.floats(0, 100), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_a_rotation_of_both_codes_leaves_their_product(
    schedule: Schedule, shift: float, n: int
) -> None:
    theta = schedule.frequencies(n, "midpoint")
    places = torch.tensor([0.0, 3.0, 10.0, 11.5], dtype=torch.float64)
    codes = [torch.cat(cos_sin(p, theta, torch.float64), 1) for p in (places, places + shift)]
    grams = [code @ code.mT for code in codes]
    assert torch.allclose(grams[0], grams[1], atol=1e-9 * n)
    assert float(toeplitz_share(torch.cat(codes) @ torch.cat(codes).mT)) <= 1 + 1e-12


@given(seeds, st.integers(2, 12), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_a_share_is_one_and_does_not_see_scale(seed: int, n: int, width: int) -> None:
    g = torch.Generator().manual_seed(seed)
    P = torch.randn(n, width, generator=g, dtype=torch.float64)
    H = torch.randn(2, width, width, generator=g, dtype=torch.float64)
    found = relativity(P, H)
    assert bool(((found >= -1e-12) & (found <= 1 + 1e-12)).all())
    assert torch.allclose(relativity(3 * P, -7 * H), found, atol=1e-9)
    assert torch.allclose(relativity(P.flip(0), H), found, atol=1e-9)
    assert torch.allclose(relativity(P, H.mT), found, atol=1e-9)


@given(seeds, st.sampled_from([(4, 1), (4, 2), (4, 4)]))
@settings(max_examples=30, deadline=None)
def test_h_gives_the_scores(seed: int, heads: tuple[int, int]) -> None:
    g = torch.Generator().manual_seed(seed)
    n_heads, groups = heads
    query = torch.randn(n_heads * 3, 7, generator=g, dtype=torch.float64)
    key = torch.randn(groups * 3, 7, generator=g, dtype=torch.float64)
    x = torch.randn(5, 7, generator=g, dtype=torch.float64)
    q = (x @ query.mT).unflatten(1, (n_heads, 3)).transpose(0, 1)
    k = (x @ key.mT).unflatten(1, (groups, 3)).transpose(0, 1)
    scores = q @ k.repeat_interleave(n_heads // groups, 0).mT
    assert torch.allclose(x @ head_hessian(query, key, n_heads, groups) @ x.mT, scores, atol=1e-9)
