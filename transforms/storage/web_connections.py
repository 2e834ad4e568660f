"""Connections to hosts of http:// and https://, made only to addresses that were checked.

A name is resolved once for each connection, and the connection is made to an address of this answer. So an answer of
the DNS that changes after the check has no effect. This holds for each target of a redirect too.
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from transforms import time_limit
from transforms.errors import Unreadable
from transforms.storage.timed_http import TimedHTTP, TimedHTTPS

# As socket.getaddrinfo. A test may pass another one.
Resolve = Callable[..., list[tuple[Any, ...]]]

_POOLS = 32  # origins with open connections; their number times --per-host stays far below 1,024 open files
_ADDRESSES = 4  # of a name that are tried

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotPublic(Exception):
    """A host has no public address. The message names it and its addresses."""


def is_public(address: str) -> bool:
    """Return whether an address belongs to the public internet.

    An IPv6 address that holds an IPv4 address (mapped, 6to4, Teredo, NAT64) counts as that address.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = _inner(ip)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    special = ip.is_multicast or ip.is_reserved or ip.is_unspecified or ip.is_loopback or ip.is_link_local
    return ip.is_global and not ip.is_private and not special


def _inner(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    if ip.ipv4_mapped or ip.sixtofour:
        return ip.ipv4_mapped or ip.sixtofour
    if ip.teredo:
        return ip.teredo[1]
    compatible = int(ip) >> 32 == 0 and int(ip) > 1  # ::a.b.c.d, without :: and ::1
    return ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 or compatible else None


class Connections:
    """Pools of open connections, one for each origin. The pools used last are kept. Thread-safe.

    Args:
        per_host: Number of open connections that a pool keeps.
        private: Whether addresses that are not public are allowed.
        resolve: ``socket.getaddrinfo``, or another function with its signature.
    """

    def __init__(self, per_host: int, private: bool, resolve: Resolve = socket.getaddrinfo) -> None:
        self._per_host = per_host
        self._private = private
        self._resolve = resolve
        self._lock = threading.Lock()
        self._pools: OrderedDict[tuple[str, str, int], HTTPConnectionPool] = OrderedDict()

    def pool(self, scheme: str, host: str, port: int) -> HTTPConnectionPool:
        """Return the pool of an origin. A pool that is dropped here closes with its last response."""
        key = (scheme, host, port)
        with self._lock:
            if key not in self._pools:
                options: dict[str, Any] = {"maxsize": self._per_host, "block": False, "connect_to": self._connect}
                self._pools[key] = (
                    _SecurePool(host, port, ssl_context=_context(), **options)
                    if scheme == "https"
                    else _Pool(host, port, **options)
                )
                while len(self._pools) > _POOLS:
                    self._pools.popitem(last=False)
            self._pools.move_to_end(key)
            return self._pools[key]

    def _connect(self, connection: Any) -> socket.socket:
        """Return a socket that is connected to a checked address of the host."""
        host, timeout = connection.host.strip("[]"), connection.timeout
        end = time.monotonic() + timeout
        found = self._addresses(connection, host, timeout)
        error: OSError | None = None
        for family, address in found[:_ADDRESSES]:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(max(0.01, end - time.monotonic()))
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock.connect(address)
            except OSError as exc:
                sock.close()
                error = exc
            else:
                sock.settimeout(timeout)
                return sock
        if isinstance(error, TimeoutError):
            raise ConnectTimeoutError(connection, f"no connection to {host} within {timeout:.3g} s") from error
        raise NewConnectionError(connection, f"no connection to {host}: {error}") from error

    def _addresses(self, connection: Any, host: str, timeout: float) -> list[tuple[int, Any]]:
        """Return the addresses of a host that are allowed. Raises NotPublic if it has none of them."""
        try:
            # The resolver of the system takes no time limit.
            answer = time_limit.call(lambda: self._resolve(host, connection.port, 0, socket.SOCK_STREAM), timeout)
        except Unreadable as exc:
            raise ConnectTimeoutError(connection, f"no answer to the look-up of {host} in the DNS") from exc
        except (socket.gaierror, UnicodeError) as exc:
            reason = exc if isinstance(exc, socket.gaierror) else socket.gaierror(socket.EAI_NONAME, str(exc))
            raise NameResolutionError(host, connection, reason) from exc
        found = [(family, address) for family, _, _, _, address in answer]
        allowed = [each for each in found if self._private or is_public(each[1][0])]
        if found and not allowed:
            raise NotPublic(f"{host} has the address {found[0][1][0]}, which is not public")
        return allowed


@cache
def _context() -> ssl.SSLContext:
    """Return a context that trusts the certificates of the system and of certifi, because a container may have none."""
    context = ssl.create_default_context()
    context.load_verify_locations(DEFAULT_CA_BUNDLE_PATH)
    return context


class _Checked(TimedHTTP):
    def __init__(self, *args: Any, connect_to: Callable[[Any], socket.socket], **options: Any) -> None:
        super().__init__(*args, **options)
        self._connect_to = connect_to

    def _new_conn(self) -> socket.socket:
        return self._connect_to(self)


class _SecureChecked(TimedHTTPS):
    def __init__(self, *args: Any, connect_to: Callable[[Any], socket.socket], **options: Any) -> None:
        super().__init__(*args, **options)
        self._connect_to = connect_to

    def _new_conn(self) -> socket.socket:
        return self._connect_to(self)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Checked


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureChecked
