"""Parquet files with the bytes of images: what is in them, and where they are broken."""

from __future__ import annotations

import gc
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from shard_files import content, opened, peak

from transforms.errors import TooManyBytes, UsageError
from transforms.shards import parquet
from transforms.shards.container import ShardOptions
from transforms.shards.image_columns import describe, image_column

IMAGES = [b"first", b"", os.urandom(70_000), b"last"]
FACES = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def written(tmp_path: Path, columns: dict[str, Any], **options: Any) -> Path:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize("kind", ["binary", "large_binary", "binary_view", "hugging face", "dictionary"])
def test_images_are_named_by_their_rows(tmp_path: Path, kind: str) -> None:
    column: Any
    if kind == "hugging face":
        column = pa.array([{"bytes": data, "path": "a.jpg"} for data in IMAGES], FACES)
    elif kind == "dictionary":
        column = pa.array(IMAGES, pa.binary()).dictionary_encode()
    else:
        if not hasattr(pa, kind):
            pytest.skip(f"this pyarrow has no {kind}")
        column = pa.array(IMAGES, getattr(pa, kind)())
    columns = {"label": pa.array(range(4)), "image": column, "text": pa.array(["a"] * 4)}
    path = written(tmp_path, columns, row_group_size=3, write_page_checksum=True)
    assert content(path) == ({str(row): data for row, data in enumerate(IMAGES)}, {}, {}, None, 0)


def test_rows_without_bytes_are_faults(tmp_path: Path) -> None:
    rows = [None, {"bytes": None, "path": "b.jpg"}, {"bytes": None, "path": None}, {"bytes": b"abc", "path": None}]
    found = content(written(tmp_path, {"image": pa.array(rows, FACES)}))
    assert found.images == {"3": b"abc"}
    assert found.faults.keys() == {"0", "1", "2"}
    assert "its path is 'b.jpg', and only bytes are read" in found.faults["1"]
    assert "path" not in found.faults["0"] + found.faults["2"]


def test_several_columns_need_a_name(tmp_path: Path) -> None:
    path = written(tmp_path, {"a": pa.array([b"a"]), "b": pa.array([b"b"])})
    broken = content(path).broken
    assert broken is not None
    assert "2 columns have bytes ('a', 'b')" in broken
    assert content(path, ShardOptions(image_column="b")).images == {"0": b"b"}
    broken = content(path, ShardOptions(image_column="c")).broken
    assert broken is not None
    assert "there is no column 'c'" in broken


def test_an_image_over_the_limit(tmp_path: Path) -> None:
    path = written(tmp_path, {"image": pa.array([bytes(1_001), bytes(1_000)])})
    with opened(path, ShardOptions(max_bytes=1_000)) as container:
        large, small = container.members()
        assert container.read(small) == bytes(1_000)
        with pytest.raises(TooManyBytes, match="row 0 has 1,001 bytes, more than --max-bytes 1,000"):
            container.read(large)


def test_temporary_files_end_with_their_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "_SEGMENT", 1_000)
    images = [bytes([row]) * 600 for row in range(40)]
    path = written(tmp_path, {"image": pa.array(images)})
    with opened(path) as container:
        before = _open_files()
        members = container.members()
        held = [next(members) for _ in range(10)]
        assert _open_files() == before + 5
        rest = [container.read(member) for member in members]
        assert rest == images[10:]
        assert [container.read(member) for member in held] == images[:10]
        del members
        gc.collect()
        assert _open_files() == before + 5
        held.clear()
        gc.collect()
        assert _open_files() == before


def _open_files() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_damaged_row_group_is_named(tmp_path: Path, compression: str) -> None:
    images = [os.urandom(1_000) for _ in range(60)]
    path = written(
        tmp_path, {"image": pa.array(images)}, row_group_size=20, compression=compression, write_page_checksum=True
    )
    data = bytearray(path.read_bytes())
    data[data.index(images[25][:8])] ^= 1  # random bytes are stored as they are
    path.write_bytes(data)
    found = content(path)
    assert list(found.images.values())[:20] == images[:20]
    assert len(found.images) == 20
    assert found.broken is not None
    assert re.search(r"row group 1 from row 20 cannot be read \(.*CRC", found.broken), found.broken


def test_a_file_that_is_cut_is_broken(tmp_path: Path) -> None:
    path = written(tmp_path, {"image": pa.array(IMAGES)})
    path.write_bytes(path.read_bytes()[:-9])
    found = content(path)
    assert found.images == {}
    assert found.broken is not None
    assert "the file cannot be read" in found.broken


SMALL = pa.BufferOutputStream()
pq.write_table(pa.table({"image": [b"first", b"second"]}), SMALL, write_page_checksum=True, compression="none")
WHOLE = SMALL.getvalue().to_pybytes()


_CHANGED = """
import sys
from shard_files import content
whole, path, places = bytes.fromhex(sys.argv[1]), sys.argv[2], [int(place) for place in sys.argv[3].split(",")]
for place in places:
    data = bytearray(whole)
    data[place] ^= 1 << place % 8
    open(path, "wb").write(data)
    print(place, flush=True)
    content(path)
"""


def test_any_changed_byte_is_read_or_refused_or_ends_a_process(tmp_path: Path) -> None:
    """pyarrow ends the process at some of them; see ``transforms.shards.trial``."""
    seed = random.randrange(1 << 30)
    left = random.Random(seed).sample(range(len(WHOLE)), 200)
    deaths = 0
    while left:
        arguments = [WHOLE.hex(), str(tmp_path / "changed.parquet"), ",".join(map(str, left))]
        command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{_CHANGED}", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode in (0, -signal.SIGABRT), f"seed {seed}: {done.stderr}"
        left = left[len(done.stdout.split()) :]
        deaths += done.returncode != 0
    assert deaths < 20, f"seed {seed}"


_LARGE = """
print(sum(len(container.read(member)) for member in container.members()))
print(megabytes() - before)
"""


def test_a_large_row_group_is_never_whole_in_memory(tmp_path: Path) -> None:
    images = [bytes([row % 256]) * 200_000 for row in range(400)]
    path = written(tmp_path, {"image": pa.array(images)}, compression="none", use_dictionary=False, write_batch_size=1)
    size, megabytes = map(int, peak(_LARGE, path))
    assert size == 80_000_000
    assert megabytes < 50


def schema(**columns: pa.DataType) -> pa.Schema:
    return pa.schema(list(columns.items()))


def test_a_file_is_a_manifest_or_a_shard() -> None:
    text, data = pa.string(), pa.binary()
    assert describe(schema(uri=text, id=pa.int64()), "uri") == "manifest"
    assert describe(schema(url=text), "url") == "manifest"
    assert describe(schema(image=FACES, label=pa.int64()), "uri") == "shard"
    assert describe(schema(image=data), "uri") == "shard"
    assert describe(schema(uri=text, image=data), "uri", "image") == "shard"
    assert describe(schema(a=data, b=data), "uri", "b") == "shard"


@pytest.mark.parametrize(
    ("columns", "arguments", "reason"),
    [
        (
            {"uri": pa.string(), "image": FACES},
            ("uri",),
            "URIs in 'uri' and bytes in 'image'; pass --image-c",
        ),
        ({"url": pa.string()}, ("uri",), r"no column 'uri' with URIs.* url \(string\); .*--uri-column"),
        ({"a": pa.binary(), "b": FACES}, ("uri",), r"2 columns have bytes \('a', 'b'\).*--image-column"),
        ({"a": pa.binary()}, ("uri", "b"), r"no column 'b'; the columns are a \(binary\); .*--image-column"),
        ({"a": pa.string()}, ("uri", "a"), r"the column 'a' has no bytes; the columns are a \(string\)"),
    ],
)
def test_what_is_neither_names_the_columns(columns: Any, arguments: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        describe(schema(**columns), *arguments)


def test_no_column_of_images() -> None:
    with pytest.raises(UsageError, match=r"no column has bytes of images; the columns are a \(int64\)"):
        image_column(schema(a=pa.int64()))
    with pytest.raises(UsageError, match="there are 2 columns 'a'"):
        image_column(pa.schema([("a", pa.binary()), ("a", pa.binary())]), "a")
