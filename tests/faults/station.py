"""A warm process that runs `trivium ARGUMENTS` in children of its own, with faults to order.

Importing torch takes longer than a small audit; a child forked after the imports starts at once,
and is a process all the same: it has its signals, limits, streams and end. Asked by JSON lines.
"""

import contextlib
import errno
import importlib
import io
import json
import os
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Injector:
    """Counts what a child does to the disk below `root`, and fails or dies at the n-th step.

    Steps are open for writing, write (half of it happens), fsync, replace and mkdir; for a crash
    also unlink and rmdir. A disk that is full stays full.
    """

    def __init__(self, root, kind, n, log):
        self.root, self.kind, self.n, self.log = root, kind, n, log
        self.steps = []

    def arm(self):
        """Put the counters in the way."""
        opened, os_opened = io.open, os.open

        def open_file(path, mode="r", *rest, **options):
            # An opener of its own ends in os.open, which counts.
            if not self.ours(path) or not set(mode) & set("wxa+") or options.get("opener"):
                return opened(path, mode, *rest, **options)
            self.step(f"open {Path(path).name}")
            plain = mode.replace("b", "").replace("t", "")
            file = Writer(io.FileIO(path, plain))
            file.injector = self
            return file if "b" in mode else io.TextIOWrapper(file, *rest[1:], **options)

        def open_handle(path, flags, *rest, **options):
            if self.ours(path) and flags & (os.O_CREAT | os.O_WRONLY | os.O_RDWR):
                self.step(f"open {Path(path).name}")
            return os_opened(path, flags, *rest, **options)

        io.open = open_file
        __builtins__.open = open_file
        os.open = open_handle
        for name in ("fsync", "replace", "rename", "mkdir", "unlink", "rmdir"):
            setattr(os, name, self.counted(name, getattr(os, name)))

    def counted(self, name, real):
        def call(*arguments, **options):
            here = options.get("dir_fd") is not None or name == "fsync" or self.ours(arguments[0])
            if here and (self.kind == "crash" or name not in ("unlink", "rmdir")):
                self.step(name)
            return real(*arguments, **options)

        return call

    def ours(self, path):
        return not isinstance(path, int) and os.path.abspath(os.fsdecode(path)).startswith(
            self.root
        )

    def step(self, what):
        self.steps.append(what)
        if self.log:
            with os.fdopen(os.dup(self.log), "a", closefd=True) as file:
                file.write(what + "\n")
        if len(self.steps) == self.n and self.kind == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.n and len(self.steps) >= self.n:
            raise FULL


class Writer(io.BufferedWriter):
    """A file that loses the second half of a write that fails."""

    injector = None

    def write(self, data):
        lost = self.injector.n and len(self.injector.steps) + 1 >= self.injector.n
        if lost:
            super().write(bytes(data)[: len(data) // 2])
            super().flush()
        self.injector.step("write")
        return super().write(data)


def streams(asked):
    """Give the child streams of its own."""
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        place = asked[name]
        if place == "broken":
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, number)
        else:
            os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    sys.__stdout__, sys.__stderr__ = sys.stdout, sys.stderr  # as in a process of its own


def child(asked):
    """Become `trivium ARGUMENTS`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    streams(asked)
    os.chdir(asked["cwd"])
    os.environ |= asked["env"]
    sys.argv = ["trivium", *asked["arguments"]]
    if asked["memory"]:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + asked["memory"],) * 2)
    if asked["before"]:
        exec(asked["before"], {})
    if asked["fault"]:
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        Injector(asked["cwd"], *asked["fault"], log).arm()
    from trivium.cli import main

    try:
        main()
    except SystemExit as stop:
        if asked["finalize"]:
            raise
        # The interpreter takes a second to take torch down.
        sys.stdout.flush()
        sys.stderr.flush()
        Path(asked["end"]).write_text(repr(time.process_time()))
        os._exit(stop.code)


def watched(pid, asked):
    """Wait for a child, and signal it once it has had its share of processor time."""
    clock, start, used, sent = (~pid << 3) | 2, time.monotonic(), 0.0, None
    number, at = asked["signal"] or (0, 0.0)
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return {"code": os.waitstatus_to_exitcode(status), "cpu": used, "sent": sent}
        if time.monotonic() - start > asked["timeout"]:
            os.kill(pid, signal.SIGKILL)
            at, number = 1e9, 0
        try:
            used = time.clock_gettime(clock)
        except OSError:
            continue
        if number and used >= at:
            os.kill(pid, number)
            number, sent = 0, used
        time.sleep(0.0005)


def nowhere():
    """Text that nobody reads."""
    return io.TextIOWrapper(io.BytesIO())


def main():
    """Import what an audit imports, by one audit, then serve."""
    from trivium.cli import main as command

    with (
        contextlib.redirect_stdout(nowhere()),
        contextlib.redirect_stderr(nowhere()),
        contextlib.suppress(SystemExit),
        tempfile.TemporaryDirectory() as place,
    ):
        command(["audit", "--out", place, "--permutations", "19", "--folds", "2"])
    importlib.import_module("trivium.pathkernel")  # and what an optimizer brings along
    torch = importlib.import_module("torch")
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        pid = os.fork()
        if not pid:
            return child(asked)
        print(json.dumps(watched(pid, asked)), flush=True)
    return None


if __name__ == "__main__":
    main()
