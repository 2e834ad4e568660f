"""Parts of tables over a network and from a disk that fail."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gcs_server import Bucket

from transforms.errors import FetchError, Unreadable
from transforms.storage import files
from transforms.storage.base import Stat
from transforms.tables import reader


def part() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"uri": [f"gs://b/{n}.jpg" for n in range(1_000)]}), sink)
    return sink.getvalue()


@pytest.mark.parametrize("fault", ["short", "corrupt", "corrupt start", "short and corrupt", "cut", "reset"])
def test_a_part_that_arrives_damaged_is_asked_for_again_and_no_one_is_told_to_remove_it(
    bucket: Bucket, quick_retries: object, fault: str
) -> None:
    bucket.put("a.parquet", part())
    left = iter([fault])
    bucket.gcs.faults = lambda _, path: next(left, None) if "alt=media" in path else None
    assert reader.read(bucket.uri("a.parquet"), ["uri"]).num_rows == 1_000
    bucket.gcs.faults = lambda _, path: fault if "alt=media" in path else None
    with pytest.raises(Unreadable) as caught:
        reader.footer(bucket.uri("a.parquet"))
    assert caught.value.retryable
    assert "remove" not in str(caught.value)


def test_a_part_that_was_stored_damaged_is_to_be_restored_or_removed(bucket: Bucket, tmp_path: Path) -> None:
    data = part()
    bucket.put("a.parquet", data[: len(data) // 2])
    (tmp_path / "a.parquet").write_bytes(data[:-1])
    for uri in (bucket.uri("a.parquet"), str(tmp_path / "a.parquet")):
        with pytest.raises(FetchError, match="restore or remove the file") as caught:
            reader.read(uri, ["uri"])
        assert not caught.value.retryable


class _FailingDisk(io.BytesIO):
    def read(self, size: int | None = -1, /) -> bytes:
        raise OSError(errno.EIO, "Input/output error")


class _FailingFiles:
    def open(self, uri: str, version: str | None = None) -> tuple[Any, Stat]:
        return _FailingDisk(part()), Stat(uri, 0, "1")


def test_a_disk_that_fails_is_no_damaged_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(files.SYSTEMS, "mem", _FailingFiles())
    with pytest.raises(Unreadable, match=r"mem://a\.parquet cannot be read now: Input/output error") as caught:
        reader.read("mem://a.parquet", ["uri"])
    assert caught.value.retryable
