"""One token of linear attention: the state takes it in and is read."""

import torch
from torch import Tensor

from trivium.attention.features import AttentionFeatures
from trivium.attention.linear_state import LinearState


def linear_step(
    inputs: tuple[Tensor, Tensor, Tensor],
    log: Tensor | None,
    state: LinearState,
    *,
    features: AttentionFeatures,
    normalize: bool,
) -> tuple[Tensor, LinearState]:
    """Return the output `(b, h, 1, v)` of one token and the state after it.

    Args:
        inputs: Queries `(b, h, 1, d)`, keys and values `(b, g, 1, ...)`.
        log: Log factors `(b, g, 1)` or `(b, g, 1, r)`.
        state: The state before; it is left as it is.
        features: φ.
        normalize: Whether sums are divided by their weight.

    Cost:
        O(b h r v).
    """
    q, k, v = (value.to(state.sums.dtype) for value in inputs)
    q = q.unflatten(1, (k.shape[1], -1)).flatten(2, 3)  # those that share a head of keys
    queries = features.queries(q) if normalize else features(q)
    values = torch.cat((v, torch.ones_like(v[..., :1])), -1)
    sums, faded = state.sums, state.log_decay
    if log is not None and faded is not None:
        factor = log.to(sums.dtype).exp()
        sums = sums * (factor[..., None] if log.ndim == 3 else factor.mT)
        faded = faded + log.double()[:, :, 0]
    sums = sums + features(k).mT * values
    found = queries @ sums
    out = found[..., :-1]
    if normalize:
        weight = found[..., -1:]
        out = out / torch.where(weight == 0, torch.inf, weight)
    end = LinearState(sums, faded, state.count + 1, state.features, state.owner, state.origin)
    return out.flatten(1, 2)[:, :, None].to(inputs[0].dtype), end
