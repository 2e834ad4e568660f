"""``--on-finish`` against servers on localhost that are as servers are."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from runners.jobs.webhook import Webhook
from transforms.errors import UsageError

REPORT = {"run_id": "r1", "state": "done", "error": "ä"}


class Server(ThreadingHTTPServer):
    """Answers with ``answers`` one after the other, the last one for ever; a number of seconds is slept."""

    daemon_threads = True

    def __init__(self, *answers: int | float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = list(answers)
        self.got: list[tuple[str, dict[str, str], Any]] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def hook(self) -> Webhook:
        return Webhook(f"http://127.0.0.1:{self.server_port}/hooks/s3cret?token=t0ken")


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.path, dict(self.headers), json.loads(body)))
        answer = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        if isinstance(answer, float):
            time.sleep(answer)
            return
        self.send_response(answer)
        if 300 <= answer < 400:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    made = io.StringIO()
    yield made
    assert "s3cret" not in made.getvalue()
    assert "t0ken" not in made.getvalue()


def test_it_posts_the_report(stream: io.StringIO) -> None:
    with Server(204) as server:
        assert server.hook.post(REPORT, stream)
    ((path, headers, body),) = server.got
    assert (path, headers["Content-Type"], body) == ("/hooks/s3cret?token=t0ken", "application/json", REPORT)
    assert not stream.getvalue()


@pytest.mark.parametrize("bad", [500, 503, 429, 408])
def test_it_tries_again(stream: io.StringIO, bad: int) -> None:
    with Server(bad, bad, 200) as server:
        assert server.hook.post(REPORT, stream, pause=0.05)
    assert [body for _, _, body in server.got] == [REPORT] * 3
    assert not stream.getvalue()


@pytest.mark.parametrize("refusal", [404, 401, 302, 307])
def test_a_refusal_is_final(stream: io.StringIO, refusal: int) -> None:
    with Server(refusal) as server:
        assert not server.hook.post(REPORT, stream)
        host = f"http://127.0.0.1:{server.server_port}/..."
    assert len(server.got) == 1
    assert stream.getvalue() == f"beamsight: the report could not be posted to {host}: it answers {refusal}\n"


def test_a_server_that_hangs_is_given_up(stream: io.StringIO) -> None:
    with Server(5.0) as server:
        assert not server.hook.post(REPORT, stream, seconds=1.2, timeout=0.4, pause=0.1)
    assert 2 <= len(server.got) <= 3
    assert "timed out" in stream.getvalue()


def test_a_server_that_comes_back(stream: io.StringIO) -> None:
    with Server(1.0, 200) as server:
        assert server.hook.post(REPORT, stream, timeout=0.3, pause=0.1)
    assert len(server.got) == 2


def test_a_server_that_is_gone(stream: io.StringIO) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert not Webhook(f"http://127.0.0.1:{port}/s3cret").post(REPORT, stream, seconds=0.5, pause=0.1)
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
def test_what_is_no_url_is_refused_unshown(url: str) -> None:
    with pytest.raises(UsageError, match="--on-finish takes a URL such as") as caught:
        Webhook(url)
    assert "s3cret" not in str(caught.value)


def test_it_is_not_shown() -> None:
    hook = Webhook("https://hooks.example/s3cret?t0ken")
    assert f"{hook} {hook!r}" == "https://hooks.example/... Webhook()"
