"""TimedAdapter over TLS: a response that drips ends in time, and a connection is used again."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import certificates
import faults
import pytest
import requests
from loopback import Loopback

from transforms.storage.timed_http import TimedAdapter

BODY = bytes(1_000)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
        if self.path == "/drip":
            self.close_connection = True
            faults.spoil("drip", self.connection, answer)
        else:
            self.connection.sendall(answer)

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    connections = 0

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that went away


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return certificates.write(tmp_path, "localhost")


@pytest.fixture
def server(certificate: Path) -> Iterator[tuple[_Server, str]]:
    httpd = _Server(("127.0.0.1", 0), _Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
    with Loopback(httpd, "localhost") as loopback:
        yield httpd, loopback.url.replace("http://", "https://")


def test_a_response_that_drips_over_tls_ends_in_time(server: tuple[_Server, str], certificate: Path) -> None:
    httpd, url = server
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(certificate)
        session.mount("https://", TimedAdapter())
        for _ in range(3):
            assert session.get(url, timeout=(10, 30)).content == BODY
        assert httpd.connections == 1
        with pytest.raises((requests.ConnectionError, requests.Timeout)):
            _ = session.get(f"{url}/drip", timeout=(10, 0.5)).content
        assert session.get(url, timeout=(10, 30)).content == BODY
