"""One run of the audit: the stages in order, each timed, journaled and written."""

import hashlib
import platform
import shlex
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from trivium import __version__
from trivium._core.errors import OutputError, TriviumWarning
from trivium._core.peak import peak_bytes
from trivium._core.place import check_place
from trivium._core.threads import one_thread
from trivium.audit.depend_stage import depend_stage
from trivium.audit.encode_stage import encode_stage
from trivium.audit.explain_stage import explain_stage
from trivium.audit.files import spare_input, write_files
from trivium.audit.fit_stage import fit_stage
from trivium.audit.flag_stage import flag_stage
from trivium.audit.options import AuditOptions, as_paths
from trivium.audit.plan_clock import PlanClock
from trivium.audit.plan_stage import finish_plan, plan_stage
from trivium.audit.read_stage import locate, read_stage
from trivium.audit.state import AuditState, Listener, Section, Silent
from trivium.audit.tune_metric import source_of, tune_metric
from trivium.audit.tune_stage import tune_stage
from trivium.audit.verdict import verdict
from trivium.parallel import Executor, SerialExecutor
from trivium.store import RunFolder
from trivium.store.run_folder import check_run
from trivium.table import Kind
from trivium.table.encode_sentence import check_sentences
from trivium.table.read_files import shown_name

__all__ = ["STAGES", "AuditResult", "audit"]

SCHEMA = 1
_CHUNK = 1 << 20
_FOLDERS = 1000

Stage = Callable[[AuditState], str]
STAGES: dict[str, tuple[Stage, str]] = {
    "read": (read_stage, "one type inference over the whole file; leaks and duplicates first"),
    "plan": (plan_stage, "by which road, and what it will take, counted beforehand"),
    "depend": (depend_stage, "dependence of each column on the label, p-values valid under chance"),
    "encode": (
        encode_stage,
        "columns to numbers; texts read in order where order was seen to matter",
    ),
    "fit": (fit_stage, "the closed form beside the usual road, on the same folds"),
    "flag": (flag_stage, "labels that the rest of the data contradicts"),
    "tune": (tune_stage, "the decision for the metric named, kept only if its gain is seen"),
    "explain": (explain_stage, "the training rows that made each prediction"),
}


@dataclass(frozen=True)
class AuditResult:
    """What a run left behind.

    Attributes:
        report: The content of `report.json`.
        folder: The run's folder.
        resumed: Whether finished stages of a killed run were used.
    """

    report: Section
    folder: Path
    resumed: bool

    @property
    def page(self) -> Path:
        """Path of the report's page."""
        return self.folder / "report.html"


def _digest(path: Path) -> bytes:
    """SHA-256 of a file; empty where it cannot be read (reading it will say why)."""
    digest = hashlib.sha256()
    if not path.is_file():  # a pipe would be emptied
        return b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return b""
    return digest.digest()


def _content(paths: Sequence[Path], executor: Executor) -> bytes:
    """Digest of one file, or of the digests of several."""
    digests = executor.map(_digest, paths)
    return digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()


def _open(out: Path | None, data: Path, fingerprint: str, force: bool) -> RunFolder:
    """Open the folder asked for, or the first `trivium-DATA-N` that is free or this run's own."""
    if out is not None:
        return RunFolder(out, fingerprint, force=force)
    stem = data.name.split(".")[0] or "run"
    for number in count(1):
        try:
            return RunFolder(f"trivium-{stem}" + f"-{number}" * (number > 1), fingerprint)
        except OutputError as error:
            if not Path(f"trivium-{stem}").exists() or number == _FOLDERS:
                raise error
    raise AssertionError("unreachable")


def _run_stage(state: AuditState, name: str) -> None:
    stage, why = STAGES[name]
    state.listener.begin(name)
    start, before = perf_counter(), peak_bytes()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        did = stage(state)
    seconds = perf_counter() - start
    codes = {
        str(w.message): "W-NOTE" if issubclass(w.category, TriviumWarning) else "W-LIBRARY"
        for w in caught
    }
    for message, code in codes.items():
        state.warn(code, f"stage {name}", message)
    state.report["stages"].append(
        {
            "name": name,
            "seconds": seconds,
            "bytes": peak_bytes() - before,
            "skipped": False,
            "did": did,
            "why": why,
        }
    )
    state.listener.end(name, did, seconds)


def _frontmatter(options: AuditOptions, command: list[str]) -> Section:
    return {
        "schema": SCHEMA,
        "version": __version__,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "seed": options.seed,
        "command": shlex.join(command),
        "verdict": [],
        "warnings": [],
        "stages": [],
        "demo": None,
        "environment": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "platform": platform.platform(),
        },
    }


def _foreseen(
    options: AuditOptions, paths: Sequence[Path], out: Path | None, executor: Executor, force: bool
) -> str:
    """Refuse what can be refused before the work; return the run's fingerprint."""
    check_sentences(options.text_encoder, texts=False)
    PlanClock.of(options.machine)
    if out is None:
        check_place(Path.cwd(), "RunFolder", parents=True)
    else:
        for path in paths:
            spare_input("audit", out, path)
        check_run(out, force=force)
    content = _content(paths, executor) + __version__.encode() + source_of(options)
    fingerprint = options.fingerprint(content)
    if out is not None:
        check_run(out, fingerprint, force=force)
    return fingerprint


@one_thread()
def audit(
    options: AuditOptions,
    out: str | Path | None = None,
    *,
    force: bool = False,
    listener: Listener | None = None,
    command: list[str] | None = None,
    grade: Callable[[Section], Any] | None = None,
    executor: Executor | None = None,
) -> AuditResult:
    """Audit a labeled table and write the run's folder.

    Args:
        options: The data, the label and how to look at them.
        out: The run's folder; `trivium-DATA` in the current folder by default.
        force: Whether an existing folder may be written over.
        listener: Who is told of progress.
        command: The command as typed, for the report.
        grade: Returns the report's section `demo` from the report (planted truth only).
        executor: Runs what can be cut into blocks; one after the other in this process by
            default. It changes no bit of the result.

    Returns:
        The report and its folder. The same seed gives the same results; only `created`, the
        seconds and bytes, and the machine of the plan with its seconds differ.

    Raises:
        ArgumentError: An option breaks its rule.
        DataError: The table is refused; nothing was written.
        MissingExtraError: The sentence encoder asked for is not installed.
        OutputError: The folder exists or cannot be written.
        BusyError: Another run is writing to the folder.
        ResourceError: The disk is full or memory ran out.
    """
    paths, _ = locate(options.data, options.label)
    out = None if out is None else Path(out)
    fingerprint = _foreseen(options, paths, out, executor or SerialExecutor(), force=force)
    state = AuditState(options, listener or Silent(), source=shown_name(paths))
    state.executor = executor or state.executor
    state.report |= _frontmatter(options, command or ["trivium", "audit"])
    # Read and try the metric before the folder is made: what is refused leaves none behind.
    _run_stage(state, "read")
    tune_metric(options, state.label)
    texts = any(column.kind is Kind.text for column in state.used.columns)
    check_sentences(options.text_encoder, texts=texts)
    named = as_paths(options.data) or paths
    with _open(out, named[0], fingerprint, force) as run:
        state.journal, state.blocks = run.journal, run.blocks
        for name in list(STAGES)[1:]:
            _run_stage(state, name)
        finish_plan(state.report)
        state.report["demo"] = grade(state.report) if grade else None
        state.report["verdict"] = verdict(state.report)
        write_files(state, run.path)
        run.finish()
        return AuditResult(state.report, run.path, run.resumed)
