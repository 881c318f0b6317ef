"""Memory as the system tells it; and the package where the system is not POSIX."""

import subprocess
import sys

import numpy as np

from trivium._core import peak
from trivium._core.peak import memory_limit, peak_bytes

# What Windows lacks is taken away before the package is loaded; nothing was tried on Windows.
WITHOUT_POSIX = """
import os, select, signal, socket, sys

for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
lacking = {
    os: ["O_NOFOLLOW", "O_NONBLOCK", "setsid", "killpg", "getpgid", "getpgrp", "waitid", "P_PID"],
    signal: ["SIGKILL", "SIGALRM", "setitimer", "ITIMER_REAL", "SIGPIPE", "SIGHUP"],
    select: ["poll"],
    socket: ["send_fds", "recv_fds"],
}
for module, names in lacking.items():
    for name in names:
        delattr(module, name)

import numpy as np

from trivium.dependence import independence_test
from trivium._core.errors import ArgumentError
from trivium.parallel import JoblibExecutor

rng = np.random.default_rng(0)
x = rng.normal(size=(60, 1))
found = independence_test(x, x + rng.normal(size=(60, 1)), n_permutations=19, random_state=0)
assert found.p_value <= 0.1 and found.memory == 0, found
try:
    JoblibExecutor(2, "loky")
except ArgumentError as error:
    assert "must run on Linux or macOS" in str(error), error
else:
    raise AssertionError("worker processes")

with open("data.csv", "w") as file:
    print("a", "label", sep=",", file=file)
    for row, value in enumerate(x[:, 0]):
        print(value, "yes" if value > 0 else "no", sep=",", file=file)
from trivium.cli.entry import main

for arguments in (
    ["audit", "data.csv", "--label", "label", "--out", "run"],
    ["predict", "run", "data.csv", "--out", "found.csv"],
):
    try:
        main(arguments)
    except SystemExit as end:
        assert end.code in (0, None), (arguments, end.code)
assert len(open("found.csv").readlines()) == 61
assert os.path.exists("run/report.html")
print("whole")
"""


def test_the_peak_is_in_bytes():
    block = np.ones(10_000_000)
    assert block.nbytes < peak_bytes() < 2**43
    assert memory_limit() is None or memory_limit() > block.nbytes


def test_where_nobody_knows(monkeypatch):
    monkeypatch.setattr(peak, "resource", None)
    assert peak_bytes() == 0
    assert memory_limit() is None


def test_without_posix_the_serial_road_works(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_POSIX],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("whole\n")
