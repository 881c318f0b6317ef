"""The quadratic form of linear attention, written down once more and without any chunk."""

import torch


def quadratic(queries, keys, v, log=None, start=None, *, causal=True, normalize=True):
    """Weights of every pair of steps, in full; for features, not inputs."""
    n, r = keys.shape[2:]
    if log is None:
        log = queries.new_zeros(1, 1, n)
    G = (log if log.ndim == 4 else log[..., None]).expand(*log.shape[:3], r).cumsum(2)
    if causal:
        gap = G[:, :, :, None] - G[:, :, None]
        above = torch.ones(n, n, dtype=torch.bool).triu(1)[..., None]
        decay = gap.masked_fill(above, -torch.inf).exp()
        weights = (queries[:, :, :, None] * keys[:, :, None] * decay).sum(-1)
    else:
        weights = queries @ keys.mT
    sums, mass = weights @ v, weights.sum(-1, keepdim=True)
    if start is not None:
        before = queries * G.exp()
        sums = sums + before @ start[..., :-1]
        mass = mass + before @ start[..., -1:]
    return sums / mass.masked_fill(mass == 0, torch.inf) if normalize else sums
