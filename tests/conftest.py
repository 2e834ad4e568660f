"""What all tests share: quiet libraries, gs:// and s3:// on 127.0.0.1, and the data beside the checkout."""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow or gRPC
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
os.environ.setdefault("GLOG_minloglevel", "3")
# Else the client of gs:// asks for each bucket in the background, in between the requests that tests count.
os.environ["DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA"] = "true"

import argparse
import json
import signal
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from gcs_server import Bucket, GcsServer
from google.cloud.storage.retry import DEFAULT_RETRY
from hypothesis import settings
from s3_server import S3Bucket, S3Server

from transforms import run_state
from transforms.storage import files, gcs_client, s3_client
from transforms.storage import gcs as gcs_objects
from transforms.storage.base import FileSystem

pytest_plugins = ["bundles", "standins"]

# What a shell starts in the background ignores interrupts, and so would the runs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Beam makes some 900 parsers a run, and each looks for translations on the disk: an eighth of the time of a small run.
argparse._ = str  # type: ignore[attr-defined]

# A slow machine is not a fault: no example of a property has a time limit.
settings.register_profile("beamsight", deadline=None)
settings.load_profile("beamsight")

_CREDENTIALS = {
    "type": "authorized_user",
    "client_id": "test",
    "client_secret": "test",
    "refresh_token": "test",
    "quota_project_id": "test-project",
    "token": "fake-token",
    "expiry": "2099-01-01T00:00:00Z",
}


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the bundles and the compiled models of the tests apart from those of the user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BEAMSIGHT_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def gcs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsServer]:
    """A server for gs:// in this process, and an environment in which clients find it and nothing else."""
    home = tmp_path_factory.mktemp("gcloud")
    credentials = home / "credentials.json"
    credentials.write_text(json.dumps(_CREDENTIALS), encoding="utf-8")
    with GcsServer() as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", server.url)
        patch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
        patch.setenv("NO_GCE_CHECK", "true")
        patch.setenv("CLOUDSDK_CONFIG", str(home))
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(credentials))
        for proxy in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(proxy, raising=False)
            patch.delenv(proxy.upper(), raising=False)
        gcs_client.close()
        yield server
        gcs_client.close()


@pytest.fixture
def bucket(gcs: GcsServer) -> Iterator[Bucket]:
    """An empty bucket, on a server without faults, delays or requests so far."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    gcs.reset()
    yield Bucket.made(gcs, name)
    gcs.reset()


@pytest.fixture
def quick_retries(gcs: GcsServer, monkeypatch: pytest.MonkeyPatch) -> FileSystem:
    """gs:// as ``files`` sees it, giving up after 2 s instead of 120."""
    retry = DEFAULT_RETRY.with_timeout(2.0).with_delay(initial=0.01, maximum=0.05)
    system = gcs_objects.GcsObjects(retry)
    monkeypatch.setitem(files.SYSTEMS, "gs", system)
    return system


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A server for s3:// in this process, and an environment in which clients find it and nothing else."""
    home = tmp_path_factory.mktemp("aws")
    with S3Server() as server, pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        patch.setenv("AWS_ENDPOINT_URL", server.url)
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(home / "config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))
        for proxy in ("http_proxy", "https_proxy", "all_proxy"):
            patch.delenv(proxy, raising=False)
            patch.delenv(proxy.upper(), raising=False)
        s3_client.close()
        yield server
        s3_client.close()


@pytest.fixture
def s3_bucket(s3: S3Server) -> Iterator[S3Bucket]:
    """An empty bucket, on a server without faults, delays or requests so far."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    s3.reset()
    yield S3Bucket.made(s3, name)
    s3.reset()


@pytest.fixture(autouse=True)
def images_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the images for workers had the Python that runs the tests."""
    monkeypatch.setattr("runners.dataflow.options.IMAGES_PYTHON", sys.version_info[:2])


@pytest.fixture(autouse=True)
def no_earlier_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a process of its own: tests that name their runs alike share nothing."""
    monkeypatch.setattr(run_state, "_states", {})


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with the small trained model, photos and labels."""
    path = Path(os.environ.get("BEAMSIGHT_TEST_DATA") or Path(__file__).parents[2] / "shared")
    if not path.is_dir():
        pytest.skip("no ../shared beside the checkout, and BEAMSIGHT_TEST_DATA names no folder")
    return path
