"""Linear attention against the quadratic form: values, precision, chunks, gradients, memory."""

import importlib.util
from pathlib import Path

import pytest
import torch
from torch.nn.functional import logsigmoid

from trivium.attention import LinearState, features_of, linear_attention
from trivium.testing.live_bytes import LiveBytes

_SPEC = importlib.util.spec_from_file_location(
    "reference", Path(__file__).with_name("reference.py")
)
_REFERENCE = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(_REFERENCE)
quadratic = _REFERENCE.quadratic
NAMES = ("elu1", "relu", "exp", "identity", "hedgehog", "taylor2", "favor")
DECAYS = ("none", "scalar", "channel")


def rows(*shape, seed=0, dtype=torch.float64, n=3):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for _ in range(n)
    ]


def logs(kind, b, h, n, r, seed=1):
    """Log factors, some of them strong enough to forget everything."""
    if kind == "none":
        return None
    (drawn,) = rows(*((b, h, n) if kind == "scalar" else (b, h, n, r)), seed=seed, n=1)
    log = logsigmoid(drawn)
    log[:, :, 3] -= 300
    return log


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", DECAYS)
def test_is_the_quadratic_form(name, kind):
    q, k, v = rows(2, 2, 21, 4)
    phi = features_of("test", name, 2, 4)
    log = logs(kind, 2, 2, 21, phi.width(4))
    (start,) = rows(2, 2, phi.width(4), 5, seed=9, n=1)
    first = LinearState(
        start.abs(),
        None if log is None else torch.zeros(log.shape[:2] + log.shape[3:], dtype=torch.float64),
        torch.zeros(2, dtype=torch.int64),
        phi.key(),
    )
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            for state in (None, first):
                found = linear_attention(
                    q, k, v, feature_map=phi, log_decay=log, chunk=8, state=state
                )
                wanted = quadratic(
                    phi(q), phi(k), v, log, state and state.sums, normalize=phi.positive
                )
                assert (found - wanted).abs().max() <= 1e-12 * max(1, wanted.abs().max())


@pytest.mark.parametrize("name", ["elu1", "favor", "identity"])
def test_not_causal_is_the_quadratic_form_across_lengths(name):
    q, _, _ = rows(2, 2, 5, 4)
    _, k, v = rows(2, 2, 9, 4, seed=2)
    phi = features_of("test", name, 2, 4)
    found = linear_attention(q, k, v, feature_map=phi, causal=False)
    wanted = quadratic(phi(q), phi(k), v, causal=False, normalize=phi.positive)
    assert (found - wanted).abs().max() <= 1e-12


@pytest.mark.parametrize("kind", DECAYS)
def test_the_chunk_changes_rounding_only(kind):
    q, k, v = rows(1, 2, 37, 4)
    log = logs(kind, 1, 2, 37, 4)
    calls = [linear_attention(q, k, v, log_decay=log, chunk=c) for c in (1, 2, 7, 32, 37, "auto")]
    assert all((call - calls[0]).abs().max() <= 1e-12 for call in calls)


def test_single_precision_over_a_long_row():
    rows32 = rows(1, 2, 32_768, 64, dtype=torch.float32)
    exact = linear_attention(*(x.double() for x in rows32))
    gap = linear_attention(*rows32).double() - exact
    assert gap.norm() <= 1e-6 * exact.norm()
    assert (gap.norm(dim=-1) <= 2e-6 * exact.norm(dim=-1)).all()


def test_half_precision_keeps_its_sums_in_single_precision():
    half = rows(1, 2, 8192, 32, dtype=torch.bfloat16)
    out, state = linear_attention(*half, return_state=True)
    exact = linear_attention(*(x.double() for x in half))
    assert out.dtype == torch.bfloat16
    assert state.sums.dtype == torch.float32
    assert (out.double() - exact).norm() <= 0.01 * exact.norm()
    # The check can fail: sums kept in bfloat16 are several per cent off.
    phi = features_of("test", "elu1", 2, 32)
    kept = torch.zeros(2, 32, dtype=torch.bfloat16)
    for key in phi(half[1])[0, :, :2048].unbind(1):
        kept = kept + key
    right = phi(half[1].double())[0, :, :2048].sum(1)
    assert (kept.double() - right).norm() > 0.05 * right.norm()


def test_a_strong_factor_does_not_blur_the_weak_ones_after_it():
    q, k, v = rows(1, 1, 64, 8, dtype=torch.float32)
    log = torch.full((1, 1, 64), -1e-3)
    log[..., 5] = -5000.0
    for decay in (log, log[..., None].expand(-1, -1, -1, 8).contiguous()):
        exact = linear_attention(
            *(x.double() for x in (q, k, v)), log_decay=decay.double(), chunk=64
        )
        gap = linear_attention(q, k, v, log_decay=decay, chunk=64).double() - exact
        assert gap.norm() <= 1e-6 * exact.norm()


def call(name, kind, size):
    phi = features_of("test", name, 2, 3)

    def run(q, k, v, raw=None, start=None):
        log = None if raw is None else logsigmoid(raw)
        state = None
        if start is not None:
            none = None if log is None else torch.zeros(log.shape[:2] + log.shape[3:]).double()
            state = LinearState(start, none, torch.zeros(1, dtype=torch.int64), phi.key())
        out, end = linear_attention(
            q, k, v, feature_map=phi, log_decay=log, chunk=size, state=state, return_state=True
        )
        return out, end.sums

    given = rows(1, 2, 7, 3, seed=4)
    r = phi.width(3)
    given.append(None)
    if kind != "none":
        (given[3],) = rows(*((1, 2, 7) if kind == "scalar" else (1, 2, 7, r)), seed=5, n=1)
    given.append(rows(1, 2, r, 4, seed=6, n=1)[0].abs())
    return run, [x if x is None else x.requires_grad_() for x in given]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", DECAYS)
def test_gradient(name, kind):
    run, given = call(name, kind, 3)
    assert torch.autograd.gradcheck(run, given, fast_mode=True)


@pytest.mark.parametrize("kind", DECAYS)
def test_gradient_of_the_gradient(kind):
    run, given = call("elu1", kind, 3)
    assert torch.autograd.gradgradcheck(run, given, fast_mode=True)


def test_a_wrong_gradient_is_seen(monkeypatch):
    from trivium.attention import running

    run, given = call("elu1", "scalar", 3)
    right = running._log_slope
    monkeypatch.setattr(running, "_log_slope", lambda moved, tail: right(moved, 0 * tail))
    with pytest.raises(RuntimeError, match="Jacobian"):
        torch.autograd.gradcheck(run, given, fast_mode=True)


def test_a_query_without_weight_gives_zero_and_no_slope():
    q, k, v = (x.requires_grad_() for x in rows(1, 1, 4, 3))
    with torch.no_grad():
        q[:, :, 2] = -1.0
    out = linear_attention(q, k, v, feature_map="relu")
    assert (out[:, :, 2] == 0).all()
    slopes = torch.autograd.grad(out.sum(), (q, k, v))
    assert all(slope.isfinite().all() for slope in slopes)


def test_memory_is_linear_in_the_row_and_holds_no_states_of_steps():
    peaks = []
    for n in (512, 2048):
        given = [x.requires_grad_() for x in rows(1, 2, n, 32, dtype=torch.float32)]
        with LiveBytes() as live:
            torch.autograd.grad(linear_attention(*given).sum(), given)
        peaks.append(live.peak / (2 * n * 32 * 4))  # in tensors of the size of q
    assert peaks[1] <= peaks[0] * 1.05
    assert peaks[1] <= 14


def test_transforms_of_torch_func_agree():
    q, k, v = rows(3, 2, 9, 4)
    plain = linear_attention(q, k, v)
    mapped = torch.vmap(linear_attention)(q[:, None], k[:, None], v[:, None])
    assert (mapped[:, 0] - plain).abs().max() <= 1e-12
    slope = torch.func.grad(lambda x: linear_attention(x, k, v).sin().sum())(q)
    leaf = q.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(linear_attention(leaf, k, v).sin().sum(), leaf)
    assert (slope - wanted).abs().max() <= 1e-12
