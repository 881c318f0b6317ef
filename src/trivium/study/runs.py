"""One run of the study: a decoder trained from a seed, judged at up to four times its length."""

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trivium.study.decoder import build_encoding, count, equal_decoder
from trivium.study.presets import Preset, contestants, ready
from trivium.study.tasks import IGNORED, N_SYMBOLS, TASKS, task_rows, widest
from trivium.study.text import StudyText

__all__ = ["Job", "run_job"]

_BINS = 16


@dataclass(frozen=True)
class Job:
    """One training.

    Args:
        kind: `"text"` or `"tasks"`.
        encoding: Name in `contestants`.
        rate: Learning rate.
        seed: Of weights and batches.
    """

    kind: str
    encoding: str
    rate: float
    seed: int

    @property
    def name(self) -> str:
        """A name for its file."""
        plain = "".join(c if c.isalnum() else "-" for c in self.encoding)
        return f"{self.kind}-{plain}-{self.rate:g}-{self.seed}"


def run_job(job: Job, preset: Preset, text: StudyText) -> dict[str, Any]:
    """Train and judge; return the figures, the same from the same seed on one machine.

    Args:
        job: What to run.
        preset: Sizes.
        text: What text runs read.
    """
    torch.manual_seed(job.seed)
    begun = time.process_time()
    sizes = preset.sizes(job.kind)
    member, options = contestants(preset.name)[job.encoding]
    position = build_encoding(member, sizes, ready(options, sizes))
    n_symbols = text.n_symbols if job.kind == "text" else N_SYMBOLS
    model = equal_decoder(n_symbols, position, sizes)
    steps = preset.steps if job.kind == "text" else preset.task_steps
    generator = torch.Generator().manual_seed(1000 + job.seed)
    batch = _text_batch if job.kind == "text" else _task_batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=job.rate, betas=(0.9, 0.95))
    warm = max(1, steps // 20)
    for step in range(steps):
        share = (step + 1) / warm if step < warm else 0.5 + 0.5 * math.cos(math.pi * step / steps)
        for group in optimizer.param_groups:
            group["lr"] = job.rate * share
        tokens, targets = batch(preset, text, generator)
        loss = cross_entropy(model(tokens).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    trained = time.process_time() - begun
    model.eval()
    with torch.no_grad():
        judged = _judge_text if job.kind == "text" else _judge_tasks
        figures = judged(model, preset, text)
    spent = {"train": round(trained, 3), "whole": round(time.process_time() - begun, 3)}
    return {
        "kind": job.kind,
        "encoding": job.encoding,
        "rate": job.rate,
        "seed": job.seed,
        "n_parameters": count(model),
        "n_parameters_of_encoding": count(position),
        "cpu_seconds": spent,
        **figures,
    }


def _text_batch(
    preset: Preset, text: StudyText, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    starts = torch.randint(
        len(text.train) - preset.length - 1, (preset.batch,), generator=generator
    )
    rows = text.train[starts[:, None] + torch.arange(preset.length + 1)].long()
    return rows[:, :-1], rows[:, 1:]


def _task_batch(
    preset: Preset, text: StudyText, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    width = widest(preset.size)
    share = max(1, 2 * preset.batch // len(TASKS))
    parts = []
    for name in TASKS:
        size = int(torch.randint(2, preset.size + 1, (), generator=generator))
        parts.append(task_rows(name, share, size, generator, width))
    return torch.cat([p.tokens for p in parts]), torch.cat([p.targets for p in parts])


def _by_position(model: nn.Module, held: Tensor, length: int, rows: int) -> Tensor:
    """Return the mean loss at each position, of rows spread evenly over a text."""
    starts = torch.linspace(0, len(held) - length - 2, rows).long()
    found = held[starts[:, None] + torch.arange(length + 1)].long()
    logits = model(found[:, :-1])
    return cross_entropy(logits.mT, found[:, 1:], reduction="none").double().mean(0)


def _judge_text(model: nn.Module, preset: Preset, text: StudyText) -> dict[str, Any]:
    n = preset.length
    validation = _by_position(model, text.validation, n, 4 * preset.rows)
    curve = _by_position(model, text.test, 4 * n, preset.rows)
    near = _by_position(model, text.test, n, 4 * preset.rows)
    return {
        "validation": -float(validation.mean()),
        "loss": {
            "1": float(near[n // 2 :].mean()),
            "2": float(curve[n : 2 * n].mean()),
            "4": float(curve[2 * n :].mean()),
        },
        "curve": [round(float(part.mean()), 5) for part in curve.chunk(4 * _BINS)],
    }


def _judge_tasks(model: nn.Module, preset: Preset, text: StudyText) -> dict[str, Any]:
    accuracy: dict[str, dict[str, float]] = {}
    for name in TASKS:
        accuracy[name] = {}
        for times in (1, 2):
            generator = torch.Generator().manual_seed(77 + times)
            rows = task_rows(name, 4 * preset.rows, times * preset.size, generator)
            asked = rows.targets != IGNORED
            right = (model(rows.tokens).argmax(-1) == rows.targets)[asked]
            accuracy[name][str(times)] = float(right.double().mean())
    generator = torch.Generator().manual_seed(5)
    chosen = []
    for name in TASKS:
        rows = task_rows(name, 2 * preset.rows, preset.size, generator)
        loss = cross_entropy(
            model(rows.tokens).flatten(0, 1), rows.targets.flatten(), ignore_index=IGNORED
        )
        chosen.append(-float(loss))
    return {"validation": sum(chosen) / len(chosen), "accuracy": accuracy}
