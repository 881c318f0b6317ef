"""The door: the group of verbs, and one place where every failure becomes a line and a code."""

import difflib
import errno
import json
import os
import sys
import tempfile
import traceback
import warnings
from typing import Any, NoReturn

import click

from trivium import __version__
from trivium._core.errors import ResourceError, TriviumError, TriviumWarning
from trivium._core.peak import memory_limit, peak_bytes
from trivium.cli.console import printable
from trivium.cli.interrupt import Interruption, Terminated
from trivium.cli.streams import hold_streams

__all__ = ["main", "trivium"]

_VERBS = {
    "audit": "Give a second opinion on a labeled table.",
    "calibrate": "Measure this machine, for seconds in trivium cost.",
    "cost": "Count what a Transformer computes, from its configuration.",
    "demo": "Audit a generated table with planted truth, and grade the audit.",
    "depend": "Test which columns depend on the target.",
    "explain": "Show the training rows that made a row's score.",
    "fit": "Fit the closed-form classifier and save the model.",
    "gradients": "Measure which gradient estimator is the best bargain.",
    "list": "List kernels, feature maps, stages and metrics.",
    "position": "List, compare and study position encodings.",
    "predict": "Predict a new file with a saved model.",
    "whatif": "Say what the edited fixes.csv would change.",
}
_NO_MEMORY = ("can't allocate memory", "failed to map segment", "Cannot allocate memory")
_LEAST_MEMORY = 2_000_000_000
RESUMABLE = "Run the same command again to resume."


class _Lazy(click.Group):
    """Verbs are imported when they are called; help needs their first lines only."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _VERBS:
            return None
        from trivium.cli import verbs

        return verbs.COMMANDS[cmd_name]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(sorted(_VERBS.items()))


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trivium")
def trivium() -> None:
    """A second opinion on labeled data, offline, on a laptop.

    Exit codes: 0 ok, 1 our fault, 2 usage, 3 data refused, 4 a --fail-on gate tripped,
    5 resources, 130 or 143 interrupted and resumable.
    """


def _fail(error: dict[str, Any], as_json: bool) -> NoReturn:
    if as_json:
        print(json.dumps({"error": error}, ensure_ascii=True), file=sys.stderr)
    else:
        place = f", {error['where']}" if error.get("where") else ""
        remedy = f". {error['remedy']}" if error.get("remedy") else ""
        line = f"error[{error['code']}]: {error['what']}{place}{remedy}"
        print(printable(line), file=sys.stderr)
    sys.exit(error["exit_code"])


def _error(
    code: str, what: str, exit_code: int, where: str | None = None, remedy: str | None = None
) -> dict[str, Any]:
    return {
        "code": code,
        "what": what,
        "where": where,
        "remedy": remedy,
        "exit_code": exit_code,
    }


def _our_fault(error: BaseException) -> dict[str, Any]:
    """Keep the traceback in a file: the terminal gets one line."""
    if os.environ.get("TRIVIUM_DEBUG"):
        traceback.print_exc()
    handle, name = tempfile.mkstemp(prefix="trivium-error-", suffix=".txt")
    with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
        traceback.print_exc(file=file)
    what = f"unexpected {type(error).__name__}: {error}"
    return _error("E-INTERNAL", what, 1, remedy=f"Please report it with {name}.")


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    """One line, and nothing of where in our code it arose."""
    print(printable(f"warning: {message}"), file=sys.stderr)


def _out_of_memory(error: BaseException) -> dict[str, Any]:
    """Say what was asked for last and how much was held: the figure to plan with."""
    asked, peak = str(error).split("\n")[0], peak_bytes() / 1e6
    held = f" at a peak of {peak:,.0f} MB" if peak else ""
    what = f"out of memory{held}" + (f" ({asked})" if asked else "")
    return _error("E-MEMORY", what, 5, remedy="Use fewer rows or columns, or allow more memory.")


def _check_memory() -> None:
    """Refuse a limit under which the libraries cannot be loaded: some end the process."""
    limit = memory_limit()
    if limit is not None and limit < _LEAST_MEMORY:
        raise ResourceError(
            f"trivium: the limit of memory (ulimit -v) must be at least "
            f"{_LEAST_MEMORY / 1e6:,.0f} MB; got {limit / 1e6:,.0f} MB"
        )


def _usage(error: click.ClickException) -> dict[str, Any]:
    """What was typed wrong, the nearest right word, and the verb's own help."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    typed = context.command_path if context else "trivium"
    what, near = error.format_message().rstrip("."), []
    if isinstance(error, click.NoSuchOption):
        what = f"No such option {error.option_name}"
        near = difflib.get_close_matches(error.option_name, error.possibilities or [], 1)
    elif context is not None and isinstance(context.command, _Lazy):
        near = difflib.get_close_matches(what.partition("'")[2].rstrip("'"), sorted(_VERBS), 1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return _error("E-USAGE", what, 2, remedy=f"{hint}See {typed} --help.")


def _describe(error: BaseException) -> dict[str, Any]:
    """One object for whatever ended the command."""
    no_memory = isinstance(error, MemoryError) or any(sign in str(error) for sign in _NO_MEMORY)
    found = None
    if isinstance(error, TriviumError):
        found = error.as_dict()
    elif isinstance(error, click.ClickException):
        found = _usage(error)
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        found = _error("E-INTERRUPTED", "interrupted", 130, remedy=RESUMABLE)
    elif isinstance(error, Terminated):
        found = _error("E-TERMINATED", "terminated", 143, remedy=RESUMABLE)
    elif no_memory:
        found = _out_of_memory(error)
    elif isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        found = _error("E-RESOURCE", "the disk is full", 5, remedy="Free some space.")
    return found or _our_fault(error)


def _invoke(arguments: list[str]) -> int:
    """Run a verb to its end; return the exit code."""
    if arguments[:1] != ["list"] and not {"-h", "--help", "--version"} & {*arguments}:
        _check_memory()
    code = 0
    try:
        # Not `trivium.main`: click would turn a closed pipe into exit code 1.
        with trivium.make_context("trivium", arguments or ["--help"]) as context:
            trivium.invoke(context)
    except click.exceptions.Exit as stop:
        code = stop.exit_code
    except BrokenPipeError:
        # Our own streams go on without a reader; here somebody else's ended.
        return 0
    sys.stdout.flush()
    return code


def main(arguments: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code."""
    own = arguments is None
    arguments = sys.argv[1:] if arguments is None else arguments
    warnings.simplefilter("always", TriviumWarning)
    warnings.showwarning = _show_warning
    with Interruption(own=own) as interruption:
        try:
            hold_streams(own=own)
            code = _invoke(arguments)
            interruption.stop()
        except (Exception, KeyboardInterrupt, Terminated) as error:
            interruption.stop()
            # A library may have turned the interruption into an error of its own.
            _fail(_describe(interruption.asked or error), "--json" in arguments)
    sys.exit(code)
