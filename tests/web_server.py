"""A web server on this machine whose pages are set by a test, with a log of what was asked of it."""

from __future__ import annotations

import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import faults
from loopback import Loopback


@dataclass
class Page:
    """An answer. fault: What the network does to it, see ``faults``. delay: Seconds before it."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: str | None = None
    delay: float = 0.0
    length: bool = True  # whether it has a Content-Length; if not, its connection is closed after it
    head: int | None = None  # the status for HEAD


# The number of earlier requests of the path -> the page.
Answer = Page | Callable[[int], Page]


class WebServer(Loopback):
    """A server for as long as it is entered. pages: by path. certificate: a file, for https."""

    def __init__(self, host: str = "127.0.0.1", certificate: Path | None = None, port: int = 0) -> None:
        self.pages: dict[str, Answer] = {}
        self.requests: list[tuple[str, str, dict[str, str]]] = []  # method, path, headers in lower case
        self.connections = 0
        self.now: Counter[str] = Counter()  # requests that are being answered, by Host
        self.peak: Counter[str] = Counter()
        self.lock = threading.Lock()
        httpd = _Server((host if certificate is None else "127.0.0.1", port), _Handler)
        httpd.web = self
        super().__init__(httpd, host)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            httpd.socket = context.wrap_socket(httpd.socket, server_side=True, do_handshake_on_connect=False)
            self.url = self.url.replace("http://", "https://")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def put(self, path: str, body: bytes = b"", **values: Any) -> str:
        """Set a page; -> its URL."""
        self.pages[path] = Page(body, **values)
        return self.url + path

    def paths(self) -> list[str]:
        return [path for _, path, _ in self.requests]


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    web: WebServer

    def process_request(self, request: Any, client_address: Any) -> None:
        self.web.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away, or that refused the certificate


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        web = self.server.web
        name = self.headers["Host"].partition(":")[0]
        with web.lock:
            earlier = web.paths().count(self.path)
            web.requests.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}))
            web.now[name] += 1
            web.peak[name] = max(web.peak[name], web.now[name])
        try:
            answer = web.pages.get(self.path, Page(b"no such page", 404))
            page = answer(earlier) if callable(answer) else answer
            time.sleep(page.delay)
            self._send(page)
        finally:
            with web.lock:
                web.now[name] -= 1

    do_HEAD = do_GET

    def _send(self, page: Page) -> None:
        is_head = self.command == "HEAD"
        status = page.head if is_head and page.head else page.status
        lines = [f"HTTP/1.1 {status} Answer", *(f"{key}: {value}" for key, value in page.headers.items())]
        if page.length and "Transfer-Encoding" not in page.headers and "Content-Length" not in page.headers:
            lines.append(f"Content-Length: {len(page.body)}")
        if not page.length:
            self.close_connection = True
            lines.append("Connection: close")
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        body = b"" if is_head else page.body
        if page.fault:
            self.close_connection = True
            faults.spoil(page.fault, self.connection, head + body)
        else:
            self.connection.sendall(head + body)

    def log_message(self, *_: Any) -> None:
        pass
