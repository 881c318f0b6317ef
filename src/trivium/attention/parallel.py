"""The causal form with every chunk at once: no loop, nothing in place, any transform goes through.

It serves `torch.compile`, `torch.func` and gradients of gradients. States at the borders of all
chunks are alive at once: memory n r v / chunk, and with decay a logarithmic number of them.
"""

import torch
from torch import Tensor

from trivium.attention.fading import entering, factor, leaving, scores, summed


def causal_parallel(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log: Tensor | None,
    start: Tensor,
    chunk: int,
    normalize: bool,
) -> tuple[Tensor, Tensor]:
    """Return output `(b, h, s, v)` and last state `(b h, r, v + 1)`, as `causal_running`."""
    b, h, n, _ = v.shape
    ones = torch.ones_like(v[..., :1])
    queries, keys, values = (
        _chunks(x.flatten(0, 1), chunk) for x in (q, k, torch.cat((v, ones), -1))
    )
    G = None if log is None else summed(_chunks(log, chunk))
    before, last = _border_states(keys, values, G, start)
    sums = torch.bmm(scores(queries, keys, G), values) + torch.bmm(entering(queries, G), before)
    sums = sums.reshape(b, h, -1, sums.shape[-1])[:, :, :n]
    if not normalize:
        return sums[..., :-1], last
    weight = sums[..., -1:]
    return sums[..., :-1] / torch.where(weight == 0, torch.inf, weight), last


def _chunks(value: Tensor, chunk: int) -> Tensor:
    """Return `(rows chunks, chunk, ...)`; steps that fill the last chunk are zero."""
    short = -value.shape[1] % chunk
    if short:
        value = torch.cat(
            (value, torch.zeros_like(value[:, :1]).expand(-1, short, *value.shape[2:])), 1
        )
    return value.reshape(-1, chunk, *value.shape[2:])


def _border_states(
    keys: Tensor, values: Tensor, G: Tensor | None, start: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the states before each chunk, `(rows chunks, r, v + 1)`, and the last one."""
    rows = start.shape[0]
    own = torch.bmm(leaving(keys, G).mT, values).unflatten(0, (rows, -1))
    states = torch.cat((start[:, None], own), 1)
    fade = factor(G, keys)
    if fade is None:
        states = states.cumsum(1)
    else:
        fade = fade.unflatten(0, (rows, -1))
        states = _scan(states, torch.cat((torch.ones_like(fade[:, :1]), fade), 1))
    return states[:, :-1].flatten(0, 1), states[:, -1]


def _scan(states: Tensor, fade: Tensor) -> Tensor:
    """Return s_i = fade_i s_{i−1} + states_i for all i, in log₂ steps.

    Source:
        Hillis and Steele, Data Parallel Algorithms (1986).
    """
    reach = 1
    while reach < states.shape[1]:
        states = torch.cat(
            (states[:, :reach], states[:, reach:] + fade[:, reach:] * states[:, :-reach]), 1
        )
        fade = torch.cat((fade[:, :reach], fade[:, reach:] * fade[:, :-reach]), 1)
        reach *= 2
    return states
