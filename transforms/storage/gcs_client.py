"""The one client for gs:// of this process, and what its errors mean to us.

It is made at the first request, and again in a forked child.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import requests.adapters
import urllib3.exceptions
from google.api_core import exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import storage
from google.cloud.storage.exceptions import DataCorruption

from transforms.errors import FetchError, NoCredentials, NotFound, Unreadable, UsageError

_CONNECTIONS = 64  # as many threads can fetch at once and keep their connection

_LOGIN = "run `gcloud auth application-default login`, or attach a service account to the machine"

_lock = threading.Lock()
_client: Any = None


def client() -> Any:
    """The ``google.cloud.storage.Client`` of this process. Raises NoCredentials."""
    global _client
    with _lock:
        if _client is None:
            try:
                made = storage.Client(project=None)  # objects are found without one
            except auth_exceptions.DefaultCredentialsError as exc:
                raise NoCredentials(f"gs:// needs credentials and there are none: {_LOGIN} ({exc})") from exc
            session = made._http
            if not session.is_mtls:  # it has an adapter of its own then, with the certificate
                adapter = requests.adapters.HTTPAdapter(pool_maxsize=_CONNECTIONS)
                session.mount("https://", adapter)
                session.mount("http://", adapter)
            session.hooks["response"].append(_finish_refusal)
            _client = made
        return _client


def _finish_refusal(response: Any, **_: Any) -> None:
    # The library leaves the body of a refused download unread, and its connection then serves no other request.
    if response.status_code >= 400:
        _ = response.content


def close() -> None:
    """Close this process's connections; the next request makes a client from the environment of then."""
    global _client
    with _lock:
        if _client is not None:
            _client.close()
            _client = None


def _after_fork() -> None:
    # Connections must not be shared with the parent, and its other threads will never release the lock here.
    global _client, _lock
    _client, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


@contextmanager
def reading(uri: str, role: str = "roles/storage.objectViewer") -> Iterator[None]:
    """Errors of a request, after its retries -> NotFound, Unreadable, NoCredentials."""
    try:
        yield
    except exceptions.NotFound as exc:
        bucket = uri.split("/")[2]
        raise NotFound(f"there is no {uri}: no such object, or no bucket gs://{bucket}") from exc
    except (exceptions.Unauthorized, exceptions.Forbidden) as exc:
        # Mended without a change of the image, so the next run tries again.
        remedy = f"give the account that runs this {role} on the bucket"
        raise Unreadable(f"{uri}: {remedy} ({exc})", retryable=True) from exc
    except auth_exceptions.GoogleAuthError as exc:
        if exc.retryable or isinstance(exc, auth_exceptions.TransportError):
            raise Unreadable(f"{uri}: no token to be had ({exc})", retryable=True) from exc
        raise NoCredentials(f"{uri}: the credentials are refused: {_LOGIN} ({exc})") from exc
    except (exceptions.ClientError, exceptions.ServerError, exceptions.RetryError) as exc:
        passing = not isinstance(exc, exceptions.ClientError) or exc.code in (408, 429)
        raise Unreadable(f"{uri}: {exc}", retryable=passing) from exc
    except (OSError, urllib3.exceptions.HTTPError, DataCorruption) as exc:
        raise Unreadable(f"{uri}: {type(exc).__name__}: {exc}", retryable=True) from exc


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """As ``reading``; but what lasts is a UsageError, since there is nowhere to put what the run makes."""
    try:
        with reading(uri, "roles/storage.objectUser"):
            yield
    except FetchError as exc:
        refused = isinstance(exc.__cause__, exceptions.Unauthorized | exceptions.Forbidden)
        if exc.retryable and not refused:
            raise
        raise UsageError(f"cannot write {uri}: {exc}") from exc
