"""The client for s3://, one in each process.

Credentials and region come from where the AWS command line finds them: environment, profile, web identity, container
and instance. ``AWS_ENDPOINT_URL`` names another server than Amazon S3. With ``AWS_NO_SIGN_REQUEST=true``, requests are
not signed, for public buckets. The first request creates the client. A forked child creates its own.
"""

from __future__ import annotations

import os
import re
import threading
from typing import Any

import botocore.session
from botocore import UNSIGNED, exceptions
from botocore.config import Config

from transforms.errors import NoCredentials
from transforms.storage import s3_http
from transforms.storage.s3_errors import LOGIN

_CONNECTIONS = 64  # number of threads that can keep a connection each
TIMEOUT = (10.0, 60.0)  # seconds to connect, and for the whole response

_lock = threading.Lock()
_client: Any = None


def client() -> Any:
    """Return the client of botocore of this process. Raises NoCredentials, UsageError."""
    global _client
    with _lock:
        if _client is None:
            _client = _create()
        return _client


def _create() -> Any:
    unsigned = os.environ.get("AWS_NO_SIGN_REQUEST", "").lower() in ("1", "true", "yes")
    config = Config(
        connect_timeout=TIMEOUT[0],
        read_timeout=TIMEOUT[1],
        max_pool_connections=_CONNECTIONS,
        retries={"total_max_attempts": 1},  # ``s3`` repeats a request within its time
        request_checksum_calculation="when_required",  # ``s3`` sends and verifies checksums
        response_checksum_validation="when_required",
        signature_version=UNSIGNED if unsigned else None,
    )
    try:
        session = botocore.session.Session()
        if not unsigned and session.get_credentials() is None:
            raise NoCredentials(f"s3:// needs credentials and there are none: {LOGIN}")
        new = session.create_client("s3", config=config)
    except (exceptions.BotoCoreError, ValueError) as exc:
        raise NoCredentials(f"s3:// cannot be used with this configuration of AWS: {exc}; {LOGIN}") from exc
    s3_http.install(new)
    new.meta.events.register("before-call.s3.GetObject", _ask_checksum)
    new.meta.events.register("before-call.s3.HeadObject", _ask_checksum)
    return new


def _ask_checksum(params: dict[str, Any], **_: Any) -> None:
    # As an argument of the call, botocore would also verify it, but only of whole objects and not of all kinds.
    params["headers"]["x-amz-checksum-mode"] = "ENABLED"


def close() -> None:
    """Close all connections of this process. The next request creates a client from the environment at that time."""
    global _client
    with _lock:
        if _client is not None:
            _client.close()
            _client = None


def _after_fork() -> None:
    # Connections must not be shared with the parent. Its other threads do not exist here and cannot release the lock.
    global _client, _lock
    _client, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


def is_amazon() -> bool:
    """Return whether the client's server is Amazon S3."""
    host: str = client().meta.endpoint_url
    return re.search(r"\.amazonaws\.com(\.cn)?(:\d+)?/?$", host) is not None
