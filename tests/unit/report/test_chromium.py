"""The page in a real browser: nothing runs, nothing is asked for, nothing is refused."""

import http.server
import shutil
import socket
import subprocess
import threading

import pytest

from trivium.report import render

BROWSER = next(
    (
        found
        for name in ("chromium", "chromium-browser", "google-chrome")
        if (found := shutil.which(name))
    ),
    None,
)


def loopback():
    """Tell whether this machine can speak to itself; in a bare network namespace it cannot."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        try:
            socket.create_connection(listener.getsockname(), timeout=5).close()
        except OSError:
            return False
    return True


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no Chromium on PATH"),
    pytest.mark.skipif(not loopback(), reason="no loopback interface to serve pages on"),
]
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--enable-logging=stderr", "--virtual-time-budget=2000",
)  # fmt: skip
PROBE = "<script>document.title='ran'</script>"


def browse(address, folder, *flags):
    """Return what the browser made of the page, and what it complained of."""
    done = subprocess.run(
        [BROWSER, *FLAGS, f"--user-data-dir={folder}", *flags, "--dump-dom", address],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    return done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def title(dom):
    return dom.split("<title>", 1)[1].split("</title>", 1)[0]


@pytest.fixture
def serve(tmp_path):
    """Return a function that serves a page on this machine, and the list of paths asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(tmp_path), **kwargs)

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *args):
            """Keep quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def start(text):
        (tmp_path / "page.html").write_text(text, encoding="utf-8")
        return f"http://127.0.0.1:{server.server_port}/page.html"

    yield start, asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_hostile_markup_runs_nothing_and_asks_for_nothing(hostile_report, serve, tmp_path):
    start, asked = serve
    dom, complaints = browse(start(render(hostile_report)), tmp_path / "profile")
    assert title(dom).startswith("trivium audit: ")
    assert "<script" not in dom
    assert asked == ["/page.html"]
    assert "Content Security Policy" not in complaints


def test_even_markup_that_slipped_through_would_not_run(report, serve, tmp_path):
    start, asked = serve
    slipped = render(report).replace(
        "<main>", f'<main>{PROBE}<img src="/x.png" onerror="document.title=\'ran\'">', 1
    )
    dom, complaints = browse(start(slipped), tmp_path / "profile")
    assert title(dom) == "trivium audit: customers-2026.csv"
    assert asked == ["/page.html"]
    assert "Content Security Policy" in complaints


def test_the_probe_runs_where_no_policy_forbids_it(report, serve, tmp_path):
    start, _ = serve
    page = render(report).replace('http-equiv="Content-Security-Policy"', 'name="none"', 1)
    dom, _ = browse(start(page.replace("<main>", f"<main>{PROBE}", 1)), tmp_path / "profile")
    assert title(dom) == "ran"


def test_the_style_is_accepted_by_the_policy(report, serve, tmp_path):
    start, _ = serve
    _, complaints = browse(start(render(report)), tmp_path / "profile")
    assert "Content Security Policy" not in complaints
    picture = tmp_path / "page.png"
    browse(start(render(report)), tmp_path / "other", f"--screenshot={picture}")
    assert picture.stat().st_size > 20_000
