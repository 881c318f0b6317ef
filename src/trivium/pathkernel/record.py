"""Recording a training: a context around any ordinary torch loop."""

from collections.abc import Callable

from torch import Tensor, nn
from torch.optim import Optimizer

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError
from trivium.pathkernel.recording import Recording

__all__ = ["record"]

_BUDGET = 1_000_000_000
_STRIDE = 20


def record(
    model: nn.Module,
    optimizer: Optimizer,
    loss: Callable[..., Tensor],
    *,
    every: int | str = 1,
    store: str = "memory",
    stride: int = _STRIDE,
    budget: int = _BUDGET,
    augmented: bool = False,
) -> Recording:
    """Record a training.

    Example:
        >>> import torch
        >>> from torch.nn import functional as F
        >>> _ = torch.manual_seed(0)
        >>> x, y = torch.randn(32, 5), torch.randint(3, (32,))
        >>> net = torch.nn.Linear(5, 3)
        >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with record(net, optimizer, F.cross_entropy) as recording:
        ...     for _ in range(10):
        ...         ids = torch.randperm(32)[:8]
        ...         recording.batch(ids)
        ...         optimizer.zero_grad()
        ...         F.cross_entropy(net(x[ids]), y[ids]).backward()
        ...         optimizer.step()
        >>> made = recording.made(x[:2], of="margin")
        >>> made.contributions.shape, made.completeness_error < 1e-5
        (torch.Size([2, 30]), True)
    """
    del store
    chord = _chord(every)
    apart = int(check_number("record", "stride", stride, "positive", integer=True))
    return Recording(
        model,
        optimizer,
        loss,
        chord=chord,
        stride=max(1, round(apart / chord)) * chord,  # whole chords only
        budget=budget,
        augmented=augmented,
    )


def _chord(every: int | str) -> int:
    if every == 1:
        return 1
    kind, _, steps = str(every).partition(":")
    if kind != "chord" or not steps.isdigit() or int(steps) < 1:
        raise ArgumentError(f'record: every must be 1 or "chord:k" with k steps; got {every!r}')
    return int(steps)
