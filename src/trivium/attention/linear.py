"""Linear attention as a function of queries, keys and values."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from trivium._core.eager import eager
from trivium._core.errors import NumericalError
from trivium.attention.doors import (
    Checked,
    check_inputs,
    check_start,
    keep_of,
    log_of,
    normalized,
    steps_of,
)
from trivium.attention.features import AttentionFeatures, features_of
from trivium.attention.linear_state import LinearState
from trivium.attention.parallel import causal_parallel
from trivium.attention.running import CausalSweep, Sweep, causal_running

__all__ = ["linear_attention"]


def linear_attention(  # noqa: PLR0913 - the contract's signature
    q: Float[Tensor, "b h s d"],
    k: Float[Tensor, "b g t d"],
    v: Float[Tensor, "b g t v"],
    *,
    feature_map: Any = "elu1",
    log_decay: Float[Tensor, "b g t *r"] | None = None,
    causal: bool = True,
    chunk: int | str = "auto",
    normalize: bool | None = None,
    lengths: Any = None,
    state: LinearState | None = None,
    return_state: bool = False,
) -> Any:
    r"""Attend with weights φ(q)ᵀ φ(k), in time linear in the length.

    $o_t = \varphi(q_t)^\top S_t / \varphi(q_t)^\top z_t$ with
    $S_t = g_t S_{t-1} + \varphi(k_t) v_t^\top$ and $z_t = g_t z_{t-1} + \varphi(k_t)$; without
    `causal`, S and z of all keys. Sums are float32 (float64 for float64 inputs), whatever the
    inputs; the result has their dtype. A query that meets no weight gives zero.

    Args:
        q: Queries.
        k: Keys; as many as queries where causal. Their heads divide those of q: heads h/g of
            queries in a row share a head of keys, values, features, decay and state.
        v: Values.
        feature_map: φ: a name, an `AttentionFeatures`, or a function; see `features_of`.
        log_decay: Logarithms of the factors g_t, ≤ 0: `(b, g, t)`, or `(b, g, t, r)` for one per
            feature. Causal only.
        causal: Whether step t attends to steps up to t only.
        chunk: Steps at a time, at most the sequence; `"auto"` takes 64, or 32 with one factor per
            feature. It changes rounding only.
        normalize: Whether to divide by φ(q_t)ᵀ z_t; by default where the map's weights are
            positive.
        lengths: Tokens in each row of the batch, the rest being padding on the right: keys beyond
            weigh nothing, whatever is in them, and where causal the output there is zero.
        state: What came before, from an earlier call.
        return_state: Return `(output, state)`.

    Returns:
        Output `(b, h, s, v)`, or output and `LinearState`. Differentiable in q, k, v, log_decay,
        the state and the map's parameters, as often as asked.

    Raises:
        ArgumentError: An unknown map, a dtype or device that differs, a chunk or a length out of
            range, a positive log factor, decay without causal, weights of both signs normalized,
            a state of another layer.
        ShapeError: Axes that do not fit each other, heads that do not divide.
        DataError: A log factor that is not finite.
        NumericalError: Features or values overflowed.

    Cost:
        O(b h s r (v + chunk)) time, O(b h s (r + v)) memory, forward and backward.

    Example:
        >>> q, k, v = torch.randn(3, 1, 2, 10, 4)
        >>> whole = linear_attention(q, k, v)
        >>> first, state = linear_attention(q[:, :, :7], k[:, :, :7], v[:, :, :7],
        ...                                 return_state=True)
        >>> rest = linear_attention(q[:, :, 7:], k[:, :, 7:], v[:, :, 7:], state=state)
        >>> torch.allclose(torch.cat((first, rest), 2), whole, atol=1e-5)
        True

    Source:
        Katharopoulos et al., Transformers are RNNs, ICML (2020), eq. 5 to 12; Yang et al., Gated
        Linear Attention Transformers with Hardware-Efficient Training, ICML (2024), for decay.
    """
    caller = "linear_attention"
    given = check_inputs(caller, q, k, v, causal)
    features = features_of(caller, feature_map, given.sizes[1], q.shape[3])
    width = features.width(q.shape[3])
    wanted = normalized(caller, features, normalize)
    size = steps_of(caller, chunk, given.steps, log_decay)
    keep = keep_of(caller, lengths, len(k), given.steps, k.device)
    log = log_of(caller, log_decay, given, width, keep)
    begin = check_start(caller, state, given, width, log, features)
    sweep = Sweep(size, wanted, features, given.work)
    run = _causal if causal else _whole
    out, sums = run((q, k, v), log, keep, begin, sweep)
    _check_sums(caller, sums, features)
    if not return_state:
        return out.to(q.dtype)
    return out.to(q.dtype), _end(begin, sums, log, keep, given)


def _masked(value: Tensor, keep: Tensor | None) -> Tensor:
    return value if keep is None else value.masked_fill(~keep[:, None, :, None], 0)


def _causal(
    inputs: tuple[Tensor, Tensor, Tensor],
    log: Tensor | None,
    keep: Tensor | None,
    begin: LinearState,
    sweep: Sweep,
) -> tuple[Tensor, Tensor]:
    q, k, v = (_masked(value, keep) for value in inputs)
    features, shared = sweep.features, q.shape[1] // k.shape[1]
    by_chunk = not torch.is_grad_enabled() and shared == 1
    by_chunk = by_chunk or (features is not None and features.pointwise)
    if features is not None and not (by_chunk and keep is None and eager()):
        q, k, v = (value.to(sweep.dtype) for value in (q, k, v))
        q = _ungrouped(sweep.mapped(_grouped(q, shared)), shared)
        k = _masked(features(k), keep)
        sweep = Sweep(sweep.chunk, sweep.normalize, None, sweep.dtype)
    k, v, sums = (_repeated(value, shared) for value in (k, v, begin.sums))
    start = sums.flatten(0, 1)
    rows = None if log is None else _repeated(log, shared).flatten(0, 1)
    if not eager():
        out, last = causal_parallel(q, k, v, rows, start, sweep.chunk, sweep.normalize)
    elif torch.is_grad_enabled():
        out, last = CausalSweep.apply(q, k, v, rows, start, sweep)  # type: ignore[no-untyped-call]
    else:
        out, _, last = causal_running(q, k, v, rows, start, sweep)
    return _masked(out, keep), last.unflatten(0, q.shape[:2])[:, ::shared]


def _grouped(q: Tensor, shared: int) -> Tensor:
    """Return the queries that share a head of keys as more steps of it, `(b, g, h/g s, ·)`."""
    return q.unflatten(1, (-1, shared)).flatten(2, 3)


def _ungrouped(q: Tensor, shared: int) -> Tensor:
    return q.unflatten(2, (shared, -1)).flatten(1, 2)


def _repeated(value: Tensor, shared: int) -> Tensor:
    """Return each head as often as queries share it."""
    return value if shared == 1 else value.repeat_interleave(shared, 1)


def _whole(
    inputs: tuple[Tensor, Tensor, Tensor],
    log: Tensor | None,
    keep: Tensor | None,
    begin: LinearState,
    sweep: Sweep,
) -> tuple[Tensor, Tensor]:
    """Attend to all keys: two products, whose gradients autograd knows."""
    q, k, v = (value.to(sweep.dtype) for value in inputs)
    features, shared = sweep.features, q.shape[1] // k.shape[1]
    q = sweep.mapped(_grouped(q, shared))
    if features is not None:
        k = features(_masked(k, keep))
    k = _masked(k, keep).flatten(0, 1)
    values = torch.cat((_masked(v, keep), torch.ones_like(v[..., :1])), -1).flatten(0, 1)
    last = torch.baddbmm(begin.sums.flatten(0, 1), k.mT, values)
    sums = _ungrouped(torch.bmm(q.flatten(0, 1), last).unflatten(0, q.shape[:2]), shared)
    last = last.unflatten(0, q.shape[:2])
    if not sweep.normalize:
        return sums[..., :-1], last
    weight = sums[..., -1:]
    return sums[..., :-1] / torch.where(weight == 0, torch.inf, weight), last


def _check_sums(caller: str, sums: Tensor, features: AttentionFeatures) -> None:
    """Refuse a state that is no longer finite; one number to look at, at O(b h r v)."""
    sums = sums.detach()
    if not eager() or bool(torch.isfinite(sums.sum())):
        return
    bad = (~torch.isfinite(sums)).nonzero()
    if len(bad) == 0:
        return
    mass = bad[bad[:, 3] == sums.shape[3] - 1]  # where features overflow, products do as well
    what = "features of keys" if len(mass) else "products of keys and values"
    b, h, r, column = (mass if len(mass) else bad)[0].tolist()
    raise NumericalError(
        f"{caller}: {what} must stay finite; got {float(sums[b, h, r, column])} with "
        f"{features.key()}",
        where=f"batch {b}, head {h}, feature {r}",
        remedy="Look for NaN in the inputs; scale keys down, or take a bounded map (hedgehog).",
    )


def _end(
    begin: LinearState,
    sums: Tensor,
    log: Tensor | None,
    keep: Tensor | None,
    given: Checked,
) -> LinearState:
    """Return the state after the call."""
    faded = begin.log_decay
    if log is not None and faded is not None:
        faded = faded + log.double().sum(2)
    count = begin.count + (given.steps if keep is None else keep.sum(1))
    return LinearState(sums, faded, count, begin.features, begin.owner, begin.origin)
