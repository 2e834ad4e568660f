"""TF-Hub on 127.0.0.1: answers by path, as many requests at once as there are."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from loopback import Loopback


@dataclass(frozen=True)
class Answer:
    """status and body; length: what the header says of the body, default the truth."""

    body: bytes = b""
    status: int = 200
    length: int | None = None
    silent: bool = False  # no answer at all, until the server is closed


class HubServer(Loopback):
    """A server for as long as it is entered. ``answers``: path -> Answer; other paths are 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.closing = threading.Event()
        httpd = _Server(("127.0.0.1", 0), _Handler)
        httpd.hub = self
        super().__init__(httpd)

    def put(self, path: str, answer: Answer) -> str:
        """-> the URL of ``path``."""
        self.answers[path] = answer
        return self.url + path

    def __exit__(self, *error: object) -> None:
        self.closing.set()
        super().__exit__(*error)


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # so that closing waits for them
    hub: HubServer


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        hub = self.server.hub
        hub.requests.append(self.path)
        answer = hub.answers.get(urlsplit(self.path).path, Answer(b"no such model", 404))
        if answer.silent:
            hub.closing.wait()
            return
        self.send_response(answer.status)
        self.send_header("Content-Length", str(len(answer.body) if answer.length is None else answer.length))
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, *_: Any) -> None:
        pass
