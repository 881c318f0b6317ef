"""The study as a whole: rates are chosen, seeds are run, every run is kept, any stop resumes."""

import json
import os
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from trivium._core.checks import check_choice, check_number
from trivium._core.errors import DataError, TriviumWarning
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
        workers: Processes, of one thread each; as many as there are processors by default, 2 at
            most.
        progress: Called with runs done, runs in all, and the last one's name.
        most: Runs after which to stop; the rest is left to a later call.

    Returns:
        The figures, complete or not.

    Raises:
        ArgumentError: An unknown preset, or a number out of its range.
        DataError: The text cannot be used, or the folder holds another study.

    Cost:
        About four minutes of one processor for quick, two and a half hours for full.

    Example:
        >>> from trivium.study import QUICK, position_study
        >>> QUICK.seeds, QUICK.rates
        (5, (0.001, 0.003, 0.01))
    """
    caller = "position_study"
    if isinstance(preset, str):
        preset = _PRESETS[check_choice(caller, "preset", preset, _PRESETS)]
    first = int(check_number(caller, "seed", seed, "non-negative", integer=True))
    asked = min(2, os.cpu_count() or 1) if workers is None else workers
    n_workers = int(check_number(caller, "workers", asked, "positive", integer=True))
    left = None if most is None else int(check_number(caller, "most", most, integer=True))
    known = read_study_text(text)
    folder = Path(out)
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    board = _Board(preset, known, folder, first, progress)
    board.check()
    board.work(n_workers, left)
    result = StudyResult(summary_of(preset, known.name, first, board.found, board.total))
    atomic_write(folder / "study.json", json.dumps(result.to_dict(), indent=1) + "\n")
    return result


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

    def _wanted(self) -> Iterator[Job]:
        """Yield the jobs that can run now: all rates first, then seeds at the best rate."""
        for name in self.names:
            for kind in _KINDS:
                tried = [Job(kind, name, rate, self.seed) for rate in self.preset.rates]
                yield from tried
                known = [self._known(job) for job in tried]
                done = [run for run in known if run is not None]
                if len(done) < len(tried):
                    continue
                best = max(done, key=lambda run: run["validation"])["rate"]
                for more in range(1, self.preset.seeds):
                    yield Job(kind, name, best, self.seed + more)

    def work(self, workers: int, most: int | None) -> None:
        """Run what is not there yet."""
        pending: dict[Future[dict[str, Any]], Job] = {}
        started = 0
        context = get_context("spawn")
        with ProcessPoolExecutor(workers, context, _one_thread) as pool:
            try:
                while True:
                    busy = {job.name for job in pending.values()}
                    for job in self._wanted():
                        full = len(pending) >= workers or (most is not None and started >= most)
                        if full:
                            break
                        if self._known(job) is None and job.name not in busy:
                            future = pool.submit(run_job, job, self.preset, self.text)
                            pending[future] = job
                            started += 1
                    if not pending:
                        return
                    done, _ = wait(pending, return_when=FIRST_COMPLETED)
                    for future in done:
                        self._keep(pending.pop(future), future.result())
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _keep(self, job: Job, run: dict[str, Any]) -> None:
        text = json.dumps(run, indent=1) + "\n"
        atomic_write(self.folder / "runs" / f"{job.name}.json", text)
        self.found[job.name] = run
        if self.progress is not None:
            self.progress(len(self.found), self.total, job.name)


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


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
