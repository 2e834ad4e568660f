"""``--on-finish`` against HTTP servers on localhost."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runners.jobs.webhook import Webhook
from transforms.errors import UsageError

HANGS = 0
REPORT = {"run_id": "r1", "state": "done", "error": "ä"}


class Server(ThreadingHTTPServer):
    """Answers with ``statuses`` in order and repeats the last one. For HANGS it sends no answer."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses)
        self.got: list[tuple[str, dict[str, str], Any]] = []
        self.closed = threading.Event()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    def server_close(self) -> None:
        self.closed.set()
        self.shutdown()
        super().server_close()

    @property
    def hook(self) -> Webhook:
        return Webhook(f"http://127.0.0.1:{self.server_port}/hooks/s3cret?token=t0ken")


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), json.loads(body)))
        status = self.server.statuses.pop(0) if len(self.server.statuses) > 1 else self.server.statuses[0]
        if status == HANGS:
            self.server.closed.wait()
            return
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    output = io.StringIO()
    yield output
    assert "s3cret" not in output.getvalue()
    assert "t0ken" not in output.getvalue()


def test_posts_the_report(stream: io.StringIO) -> None:
    with Server(204) as server:
        assert server.hook.post(REPORT, stream)
    ((path, headers, body),) = server.got
    assert (path, headers["Content-Type"], body) == ("/hooks/s3cret?token=t0ken", "application/json", REPORT)
    assert not stream.getvalue()


@pytest.mark.parametrize("status", [500, 503, 429, 408])
def test_retries_transient_errors(stream: io.StringIO, status: int) -> None:
    with Server(status, status, 200) as server:
        assert server.hook.post(REPORT, stream, pause=0)
    assert [body for _, _, body in server.got] == [REPORT] * 3
    assert not stream.getvalue()


@pytest.mark.parametrize("status", [404, 401, 302, 307])
def test_does_not_retry_permanent_errors_or_follow_redirects(stream: io.StringIO, status: int) -> None:
    with Server(status) as server:
        assert not server.hook.post(REPORT, stream)
        host = f"http://127.0.0.1:{server.server_port}/..."
    assert len(server.got) == 1
    assert stream.getvalue() == f"beamsight: could not post the report to {host}: the server answered {status}\n"


def test_gives_up_on_a_server_that_hangs(stream: io.StringIO) -> None:
    with Server(HANGS) as server:
        assert not server.hook.post(REPORT, stream, seconds=0.7, timeout=0.3, pause=0.01)
    assert 2 <= len(server.got) <= 3
    assert "timed out" in stream.getvalue()


def test_retries_after_a_timeout(stream: io.StringIO) -> None:
    with Server(HANGS, 200) as server:
        assert server.hook.post(REPORT, stream, timeout=0.3, pause=0)
    assert len(server.got) == 2


def test_reports_a_refused_connection(stream: io.StringIO) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert not Webhook(f"http://127.0.0.1:{port}/s3cret").post(REPORT, stream, seconds=0.1, pause=0.01)
    assert "refused" in stream.getvalue()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3cret",
        "ftp://h/s3cret",
        "file:///s3cret",
        "http://",
        "http://h:x/s3cret",
        "http://u:s3cret@h/",
        "http://h/\n",
    ],
)
def test_refuses_an_invalid_url_without_showing_it(url: str) -> None:
    with pytest.raises(UsageError, match="--on-finish takes a URL such as") as caught:
        Webhook(url)
    assert "s3cret" not in str(caught.value)


def test_shows_only_the_host() -> None:
    hook = Webhook("https://hooks.example/s3cret?t0ken")
    assert f"{hook} {hook!r}" == "https://hooks.example/... Webhook()"
