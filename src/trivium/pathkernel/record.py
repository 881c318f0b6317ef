"""Recording a training: a context around any ordinary torch loop."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from trivium._core.checks import check_number
from trivium._core.errors import ArgumentError, OutputError
from trivium.pathkernel.plan import check_plan
from trivium.pathkernel.recording import Recording
from trivium.pathkernel.recording_folder import RecordingFolder
from trivium.pathkernel.settings import Settings

__all__ = ["record"]

_BUDGET = 1_000_000_000
_STRIDE = 20


def record(  # noqa: PLR0913 - the contract's signature
    model: nn.Module,
    optimizer: Optimizer,
    loss: Callable[..., Tensor],
    *,
    every: int | str = 1,
    store: str | os.PathLike[str] = "memory",
    resume: bool = False,
    steps: int | None = None,
    stride: int = _STRIDE,
    budget: int = _BUDGET,
    augmented: bool = False,
    keep: Mapping[str, Any] | None = None,
) -> Recording:
    r"""Record a training: a context manager around any ordinary loop.

    Hooks note, for each step, the rows, how model and loss were called, the gradient's norms and
    the optimizer's numbers; a state of model and optimizer is kept every `stride` steps. What lies
    between is trained again, bit for bit, when the recording is asked. The loop stays as it is,
    but for the ids of its rows: `recording.batch(ids)` before the forward, or
    `recording.loader(loader)` around the data loader.

    The loss is heard when the loop calls the `loss` given here: a criterion module or a function
    of torch. Any other callable of (output, target) is called as `recording.loss(output, target)`.
    It may sum, weigh, smooth or ignore; its value may be scaled, averaged or clipped by norm on
    its way to the step. Steps that a gradient scaler skips moved nothing: their rows are credited
    nothing, and `recording.skipped` counts them.

    Args:
        model: The model, before it is compiled or after; what is frozen now stays frozen.
        optimizer: Of a kind that is known, or described by `register_recurrence`.
        loss: A scalar of (output, target), and of what else the loop gives it.
        every: 1, or `"chord:k"`: account over straight pieces of k steps. Still complete, not as
            finely told apart, and cheaper.
        store: `"memory"`, or a folder: it is appended to at each checkpoint, so that a killed
            training loses the steps since the last one.
        resume: Go on with the recording in the folder: model, optimizer, generators and what is
            in `keep` are put back to its last checkpoint when the recording is entered. A folder
            that is new begins one.
        steps: How many steps the training will have, so that want of memory is told now; without
            it, checkpoints are thinned as they come.
        stride: Steps between two checkpoints; a whole number of chords.
        budget: Bytes for checkpoints in memory, and again for what a replay holds. Rows and notes
            come on top.
        augmented: Keep each step's own copy of its rows, where one id comes with other values
            each time.
        keep: What a resumed training needs beside model and optimizer, by name: schedulers,
            gradient scalers (`state_dict`), `torch.Generator`s.

    Returns:
        The recording; enter it, train, leave it, and ask it.

    Raises:
        ArgumentError: An unknown optimizer (the message says how to describe it), a setting out of
            range, or another model, optimizer or loss than the recording to resume has.
        OutputError: The folder holds a recording already and `resume` is false, holds something
            else, or cannot be written.
        ModelError: The recording to resume is damaged.
        ResourceError: The checkpoints of `steps` steps, or two of them, would pass the budget.
        DataError: In the loop: rows without ids, a row that is not what it was, a loss that was
            not heard, weights changed beside the optimizer; when asked: a training that cannot be
            repeated. Each names the thing and the way out.

    Cost:
        About 0.4 ms a step at the stride of 20: half of the training where a step takes 1 ms, a few
        percent where it takes 10; for n checkpoints n times the weights and the optimizer's state.

    Example:
        >>> import tempfile, torch
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

        A training that may be killed and started again, by the same lines:

        >>> def train(folder, steps):
        ...     net = torch.nn.Linear(5, 3)
        ...     optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        ...     halving = torch.optim.lr_scheduler.StepLR(optimizer, 20, 0.5)
        ...     with record(net, optimizer, F.cross_entropy, store=folder, resume=True,
        ...                 keep={"halving": halving}) as recording:
        ...         for _ in range(recording.n_steps, steps):
        ...             ids = torch.randperm(32)[:8]
        ...             recording.batch(ids)
        ...             optimizer.zero_grad()
        ...             F.cross_entropy(net(x[ids]), y[ids]).backward()
        ...             optimizer.step()
        ...             halving.step()
        ...     return recording
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first, second = train(folder, 40), train(folder, 60)
        ...     first.n_steps, second.n_steps
        (40, 60)
    """
    chord = _chord(every)
    apart = int(check_number("record", "stride", stride, "positive", integer=True))
    check_number("record", "budget", budget, "positive", integer=True)
    settings = Settings(
        chord,
        max(1, round(apart / chord)) * chord,  # whole chords only
        int(budget),
        augmented,
        dict(keep or {}),
    )
    _check_keep(settings.keep)
    if store == "memory":
        if resume:
            raise ArgumentError(
                'record: resume must come with store=FOLDER; got store="memory", which ends with '
                "its process"
            )
        check_plan(model, optimizer, settings, steps)
        return Recording(model, optimizer, loss, settings)
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    folder = RecordingFolder(store, "record", device)
    if folder.begun and not resume:
        raise OutputError(
            "record: store must be a new or empty folder; got one with a recording",
            where=str(folder.path),
            remedy="Go on with it by resume=True, read it by Recording.load, or choose another "
            "folder. Nothing in it was changed.",
            code="E-EXISTS",
        )
    recording = Recording(model, optimizer, loss, settings, folder)
    if folder.begun:
        recording.reopen("record")
    return recording


def _chord(every: int | str) -> int:
    if every == 1:
        return 1
    kind, _, steps = str(every).partition(":")
    if kind != "chord" or not steps.isdigit() or int(steps) < 1:
        raise ArgumentError(f'record: every must be 1 or "chord:k" with k steps; got {every!r}')
    return int(steps)


def _check_keep(keep: Mapping[str, Any]) -> None:
    for name, one in keep.items():
        if not isinstance(one, torch.Generator) and not hasattr(one, "load_state_dict"):
            raise ArgumentError(
                "record: keep must hold generators and objects with state_dict and "
                f"load_state_dict; got {type(one).__name__} as {name!r}"
            )
