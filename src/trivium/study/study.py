"""The study as a whole: rates are chosen, seeds are run, every run is kept, any stop resumes."""

import json
import os
import warnings
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import torch

from trivium._core.atomic import named_errors
from trivium._core.checks import check_choice, check_number
from trivium._core.errors import ArgumentError, DataError, TriviumWarning
from trivium.parallel import Executor, JoblibExecutor, SerialExecutor, given_executor
from trivium.store import atomic_write
from trivium.study.presets import FULL, QUICK, Preset, contestants
from trivium.study.result import StudyResult, summary_of
from trivium.study.runs import Job, run_job
from trivium.study.text import StudyText, read_study_text

__all__ = ["position_study"]

Progress = Callable[[int, int, str], None]
_KINDS = ("text", "tasks")
_PRESETS = {"quick": QUICK, "full": FULL}


def position_study(
    preset: str | Preset = "quick",
    text: str | Path | None = None,
    out: str | Path = "position-study",
    *,
    seed: int = 0,
    workers: int | None = None,
    progress: Progress | None = None,
    most: int | None = None,
    executor: Executor | None = None,
) -> StudyResult:
    """Compare position encodings in one small decoder, on text and on five tasks.

    For each encoding the learning rate is chosen among three by the first seed's validation, then
    five seeds run at it; all decoders have as many parameters, within the parameters of one unit.
    Every run is a file in the folder, written whole: the same call goes on where one stopped.

    Args:
        preset: `"quick"`, five encodings, or `"full"`, all that a causal layer takes; or sizes of
            your own.
        text: As for `read_study_text`; the plays that come with trivium by default.
        out: Folder of the runs and of `study.json`.
        seed: First of the seeds.
        workers: Processes of this machine, of one thread each; as many as there are processors by
            default, 2 at most.
        progress: Called with runs done, runs in all, and the last one's name.
        most: Runs after which to stop; the rest is left to a later call.
        executor: Where runs are made, instead of in processes of its own: first those that choose
            the rates, then the seeds. The same figures on all but the seconds.

    Returns:
        The figures, complete or not.

    Raises:
        ArgumentError: An unknown preset, a number out of its range, or workers and an executor.
        DataError: The text cannot be used, or the folder holds another study.
        OutputError: The folder cannot be written to.
        ResourceError: The disk is full, or the executor lost its workers again and again.

    Cost:
        About four minutes of one processor for quick, nearly three hours for full.

    Example:
        >>> from trivium.study import QUICK, position_study
        >>> QUICK.seeds, QUICK.rates
        (5, (0.001, 0.003, 0.01))
    """
    caller = "position_study"
    if isinstance(preset, str):
        preset = _PRESETS[check_choice(caller, "preset", preset, _PRESETS)]
    first = int(check_number(caller, "seed", seed, "non-negative", integer=True))
    if workers is not None:
        workers = int(check_number(caller, "workers", workers, "positive", integer=True))
        if executor is not None:
            raise ArgumentError(f"{caller}: one of workers and executor must be given; got both")
    given_executor(caller, executor)
    if most is not None:
        most = int(check_number(caller, "most", most, "non-negative", integer=True))
    known = read_study_text(text)
    folder = Path(out)
    with named_errors(caller, folder):
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    board = _Board(preset, known, folder, first, progress)
    board.check()
    with nullcontext(executor) if executor else _own(workers) as runner:
        board.work(runner, most)
    result = StudyResult(summary_of(preset, known.name, first, board.found, board.total))
    atomic_write(folder / "study.json", json.dumps(result.to_dict(), indent=1) + "\n")
    return result


def _own(workers: int | None) -> Executor:
    """Processes of this machine; for one at a time this one is enough."""
    count = min(2, os.cpu_count() or 1) if workers is None else workers
    return SerialExecutor() if count == 1 else JoblibExecutor(count)


class _Board:
    """The runs of a study, those on disk and those to come."""

    def __init__(
        self,
        preset: Preset,
        text: StudyText,
        folder: Path,
        seed: int,
        progress: Progress | None,
    ) -> None:
        self.preset, self.text, self.folder, self.seed = preset, text, folder, seed
        self.progress = progress
        self.names = list(contestants(preset.name))
        each = len(preset.rates) + preset.seeds - 1
        self.total = each * len(self.names) * len(_KINDS)
        self.found: dict[str, dict[str, Any]] = {}

    def check(self) -> None:
        """Keep what the study is of beside its runs, and refuse a folder of another."""
        about = {"preset": self.preset.to_dict(), "text": self.text.digest, "seed": self.seed}
        about = json.loads(json.dumps(about))
        path = self.folder / "about.json"
        known = _read(path) if path.exists() else None
        if known is not None and known != about:
            raise DataError(
                "position_study: out must be empty or hold runs of the same study; got another's",
                where=str(self.folder),
                remedy="Give another folder.",
            )
        atomic_write(path, json.dumps(about, indent=1) + "\n")

    def _known(self, job: Job) -> dict[str, Any] | None:
        if job.name not in self.found:
            path = self.folder / "runs" / f"{job.name}.json"
            kept = _read(path) if path.exists() else None
            if kept is None:
                return None
            self.found[job.name] = kept
        return self.found[job.name]

    def _rates(self) -> list[Job]:
        """The first round: every rate with the first seed."""
        return [
            Job(kind, name, rate, self.seed)
            for name in self.names
            for kind in _KINDS
            for rate in self.preset.rates
        ]

    def _seeds(self) -> list[Job]:
        """The second round: more seeds at the best rate, where all rates are known."""
        found = []
        for name in self.names:
            for kind in _KINDS:
                tried = [Job(kind, name, rate, self.seed) for rate in self.preset.rates]
                runs = [run for job in tried if (run := self._known(job)) is not None]
                if len(runs) == len(tried):
                    best = max(runs, key=lambda run: run["validation"])["rate"]
                    more = range(self.seed + 1, self.seed + self.preset.seeds)
                    found += [Job(kind, name, best, seed) for seed in more]
        return found

    def work(self, executor: Executor, most: int | None) -> None:
        """Run what is not there yet."""
        for listed in (self._rates, self._seeds):
            jobs = [job for job in listed() if self._known(job) is None][:most]
            most = None if most is None else most - len(jobs)
            shared = (self.preset, self.text)
            for number, run in executor.each(_run, jobs, shared=shared):
                self._keep(jobs[number], run)

    def _keep(self, job: Job, run: dict[str, Any]) -> None:
        text = json.dumps(run, indent=1) + "\n"
        atomic_write(self.folder / "runs" / f"{job.name}.json", text)
        self.found[job.name] = run
        if self.progress is not None:
            self.progress(len(self.found), self.total, job.name)


def _run(job: Job, shared: tuple[Preset, StudyText]) -> dict[str, Any]:
    with torch.random.fork_rng():
        return run_job(job, *shared)


def _read(path: Path) -> dict[str, Any] | None:
    """Return what a file of the study holds; one that was cut short counts as not there."""
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(path.read_bytes())
        if isinstance(found, dict):
            return found
    warnings.warn(
        f"position_study: {path.name} is damaged; what it held is done again",
        TriviumWarning,
        stacklevel=3,
    )
    return None
