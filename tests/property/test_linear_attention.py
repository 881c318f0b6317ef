"""Any cut, any chunk, any padding: linear attention stays the same function."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trivium.attention import linear_attention

NAMES = ("elu1", "relu", "identity", "taylor2", "hedgehog", "favor")


@st.composite
def problems(draw):
    n, d, v = (draw(st.integers(1, top)) for top in (24, 5, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    q, k = torch.randn(2, 2, 2, n, d, generator=generator, dtype=torch.float64)
    values = torch.randn(2, 2, n, v, generator=generator, dtype=torch.float64)
    log = None
    if draw(st.booleans()):
        log = -torch.rand(2, 2, n, generator=generator, dtype=torch.float64)
        log = log * 10.0 ** draw(st.integers(-6, 3))
    return q, k, values, log, draw(st.sampled_from(NAMES))


def part(problem, rows):
    q, k, v, log, name = problem
    options = {"feature_map": name, "log_decay": None if log is None else log[:, :, rows]}
    return (q[:, :, rows], k[:, :, rows], v[:, :, rows]), options


def near(found, wanted):
    found, wanted = found.detach(), wanted.detach()
    scale = max(1.0, float(wanted.abs().max()))
    assert float((found - wanted).abs().max()) <= 1e-10 * scale


@settings(max_examples=60, deadline=None)
@given(problems(), st.data())
def test_cuts_chunks_and_merges(problem, data):
    inputs, options = part(problem, slice(None))
    n = inputs[0].shape[2]
    whole, last = linear_attention(*inputs, **options, return_state=True)
    near(linear_attention(*inputs, **options, chunk=data.draw(st.integers(1, n))), whole)
    if n == 1:
        return
    cut = data.draw(st.integers(1, n - 1))
    early, more = part(problem, slice(cut))
    late, rest = part(problem, slice(cut, None))
    first, state = linear_attention(*early, **more, return_state=True)
    near(torch.cat((first, linear_attention(*late, **rest, state=state)), 2), whole)
    _, alone = linear_attention(*late, **rest, return_state=True)
    merged, whole_sums = (state + alone).sums.detach(), last.sums.detach()
    gap = float((merged - whole_sums).abs().max())
    assert gap <= 1e-12 * max(1.0, float(whole_sums.abs().max()))


@settings(max_examples=40, deadline=None)
@given(problems(), st.data(), st.booleans())
def test_padding(problem, data, causal):
    inputs, options = part(problem, slice(None))
    if not causal:
        options["log_decay"] = None
    n = inputs[0].shape[2]
    lengths = data.draw(st.lists(st.integers(1, n), min_size=2, max_size=2))
    found = linear_attention(*inputs, **options, causal=causal, lengths=lengths)
    for row, length in enumerate(lengths):
        short = {
            name: value[row : row + 1, :, :length] if isinstance(value, torch.Tensor) else value
            for name, value in options.items()
        }
        alone = linear_attention(
            *(x[row : row + 1, :, :length] for x in inputs), **short, causal=causal
        )
        near(found[row : row + 1, :, :length], alone)
        if causal:
            assert bool((found[row, :, length:] == 0).all())
