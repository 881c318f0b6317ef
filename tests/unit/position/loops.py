"""Biases pair by pair: what an encoding's `score` is held against."""

import torch


def pair_by_pair(encoding, one, n=70, t=75, first=5, d=4, h=2, tolerance=1e-12):
    """Hold `score` to `one(q, k, i, j, head)`, for runs, for rows of positions, and causally.

    Runs are longer than a block of the fast paths; rows are shorter, and in no order.
    """
    generator = torch.Generator().manual_seed(0)
    run = torch.arange(first, first + n), torch.arange(first + n - t, first + n)
    rows = tuple(torch.randint(0, 20, (2, size), generator=generator) for size in (5, 6))
    for causal, (i, j) in ((False, run), (True, run), (False, rows)):
        n, t = i.shape[-1], j.shape[-1]
        q, k = (
            torch.randn(2, h, size, d, dtype=torch.float64, generator=generator) for size in (n, t)
        )
        keep = torch.ones(n, t, dtype=torch.bool)
        keep = keep.tril(t - n) if causal else keep
        with torch.no_grad():
            found = encoding.score(q, k, i, j, keep).expand(2, h, n, t)
        places = [(a, b) for a in range(n) for b in range(t) if keep[a, b]]
        if n > 30:
            chosen = torch.randperm(len(places), generator=generator)[:300].tolist()
            places = [places[at] for at in (0, len(places) - 1, *chosen)]
        at_i, at_j = i.expand(2, n).tolist(), j.expand(2, t).tolist()
        for row in range(2):
            for head in range(h):
                for a, b in places:
                    place = at_i[row][a], at_j[row][b]
                    with torch.no_grad():
                        wanted = one(q[row, head, a], k[row, head, b], *place, head)
                    gap = abs(
                        found[row, head, a, b].item()
                        - torch.as_tensor(wanted, dtype=torch.float64).detach().item()
                    )
                    assert gap <= tolerance, (row, head, a, b, causal, gap)
