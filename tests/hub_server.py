"""TF-Hub on 127.0.0.1: answers by path, as many requests at once as there are."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """status and body; length: what the header says of the body, default the truth."""

    body: bytes = b""
    status: int = 200
    length: int | None = None
    silent: bool = False  # no answer at all, until the server is closed


class HubServer:
    """A server for as long as it is entered. ``answers``: path -> Answer; other paths are 404."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[str] = []
        self.closing = threading.Event()
        self._httpd = _Server(("127.0.0.1", 0), _Handler)
        self._httpd.hub = self
        self.url = f"http://127.0.0.1:{self._httpd.server_port}"

    def put(self, path: str, answer: Answer) -> str:
        """-> the URL of ``path``."""
        self.answers[path] = answer
        return self.url + path

    def __enter__(self) -> HubServer:
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()


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
