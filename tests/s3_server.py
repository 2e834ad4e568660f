"""Amazon S3 on 127.0.0.1: moto's application behind a threaded server that can be made to fail.

moto does not check credentials and logs no requests. What the tests need is added in front of it: faults, delays, a
log of the requests, and requests that wait for each other.
"""

from __future__ import annotations

import io
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from faults import Fault, spoil
from loopback import Loopback
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import create_backend_app
from moto.s3.models import s3_backends
from werkzeug.test import run_wsgi_app

# (method, path with its query) -> what is wrong with the answer, see ``faults``; None for the right answer.
# A request whose answer is "drop" or a status is not carried out. Any other fault spoils the answer alone.
Faults = Callable[[str, str], "Fault | None"]

_CODES = {
    400: "InvalidRequest",
    403: "AccessDenied",
    409: "ConditionalRequestConflict",
    501: "NotImplemented",
    503: "SlowDown",
}


class S3Server(Loopback):
    """A server for as long as it is entered. ``reset`` before each test."""

    def __init__(self) -> None:
        self.app: Any = create_backend_app("s3")
        self.backend: Any = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        self._lock = threading.Lock()  # moto is not made for threads
        self._count = threading.Condition()
        httpd = _Server(("127.0.0.1", 0), _Handler)
        httpd.s3 = self
        super().__init__(httpd)
        self.reset()

    def reset(self) -> None:
        self.faults: Faults | None = None
        self.code = ""  # of the errors that are faults, where it is not the usual one
        self.hidden_headers: tuple[str, ...] = ()  # of the answers, in lower case
        self.ignored_headers: tuple[str, ...] = ()  # of the requests, as by a server that does not implement them
        self.delay = 0.0  # seconds before each answer
        self.gather = 0  # no PUT or DELETE is answered until this many have arrived
        self.requests: list[tuple[str, str]] = []

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the storage to oneself."""
        with self._lock:
            yield

    def count(self, method: str, path: str) -> None:
        with self._count:
            self.requests.append((method, path))
            self._count.notify_all()
            if method in ("PUT", "DELETE"):
                self._count.wait_for(lambda: self._arrived(method) >= self.gather, timeout=30)
        time.sleep(self.delay)

    def _arrived(self, method: str) -> int:
        return sum(method == each for each, _ in self.requests)


@dataclass(frozen=True)
class S3Bucket:
    """A bucket, filled and looked into without a request."""

    s3: S3Server
    name: str

    @classmethod
    def made(cls, s3: S3Server, name: str) -> S3Bucket:
        with s3.alone():
            s3.backend.create_bucket(name, "us-east-1")
        return cls(s3, name)

    def uri(self, name: str) -> str:
        return f"s3://{self.name}/{name}"

    def put(self, name: str, data: bytes) -> str:
        """Store an object without a checksum; -> its ETag."""
        with self.s3.alone():
            etag: str = self.s3.backend.put_object(self.name, name, data).etag
        return etag.strip('"')

    def get(self, name: str) -> bytes:
        with self.s3.alone():
            data: bytes = self.s3.backend.get_object(self.name, name).value
        return data

    def key(self, name: str) -> Any:
        """What moto keeps of an object, to look into and to change."""
        return self.s3.backend.get_object(self.name, name)

    def names(self) -> list[str]:
        with self.s3.alone():
            return sorted(self.s3.backend.buckets[self.name].keys)

    def delete(self, name: str) -> None:
        with self.s3.alone():
            self.s3.backend.delete_object(self.name, name)


class _Server(ThreadingHTTPServer):
    request_queue_size = 256
    s3: S3Server

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):  # a client that went away is none of ours
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections stay open, as those of the real one
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        s3 = self.server.s3
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        s3.count(self.command, self.path)
        fault = s3.faults(self.command, self.path) if s3.faults else None
        if isinstance(fault, int):
            code = s3.code or _CODES.get(fault, "InternalError")
            text = f"<Error><Code>{code}</Code><Message>status {fault} for a test</Message></Error>".encode()
            self.wfile.write(self._raw(f"{fault} fault", {"Content-Length": str(len(text))}, text))
            return
        answer = b"" if fault == "drop" else self._raw(*self._ask_moto(body))
        if isinstance(fault, str):
            self.close_connection |= not spoil(fault, self.connection, answer)
        else:
            self.wfile.write(answer)

    def _ask_moto(self, body: bytes) -> tuple[str, dict[str, str], bytes]:
        s3, url = self.server.s3, urlsplit(self.path)
        environ: dict[str, Any] = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(self.path.partition("?")[0]).decode("latin-1"),
            "RAW_URI": self.path,
            "REQUEST_URI": self.path,
            "QUERY_STRING": url.query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.server.server_port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for name, value in self.headers.items():
            if name.lower() not in s3.ignored_headers:
                environ.setdefault(f"HTTP_{name.upper().replace('-', '_')}", value)
        if "HTTP_X_AMZ_CHECKSUM_CRC32C" in environ:  # moto stores no checksum without it, which S3 does
            environ["HTTP_X_AMZ_SDK_CHECKSUM_ALGORITHM"] = "CRC32C"
        with s3.alone():
            parts, status, headers = run_wsgi_app(s3.app, environ, buffered=True)
            data = b"".join(parts)
        kept = {name: value for name, value in headers.items() if name.lower() not in s3.hidden_headers}
        if self.command != "HEAD":
            kept = {name: value for name, value in kept.items() if name.lower() != "content-length"}
            kept["Content-Length"] = str(len(data))
        return status, kept, data

    def _raw(self, status: str, headers: dict[str, str], body: bytes) -> bytes:
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        return "\r\n".join(lines).encode("latin-1") + (b"" if self.command == "HEAD" else body)
