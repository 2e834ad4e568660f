"""An HTTP server on this machine, in a thread, for as long as it is entered, and how it answers."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

Own = TypeVar("Own", bound="Loopback")


class Loopback:
    """What the servers for tests have in common. host: the name by which clients know this machine."""

    def __init__(self, httpd: ThreadingHTTPServer, host: str = "127.0.0.1") -> None:
        self._httpd = httpd
        self.url = f"http://{host}:{httpd.server_port}"

    def __enter__(self: Own) -> Own:
        self._thread = threading.Thread(target=self._httpd.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._httpd.shutdown()
        self._thread.join()
        self._httpd.server_close()


class JsonHandler(BaseHTTPRequestHandler):
    """Answers with JSON, and says nothing of it."""

    def answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass
