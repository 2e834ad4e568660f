"""An HTTP server on this machine, in a thread, for as long as it is entered."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from typing import TypeVar

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
